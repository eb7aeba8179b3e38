import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

const MONOTONIC = 0x2000;
const COPY = 0x4000;
const START_OF_EXPOSURE = 0x10000;
const now = () => process.hrtime.bigint();

test.each([
  ['start of exposure', MONOTONIC | START_OF_EXPOSURE, true],
  ['end of frame', MONOTONIC, false],
])('a monotonic stamp is taken over: %s', async (_, timestampFlags, startOfExposure) => {
  it = FakeCamera.start({ timestampFlags });
  const stamp = ((now() - 20_000_000n) / 1000n) * 1000n;
  expect(await it.frame({ monotonicNs: stamp })).toMatchObject({ captureNs: stamp, clock: 'driver', startOfExposure });
});

test.each([
  ['unknown', 0],
  ['copied', COPY],
])('a stamp of another clock (%s) is replaced by the arrival', async (_, timestampFlags) => {
  it = FakeCamera.start({ timestampFlags: timestampFlags | START_OF_EXPOSURE });
  const before = now();
  const frame = await it.frame({ monotonicNs: 1_700_000_000_000_000_000n });
  expect(frame).toMatchObject({ clock: 'arrival', startOfExposure: false });
  expect(frame.captureNs >= before && frame.captureNs <= frame.readyNs).toBe(true);
  expect(it.camera.counters().badTimestamps).toBe(0);
});

test.each([
  ['in the future', () => now() + 3_600_000_000_000n],
  ['before the clock began', () => -5_000_000_000n],
])('a monotonic stamp that cannot be true (%s) is replaced and counted', async (_, stamp) => {
  it = FakeCamera.start();
  const before = now();
  const frame = await it.frame({ monotonicNs: stamp() });
  expect(frame.clock).toBe('arrival');
  expect(frame.captureNs >= before && frame.captureNs <= frame.readyNs).toBe(true);
  expect(it.camera.counters().badTimestamps).toBe(1);
});

test.each([
  ['zero', () => 0n],
  ['in the future', () => now() + 3_600_000_000_000n],
])('a bad stamp (%s) between good ones takes their delay, so that times never go backwards', async (_, bad) => {
  it = FakeCamera.start();
  // 30 ms from exposure to arrival, as a camera has that reads its sensor out row by row; far more than is between two frames here.
  const stamps = [() => now() - 30_000_000n, bad, () => now() - 30_000_000n];
  const times: bigint[] = [];
  for (const stamp of stamps) times.push((await it.frame({ monotonicNs: stamp() })).captureNs);
  const [first, second, third] = times as [bigint, bigint, bigint];
  expect(first < second && second < third).toBe(true);
  expect(it.camera.counters().badTimestamps).toBe(1);
});

test('a bad stamp before the first good one, and a delay longer than the interval: the true stamps are believed soon', async () => {
  it = FakeCamera.start();
  const stamps = [0n, ...Array.from({ length: 12 }, (_, i) => now() - 500_000_000n + BigInt(i) * 20_000_000n)];
  const frames: Awaited<ReturnType<FakeCamera['frame']>>[] = [];
  for (const monotonicNs of stamps) frames.push(await it.frame({ monotonicNs }));
  for (let i = 1; i < frames.length; i++) {
    expect(frames[i]!.captureNs > frames[i - 1]!.captureNs).toBe(true);
    expect(frames[i]!.clock).toBe('driver');
  }
  expect(it.camera.counters().badTimestamps).toBe(1);
});

test('a clock of the driver that stands still, or is set back, gives way to the arrivals', async () => {
  it = FakeCamera.start();
  const stamp = ((now() - 20_000_000n) / 1000n) * 1000n;
  const frames = [await it.frame({ monotonicNs: stamp })];
  for (let i = 0; i < 3; i++) frames.push(await it.frame({ monotonicNs: stamp }));
  for (let i = 0; i < 3; i++) frames.push(await it.frame({ monotonicNs: now() - 5_000_000_000n }));
  const [first] = frames as [(typeof frames)[number]];
  for (const [i, { captureNs, readyNs, clock }] of frames.entries()) {
    if (i === 0) continue;
    expect(clock).toBe('arrival');
    expect(captureNs > frames[i - 1]!.captureNs).toBe(true);
    // The delay of the one stamp that was believed.
    expect(Math.abs(Number(readyNs - captureNs - (first.readyNs - first.captureNs))) / 1e6).toBeLessThan(100);
  }
  expect(it.camera.counters().badTimestamps).toBe(6);
});
