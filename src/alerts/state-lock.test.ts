import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockHolder, lockState } from './state-lock.js';

let directory: string;
const cleanup: (() => void)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'irst-lock-'));
});
afterEach(() => {
  for (const step of cleanup.splice(0)) step();
  rmSync(directory, { recursive: true });
});

/** State and start time of a process, fields 3 and 22 of proc(5). */
function stat(pid: number): { state: string; start: string } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return { state: fields[0] ?? '', start: fields[19] ?? '' };
}

test('one at a time; given back it can be taken again', () => {
  const unlock = lockState(directory);
  expect(lockHolder(directory)).toBe(process.pid);
  // 69: systemd tries it again, and the other one may have ended by then.
  expect(() => lockState(directory)).toThrow(expect.objectContaining({ code: 'STATE_IN_USE', exitCode: 69 }));
  unlock();
  expect(lockHolder(directory)).toBeUndefined();
  lockState(directory)();
});

test('a holder that was killed and that nobody has waited for is gone', async () => {
  // The second sleep takes the place of the shell: it never waits for the first.
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
  cleanup.push(() => parent.kill('SIGKILL'));
  const pid = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  writeFileSync(join(directory, 'lock'), `${pid} ${stat(pid).start} ${boot}`);
  expect(lockHolder(directory)).toBe(pid);
  expect(() => lockState(directory)).toThrow(`in use by process ${pid}`);

  process.kill(pid, 'SIGKILL');
  await expect.poll(() => stat(pid).state, { timeout: 5_000 }).toBe('Z');
  expect(lockHolder(directory)).toBeUndefined();
  lockState(directory);
  expect(lockHolder(directory)).toBe(process.pid);
});
