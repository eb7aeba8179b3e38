import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';

const MODULE = pathToFileURL(path.resolve('dist/alerts/state-lock.js')).href;

/** Runs a program as nobody, where /proc shows a user no other's processes (proc(5), hidepid). Needs root. */
const HIDDEN = [
  '-m',
  'sh',
  '-c',
  'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --clear-groups "$@"',
  'sh',
];
const asNobody = (script: string) => [...HIDDEN, process.execPath, '--input-type=module', '-e', script];
/** Where nobody may read this directory, as under /root, it cannot be shown. */
const able = spawnSync('unshare', asNobody(`import ${JSON.stringify(MODULE)}`)).status === 0;

test.runIf(able)('a holder that cannot be looked at holds the lock as long as it runs', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'irst-hidden-'));
  chmodSync(directory, 0o777);
  const holder = spawn('sleep', ['60']);
  onTestFinished(() => {
    holder.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  });
  const start = readFileSync(`/proc/${holder.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19];
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const script = `import { lockHolder } from ${JSON.stringify(MODULE)}; console.log(lockHolder(${JSON.stringify(directory)}));`;
  const seen = () => execFileSync('unshare', asNobody(script), { encoding: 'utf8' }).trim();

  writeFileSync(path.join(directory, 'lock'), `${holder.pid} ${start} ${boot}`);
  expect(seen()).toBe(String(holder.pid));
  writeFileSync(path.join(directory, 'lock'), `${holder.pid} ${start} another-boot`);
  expect(seen()).toBe('undefined');
  writeFileSync(path.join(directory, 'lock'), `${holder.pid} ${start} ${boot}`);
  const gone = new Promise((resolve) => holder.once('exit', resolve));
  holder.kill('SIGKILL');
  await gone;
  expect(seen()).toBe('undefined');
});
