import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test.each([0, 1, 16 * 8 * 2 - 1, 16 * 8 * 2 + 1])('a frame of %i bytes is dropped and counted', async (bytesUsed) => {
  it = FakeCamera.start();
  it.fake.push({ bytesUsed });
  await it.until(() => it.camera.counters().short === 1);
  expect(it.take()).toBeUndefined();
  expect(await it.frame()).toMatchObject({ sequence: 1, dropped: 1, bytesUsed: 256 });
});

test('bytes that only pad the last row may be missing', async () => {
  it = FakeCamera.start({ padding: 32 });
  expect((await it.frame({ bytesUsed: 64 * 8 - 32 })).bytesUsed).toBe(64 * 8 - 32);
  it.fake.push({ bytesUsed: 64 * 8 - 33 });
  await it.until(() => it.camera.counters().short === 1);
});
