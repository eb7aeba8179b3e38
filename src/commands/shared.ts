import { randomBytes } from 'node:crypto';
import { realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Command, CommanderError } from 'commander';
import { ConfigInvalidError, type ConfigIssue, formatIssue } from '../config/issue.js';
import { EdgeError, EXIT, type ExitCode, errno, toPlainError } from '../types/errors.js';
import { cleanUp, killIfHung } from '../util/fatal.js';
import { makeFolders } from '../util/folders.js';
import { isJournal, PRIORITY, type Priority, withPriority } from '../util/journal.js';
import { VERSION } from '../version.js';

/** Longest wait for workers to stop before a fault ends the process. */
const CLEAN_UP_MS = 2500;

/** Options that every command takes, before or after its name. */
export interface GlobalOptions {
  /** Output for machines on stdout: one JSON object, errors too. */
  json: boolean;
  /** Stack traces with errors. */
  verbose: boolean;
}

/** A command whose module is loaded only when it is wanted: some pull in large libraries. */
export interface CommandEntry {
  name: string;
  load: () => Promise<{ register(program: Command): void }>;
}

const EXIT_CODES = `
Exit codes:
  ${EXIT.ok}   done
  ${EXIT.usage}  wrong command line
  ${EXIT.dataError}  broken input: picture, recording, model
  ${EXIT.noInput}  missing input
  ${EXIT.unavailable}  a service that does not answer or refuses: broker, port
  ${EXIT.software}  a fault of the program itself
  ${EXIT.cannotCreate}  output that cannot be created
  ${EXIT.ioError}  reading or writing failed: full disk
  ${EXIT.config}  wrong configuration
Error codes: docs/errors.md`;

/** The global options of a command that is running. */
export function globalOptions(command: Command): GlobalOptions {
  const { json, verbose } = command.optsWithGlobals<Partial<GlobalOptions>>();
  return { json: json === true, verbose: verbose === true };
}

/** A wrong command line that commander cannot see, such as two options that exclude each other. */
export function usageError(message: string, hint = 'irst-edge --help lists the commands'): EdgeError {
  return new EdgeError('USAGE', message, { hint, exitCode: EXIT.usage });
}

/** Writes to stdout and waits until it is out; adds the newline. */
export function print(text: string): Promise<void> {
  return write(process.stdout, `${text}\n`);
}

/** One JSON object on one line on stdout. */
export function printJson(value: unknown): Promise<void> {
  return print(JSON.stringify(value));
}

/** A line for people beside the output proper, on stderr; where that is the journal, with its priority. */
export function printNote(text: string, priority: Priority = PRIORITY.notice): Promise<void> {
  return write(process.stderr, `${isJournal(2) ? withPriority(text, priority) : text}\n`);
}

/** Resolves even when the stream fails: what then happens is up to `guardStreams`. */
function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve) => stream.write(text, () => resolve()));
}

/**
 * Writes a file as a whole or not at all, making its folder where needed. A link stays: the file that it points to is written. What is no
 * file (`/dev/stdout`, a pipe) is written to as it is.
 * @throws EdgeError OUTPUT_NOT_WRITABLE (73), OUTPUT_FAILED (74: full disk)
 */
export async function writeOutputFile(file: string, content: string | Uint8Array): Promise<void> {
  let temporary: string | undefined;
  try {
    await makeFolders(path.dirname(file));
    const there = await stat(file).catch(() => undefined);
    if (there !== undefined && !there.isFile()) return await writeFile(file, content);
    const target = there === undefined ? file : await realpath(file);
    // Beside the file, so that the rename stays within one file system.
    temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
    await writeFile(temporary, content, { flag: 'wx' });
    await rename(temporary, target);
  } catch (cause) {
    if (temporary !== undefined) await rm(temporary, { force: true }).catch(() => {});
    throw outputError(file, cause);
  }
}

/** What a failed write to `file` means for the user. */
export function outputError(file: string, cause: unknown): EdgeError {
  const code = errno(cause) ?? String(cause);
  const full = ['ENOSPC', 'EDQUOT', 'EIO', 'EFBIG'].includes(code);
  return full
    ? new EdgeError('OUTPUT_FAILED', `${file}: writing failed: ${code}`, {
        hint: 'free some space there, or choose another place',
        exitCode: EXIT.ioError,
        cause,
      })
    : new EdgeError('OUTPUT_NOT_WRITABLE', `${file}: cannot be written: ${code}`, {
        hint: 'choose a place where this user may write',
        exitCode: EXIT.cannotCreate,
        cause,
      });
}

/**
 * The error as it is printed: for people `irst-edge: CODE: message`, its parts and a hint; with `json` one JSON object
 * `{"error":{"code","message","hint"}}`. A stack trace only with `verbose`.
 */
export function formatError(error: unknown, { json, verbose }: GlobalOptions): string {
  const plain = toPlainError(error);
  const message = plain.message.replaceAll(/\s*\n\s*/g, ' ').trim();
  const hint =
    plain.hint ?? (plain.code === 'INTERNAL' ? 'a fault of the program; --verbose shows where it happened' : undefined);
  const issues: readonly ConfigIssue[] = error instanceof ConfigInvalidError ? error.issues : [];
  if (json) {
    return JSON.stringify({
      error: {
        code: plain.code,
        message,
        ...(hint === undefined ? {} : { hint }),
        ...(issues.length === 0 ? {} : { issues }),
        ...(verbose ? { stack: stackOf(error) } : {}),
      },
    });
  }
  return [
    `irst-edge: ${plain.code}: ${message}`,
    // A single one is the message already.
    ...(issues.length > 1 ? issues.map((issue) => `  ${formatIssue(issue)}`) : []),
    ...(hint === undefined ? [] : [`  hint: ${hint}`]),
    ...(verbose ? [stackOf(error)] : []),
  ].join('\n');
}

function stackOf(error: unknown): string {
  const stacks: string[] = [];
  for (let e = error; e !== undefined && stacks.length < 8; e = e instanceof Error ? e.cause : undefined) {
    stacks.push(e instanceof Error ? (e.stack ?? e.message) : String(e));
  }
  return stacks.join('\ncaused by: ');
}

/** The program without its commands. */
export function createProgram(): Command {
  return (
    new Command('irst-edge')
      .description('Finds infrared small targets in thermal pictures and sends sub-pixel alerts over MQTT.')
      .version(VERSION, '--version', 'print the version')
      .helpOption('-h, --help', 'print this help')
      .option('--verbose', 'show stack traces with errors')
      .option('--json', 'output for machines, errors too')
      // Inherited by every command that is made with `program.command(...)`.
      .configureHelp({ showGlobalOptions: true })
      .addHelpText('afterAll', EXIT_CODES)
      .exitOverride()
      // `main` prints errors, all in the same form.
      .configureOutput({ outputError: () => {} })
  );
}

/**
 * Runs the command line to its end. Ends the process itself only on an error, so that a command may leave its exit code in
 * `process.exitCode`; a command must have stopped its workers before it throws.
 */
export async function main(argv: readonly string[], commands: readonly CommandEntry[]): Promise<void> {
  const args = argv.slice(2);
  const own = args.includes('--') ? args.slice(0, args.indexOf('--')) : args;
  // Before parsing, because parsing may be what fails.
  const options: GlobalOptions = { json: own.includes('--json'), verbose: own.includes('--verbose') };
  guardStreams(options);
  process.on('uncaughtException', (error) => void fail(error, options));
  const program = createProgram();
  try {
    const named = commands.find(({ name }) => name === own.find((arg) => !arg.startsWith('-')));
    // All of them for the general help and for suggestions.
    for (const entry of named === undefined ? commands : [named]) (await entry.load()).register(program);
    await program.parseAsync([...argv]);
    killIfHung();
  } catch (error) {
    if (!(error instanceof CommanderError)) return fail(error, options);
    // Help and version have been printed.
    if (error.exitCode === 0) return;
    const command = namedCommand(program, own);
    // Commander prints the help where a command is missing, and calls that the error.
    const missing = error.code === 'commander.help';
    const message = missing ? `${command} needs a command` : error.message.replace(/^error: /, '');
    await fail(usageError(message, `${command} --help describes it`), options);
  }
}

/** `irst-edge config check`: as far as the arguments name a command. */
function namedCommand(program: Command, args: readonly string[]): string {
  let command = program;
  let name = program.name();
  for (const arg of args) {
    const next = command.commands.find((child) => child.name() === arg);
    if (next === undefined) continue;
    command = next;
    name += ` ${arg}`;
  }
  return name;
}

/** Set once the program is ending: a second fault, or a closed pipe, must not cut the clean-up short. */
let ending: Promise<void> | undefined;

function fail(error: unknown, options: GlobalOptions): Promise<void> {
  ending ??= end(error, options);
  return ending;
}

async function end(error: unknown, options: GlobalOptions): Promise<void> {
  const code: ExitCode = toPlainError(error).exitCode;
  process.exitCode = code;
  await cleanUp(CLEAN_UP_MS);
  const text = formatError(error, options);
  if (options.json) await write(process.stdout, `${text}\n`);
  else await printNote(text, PRIORITY.error);
  killIfHung();
  process.exit(code);
}

/** A reader that has gone (`irst-edge ... | head`) ends the program quietly; output that fails otherwise is an error. */
function guardStreams(options: GlobalOptions): void {
  process.stdout.on('error', (cause) => {
    if (errno(cause) === 'EPIPE') {
      ending ??= cleanUp(CLEAN_UP_MS).then(() => {
        killIfHung();
        process.exit();
      });
      return;
    }
    void fail(outputError('stdout', cause), { ...options, json: false });
  });
  // Nowhere left to complain.
  process.stderr.on('error', () => {});
}
