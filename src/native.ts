import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { FaintKernel } from './track/faint-kernel.js';
import { EdgeError } from './types/errors.js';

/** What the C++ addon offers (`native/src/addon.cc`). */
export interface NativeAddon extends FaintKernel {
  /** The package version that the addon was built from. */
  readonly version: string;
  /**
   * Sends `state` as one datagram to the notification socket at `path` (an absolute path, or `@name` for an abstract socket),
   * never blocking. `false` when `path` is undefined. Throws a `NativeSystemError`.
   */
  sdNotify(state: string, path?: string): boolean;
  /** From now on all threads take memory from one arena of the C library's; false where it has none. */
  shareMallocArena(): boolean;
  /** Gives memory that the C library holds free back to the system; false where there was none. */
  releaseFreeMemory(): boolean;
  /**
   * Drops the resident pages of code and constants of the program and its libraries; what is needed comes back from the page cache.
   * Bytes that were resident; 0 where the system does not tell.
   */
  releaseFilePages(): number;
  /**
   * Opens a V4L2 node, or, with a second argument, the fake device that has this path. Throws a `NativeSystemError`:
   * `ENOTTY` from `VIDIOC_QUERYCAP` is a file that is no V4L2 device.
   */
  readonly NativeCamera: new (
    path: string,
    fake?: NativeFakeDevice,
  ) => NativeCamera;
  /** A scripted V4L2 device in memory, for tests and benches. */
  readonly FakeDevice: new (
    options: FakeDeviceOptions,
  ) => NativeFakeDevice;
}

/** `numerator / denominator` seconds a frame. */
export interface Fraction {
  numerator: number;
  denominator: number;
}

export interface CameraCapability {
  driver: string;
  card: string;
  busInfo: string;
  version: number;
  /** Of the whole physical device, all its nodes together. */
  capabilities: number;
  /** Of this node: what counts. */
  deviceCaps: number;
  /** This node captures pictures and streams them; false for the metadata node of a UVC camera. */
  captures: boolean;
  multiPlanar: boolean;
}

/** One size where `type` is `discrete` (minimum and maximum are equal), else a range. px. */
export interface CameraSize {
  type: 'discrete' | 'stepwise' | 'continuous';
  minWidth: number;
  maxWidth: number;
  stepWidth: number;
  minHeight: number;
  maxHeight: number;
  stepHeight: number;
  /** At the largest size. `min` and `max` differ only for a range. */
  intervals: { min: Fraction; max: Fraction }[];
}

export interface CameraFormat {
  /** Four characters, `Y16 `; with `-BE` behind them where bit 31 is set, `Y16 -BE`. */
  fourcc: string;
  /** The same as the kernel's number. */
  code: number;
  description: string;
  compressed: boolean;
  /** Made by libv4l in software. */
  emulated: boolean;
  sizes: CameraSize[];
}

/** A format in force, as the driver gives it back. */
export interface PixelFormat {
  fourcc: string;
  width: number;
  height: number;
  /** How the rows of a picture in two fields lie: V4L2_FIELD_*, `none` for a picture without. */
  field:
    | 'any'
    | 'none'
    | 'top'
    | 'bottom'
    | 'interlaced'
    | 'seq-tb'
    | 'seq-bt'
    | 'alternate'
    | 'interlaced-tb'
    | 'interlaced-bt'
    | 'unknown';
  /** From one row's beginning to the next one's, in the first plane. */
  bytesPerLine: number;
  /** Of all planes together: what a slot must hold. */
  sizeImage: number;
  planes: { bytesPerLine: number; sizeImage: number }[];
}

/** https://docs.kernel.org/userspace-api/media/v4l/vidioc-queryctrl.html */
export interface CameraControl {
  id: number;
  /** V4L2_CTRL_TYPE_*. */
  type: number;
  /** V4L2_CTRL_FLAG_*. */
  flags: number;
  name: string;
  minimum: number;
  maximum: number;
  step: number;
  default: number;
  menu: { index: number; name: string; value: number }[];
}

/** Places of what `take()` writes into `meta`. Times are CLOCK_MONOTONIC, ns. */
export const FRAME_META = {
  /** From 0, with what the driver skipped; goes on over restarts and the wrap of the driver's 32 bits. */
  sequence: 0,
  driverSequence: 1,
  /** Later than that of every frame before in the same stream. */
  captureNs: 2,
  /** When the copy into the slot was complete. */
  readyNs: 3,
  bytesUsed: 4,
  /** V4L2_BUF_FLAG_*. */
  flags: 5,
  /** Frames lost, for any reason, since the one that was taken before. */
  dropped: 6,
  /** 0: stamped by the driver; 1: its clock is another, or its stamp cannot be true: told by when the frame arrived. */
  clock: 7,
  /** 1: `captureNs` is the start of exposure; 0: the end of the frame. */
  startOfExposure: 8,
  length: 9,
} as const;

export interface StreamOptions {
  /** Buffers to ask the driver for, at least 2. Default 4. */
  buffers?: number;
  /** Longest time without a good frame before `stalled`, ms. Longer than a shutter event. Default 3000. */
  stallMs?: number;
  /**
   * At least three, of `sizeImage` bytes each; only the first three are used. The stream's thread writes to them until `stop()`:
   * their ArrayBuffers must not be transferred.
   */
  slots: Uint8Array[];
  /** `FRAME_META.length` long. */
  meta: BigInt64Array;
}

export interface StreamEvent {
  /** After the last four nothing follows: `stop()` is due. */
  kind: 'stalled' | 'resumed' | 'restarted' | 'lost' | 'source-change' | 'end' | 'failed';
  code?: string;
  errno?: number;
  syscall: string;
}

export interface StreamCounters {
  taken: number;
  /** Good frames that a newer one replaced before they were taken. */
  stale: number;
  /** Gaps in the driver's sequence. */
  skipped: number;
  /** With V4L2_BUF_FLAG_ERROR. */
  error: number;
  short: number;
  badIndex: number;
  /** The driver's sequence went backwards or stood still. */
  sequenceResets: number;
  /** Stamps of the driver that cannot be true: zero, in the future, minutes ago, no later than the frame before. */
  badTimestamps: number;
  restarts: number;
  /** The driver announced a frame, or an event, that was not there. */
  emptyWakes: number;
  lostEvents: number;
  /** 1: a frame waits to be taken, or waited at `stop()`. */
  pending: 0 | 1;
}

/**
 * An open V4L2 node. The calls block as long as the driver does, which for a dead USB device may be seconds: for a worker thread.
 * All of them throw `NativeSystemError`.
 */
export interface NativeCamera {
  capability(): CameraCapability;
  formats(): CameraFormat[];
  controls(): CameraControl[];
  getFormat(): PixelFormat;
  /** What is in force afterwards: drivers adjust instead of refusing. */
  setFormat(format: { fourcc: string; width: number; height: number }): PixelFormat;
  /** Undefined: the driver knows no frame interval. */
  getInterval(): Fraction | undefined;
  setInterval(interval: Fraction): Fraction | undefined;
  getControl(id: number): number;
  setControl(id: number, value: number): void;
  /** `wake` is called when there is a frame to take or an event; several may be one call. It does not keep the process alive. */
  start(options: StreamOptions, wake: () => void): void;
  /** Ends the thread and gives all buffers back. */
  stop(): void;
  /** Stops, and closes the node. */
  close(): void;
  /** Slot of the newest frame, or -1. Its contents stay until the next call that gives a slot. */
  take(): number;
  /** What happened since the last call, oldest first. */
  events(): StreamEvent[];
  /** Of the stream under way, else of the last one. */
  counters(): StreamCounters;
  /** While the stream runs: keep the process alive, or no longer. */
  ref(): void;
  unref(): void;
}

export interface FakeDeviceOptions {
  /** Default `/dev/video0`. */
  path?: string;
  driver?: string;
  card?: string;
  busInfo?: string;
  deviceCaps?: number;
  multiPlanar?: boolean;
  /** Memory planes of a multi-planar device: 1, or 2 for NV12-like ones. */
  planes?: number;
  /** The first one's first size is in force at the beginning. */
  formats: {
    fourcc: string;
    description?: string;
    /** V4L2_FMT_FLAG_COMPRESSED. */
    compressed?: boolean;
    sizes: ({ width: number; height: number; intervals?: Fraction[] } | Omit<CameraSize, 'intervals'>)[];
  }[];
  controls?: (Partial<CameraControl> & { id: number; name: string })[];
  /** Bytes behind the pixels of each row. */
  padding?: number;
  /** The padding once a rate was set. */
  ratePadding?: number;
  /** V4L2_FIELD_*. Default: 1, none. */
  field?: number;
  /** It says 0 for `bytesPerLine`, as drivers do for compressed formats. */
  noStride?: boolean;
  /** Hz; 0, the default: frames come only when pushed. */
  fps?: number;
  /** V4L2_BUF_FLAG_TIMESTAMP_* and TSTAMP_SRC_*. Default: monotonic, start of exposure. */
  timestampFlags?: number;
  firstSequence?: number;
  /** Write only the first row of each frame anew: cheap at high rates. */
  stampOnly?: boolean;
  /** Every format that is set silently becomes the first one. */
  substitutes?: boolean;
}

export interface FakeFrame {
  /** So many at once. */
  count?: number;
  /** V4L2_BUF_FLAG_ERROR. */
  error?: boolean;
  /** Lost before it. */
  skip?: number;
  sequence?: number;
  bytesUsed?: number;
  monotonicNs?: bigint;
  timestampFlags?: number;
  /** The buffer index that VIDIOC_DQBUF answers with. */
  index?: number;
  /** The same pixels as the frame before. */
  frozen?: boolean;
  /** The whole picture; else pixel (x, y) of picture k has the value x + y + k. */
  data?: Uint8Array;
}

/** A V4L2 device that does what it is told, faults included, and otherwise behaves as videobuf2. */
export interface NativeFakeDevice {
  push(frame?: FakeFrame): void;
  /**
   * The next `times` (default 1) calls of `call` (`open`, `mmap`, `poll`, `VIDIOC_DQBUF`...) fail with `errno` (positive);
   * -1: all; 0: none any more.
   */
  fail(call: string, errno: number, times?: number): void;
  /** poll(2) answers `events` the next `times` times whatever is so; -1: always; 0: no longer. */
  pollEvents(events: number, times: number): void;
  setRate(fps: number): void;
  /** Bit-identical pictures from now on, as during a shutter event. */
  freeze(frozen: boolean): void;
  unplug(): void;
  plug(): void;
  /** The signal has another size: an event for who has subscribed to it; S_FMT gives the new one. */
  changeSource(width: number, height: number): void;
  /** `open`, `buffers`, `mappings` and `queued` are 0 when its users have left nothing behind. */
  state(): {
    open: number;
    buffers: number;
    mappings: number;
    queued: number;
    streaming: boolean;
    plugged: boolean;
    sequence: number;
    produced: number;
    /** Frames that found no buffer queued. */
    starved: number;
    opens: number;
    streamOns: number;
  };
  /** The latest 1000 calls. */
  calls(): string[];
}

/** The errors of the addon, in the manner of Node's own. */
export interface NativeSystemError extends Error {
  /** `ECONNREFUSED`. */
  code: string;
  /** Negative, as in Node. */
  errno: number;
  /** `sendto`. */
  syscall: string;
  path?: string;
}

// This file is one level below the package root both in src/ and in dist/.
const ROOT = new URL('../', import.meta.url);

/**
 * Where the addon may lie, in the order in which it is looked for: as compiled on this machine, then as it came with the package
 * (`native/README.md`).
 */
export const ADDON_PATHS: readonly string[] = [
  'native/build/Release/irst_edge.node',
  `prebuilds/${process.platform}-${process.arch}/irst_edge.node`,
].map((path) => fileURLToPath(new URL(path, ROOT)));

let loaded: NativeAddon | undefined;

/** The addon, loaded at the first call in each thread. Throws `EdgeError` `ADDON_MISSING`. */
export function loadNative(): NativeAddon {
  loaded ??= loadFirst(ADDON_PATHS);
  return loaded;
}

/** What the addon has of `FaintKernel`; undefined where none loads, or one of an older version. */
export function nativeFaintKernel(load: () => NativeAddon = loadNative): FaintKernel | undefined {
  try {
    const addon = load();
    return typeof addon.faintSmooth === 'function' && typeof addon.faintSettle === 'function' ? addon : undefined;
  } catch {
    return undefined;
  }
}

/** The first of these files that loads. Throws `EdgeError` `ADDON_MISSING` with the reason of each. */
export function loadFirst(paths: readonly string[]): NativeAddon {
  const errors: EdgeError[] = [];
  for (const path of paths) {
    try {
      return loadAddon(path);
    } catch (error) {
      if (!(error instanceof EdgeError)) throw error;
      errors.push(error);
    }
  }
  const reasons = errors.map(({ message }) => message.replace(DOES_NOT_LOAD, ''));
  // A file that is there and does not load tells more than one that is not there.
  const telling = errors.find(({ cause }) => !isAbsent(cause)) ?? errors[0];
  throw missing(reasons.join('; '), telling?.cause);
}

/** Loads the addon from a given file; `loadNative` is what to use. */
export function loadAddon(path: string): NativeAddon {
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (error) {
    // Node's message goes on with a require stack over several lines.
    throw missing((error instanceof Error ? error.message : String(error)).split('\n', 1)[0]!, error);
  }
}

const DOES_NOT_LOAD = 'the native addon does not load: ';

function missing(reason: string, cause: unknown): EdgeError {
  return new EdgeError('ADDON_MISSING', `${DOES_NOT_LOAD}${reason}`, {
    hint: 'build it with: npm run build:native',
    cause,
  });
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND';
}
