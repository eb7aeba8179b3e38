import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadNative } from '../../src/native.js';
import { FakeCamera, Y16 } from '../fakes/fake-camera.js';

const { EACCES, EBUSY, EIO, ENOMEM } = constants.errno;

test('a file and a device that is no V4L2 device: ENOTTY from VIDIOC_QUERYCAP, by the kernel itself', () => {
  const dir = mkdtempSync(join(tmpdir(), 'irst-v4l2-'));
  const file = join(dir, 'video0');
  writeFileSync(file, '');
  const { NativeCamera } = loadNative();
  for (const path of [file, '/dev/null'])
    expect(() => new NativeCamera(path)).toThrow(
      expect.objectContaining({ code: 'ENOTTY', errno: -25, syscall: 'VIDIOC_QUERYCAP', path }),
    );
  expect(() => new NativeCamera(join(dir, 'none'))).toThrow(
    expect.objectContaining({ code: 'ENOENT', syscall: 'open' }),
  );
  expect(() => new NativeCamera('')).toThrow(expect.objectContaining({ code: 'EINVAL', syscall: 'open' }));
  rmSync(dir, { recursive: true });
});

test('no permission', () => {
  const { FakeDevice, NativeCamera } = loadNative();
  const fake = new FakeDevice(Y16);
  fake.fail('open', EACCES);
  expect(() => new NativeCamera('/dev/video0', fake)).toThrow(
    expect.objectContaining({ code: 'EACCES', syscall: 'open' }),
  );
});

test('a metadata node is told from its device_caps, though its "capabilities" say capture', () => {
  const { FakeDevice, NativeCamera } = loadNative();
  const camera = new NativeCamera('/dev/video0', new FakeDevice({ ...Y16, deviceCaps: 0x0480_0000 }));
  expect(camera.capability().captures).toBe(false);
  expect(camera.capability().capabilities & 1).toBe(1);
  camera.close();
});

test('a second user is refused with EBUSY, and the first one streams on', async () => {
  const it = FakeCamera.start();
  const { NativeCamera } = loadNative();
  const second = new NativeCamera('/dev/video0', it.fake);
  const busy = (syscall: string) => expect.objectContaining({ code: 'EBUSY', errno: -EBUSY, syscall });
  expect(() => second.setFormat({ fourcc: 'Y16 ', width: 16, height: 8 })).toThrow(busy('VIDIOC_S_FMT'));
  expect(() => second.start({ slots: it.slots, meta: it.meta }, () => {})).toThrow(busy('VIDIOC_REQBUFS'));
  expect(() => it.camera.start({ slots: it.slots, meta: it.meta }, () => {})).toThrow(busy('start'));
  second.close();
  expect((await it.frame()).sequence).toBe(0);
  it.close();
});

test.each([
  ['VIDIOC_REQBUFS', ENOMEM],
  ['VIDIOC_QUERYBUF', EIO],
  ['mmap', ENOMEM],
  ['VIDIOC_QBUF', EIO],
  ['VIDIOC_STREAMON', EIO],
])('a start that fails in %s leaves nothing behind and can be repeated', async (call, errno) => {
  const it = FakeCamera.start();
  it.camera.stop();
  it.fake.fail(call, errno);
  const start = () => it.camera.start({ slots: it.slots, meta: it.meta }, () => {});
  expect(start).toThrow(expect.objectContaining({ errno: -errno, syscall: call, path: '/dev/video0' }));
  expect(it.fake.state()).toMatchObject({ buffers: 0, mappings: 0, streaming: false });
  start();
  expect((await it.frame()).sequence).toBe(0);
  it.close();
  expect(it.fake.state()).toMatchObject({ open: 0, buffers: 0, mappings: 0 });
});

test('slots that are too few or too small are refused', () => {
  const it = FakeCamera.start();
  it.camera.stop();
  const start = (slots: Uint8Array[]) => () => it.camera.start({ slots, meta: it.meta }, () => {});
  expect(start(it.slots.slice(1))).toThrow(expect.objectContaining({ code: 'EINVAL', syscall: 'start' }));
  expect(start(it.slots.map(() => new Uint8Array(255)))).toThrow(expect.objectContaining({ code: 'EMSGSIZE' }));
  it.close();
});
