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

test('a compressed frame may have any size: of a format that the driver lists as such', async () => {
  it = FakeCamera.start({ formats: [{ fourcc: 'VP80', compressed: true, sizes: [{ width: 16, height: 8 }] }] });
  it.camera.stop();
  expect(it.camera.formats()).toMatchObject([{ compressed: true }]);
  it.camera.start({ slots: it.slots, meta: it.meta }, () => {});
  expect(await it.frame({ bytesUsed: 100 })).toMatchObject({ sequence: 0, dropped: 0, bytesUsed: 100 });
});

test('or of an unknown one that has no rows', async () => {
  it = FakeCamera.start({ noStride: true, formats: [{ fourcc: 'XYZ0', sizes: [{ width: 16, height: 8 }] }] });
  expect(await it.frame({ bytesUsed: 100 })).toMatchObject({ sequence: 0, dropped: 0, bytesUsed: 100 });
});

test('a packed format whose driver says that it has no rows is as large as its pixels', async () => {
  it = FakeCamera.start({ noStride: true });
  expect(it.camera.getFormat().bytesPerLine).toBe(32);
  it.fake.push({ bytesUsed: 255 });
  await it.until(() => it.camera.counters().short === 1);
});
