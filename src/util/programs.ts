import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import path from 'node:path';

/** Debian and Jetson Linux keep some programs where a user's PATH does not look. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
const MOST_OUTPUT = 1 << 20;
/** How long a program that was killed may take to end. */
const PATIENCE_MS = 1000;

/** The file that a name on the PATH, or a path, stands for; undefined: there is no such program. */
export async function findProgram(name: string, searched = process.env.PATH ?? ''): Promise<string | undefined> {
  const folders = name.includes('/') ? [''] : [...searched.split(':').filter((f) => f !== ''), ...MORE_FOLDERS];
  for (const folder of folders) {
    const file = path.resolve(folder, name);
    try {
      await access(file, constants.X_OK);
      return file;
    } catch {
      // The next one.
    }
  }
  return undefined;
}

/**
 * Lets go of a program that was killed and need not end: stuck inside the kernel (a driver that hangs) not even SIGKILL ends it, and what
 * it started may hold its output open. This process can end all the same.
 */
export function letGo(child: ChildProcess): void {
  child.unref();
  child.stdout?.destroy();
  child.stderr?.destroy();
}

/** What a program prints on stdout; undefined: it is not there, fails, or does not end in time (then it is killed). */
export async function outputOf(
  program: string,
  args: readonly string[],
  timeoutMs = 3000,
): Promise<string | undefined> {
  const file = await findProgram(program);
  if (file === undefined) return undefined;
  return new Promise((resolve) => {
    const end = (output: string | undefined) => {
      clearTimeout(timer);
      resolve(output);
    };
    const timer = setTimeout(() => {
      letGo(child);
      end(undefined);
    }, timeoutMs + PATIENCE_MS);
    const options = { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: MOST_OUTPUT, encoding: 'utf8' } as const;
    const child = execFile(file, [...args], options, (error, stdout) => end(error === null ? stdout : undefined));
    child.stdin?.end();
  });
}

/** The first line that a program prints which would go on for ever; it is killed then. Undefined: none within the time. */
export async function firstLineOf(
  program: string,
  args: readonly string[],
  timeoutMs = 3000,
): Promise<string | undefined> {
  const file = await findProgram(program);
  if (file === undefined) return undefined;
  return new Promise((resolve) => {
    const child = spawn(file, [...args], { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    const end = (line: string | undefined) => {
      clearTimeout(timer);
      child.kill('SIGKILL');
      letGo(child);
      resolve(line);
    };
    const timer = setTimeout(() => end(undefined), timeoutMs);
    child.on('error', () => end(undefined));
    child.on('close', () => end(undefined));
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      text = (text + part).slice(0, MOST_OUTPUT);
      const at = text.indexOf('\n');
      if (at >= 0) end(text.slice(0, at));
    });
  });
}
