import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('frames that come together: the newest wins, the others are stale', async () => {
  it = FakeCamera.start();
  it.fake.push({ count: 4 });
  expect(await it.next()).toMatchObject({ sequence: 3, picture: 3, dropped: 3 });
  expect(it.camera.counters()).toMatchObject({ taken: 1, stale: 3, skipped: 0 });
});

test('a frame in the hands of the consumer is not written to', async () => {
  it = FakeCamera.start();
  await it.frame();
  const held = it.slots.find((slot) => slot[0] === 0 && slot[2] === 1)!;
  for (let i = 1; i <= 10; i++) {
    it.fake.push();
    await it.until(() => it.camera.counters().stale === i - 1 && it.camera.counters().pending === 1);
    expect(held[0]).toBe(0);
  }
  expect(await it.next()).toMatchObject({ sequence: 10, picture: 10, dropped: 9 });
});

test('a consumer that blocks gets fresh frames, and every frame is accounted for', async () => {
  const fps = 120;
  const blockMs = 250;
  it = FakeCamera.start({ fps });
  const ages: number[] = [];
  const never = new Int32Array(new SharedArrayBuffer(4));
  while (ages.length < 8) {
    const frame = await it.next();
    ages.push(Number(frame.takenNs - frame.captureNs) / 1e6);
    // Blocks this thread, and leaves the core to the one that fetches the frames.
    Atomics.wait(never, 0, 0, blockMs);
  }
  it.camera.stop();
  // Age is bounded by the interval, whatever the consumer does, and by the moods of a busy machine. The frame that came first while
  // the consumer was blocked, or one from a queue, would be nearly as old as the block was long.
  ages.sort((a, b) => a - b);
  expect(ages[ages.length / 2]).toBeLessThan(blockMs / 2);
  const { taken, stale, skipped, error, short, pending } = it.camera.counters();
  const { produced, starved } = it.fake.state();
  expect(stale).toBeGreaterThan(40);
  expect({ error, short }).toEqual({ error: 0, short: 0 });
  // Four buffers last 33 ms: where they went back only with the consumer's next call, most frames would find none.
  expect(starved).toBeLessThan(produced / 2);
  expect(skipped).toBeLessThanOrEqual(starved);
  // What the driver still held at the stop.
  const held = produced - starved - (taken + stale + pending);
  expect(held).toBeGreaterThanOrEqual(0);
  expect(held).toBeLessThanOrEqual(4);
});
