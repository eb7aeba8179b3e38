import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { createSource } from '../../src/capture/create-source.js';
import { describeDevice } from '../../src/capture/device.js';
import { FakeSource } from '../fakes/fake-source.js';

const { EACCES, EBUSY } = constants.errno;
let it: FakeSource | undefined;
let dir: string | undefined;
afterEach(async () => {
  await it?.stop();
  if (dir !== undefined) rmSync(dir, { recursive: true });
  it = undefined;
  dir = undefined;
});

test('a file is no V4L2 device, says the kernel', async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'irst-v4l2-'));
  const file = path.join(dir, 'video0');
  writeFileSync(file, '');
  const source = createSource({ kind: 'v4l2', device: file, rate: 'realtime' });
  await expect(source.start(new AbortController().signal)).rejects.toMatchObject({
    ...{ code: 'CAMERA_NOT_A_DEVICE', errno: 'ENOTTY', syscall: 'VIDIOC_QUERYCAP', path: file, exitCode: 78 },
    message: `${file} is no V4L2 device (ENOTTY, VIDIOC_QUERYCAP)`,
  });
});

test('nor is a folder, or a device that is something else', () => {
  expect(() => describeDevice(tmpdir())).toThrow(expect.objectContaining({ code: 'CAMERA_NOT_A_DEVICE' }));
  expect(() => describeDevice('/dev/null')).toThrow(expect.objectContaining({ code: 'CAMERA_NOT_A_DEVICE' }));
  expect(() => describeDevice('/dev/nowhere')).toThrow(
    expect.objectContaining({ code: 'CAMERA_NOT_FOUND', errno: 'ENOENT', syscall: 'open', path: '/dev/nowhere' }),
  );
});

test('the metadata node of a UVC camera', async () => {
  // V4L2_CAP_META_CAPTURE, V4L2_CAP_STREAMING
  it = new FakeSource({ card: 'PureThermal', deviceCaps: 0x0480_0000 });
  await expect(it.start()).rejects.toMatchObject({
    ...{ code: 'CAMERA_NOT_CAPTURE', path: '/dev/video0', exitCode: 78 },
    message: '/dev/video0 (PureThermal) gives no pictures: it is a node for something else',
  });
  expect(it.fake.state().open).toBe(0);
});

test.each(['VIDIOC_S_FMT', 'VIDIOC_REQBUFS', 'VIDIOC_STREAMON'])(
  'another program has it (%s): waited for',
  async (call) => {
    it = new FakeSource();
    it.fake.fail(call, EBUSY, 2);
    await it.start();
    expect(it.steps[1]).toMatchObject({
      ...{ to: 'back-off', code: 'CAMERA_BUSY' },
      reason: `/dev/video0 is in use by another program (EBUSY, ${call})`,
    });
    expect(it.states().at(-1)).toBe('streaming');
  },
);

test('no permission: the hint names the group; tried again, for udev may be late', async () => {
  it = new FakeSource();
  it.fake.fail('open', EACCES);
  await it.start();
  expect(it.steps[1]).toMatchObject({
    ...{ code: 'CAMERA_DENIED', reason: '/dev/video0 may not be opened by this user (EACCES, open)' },
    hint: expect.stringMatching(/group video: sudo usermod -aG video /),
  });
});

test('no profile for its formats: they are listed', async () => {
  it = new FakeSource({
    card: 'Webcam',
    formats: [
      {
        fourcc: 'MJPG',
        sizes: [
          { width: 640, height: 480 },
          { width: 320, height: 240 },
        ],
      },
      { fourcc: 'H264', sizes: [{ width: 1280, height: 720 }] },
    ],
  });
  await expect(it.start()).rejects.toMatchObject({
    ...{ code: 'CAMERA_FORMAT_UNSUPPORTED', path: '/dev/video0', exitCode: 78 },
    message: 'no camera profile fits /dev/video0 (Webcam), which has "MJPG" 640x480 320x240, "H264" 1280x720',
  });
});

test('a driver that silently takes another format', async () => {
  const formats = ['YUYV', 'Y16 '].map((fourcc) => ({ fourcc, sizes: [{ width: 16, height: 8 }] }));
  it = new FakeSource({ formats, substitutes: true }, { profile: 'generic-y16' });
  await expect(it.start()).rejects.toMatchObject({
    ...{ code: 'CAMERA_FORMAT_REFUSED', syscall: 'VIDIOC_S_FMT', exitCode: 78 },
    message: '/dev/video0 was asked for Y16  16x8 and took YUYV 16x8 instead',
  });
  expect(it.fake.state().open).toBe(0);
});

test.each([
  [5, 'seq-tb'],
  [6, 'seq-bt'],
  [7, 'alternate'],
])('a driver whose pictures have their fields apart (%i)', async (field, name) => {
  it = new FakeSource({ field });
  await expect(it.start()).rejects.toMatchObject({
    ...{ code: 'CAMERA_FORMAT_REFUSED', syscall: 'VIDIOC_S_FMT', exitCode: 78 },
    message: `/dev/video0 was asked for Y16  16x8 and took Y16  16x8 with its fields apart (${name}) instead`,
  });
  expect(it.fake.state().open).toBe(0);
});

test.each([0, 1, 4])('one whose rows are in their order is taken (field %i)', async (field) => {
  it = new FakeSource({ field });
  await it.start();
});

test.each([
  ['generic-grey', 'PROFILE_UNFIT', /^\/dev\/video0: profile generic-grey does not fit: fourcc: expected "GREY"/],
  ['flir-boson-640', 'PROFILE_UNFIT', /does not fit: width: expected 640x512, "Y16 " has 16x8/],
  ['nothing-such', 'PROFILE_UNKNOWN', /there is no camera profile nothing-such/],
])('the profile %s: %s, and which field', async (profile, code, message) => {
  it = new FakeSource({}, { profile });
  await expect(it.start()).rejects.toMatchObject({
    code,
    path: '/dev/video0',
    message: expect.stringMatching(message),
  });
});

test('a profile that reads more bytes than the driver has in a row', async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'irst-v4l2-'));
  const wide = { id: 'wide-grey', name: 'counts in GREY', fourcc: 'GREY', content: 'counts' };
  writeFileSync(path.join(dir, 'wide-grey.json'), JSON.stringify(wide));
  const formats = [{ fourcc: 'GREY', sizes: [{ width: 16, height: 8 }] }];
  it = new FakeSource({ formats }, { profile: 'wide-grey', profilesDirectory: dir });
  await expect(it.start()).rejects.toMatchObject({
    ...{ code: 'PROFILE_UNFIT', path: '/dev/video0', exitCode: 78 },
    message:
      "/dev/video0: profile wide-grey does not fit: content: rows of 16 columns need 32 bytes, the camera's have 16",
  });
  expect(it.fake.state().open).toBe(0);
});

test.each(['video0', 'usb:1e4e', 'usb:1e4e:01000', ''])('a device %j: refused', async (device) => {
  it = new FakeSource({}, { device });
  await expect(it.start()).rejects.toMatchObject({ code: 'SOURCE_OPTIONS_INVALID' });
});
