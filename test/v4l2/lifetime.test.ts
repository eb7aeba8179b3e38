import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import type { NativeAddon } from '../../src/native.js';
import { FakeCamera, Y16 } from '../fakes/fake-camera.js';

const ADDON = fileURLToPath(new URL('../../native/build/Release/irst_edge.node', import.meta.url));
const threads = () => readdirSync('/proc/self/task').length;
const descriptors = () => readdirSync('/proc/self/fd').length;

/** Streams at 500 Hz and posts a message with the first frame; then goes on. */
const STREAMING = `
  const { NativeCamera, FakeDevice } = require(${JSON.stringify(ADDON)});
  const fake = new FakeDevice(${JSON.stringify({ ...Y16, fps: 500 })});
  const camera = new NativeCamera('/dev/video0', fake);
  const slots = [1, 2, 3].map(() => new Uint8Array(256));
  const meta = new BigInt64Array(9);
  let told = false;
  globalThis.keep = [fake, camera];
  camera.start({ slots, meta }, () => {
    if (camera.take() >= 0 && !told) {
      told = true;
      AFTER;
    }
  });
  camera.ref();`;

test('many streams after each other leave no thread and no descriptor', async () => {
  const once = async () => {
    const it = FakeCamera.start({ fps: 500 });
    await it.next();
    it.close();
    it.close();
    expect(it.fake.state()).toMatchObject({ open: 0, buffers: 0, mappings: 0 });
  };
  await once();
  const before = [threads(), descriptors()];
  for (let i = 0; i < 50; i++) await once();
  expect(threads()).toBeLessThanOrEqual(before[0]! + 1);
  expect(descriptors()).toBeLessThanOrEqual(before[1]! + 3);
});

test('two cameras at once, from two loads of the addon', async () => {
  const require = createRequire(import.meta.url);
  delete require.cache[ADDON];
  const other = require(ADDON) as NativeAddon;
  const fake = new other.FakeDevice(Y16);
  const camera = new other.NativeCamera('/dev/video0', fake);
  const slots = [1, 2, 3].map(() => new Uint8Array(256));
  camera.start({ slots, meta: new BigInt64Array(9) }, () => {});
  const it = FakeCamera.start();
  fake.push({ count: 2 });
  expect((await it.frame()).sequence).toBe(0);
  await it.until(() => camera.take() >= 0);
  camera.close();
  it.close();
});

test('worker threads that end in the middle of a stream, by themselves or terminated', async () => {
  const before = threads();
  for (let i = 0; i < 10; i++) {
    const after = `require('node:worker_threads').parentPort.postMessage(1)${i % 2 === 0 ? '; process.exit()' : ''}`;
    const worker = new Worker(STREAMING.replace('AFTER', after), { eval: true });
    const exit = new Promise((resolve) => worker.once('exit', resolve));
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    await exit;
  }
  const it = FakeCamera.start();
  expect((await it.frame()).sequence).toBe(0);
  it.close();
  expect(threads()).toBeLessThanOrEqual(before + 2);
});

test.each([
  ['that exits while it streams', 'process.exit(7)', 7],
  ['that no longer waits for its camera', 'camera.unref(); process.exitCode = 9', 9],
])('a process %s ends', async (_, after, code) => {
  const run = promisify(execFile)(process.execPath, ['-e', STREAMING.replace('AFTER', after)], { timeout: 20_000 });
  await expect(run).rejects.toMatchObject({ code, signal: null });
});

test('an exception of the wake-up is an uncaughtException', async () => {
  const thrown = `process.once('uncaughtException', ({ message }) => { console.log(message); process.exit(); }); throw new Error('thrown')`;
  const run = promisify(execFile)(process.execPath, ['-e', STREAMING.replace('AFTER', thrown)], { timeout: 20_000 });
  expect((await run).stdout).toBe('thrown\n');
});

test('the memory of the slots lives as long as the stream, whatever becomes of their array', async () => {
  const script = STREAMING.replace(
    'AFTER',
    `
      const held = new WeakRef(slots[0]);
      slots.length = 0;
      setTimeout(() => {
        gc();
        const during = held.deref() !== undefined;
        camera.stop();
        setTimeout(() => {
          gc();
          console.log(during, held.deref() === undefined);
        });
      }, 10)`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '-e', script], { timeout: 20_000 });
  expect(stdout).toBe('true true\n');
});
