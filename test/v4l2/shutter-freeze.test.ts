import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('bit-identical frames of a shutter event pass on as they are', async () => {
  it = FakeCamera.start();
  const before = await it.frame();
  it.fake.freeze(true);
  const frozen = [await it.frame(), await it.frame()];
  for (const frame of frozen) expect(frame.bytes).toEqual(before.bytes);
  expect(frozen.map((frame) => frame.sequence)).toEqual([1, 2]);
  it.fake.freeze(false);
  expect((await it.frame()).bytes).not.toEqual(before.bytes);
});

test('a shutter gap shorter than the stall time is no stall', async () => {
  it = FakeCamera.start({ fps: 60 }, { stallMs: 600 });
  await it.next();
  it.fake.setRate(0);
  await new Promise((resolve) => setTimeout(resolve, 250));
  it.fake.setRate(60);
  it.take();
  await it.next();
  expect(it.events).toEqual([]);
});
