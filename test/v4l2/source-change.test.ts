import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('a source change ends the stream; after stop the new size can be set and streamed', async () => {
  it = FakeCamera.start();
  await it.frame();
  it.fake.changeSource(32, 4);
  await it.event('source-change');
  it.camera.stop();
  expect(it.camera.setFormat({ fourcc: 'Y16 ', width: 16, height: 8 })).toMatchObject({ width: 32, height: 4 });
  it.camera.start({ slots: it.slots, meta: it.meta }, () => {});
  const frame = await it.frame();
  expect(frame).toMatchObject({ sequence: 0, bytesUsed: 256 });
  const pixels = new Uint16Array(frame.bytes.buffer);
  expect(pixels[33]! - pixels[0]!).toBe(2);
});
