import { execFile } from 'node:child_process';
import { constants } from 'node:os';
import { promisify } from 'node:util';
import { afterEach, expect, test } from 'vitest';
import { loadNative, type NativeFakeDevice } from '../../src/native.js';
import * as v4l2camera from '../../src/v4l2camera.js';

let cam: v4l2camera.Camera | undefined;
afterEach(() => {
  cam?.close();
  cam = undefined;
});

const interval = (denominator: number) => ({ numerator: 1, denominator });

function camera(fps = 200, before: (fake: NativeFakeDevice) => void = () => {}) {
  const fake = new (loadNative().FakeDevice)({
    fps,
    formats: [
      {
        fourcc: 'YUYV',
        sizes: [
          { width: 16, height: 8, intervals: [interval(30), interval(15)] },
          { width: 8, height: 4, intervals: [interval(60)] },
        ],
      },
      { fourcc: 'MJPG', sizes: [{ width: 16, height: 8 }] },
    ],
    controls: [
      { id: 0x00980900, type: 1, name: 'Brightness', minimum: -10, maximum: 10, step: 1, default: 2, flags: 0x20 },
      {
        id: 0x00980918,
        type: 3,
        name: 'Power Line',
        maximum: 2,
        menu: [
          { index: 0, name: 'Off', value: 0 },
          { index: 2, name: '60 Hz', value: 0 },
        ],
      },
      { id: 0x00980919, type: 4, name: 'Calibrate' },
    ],
  });
  before(fake);
  cam = new v4l2camera.Camera('/dev/video0', fake);
  return { cam, fake };
}

test('formats: one entry a size and an interval; the one in force', () => {
  const { cam } = camera();
  expect(cam.device).toBe('/dev/video0');
  expect(cam.formats.map(({ formatName, width, interval: i }) => [formatName, width, i.denominator])).toEqual([
    ['YUYV', 16, 30],
    ['YUYV', 16, 15],
    ['YUYV', 8, 60],
    ['MJPG', 16, 0],
  ]);
  expect(cam.configGet()).toMatchObject({ formatName: 'YUYV', format: 0x56595559, width: 16, height: 8 });
  const half = cam.formats[2]!;
  expect(cam.configSet(half)).toBe(cam);
  expect(cam.configGet()).toMatchObject({ ...half, format: half.format });
  expect([cam.width, cam.height]).toEqual([8, 4]);
});

test('configSet with a size alone keeps the pixel format', () => {
  const { cam } = camera();
  cam.configSet({ width: 8, height: 4 });
  expect(cam.configGet()).toMatchObject({ formatName: 'YUYV', width: 8, height: 4 });
});

test('the usage example: configGet, start, capture, frameRaw, stop', async () => {
  const { cam, fake } = camera();
  if (cam.configGet().formatName !== 'YUYV') throw new Error('YUYV camera required');
  cam.start();
  const frame = await new Promise<Uint8Array>((resolve) => {
    cam.capture((success) => {
      expect(success).toBe(true);
      resolve(cam.frameRaw());
    });
  });
  expect(frame).toHaveLength(16 * 8 * 2);
  expect([cam.width, cam.height]).toEqual([16, 8]);
  await new Promise<void>((resolve) => cam.stop(() => resolve()));
  expect(fake.state()).toMatchObject({ streaming: false, buffers: 0 });
});

test('captures one after the other, as the examples chain them, then toRGB', async () => {
  const { cam } = camera();
  cam.start();
  const times = (n: number, async: (next: (ok: boolean) => void) => void, done: () => void): void =>
    async(function again() {
      if (--n === 0) done();
      else async(again);
    });
  await new Promise<void>((resolve) => times(6, cam.capture.bind(cam), resolve));
  const [raw, rgb] = [cam.toYUYV(), cam.toRGB()];
  expect(rgb).toHaveLength(16 * 8 * 3);
  const [y0 = 0, u = 0, , v = 0] = raw;
  const close = (value: number) => Math.min(255, Math.max(0, value));
  expect(rgb[0]).toBeCloseTo(close(y0 + 1.402 * (v - 128)), -0.5);
  expect(rgb[2]).toBeCloseTo(close(y0 + 1.772 * (u - 128)), -0.5);
});

test('a frame that was captured stays what it is over stop and start', async () => {
  const { cam } = camera();
  cam.start();
  expect(await new Promise((resolve) => cam.capture(resolve))).toBe(true);
  const before = cam.frameRaw();
  await new Promise<void>((resolve) => cam.stop(() => resolve()));
  cam.start();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(cam.frameRaw()).toEqual(before);
});

test('another size after stop', async () => {
  const { cam } = camera();
  cam.start();
  await new Promise<void>((resolve) => cam.stop(() => resolve()));
  cam.configSet({ width: 8, height: 4 }).start();
  expect(await new Promise((resolve) => cam.capture(resolve))).toBe(true);
  expect(cam.frameRaw()).toHaveLength(8 * 4 * 2);
});

test('controls with their right types, by index and by name; get and set', () => {
  const { cam } = camera();
  expect(cam.controls.map(({ name, type }) => [name, type])).toEqual([
    ['Brightness', 'int'],
    ['Power Line', 'menu'],
    ['Calibrate', 'button'],
  ]);
  expect(cam.controls.Brightness).toMatchObject({ min: -10, max: 10, step: 1, default: 2 });
  expect(cam.controls[0]!.flags).toMatchObject({ slider: true, readOnly: false });
  expect(cam.controls[1]!.menu[2]).toBe('60 Hz');
  expect(cam.controlSet(0x00980900, 7).controlGet(0x00980900)).toBe(7);
  expect(() => cam.controlSet(0x00980900, 70)).toThrow(expect.objectContaining({ code: 'ERANGE' }));
});

test('a camera that is unplugged fails the capture; the next one, too', async () => {
  const { cam, fake } = camera(0);
  cam.start();
  const waiting = new Promise((resolve) => cam.capture(resolve));
  fake.unplug();
  expect(await waiting).toBe(false);
  expect(await new Promise((resolve) => cam.capture(resolve))).toBe(false);
});

test('a capture without a start is refused, and so is a frame without a capture', () => {
  const { cam } = camera();
  expect(() => cam.capture(() => {})).toThrow('start() comes before capture()');
  expect(() => cam.frameRaw()).toThrow('no frame has been captured');
});

const { EIO, EPIPE, EOPNOTSUPP, ENODEV } = constants.errno;

test.each([
  ['VIDIOC_QUERYCTRL', EIO, { controls: 0, formats: 4 }],
  ['VIDIOC_QUERYCTRL', EPIPE, { controls: 0, formats: 4 }],
  // That of the first size, which is listed without one.
  ['VIDIOC_ENUM_FRAMEINTERVALS', EOPNOTSUPP, { controls: 3, formats: 3 }],
  ['VIDIOC_ENUM_FRAMESIZES', EOPNOTSUPP, { controls: 3, formats: 1 }],
])('where a driver answers %s with error %d, that list ends, and the camera opens', (call, errno, lengths) => {
  const { cam } = camera(0, (fake) => fake.fail(call, errno));
  expect({ controls: cam.controls.length, formats: cam.formats.length }).toEqual(lengths);
});

test.each(['VIDIOC_QUERYCTRL', 'VIDIOC_ENUM_FRAMEINTERVALS'])('but a device that is gone (%s) is told of', (call) => {
  expect(() => camera(0, (fake) => fake.fail(call, ENODEV))).toThrow(
    expect.objectContaining({ code: 'ENODEV', syscall: call }),
  );
});

test('a callback that throws is an uncaughtException, and the other captures are answered', async () => {
  const module = (name: string): string => JSON.stringify(new URL(`../../dist/${name}.js`, import.meta.url).href);
  const script = `
    const { Camera } = await import(${module('v4l2camera')});
    const { loadNative } = await import(${module('native')});
    const fake = new (loadNative().FakeDevice)({ formats: [{ fourcc: 'YUYV', sizes: [{ width: 16, height: 8 }] }] });
    const seen = [];
    const cam = new Camera('/dev/video0', fake).start();
    const see = (what) => {
      if (seen.push(what) < 4) return;
      console.log(JSON.stringify(seen));
      cam.close();
    };
    process.on('uncaughtException', ({ message }) => see(message));
    for (const name of ['first', 'second', 'third'])
      cam.capture((success) => {
        see(name + ' ' + success);
        if (name === 'first') throw new Error('thrown');
      });
    // From the stream's thread, not from the look that capture() itself takes.
    setTimeout(() => fake.push(), 50);`;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 20_000 });
  expect(JSON.parse((await run).stdout).sort()).toEqual(['first true', 'second true', 'third true', 'thrown']);
});
