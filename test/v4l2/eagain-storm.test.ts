import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('a driver that announces frames which are not there takes no core, and its real frames still come', async () => {
  it = FakeCamera.start({}, { stallMs: 60_000 });
  it.fake.pollEvents(1, -1);
  await it.until(() => it.camera.counters().emptyWakes > 20);
  const cpu = process.cpuUsage();
  const wakes = it.camera.counters().emptyWakes;
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { user, system } = process.cpuUsage(cpu);
  expect(it.camera.counters().emptyWakes - wakes).toBeLessThan(100);
  expect((user + system) / 1000).toBeLessThan(250);
  expect(await it.frame()).toMatchObject({ sequence: 0 });
  const began = performance.now();
  it.close();
  expect(performance.now() - began).toBeLessThan(200);
});
