import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('no frame for the stall time: stalled once; resumed with the next frame', async () => {
  it = FakeCamera.start({}, { stallMs: 80 });
  const began = performance.now();
  expect(await it.event('stalled')).toMatchObject({ code: 'ETIMEDOUT', syscall: 'poll' });
  expect(performance.now() - began).toBeGreaterThan(60);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(it.events.map((event) => event.kind)).toEqual(['stalled']);
  expect((await it.frame()).sequence).toBe(0);
  // The next stall may have come before this thread hears of the end of the first.
  await it.until(() => it.events.length >= 3);
  expect(it.events.map((event) => event.kind)).toEqual(['stalled', 'resumed', 'stalled']);
});

test('damaged frames alone do not hold off a stall', async () => {
  it = FakeCamera.start({}, { stallMs: 500 });
  const timer = setInterval(() => it.fake.push({ error: true }), 10);
  await it.event('stalled').finally(() => clearInterval(timer));
  expect(it.camera.counters().error).toBeGreaterThan(2);
});

test('a thread that waits for a silent device can be stopped at once', () => {
  it = FakeCamera.start({}, { stallMs: 20_000 });
  const began = performance.now();
  it.close();
  // Far from the 20 s after which the thread would look up by itself.
  expect(performance.now() - began).toBeLessThan(2000);
});
