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
