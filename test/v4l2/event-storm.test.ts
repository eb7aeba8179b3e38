import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('a driver that announces events which are not there takes no core, and its real frames still come', async () => {
  it = FakeCamera.start({}, { stallMs: 60_000 });
  // POLLPRI
  it.fake.pollEvents(2, -1);
  await it.until(() => it.camera.counters().emptyWakes > 20);
  const wakes = it.camera.counters().emptyWakes;
  const began = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 300));
  // From the tenth one on, 10 ms lie between two of them.
  expect(it.camera.counters().emptyWakes - wakes).toBeLessThan((performance.now() - began) / 5);
  it.fake.pollEvents(0, 0);
  expect(await it.frame()).toMatchObject({ sequence: 0 });
});

test('an announced event that is not there does not keep a frame beside it waiting', async () => {
  it = FakeCamera.start({}, { stallMs: 60_000 });
  // POLLIN | POLLPRI
  it.fake.pollEvents(3, -1);
  expect(await it.frame()).toMatchObject({ sequence: 0 });
  expect(await it.frame()).toMatchObject({ sequence: 1 });
});
