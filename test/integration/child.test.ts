import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compileModule } from './compile.js';

let compiled: Awaited<ReturnType<typeof compileModule>>;
beforeAll(async () => {
  compiled = await compileModule('capture/child');
});
afterAll(() => compiled?.remove());

/** False for one that only waits for its parent, too. */
function alive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** A process whose worker starts a program and tells its number `pid`, and which then does `ending`; gives that number and what it says. */
async function run(ending: string): Promise<{ pid: number; said: string }> {
  const worker = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(pathToFileURL(compiled.file).href)}).then(({ Child }) => {
      const child = Child.run('sh', ['-c', 'echo $$; exec sleep 60']);
      child.stdout.on('data', (pid) => parentPort.postMessage(Number(pid)));
    });`;
  const main = `
    const { Worker } = require('node:worker_threads');
    const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
    worker.on('message', (pid) => {
      process.stdout.write(String(pid), () => { ${ending} });
    });`;
  const ended = await promisify(execFile)(process.execPath, ['-e', main], { timeout: 20_000 }).catch((error) => error);
  const [pid, said = ''] = (ended.stdout as string).split(' ');
  return { pid: Number(pid), said };
}

/** While the process lives: its own end would take the program along. */
const LIVES_ON = `worker.terminate().then(async () => {
  const { readFileSync } = require('node:fs');
  const alive = () => {
    try {
      return !/[)] Z /.test(readFileSync('/proc/' + pid + '/stat', 'latin1'));
    } catch {
      return false;
    }
  };
  for (let i = 0; alive() && i < 100; i++) await new Promise((resolve) => setTimeout(resolve, 100));
  process.stdout.write(alive() ? ' alive' : ' gone');
})`;

test.each([
  ['the process, whose main thread exits', 'process.exit()', ''],
  ['the process, which is killed', "process.kill(process.pid, 'SIGKILL')", ''],
  ['its worker, which is terminated in a process that lives on', LIVES_ON, 'gone'],
])('a program does not outlive %s', async (_, ending, expected) => {
  const { pid, said } = await run(ending);
  expect(pid).toBeGreaterThan(0);
  expect(said).toBe(expected);
  await expect.poll(() => alive(pid), { timeout: 10_000 }).toBe(false);
});

test('who watches over a program is gone with it', async () => {
  const { Child } = (await import(compiled.file)) as typeof import('../../src/capture/child.js');
  const children = (): string => readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1');
  const before = children();
  const child = Child.run('sleep', ['60']);
  expect(children()).not.toBe(before);
  await child.terminate();
  expect(await child.closed).toEqual({ code: null, signal: 'SIGTERM' });
  await expect.poll(children, { timeout: 10_000 }).toBe(before);
});
