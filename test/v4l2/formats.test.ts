import { afterEach, expect, test } from 'vitest';
import { type FakeDeviceOptions, loadNative, type NativeCamera } from '../../src/native.js';
import { FakeCamera } from '../fakes/fake-camera.js';

let camera: NativeCamera | undefined;
let it: FakeCamera | undefined;
afterEach(() => {
  camera?.close();
  it?.close();
});

const OPTIONS: FakeDeviceOptions = {
  card: 'Boson',
  formats: [
    {
      fourcc: 'Y16 ',
      description: '16-bit Greyscale',
      sizes: [
        {
          width: 640,
          height: 512,
          intervals: [
            { numerator: 1, denominator: 60 },
            { numerator: 1, denominator: 30 },
          ],
        },
      ],
    },
    {
      fourcc: 'GREY',
      sizes: [
        { type: 'stepwise', minWidth: 32, maxWidth: 640, stepWidth: 8, minHeight: 32, maxHeight: 512, stepHeight: 4 },
      ],
    },
    {
      fourcc: 'Y16 -BE',
      sizes: [
        { type: 'continuous', minWidth: 1, maxWidth: 640, stepWidth: 1, minHeight: 1, maxHeight: 512, stepHeight: 1 },
      ],
    },
  ],
  controls: [
    { id: 0x00980900, name: 'Brightness', minimum: -10, maximum: 10, step: 1, default: 2 },
    {
      id: 0x009a0901,
      type: 3,
      name: 'Exposure',
      minimum: 0,
      maximum: 3,
      default: 1,
      menu: [
        { index: 1, name: 'Manual', value: 0 },
        { index: 3, name: 'Aperture', value: 0 },
      ],
    },
    { id: 0x009a0902, type: 5, name: 'Serial', default: 2 ** 40 },
  ],
};

function open(options: Partial<FakeDeviceOptions> = {}): NativeCamera {
  const { FakeDevice, NativeCamera } = loadNative();
  camera = new NativeCamera('/dev/video0', new FakeDevice({ ...OPTIONS, ...options }));
  return camera;
}

test('discrete, stepwise and continuous sizes, and intervals', () => {
  const [y16, grey, big] = open().formats();
  expect(y16).toMatchObject({ fourcc: 'Y16 ', description: '16-bit Greyscale', compressed: false });
  expect(y16!.sizes).toMatchObject([{ type: 'discrete', minWidth: 640, maxHeight: 512 }]);
  expect(y16!.sizes[0]!.intervals.map((interval) => interval.min.denominator)).toEqual([60, 30]);
  expect(grey!.sizes).toMatchObject([{ type: 'stepwise', minWidth: 32, maxWidth: 640, stepWidth: 8 }]);
  expect(big).toMatchObject({ fourcc: 'Y16 -BE', sizes: [{ type: 'continuous' }] });
});

test('what S_FMT makes of a wish is read back', () => {
  const device = open({ padding: 64 });
  expect(device.setFormat({ fourcc: 'GREY', width: 101, height: 5000 })).toMatchObject({
    ...{ fourcc: 'GREY', width: 96, height: 512, bytesPerLine: 160, sizeImage: 160 * 512, field: 'none' },
  });
  expect(device.setFormat({ fourcc: 'NV12', width: 640, height: 512 }).fourcc).toBe('Y16 ');
  expect(() => device.setFormat({ fourcc: 'Y1', width: 1, height: 1 })).toThrow(TypeError);
});

test.each([
  [4, 'interlaced'],
  [7, 'alternate'],
  [9, 'interlaced-bt'],
  [10, 'unknown'],
])('the field order %i is %s', (field, name) => {
  expect(open({ field }).getFormat().field).toBe(name);
});

test('frame intervals: the nearest, read back', () => {
  const device = open();
  expect(device.setInterval({ numerator: 1, denominator: 25 })).toEqual({ numerator: 1, denominator: 30 });
  expect(device.getInterval()).toEqual({ numerator: 1, denominator: 30 });
});

test('controls of every class, menus with gaps, 64 bits', () => {
  const device = open();
  const controls = device.controls();
  expect(controls.map((control) => control.name)).toEqual(['Brightness', 'Exposure', 'Serial']);
  expect(controls[0]).toMatchObject({ minimum: -10, maximum: 10, step: 1, default: 2 });
  expect(controls[1]!.menu.map((item) => [item.index, item.name])).toEqual([
    [1, 'Manual'],
    [3, 'Aperture'],
  ]);
  device.setControl(0x00980900, -7);
  expect(device.getControl(0x00980900)).toBe(-7);
  device.setControl(0x009a0902, 2 ** 41);
  expect(device.getControl(0x009a0902)).toBe(2 ** 41);
  expect(() => device.setControl(0x00980900, 99)).toThrow(
    expect.objectContaining({ code: 'ERANGE', syscall: 'VIDIOC_S_CTRL' }),
  );
  expect(() => device.getControl(0x1234)).toThrow(
    expect.objectContaining({ code: 'EINVAL', syscall: 'VIDIOC_QUERYCTRL' }),
  );
});

test('rows with padding keep their stride, and every pixel its place', async () => {
  it = FakeCamera.start({ padding: 10 });
  const { bytesPerLine } = it.camera.getFormat();
  const { bytes } = await it.frame();
  for (let y = 0; y < 8; y++)
    for (let x = 0; x < 16; x++)
      expect(bytes[y * bytesPerLine + 2 * x]! + 256 * bytes[y * bytesPerLine + 2 * x + 1]!).toBe(x + y);
});

test('two memory planes come one behind the other', async () => {
  it = FakeCamera.start({
    multiPlanar: true,
    planes: 2,
    formats: [{ fourcc: 'NM12', sizes: [{ width: 16, height: 8 }] }],
  });
  expect(it.camera.capability().multiPlanar).toBe(true);
  expect(it.camera.getFormat()).toMatchObject({ sizeImage: 192, planes: [{ sizeImage: 128 }, { sizeImage: 64 }] });
  const data = Uint8Array.from({ length: 192 }, (_, i) => 255 - i);
  expect((await it.frame({ data })).bytes).toEqual(data);
});
