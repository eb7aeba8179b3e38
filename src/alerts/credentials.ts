import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EdgeError, EXIT, type ExitCode, errno } from '../types/errors.js';
import { parseBrokerUrl } from './broker-url.js';

/** Name of the systemd credential (`LoadCredential=mqtt-password:...`, systemd.exec(5)). */
export const PASSWORD_CREDENTIAL = 'mqtt-password';
const MAX_BYTES = 4_096;

export interface PasswordOptions {
  /** File whose first line is the password. */
  file?: string;
  /** Where systemd puts credentials. Default `$CREDENTIALS_DIRECTORY`. */
  credentialsDirectory?: string;
}

/**
 * Where the broker's password comes from: the file, else the systemd credential `mqtt-password`, else nowhere (undefined). Never
 * from the command line or the environment, which others can read. The function reads it anew each time, so that a changed
 * password is used at the next attempt; it throws `EdgeError` `CREDENTIAL_UNREADABLE`.
 */
export function passwordSource(options: PasswordOptions = {}): (() => string) | undefined {
  const directory = options.credentialsDirectory ?? process.env.CREDENTIALS_DIRECTORY;
  const credential = directory === undefined || directory === '' ? undefined : join(directory, PASSWORD_CREDENTIAL);
  // An empty one stands for none: the unit gives it where the administrator's file is not there.
  const file = options.file ?? (credential !== undefined && hasContent(credential) ? credential : undefined);
  return file === undefined ? undefined : () => firstLine(file);
}

/** The part of the configuration's section `mqtt` that says who we are. */
export interface BrokerUser {
  url: string;
  username?: string;
  passwordFile?: string;
}

/**
 * The password for a configured broker, as `passwordSource`. Without a user name, neither beside it nor in the URL, there is none:
 * MQTT 3.1.1 forbids a password alone ([MQTT-3.1.2-22]), and mqtt-packet sends none with MQTT 5 either, it breaks every connection.
 * @returns `unused`: the password that was left out, for the log
 * @throws EdgeError BAD_BROKER_URL
 */
export function brokerPassword(
  { url, username, passwordFile }: BrokerUser,
  options: Pick<PasswordOptions, 'credentialsDirectory'> = {},
): { password?: () => string; unused?: EdgeError } {
  const password = passwordSource({ ...options, ...(passwordFile !== undefined && { file: passwordFile }) });
  if (password === undefined) return {};
  if ((username ?? parseBrokerUrl(url).username) !== undefined) return { password };
  const what = passwordFile === undefined ? `systemd credential ${PASSWORD_CREDENTIAL}` : 'mqtt.passwordFile';
  const unused = new EdgeError(
    'PASSWORD_WITHOUT_USER',
    `the broker's password (${what}) is not used: it has no user name`,
    { hint: 'Set mqtt.username, or remove the password.', exitCode: EXIT.config },
  );
  return { unused };
}

/**
 * A certificate or key.
 * @param from the configuration's key or the option that names the file, for the hint
 * @throws EdgeError CREDENTIAL_UNREADABLE
 */
export async function readPem(file: string, from: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new EdgeError('CREDENTIAL_UNREADABLE', `cannot read ${file} (${errno(cause) ?? 'unknown error'})`, {
      hint: `check ${from}, and who may read the file`,
      exitCode: exitCodeOf(cause),
      cause,
    });
  }
}

function hasContent(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').trim() !== '';
  } catch (error) {
    // One that is there but cannot be read must not count as none.
    return errno(error) !== 'ENOENT';
  }
}

function firstLine(file: string): string {
  let text: string;
  try {
    const descriptor = openSync(file, 'r');
    try {
      const buffer = Buffer.alloc(MAX_BYTES);
      text = buffer.toString('utf8', 0, readSync(descriptor, buffer));
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw unreadable(file, errno(error) ?? 'cannot be read', error);
  }
  const line = text.split(/\r?\n/, 1)[0] as string;
  if (line === '') throw unreadable(file, 'its first line is empty', undefined);
  return line;
}

/** A file that is not there may come yet, with a file system that is mounted late: the service is started again. */
function exitCodeOf(cause: unknown): ExitCode {
  return errno(cause) === 'ENOENT' ? EXIT.unavailable : EXIT.config;
}

function unreadable(file: string, why: string, cause: unknown): EdgeError {
  return new EdgeError('CREDENTIAL_UNREADABLE', `password file ${file}: ${why}`, {
    hint: 'Check the path in the configuration and who may read the file.',
    exitCode: exitCodeOf(cause),
    cause,
  });
}
