import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EdgeError, EXIT, errno } from '../types/errors.js';

/**
 * Makes sure that one process at a time uses a state directory. A file names the holder by process id and start time, so that
 * neither a crash nor a reused id leaves it locked, nor a process that was killed and is not waited for.
 *
 * Throws `EdgeError` `STATE_IN_USE`; a system error where the directory cannot be written.
 *
 * @returns gives the lock back
 */
export function lockState(directory: string): () => void {
  const file = join(directory, 'lock');
  const mine = holder(process.pid);
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, mine);
  try {
    // link(2) makes the file appear with its content or not at all.
    for (let tries = 0; ; tries++) {
      try {
        linkSync(draft, file);
        break;
      } catch (error) {
        if (errno(error) !== 'EEXIST') throw error;
        const pid = lockHolder(directory);
        if (pid !== undefined) {
          throw new EdgeError('STATE_IN_USE', `the state directory ${directory} is in use by process ${pid}`, {
            hint: 'Stop the other irst-edge, or give each its own state directory.',
            // Not a fault of the configuration: the other may be about to end, and a service that is not started again is worse.
            exitCode: EXIT.unavailable,
          });
        }
        if (tries >= 3) throw error;
        rmSync(file, { force: true });
      }
    }
  } finally {
    rmSync(draft, { force: true });
  }
  return () => {
    if (read(file) === mine) rmSync(file, { force: true });
  };
}

/** The process that uses a state directory; undefined: none does, whatever a lock that was left there says. */
export function lockHolder(directory: string): number | undefined {
  const lock = read(join(directory, 'lock'));
  const [id, , boot] = lock.trim().split(' ');
  const pid = Number(id);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  if (boot === bootId() && isHidden(pid)) return pid;
  return holder(pid) === lock ? pid : undefined;
}

/**
 * Whether a process runs of which /proc shows nothing: another user's, with `hidepid` or `ProtectProc=` (proc(5), systemd.exec(5)). Taken for
 * the holder, though its id may have been used again: two that write one state directory is what must not be.
 */
function isHidden(pid: number): boolean {
  if (read(`/proc/${pid}/stat`) !== '') return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errno(error) === 'EPERM';
  }
}

/** `PID START BOOT`, different for every process there ever was on this machine; empty for one that does not run. */
function holder(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === '') return '';
  // Fields 3 and 22 of proc(5); the second field is the name, in parentheses, and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = '', start = ''] = [fields[0], fields[19]];
  // Dead, though a thread that hangs in a driver, or a parent that does not wait, may keep its entry for ever.
  if (state === 'Z' || state === 'X') return '';
  return `${pid} ${start} ${bootId()}`;
}

function bootId(): string {
  return read('/proc/sys/kernel/random/boot_id').trim();
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
