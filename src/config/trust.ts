import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { EdgeError, EXIT } from '../types/errors.js';
import { BUNDLED_MANIFEST } from '../util/bundled.js';
import { distrust } from '../util/file-trust.js';
import type { EdgeConfig } from './schema.js';
import { formatPath, type Path } from './tree.js';

/** A path in the configuration, and the file that it names. */
export interface Place {
  path: Path;
  file: string;
}

interface Checked {
  /** What it is, for people. */
  name: string;
  file: string;
  secret?: boolean;
}

const SECRETS = new Set(['mqtt.passwordFile', 'mqtt.key']);
const MOST_FILES = 1000;

/**
 * Looks at the files that decide what the program does: this configuration, model, profiles, secrets, certificates. Recordings are
 * only data. Returns a line for each that others can change; with `refuse` the first of them is an error.
 * @throws EdgeError FILE_UNTRUSTED
 */
export async function checkTrust(config: EdgeConfig, file: string, places: readonly Place[]): Promise<string[]> {
  const policy = config.security.untrustedFiles;
  if (policy === 'ignore') return [];
  const found: string[] = [];
  for (const { name, file: checked, secret } of await checkedFiles(config, file, places)) {
    const wrong = await distrust(checked, secret === undefined ? {} : { secret });
    if (wrong === undefined) continue;
    const line = `${name} is not to be trusted: ${wrong.at}: ${wrong.why}`;
    // One open folder is one line.
    if (!found.some((known) => known.endsWith(`: ${wrong.at}: ${wrong.why}`))) found.push(line);
  }
  if (policy === 'refuse' && found.length > 0) {
    const more = found.length === 1 ? '' : ` (and ${found.length - 1} more)`;
    throw new EdgeError('FILE_UNTRUSTED', `${found[0]}${more}`, {
      hint: 'give it to root or to the user of the service and take the rights of others (chown root, chmod o-w), or set security.untrustedFiles',
      exitCode: EXIT.config,
    });
  }
  return found;
}

async function checkedFiles(config: EdgeConfig, file: string, places: readonly Place[]): Promise<Checked[]> {
  const files: Checked[] = [{ name: 'this configuration', file }];
  const manifest = config.detector.model ?? BUNDLED_MANIFEST;
  files.push({ name: 'the model', file: manifest });
  for (const name of await namesIn(path.dirname(manifest), '.onnx'))
    files.push({ name: 'the model', file: path.join(path.dirname(manifest), name) });
  for (const { path: at, file: place } of places) {
    const key = formatPath(at);
    if (at[0] === 'cameras' || key === 'detector.model' || key === 'stateDirectory') continue;
    files.push({ name: key, file: place, ...(SECRETS.has(key) && { secret: true }) });
  }
  const profiles = config.profilesDirectory;
  if (profiles !== undefined) {
    for (const name of await namesIn(profiles, '.json'))
      files.push({ name: 'profilesDirectory', file: path.join(profiles, name) });
  }
  return files;
}

/** Nothing where the folder cannot be read: whoever needs it will say so. */
async function namesIn(folder: string, ending: string): Promise<string[]> {
  const names = await readdir(folder).catch((): string[] => []);
  return names.filter((name) => name.endsWith(ending)).slice(0, MOST_FILES);
}
