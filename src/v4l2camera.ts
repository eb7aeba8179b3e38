import { type CameraControl, FRAME_META, loadNative, type NativeCamera, type NativeFakeDevice } from './native.js';

// The interface of the npm package v4l2camera 1.0.4 (https://github.com/bellbind/node-v4l2camera, MIT or LGPL-3.0) on this program's
// addon: own code, after that package's documentation.

/** One entry of `formats`, and the format in force. */
export interface Format {
  /** Name of the pixel format, such as `YUYV` or `MJPG`. */
  formatName: string;
  /** Its number. */
  format: number;
  /** px. */
  width: number;
  height: number;
  /** A frame every `numerator / denominator` seconds; 0 / 0: the driver does not say. */
  interval: { numerator: number; denominator: number };
}

export interface Control {
  id: number;
  name: string;
  type: ControlType;
  min: number;
  max: number;
  step: number;
  default: number;
  flags: {
    disabled: boolean;
    grabbed: boolean;
    readOnly: boolean;
    update: boolean;
    inactive: boolean;
    slider: boolean;
    writeOnly: boolean;
    volatile: boolean;
  };
  /** Of `menu` names, of `int_menu` numbers; the value of the control is the index. An index that the driver leaves out is a hole. */
  menu: (string | number)[];
}

// https://docs.kernel.org/userspace-api/media/v4l/vidioc-queryctrl.html: enum v4l2_ctrl_type.
const CONTROL_TYPES = [
  ...(['invalid', 'int', 'bool', 'menu', 'button', 'int64', 'class', 'string', 'bitmask', 'int_menu'] as const),
] as const;
export type ControlType = (typeof CONTROL_TYPES)[number];
const INTEGER_MENU = 9;

const FLAGS = {
  disabled: 0x1,
  grabbed: 0x2,
  readOnly: 0x4,
  update: 0x8,
  inactive: 0x10,
  slider: 0x20,
  writeOnly: 0x40,
  volatile: 0x80,
} as const;

const SLOTS = 3;
/** A camera that gives no frame for so long fails the captures that wait, ms. */
const CAPTURE_TIMEOUT_MS = 10_000;

/**
 * A camera with the interface of the npm package `v4l2camera`, whose examples run on it. What differs: `capture` gives the newest frame,
 * fails after ten seconds without one or when the camera is gone, and never gives a damaged frame; control types have their right names;
 * sizes that come as a range are listed by their largest; `close()` is there. Throws as `NativeCamera` does.
 */
export class Camera {
  readonly device: string;
  readonly formats: Format[];
  /** By index, and by name. */
  readonly controls: Control[] & Record<string, Control>;
  /** px; undefined before `start` or `configSet`. */
  width: number | undefined;
  height: number | undefined;
  private readonly camera: NativeCamera;
  private slots: Uint8Array[] = [];
  private readonly meta = new BigInt64Array(FRAME_META.length);
  private streaming = false;
  private ended = false;
  private bytesPerLine = 0;
  private frame: Uint8Array | undefined;
  private waiting: { done: (success: boolean) => void; timer: NodeJS.Timeout }[] = [];

  /** @param fake a scripted device instead of the kernel's, for tests */
  constructor(device: string, fake?: NativeFakeDevice) {
    const { NativeCamera } = loadNative();
    this.device = device;
    this.camera = fake === undefined ? new NativeCamera(device) : new NativeCamera(device, fake);
    try {
      if (!this.camera.capability().captures) throw new Error(`${device} captures no pictures`);
      this.formats = this.camera.formats().flatMap(({ fourcc, code, sizes }) =>
        sizes.flatMap((size) => {
          const base = { formatName: fourcc, format: code, width: size.maxWidth, height: size.maxHeight };
          const intervals = size.intervals.map(({ min }) => min);
          if (intervals.length === 0) intervals.push({ numerator: 0, denominator: 0 });
          return intervals.map((interval) => ({ ...base, interval }));
        }),
      );
      const list = this.camera.controls().map(toControl);
      this.controls = Object.assign(
        list,
        Object.fromEntries(list.map((control) => [control.name, control])),
      ) as Control[] & Record<string, Control>;
    } catch (error) {
      this.camera.close();
      throw error;
    }
  }

  configGet(): Format {
    const { fourcc, width, height } = this.camera.getFormat();
    const interval = this.camera.getInterval() ?? { numerator: 0, denominator: 0 };
    return { formatName: fourcc, format: codeOf(fourcc), width, height, interval };
  }

  /** Sets what `format` holds; the driver takes the nearest, which `configGet`, `width` and `height` tell. */
  configSet(format: Partial<Format>): this {
    const current = this.camera.getFormat();
    const fourcc = format.format ? textOf(format.format) : (format.formatName ?? current.fourcc);
    const { width, height } = this.camera.setFormat({
      fourcc,
      width: format.width || current.width,
      height: format.height || current.height,
    });
    if (format.interval?.numerator && format.interval.denominator) this.camera.setInterval(format.interval);
    this.width = width;
    this.height = height;
    return this;
  }

  start(): this {
    const { width, height, sizeImage, bytesPerLine } = this.camera.getFormat();
    if (this.slots[0]?.length !== sizeImage)
      this.slots = Array.from({ length: SLOTS }, () => new Uint8Array(sizeImage));
    // Its slot is given to the driver again.
    this.frame = this.frame?.slice();
    this.ended = false;
    this.camera.start({ slots: this.slots, meta: this.meta }, () => this.news());
    this.streaming = true;
    this.bytesPerLine = bytesPerLine;
    this.width = width;
    this.height = height;
    return this;
  }

  /** `stopped` is called once no frame comes any more. */
  stop(stopped?: (this: this) => void): void {
    this.camera.stop();
    this.streaming = false;
    this.fail();
    if (stopped !== undefined) setImmediate(() => stopped.call(this));
  }

  /** Also stops; the camera can be used no more. */
  close(): void {
    this.camera.close();
    this.streaming = false;
    this.fail();
  }

  /** `captured(true)` once there is a frame newer than the last one; `captured(false)` when none will come. */
  capture(captured: (this: this, success: boolean) => void): void {
    if (!this.streaming) throw new Error('start() comes before capture()');
    const timer = setTimeout(() => this.fail(), CAPTURE_TIMEOUT_MS);
    this.waiting.push({ done: (success) => captured.call(this, success), timer });
    this.camera.ref();
    // Never within this call: who captures in the callback would nest without end.
    setImmediate(() => this.news());
  }

  /** The frame that was captured last: a copy. */
  frameRaw(): Uint8Array {
    if (this.frame === undefined) throw new Error('no frame has been captured');
    return this.frame.slice();
  }

  toYUYV(): Uint8Array {
    return this.frameRaw();
  }

  /** The captured YUYV frame as pixels RGBRGB... (BT.601, full range). */
  toRGB(): Uint8Array {
    const { frame, width = 0, height = 0, bytesPerLine } = this;
    if (frame === undefined) throw new Error('no frame has been captured');
    if (frame.length < bytesPerLine * (height - 1) + 2 * width) throw new Error('the captured frame is not YUYV');
    const rgb = new Uint8ClampedArray(3 * width * height);
    let to = 0;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x + 1 < width; x += 2) {
        const at = y * bytesPerLine + 2 * x;
        const u = frame[at + 1]! - 128;
        const v = frame[at + 3]! - 128;
        for (const luma of [frame[at]!, frame[at + 2]!]) {
          rgb[to++] = luma + 1.402 * v;
          rgb[to++] = luma - 0.344136 * u - 0.714136 * v;
          rgb[to++] = luma + 1.772 * u;
        }
      }
    }
    return new Uint8Array(rgb.buffer);
  }

  controlGet(id: number): number {
    return this.camera.getControl(id);
  }

  controlSet(id: number, value: number): this {
    this.camera.setControl(id, value);
    return this;
  }

  private news(): void {
    if (!this.streaming) return;
    for (const { kind } of this.camera.events()) {
      if (kind === 'lost' || kind === 'failed' || kind === 'end' || kind === 'source-change') this.ended = true;
    }
    if (this.waiting.length === 0) return;
    const slot = this.camera.take();
    if (slot < 0) {
      if (this.ended) this.fail();
      return;
    }
    this.frame = this.slots[slot]!.subarray(0, Number(this.meta[FRAME_META.bytesUsed]));
    this.finish(true);
  }

  private fail(): void {
    this.finish(false);
  }

  private finish(success: boolean): void {
    const waiting = this.waiting;
    this.waiting = [];
    if (this.streaming) this.camera.unref();
    for (const { timer } of waiting) clearTimeout(timer);
    // One that throws must not keep the others from being answered: each has a turn, and an uncaughtException, of its own.
    for (const { done } of waiting) queueMicrotask(() => done(success));
  }
}

function toControl(control: CameraControl): Control {
  const { id, name, type, minimum, maximum, step, default: preset, flags, menu } = control;
  const items: (string | number)[] = [];
  for (const { index, name: label, value } of menu) items[index] = type === INTEGER_MENU ? value : label;
  const set = (bit: number): boolean => (flags & bit) !== 0;
  return {
    id,
    name,
    type: CONTROL_TYPES[type] ?? 'invalid',
    min: minimum,
    max: maximum,
    step,
    default: preset,
    flags: {
      disabled: set(FLAGS.disabled),
      grabbed: set(FLAGS.grabbed),
      readOnly: set(FLAGS.readOnly),
      update: set(FLAGS.update),
      inactive: set(FLAGS.inactive),
      slider: set(FLAGS.slider),
      writeOnly: set(FLAGS.writeOnly),
      volatile: set(FLAGS.volatile),
    },
    menu: items,
  };
}

function codeOf(fourcc: string): number {
  const [a = 0, b = 0, c = 0, d = 0] = Buffer.from(fourcc, 'latin1');
  return (a | (b << 8) | (c << 16) | ((d | (fourcc.endsWith('-BE') ? 0x80 : 0)) << 24)) >>> 0;
}

function textOf(code: number): string {
  const text = String.fromCharCode(...[0, 8, 16, 24].map((shift) => (code >>> shift) & (shift === 24 ? 0x7f : 0xff)));
  return code >= 0x8000_0000 ? `${text}-BE` : text;
}
