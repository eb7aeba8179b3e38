import { type FaintKernel, type FaintSettling, type FaintSmoothing, PLAIN_KERNEL } from './faint-kernel.js';

/**
 * Single frames to small maxima: a filter matched to point targets, what stands still taken out, noise measured where it is.
 */

/** The picture that is searched; `Frame` is one. */
export interface SearchedFrame {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint16Array;
}

/** A local maximum of the filtered frame. Coordinates as of a detection. */
export interface FaintPoint {
  x: number;
  y: number;
  /** Height over the local noise of the filtered frame: the signal-to-noise ratio of a matched filter. */
  amplitude: number;
}

/** Taps of the smoothing filter, from the middle on: a Gaussian of 1 px, close to what optics and pixels make of a point. */
const TAPS = [0, 1, 2, 3].map((k) => Math.exp(-(k * k) / 2));
const TAP_SUM = TAPS[0]! + 2 * (TAPS[1]! + TAPS[2]! + TAPS[3]!);
const KERNEL = Float64Array.from(TAPS, (t) => t / TAP_SUM);
/** The local level is the mean of a square of this radius, px. */
const LEVEL_RADIUS = 5;
/** Nearer to the border than this, px, there are no neighbours to be a maximum of. */
const BORDER = 2;
/** Noise is measured in squares of this side, px. */
const BLOCK_BITS = 4;
const BLOCK = 1 << BLOCK_BITS;
/** From mean absolute deviation to standard deviation, of Gaussian noise. */
const MEAN_TO_SIGMA = Math.sqrt(Math.PI / 2);
/** Frames over which the noise of a block is averaged. */
const NOISE_FRAMES = 16;
/** Frames over which the still picture is averaged: long against the time that a target stays on a pixel. */
const STILL_FRAMES = 64;
/** From so many frames on the still picture is known well enough to be taken out. Nothing is found before. */
const STILL_AFTER = 20;
/**
 * A square is restless where what is left without the still picture is larger than the change from frame to frame by this factor: clouds, waves,
 * foliage, a camera that moves. Nothing is found there, and its still picture is learnt anew, over few frames.
 */
const RESTLESS = 1.25;
const RESTLESS_FRAMES = 8;
/** With more of them than this share the camera moves, and nothing is found at all. */
const MOST_RESTLESS = 0.15;
/** A pixel's variance is averaged over many frames, and a change counts with no more than so many times the noise: a target that passes is no noise. */
const PIXEL_SHARE = 1 / 128;
const MOST_CHANGE = 3;
/** Of a point the two curvatures are alike: largest ratio. Along edges maxima wander. */
const MOST_RATIO = 4;
/** Least noise of the filtered frame, counts: that of rounding to whole counts. */
const LEAST_NOISE = 0.08;

/** One instance a camera; every frame in order, all of one size. */
export class FaintFilter {
  private readonly smoothing: FaintSmoothing;
  private readonly settling: FaintSettling;
  /** Of each square: of what is left without the still picture, and of the change from frame to frame, as standard deviations. */
  private readonly noise: Float32Array;
  private readonly change: Float32Array;
  private readonly across: number;
  private seen = 0;
  /** Squares in which nothing was looked for in the last frame. */
  restlessBlocks = 0;

  constructor(
    private readonly width: number,
    private readonly height: number,
    private readonly kernel: FaintKernel = PLAIN_KERNEL,
  ) {
    const n = width * height;
    const lines = height + 2 * LEVEL_RADIUS;
    this.across = Math.ceil(width / BLOCK);
    const squares = this.across * Math.ceil(height / BLOCK);
    const filtered = new Float32Array(n);
    this.smoothing = {
      width,
      height,
      radius: LEVEL_RADIUS,
      taps: KERNEL,
      padded: new Float32Array((width + 2 * LEVEL_RADIUS) * lines),
      rows: new Float32Array(width * lines),
      sums: new Float32Array(width * lines),
      column: new Float64Array(width),
      filtered,
    };
    this.settling = {
      width,
      height,
      block: BLOCK,
      filtered,
      previous: new Float32Array(n),
      still: new Float32Array(n),
      variance: new Float32Array(n),
      shares: new Float64Array(squares),
      mosts: new Float64Array(squares),
      restless: new Uint8Array(squares),
      pixelShare: PIXEL_SHARE,
      rests: new Float64Array(squares),
      steps: new Float64Array(squares),
    };
    this.noise = new Float32Array(squares);
    this.change = new Float32Array(squares);
  }

  private get settled(): boolean {
    return this.seen >= STILL_AFTER;
  }

  /** Maxima of at least `least` times the noise, the highest `most` of them. */
  run({ data }: SearchedFrame, least: number, most: number): FaintPoint[] {
    this.kernel.faintSmooth(data, this.smoothing);
    this.settle();
    if (!this.settled) return [];
    if (this.markRestless() > MOST_RESTLESS * this.noise.length) return [];
    const found = this.maxima(least);
    if (found.length > most) {
      found.sort((a, b) => b.amplitude - a.amplitude);
      found.length = most;
    }
    return found;
  }

  /** Takes the still picture out, learns it, and measures the noise. */
  private settle(): void {
    const { width, height, noise, change } = this;
    const { filtered, previous, still, variance, shares, mosts, restless, rests, steps } = this.settling;
    const settled = this.settled;
    this.seen++;
    if (this.seen === 1) {
      previous.set(filtered);
      still.set(filtered);
      return;
    }
    const young = 1 / Math.min(this.seen, STILL_FRAMES);
    for (let b = 0; b < noise.length; b++) {
      restless[b] = settled && noise[b]! > RESTLESS * change[b]! ? 1 : 0;
      shares[b] = restless[b] ? 1 / RESTLESS_FRAMES : young;
      const most = MOST_CHANGE * noise[b]!;
      mosts[b] = most * most;
    }
    this.kernel.faintSettle(this.settling);
    const blockShare = 1 / Math.min(this.seen - 1, NOISE_FRAMES);
    for (let b = 0, top = 0; top < height; top += BLOCK) {
      for (let left = 0; left < width; left += BLOCK, b++) {
        const scale = MEAN_TO_SIGMA / (Math.min(BLOCK, width - left) * Math.min(BLOCK, height - top));
        noise[b]! += (Math.max(LEAST_NOISE, scale * rests[b]!) - noise[b]!) * blockShare;
        change[b]! += (Math.max(LEAST_NOISE, scale * steps[b]! * Math.SQRT1_2) - change[b]!) * blockShare;
      }
    }
    if (!settled) variance.fill(0);
  }

  /** Marks restless squares and their neighbours; gives the number of the former. */
  private markRestless(): number {
    const { noise, change, across } = this;
    const { restless } = this.settling;
    restless.fill(0);
    let count = 0;
    for (let b = 0; b < noise.length; b++) {
      if (noise[b]! <= RESTLESS * change[b]!) continue;
      count++;
      const x = b % across;
      for (let row = b - across; row <= b + across; row += across) {
        for (let n = Math.max(0, x - 1); n <= Math.min(across - 1, x + 1); n++) restless[row - x + n] = 1;
      }
    }
    this.restlessBlocks = count;
    return count;
  }

  private maxima(least: number): FaintPoint[] {
    const { width, height, noise, across } = this;
    const { filtered: f, variance, restless } = this.settling;
    const found: FaintPoint[] = [];
    for (let y = BORDER; y < height - BORDER; y++) {
      let b = (y >> BLOCK_BITS) * across;
      for (let left = 0; left < width; left += BLOCK, b++) {
        if (restless[b]! > 0) continue;
        const sigma = noise[b]!;
        const floor = least * sigma;
        const first = y * width + Math.max(BORDER, left);
        const end = y * width + Math.min(width - BORDER, left + BLOCK);
        for (let i = first; i < end; i++) {
          const value = f[i]!;
          if (value < floor || !isMaximum(f, i, width) || !isRound(f, i, width)) continue;
          const own = Math.max(sigma, Math.sqrt(variance[i]!));
          if (value < least * own) continue;
          found.push({
            x: i - y * width + vertex(f[i - 1]!, value, f[i + 1]!),
            y: y + vertex(f[i - width]!, value, f[i + width]!),
            amplitude: value / own,
          });
        }
      }
    }
    return found;
  }
}

/** Of the 5 x 5 around; the first of equals. */
function isMaximum(f: Float32Array, i: number, width: number): boolean {
  const value = f[i]!;
  for (let v = -2; v <= 2; v++) {
    for (let u = -2; u <= 2; u++) {
      const other = f[i + v * width + u]!;
      if (other > value || (other === value && (v < 0 || (v === 0 && u < 0)))) return false;
    }
  }
  return true;
}

/** Test of the Hessian as of Lowe's key points (https://doi.org/10.1023/B:VISI.0000029664.99615.94). */
function isRound(f: Float32Array, i: number, w: number): boolean {
  const xx = f[i - 1]! - 2 * f[i]! + f[i + 1]!;
  const yy = f[i - w]! - 2 * f[i]! + f[i + w]!;
  const xy = (f[i - w - 1]! - f[i - w + 1]! - f[i + w - 1]! + f[i + w + 1]!) / 4;
  const determinant = xx * yy - xy * xy;
  return determinant > 0 && (xx + yy) ** 2 * MOST_RATIO <= determinant * (MOST_RATIO + 1) ** 2;
}

/** Where the parabola through three values has its maximum, from the middle one. */
function vertex(before: number, middle: number, after: number): number {
  const bend = before - 2 * middle + after;
  return bend < 0 ? Math.max(-0.5, Math.min(0.5, (0.5 * (before - after)) / bend)) : 0;
}
