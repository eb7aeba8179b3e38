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
  it = FakeCamera.start({ fps });
  const ages: number[] = [];
  while (ages.length < 40) {
    const frame = await it.next();
    ages.push(Number(frame.takenNs - frame.captureNs) / 1e6);
    const until = performance.now() + 25;
    while (performance.now() < until);
  }
  it.camera.stop();
  // Age is bounded by the interval, whatever the consumer does; the tail belongs to a busy machine.
  ages.sort((a, b) => a - b);
  expect(ages[Math.floor(ages.length * 0.9)]).toBeLessThan(2000 / fps);
  const { taken, stale, skipped, error, short, pending } = it.camera.counters();
  expect(stale).toBeGreaterThan(40);
  expect({ skipped, error, short, starved: it.fake.state().starved }).toEqual({
    skipped: 0,
    error: 0,
    short: 0,
    starved: 0,
  });
  expect(it.fake.state().produced - (taken + stale + pending)).toBeLessThanOrEqual(1);
});
