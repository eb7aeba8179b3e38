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

/** A process whose worker starts a program and tells its number, and which then does `ending`; gives that number. */
async function run(ending: string): Promise<number> {
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
  return Number(ended.stdout);
}

test.each([
  ['whose main thread exits', 'process.exit()'],
  ['that is killed', "process.kill(process.pid, 'SIGKILL')"],
  ['that terminates its worker, and lives on', 'worker.terminate().then(() => setTimeout(() => {}, 200))'],
])('a program does not outlive the process %s', async (_, ending) => {
  const pid = await run(ending);
  expect(pid).toBeGreaterThan(0);
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
