// What a picture tells of the sensor that took it, at a small part of the cost of searching it: no pass over all pixels but a copy.

type Counts = Uint8Array | Uint16Array;

/** Pixels of a picture that are looked at in each frame, about. */
const GRID = 16_384;
/** A level step is so many times the usual change of a pixel from frame to frame, ... */
const STEP_OVER_CHANGE = 8;
/** ... so many times the usual change of the level, ... */
const STEP_OVER_DRIFT = 5;
/** ... and so many times what the pixels changed otherwise in that frame: a moving camera changes them more than their level. */
const STEP_OVER_SHAPE = 2.5;
/** Frames from which the usual changes are learnt before a step is called one. */
const LEARN_FRAMES = 8;
/** Least usual change of a pixel, counts: that of rounding. */
const LEAST_CHANGE = 0.3;

/** Looks at one picture after the other, all of one size. */
export class PictureWatch {
  /** The picture is bit for bit the one before. */
  same = false;
  /** All pixels grew brighter or darker by about as much, counts; 0: they did not. */
  step = 0;
  /** All pixels that were looked at have one value. */
  blank = false;
  /** Share of the pixels at either end of the scale, 0 to 1. */
  saturatedShare = 0;
  private previous: Counts | undefined;
  private readonly stride: number;
  private readonly grid: Int32Array;
  private readonly change: Int32Array;
  private frames = 0;
  private usualChange = 0;
  private usualDrift = 0;
  private readonly full: number;

  constructor(width: number, height: number, bits: number) {
    const n = width * height;
    let stride = Math.max(1, Math.ceil(n / GRID));
    // Else whole columns would never be looked at.
    while (stride > 1 && gcd(stride, width) !== 1) stride++;
    this.stride = stride;
    this.grid = new Int32Array(Math.ceil(n / stride));
    this.change = new Int32Array(this.grid.length);
    this.full = 2 ** bits - 1;
  }

  look(data: Counts): void {
    this.same = this.previous !== undefined && equal(this.previous, data);
    this.step = 0;
    if (this.same) return;
    this.previous ??= data instanceof Uint16Array ? new Uint16Array(data.length) : new Uint8Array(data.length);
    this.previous.set(data);
    this.measure(data);
  }

  private measure(data: Counts): void {
    const { grid, change, stride, full } = this;
    const n = grid.length;
    let sum = 0;
    let ends = 0;
    let low = full;
    let high = 0;
    for (let i = 0, at = 0; i < n; i++, at += stride) {
      const v = data[at]!;
      const d = v - grid[i]!;
      grid[i] = v;
      change[i] = d;
      sum += d;
      if (v < low) low = v;
      if (v > high) high = v;
      if (v === 0 || v >= full) ends++;
    }
    this.saturatedShare = ends / n;
    this.blank = low >= high;
    if (this.frames++ === 0) return;
    const mean = sum / n;
    let deviation = 0;
    for (let i = 0; i < n; i++) deviation += Math.abs(change[i]! - mean);
    this.judge(mean, deviation / n);
  }

  private judge(mean: number, deviation: number): void {
    const level = Math.abs(mean);
    const known = this.frames > LEARN_FRAMES;
    const usualChange = Math.max(LEAST_CHANGE, this.usualChange);
    if (
      known &&
      level >= STEP_OVER_CHANGE * usualChange &&
      level >= STEP_OVER_DRIFT * this.usualDrift &&
      level >= STEP_OVER_SHAPE * deviation
    ) {
      this.step = mean;
    }
    // One odd frame must not change what is usual: it counts for no more than twice of it.
    const rate = known ? 1 / 16 : 1 / Math.max(1, this.frames - 1);
    const limit = known ? 2 : Number.POSITIVE_INFINITY;
    this.usualChange += rate * (Math.min(deviation, limit * usualChange) - this.usualChange);
    this.usualDrift += rate * (Math.min(level, limit * Math.max(this.usualDrift, LEAST_CHANGE / 2)) - this.usualDrift);
  }
}

function equal(a: Counts, b: Counts): boolean {
  const n = a.length;
  if (b.length !== n) return false;
  for (let i = 0; i < n; i++) if (a[i] !== b[i]) return false;
  return true;
}

function gcd(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
