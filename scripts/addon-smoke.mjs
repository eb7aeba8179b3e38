// Loads an addon and streams twelve frames from its fake device, in the main thread and then in a worker; each pixel is looked at.
// node scripts/addon-smoke.mjs ADDON   No dependencies: it runs in any Node and under emulation.
import { strict as assert } from 'node:assert';
import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const WIDTH = 64;
const HEIGHT = 32;
const FRAMES = 12;

async function stream(file) {
  const { FakeDevice, NativeCamera, version, sdNotify } = createRequire(import.meta.url)(file);
  assert.match(version, /^\d+\.\d+\.\d+/);
  assert.equal(sdNotify('READY=1'), false);
  const sizes = [{ width: WIDTH, height: HEIGHT, intervals: [{ numerator: 1, denominator: 50 }] }];
  const fake = new FakeDevice({ fps: 50, formats: [{ fourcc: 'Y16 ', sizes }] });
  const camera = new NativeCamera('/dev/video0', fake);
  const [format] = camera.formats();
  assert.deepEqual([format.fourcc, format.sizes[0].maxWidth, format.sizes[0].maxHeight], ['Y16 ', WIDTH, HEIGHT]);
  const { sizeImage } = camera.getFormat();
  const slots = Array.from({ length: 3 }, () => new Uint8Array(sizeImage));
  const meta = new BigInt64Array(10);
  camera.start({ slots, meta }, () => {});
  const end = performance.now() + 60_000;
  let taken = 0;
  while (taken < FRAMES) {
    const slot = camera.take();
    if (slot >= 0) {
      const counts = new Uint16Array(slots[slot].buffer);
      const first = counts[0];
      for (let y = 0; y < HEIGHT; y++)
        for (let x = 0; x < WIDTH; x++) assert.equal(counts[y * WIDTH + x], first + x + y, `pixel ${x}, ${y}`);
      taken++;
    } else {
      assert.ok(performance.now() < end, `only ${taken} frames in 60 s`);
      await delay(2);
    }
  }
  camera.close();
  const { open, buffers, mappings, queued } = fake.state();
  assert.deepEqual({ open, buffers, mappings, queued }, { open: 0, buffers: 0, mappings: 0, queued: 0 });
  return { version, frames: taken };
}

if (isMainThread) {
  const file = process.argv[2];
  const main = await stream(file);
  const code = await new Promise((resolve, reject) => {
    new Worker(new URL(import.meta.url), { workerData: file }).once('exit', resolve).once('error', reject);
  });
  assert.equal(code, 0, 'the worker');
  console.log(JSON.stringify({ node: process.version, arch: process.arch, ...main, worker: 'ok' }));
} else {
  await stream(workerData);
}
