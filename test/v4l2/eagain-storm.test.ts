import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('a driver that announces frames which are not there takes no core, and its real frames still come', async () => {
  it = FakeCamera.start({}, { stallMs: 60_000 });
  it.fake.pollEvents(1, -1);
  await it.until(() => it.camera.counters().emptyWakes > 20);
  const shares: number[] = [];
  for (let i = 0; i < 5; i++) {
    const began = performance.now();
    const cpu = process.cpuUsage();
    const wakes = it.camera.counters().emptyWakes;
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { user, system } = process.cpuUsage(cpu);
    const ms = performance.now() - began;
    shares.push((user + system) / 1000 / ms);
    // One in 10 ms; thousands without a pause.
    expect(it.camera.counters().emptyWakes - wakes).toBeLessThan(5 + ms / 2);
  }
  // The quietest: this process has other work than this thread's.
  expect(Math.min(...shares)).toBeLessThan(0.5);
  expect(await it.frame()).toMatchObject({ sequence: 0 });
  const began = performance.now();
  it.close();
  expect(performance.now() - began).toBeLessThan(2000);
});
