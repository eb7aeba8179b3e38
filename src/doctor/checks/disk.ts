import { randomBytes } from 'node:crypto';
import { open, rm, rmdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { lockHolder } from '../../alerts/state-lock.js';
import { errno } from '../../types/errors.js';
import { makeFolders } from '../../util/folders.js';
import type { DoctorContext } from '../context.js';
import { error, type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'disk';
/** An engine and its cache take some 10 MB, the outbox as much as it may. */
const SPARE_BYTES = 100e6;

/** The state directory: there, writable, with room for the outbox. */
export async function checkDisk({ config, env }: Pick<DoctorContext, 'config' | 'env'>): Promise<Finding[]> {
  const directory = config.stateDirectory ?? (env.STATE_DIRECTORY?.split(':')[0] || undefined);
  if (directory === undefined) {
    return [
      info(
        CHECK,
        'NO_STATE_DIRECTORY',
        'no state directory: events wait in memory only and are lost when the power goes',
        undefined,
        'set stateDirectory, or run it as the systemd service, which has StateDirectory=',
      ),
    ];
  }
  const needed = SPARE_BYTES + config.outbox.maxMegabytes * 1e6;
  return [await checkFolder(directory, needed), ...checkLock(directory)];
}

/** Writes, syncs and removes a small file, as the outbox would. */
export async function checkFolder(directory: string, neededBytes: number): Promise<Finding> {
  const made = await firstMissing(directory);
  const probe = path.join(directory, `.doctor.${randomBytes(6).toString('hex')}`);
  const start = performance.now();
  try {
    if (made !== undefined) await makeFolders(directory);
    const handle = await open(probe, 'wx');
    try {
      await handle.writeFile('irst-edge doctor\n');
      await handle.sync();
    } finally {
      await handle.close();
      await rm(probe, { force: true });
    }
    const syncMs = performance.now() - start;
    const { bavail, bsize } = await statfs(directory);
    const freeBytes = bavail * bsize;
    const data = { directory, freeBytes, neededBytes, syncMs: Math.round(10 * syncMs) / 10 };
    const line = `${directory}: writable, ${(freeBytes / 1e6).toFixed(0)} MB free, a synced write takes ${syncMs.toFixed(1)} ms`;
    if (freeBytes < neededBytes) {
      return warning(
        CHECK,
        'DISK_LOW',
        `${line}; the outbox may need ${(neededBytes / 1e6).toFixed(0)} MB`,
        'free some space there, or lower outbox.maxMegabytes',
        data,
      );
    }
    return ok(CHECK, 'DISK', line, data);
  } catch (cause) {
    const code = errno(cause) ?? (cause as Error).message;
    return error(
      CHECK,
      'DISK_NOT_WRITABLE',
      `${directory} cannot be written: ${code}`,
      code === 'EROFS'
        ? 'the file system is mounted read-only: mount it writable, or set stateDirectory elsewhere'
        : `let this user write there: sudo chown $USER ${directory}; in a service: StateDirectory=irst-edge`,
      { directory, code },
    );
  } finally {
    // Looking must leave nothing behind: a folder of root's would be in the daemon's way.
    if (made !== undefined) await removeEmpty(directory, made);
  }
}

/** The uppermost folder on the way that is not there yet. */
async function firstMissing(directory: string): Promise<string | undefined> {
  let missing: string | undefined;
  for (let at = path.resolve(directory); ; at = path.dirname(at)) {
    const there = await stat(at).then(
      () => true,
      (cause: unknown) => errno(cause) !== 'ENOENT',
    );
    if (there) return missing;
    missing = at;
  }
}

/** Takes away the folders that were made, as long as they are empty: somebody may have begun to use them. */
async function removeEmpty(directory: string, uppermost: string): Promise<void> {
  try {
    for (let at = path.resolve(directory); ; at = path.dirname(at)) {
      await rmdir(at);
      if (at === uppermost) return;
    }
  } catch {
    // In use, or never made.
  }
}

function checkLock(directory: string): Finding[] {
  const pid = lockHolder(path.join(directory, 'outbox'));
  return pid === undefined
    ? []
    : [info('daemon', 'DAEMON_RUNS', `an irst-edge uses the state directory (process ${pid})`, { pid })];
}
