import type { SceneShift } from '../types/track.js';
import { Fft2 } from './fft.js';

export interface EgoMotionOptions {
  /** How alike the frames are after the shift, 0..1, from which it counts as measured. */
  minConfidence: number;
  /** Largest standard error of a shift that counts as measured, px. */
  maxSigma: number;
}

export const EGO_MOTION_DEFAULTS: Readonly<EgoMotionOptions> = { minConfidence: 0.3, maxSigma: 0.3 };

/** The picture whose counts are compared; `Frame` is one. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint16Array;
}

/** Grey values, `width` x `height`. */
interface Grey {
  width: number;
  height: number;
  data: Float32Array;
}

/** Places of one frame where the picture has a gradient: the other frame is compared there. */
interface Points {
  count: number;
  x: Int32Array;
  y: Int32Array;
  value: Float32Array;
  gx: Float32Array;
  gy: Float32Array;
  /** Amplitude that nine points of ten stay below. */
  limit: number;
}

/** A frame as it is compared with another. */
interface Prepared {
  fine: Grey;
  coarse: Grey;
  points: Points;
  width: number;
  height: number;
  /** Pixels of the frame to one of the fine picture, of that to one of the coarse one. */
  factor: number;
  coarseFactor: number;
}

interface Fit {
  dx: number;
  dy: number;
  sigma: number;
  agreement: number;
}

/** Longest side of the picture that the fine step works on, px: larger frames are averaged down. */
const FINE_SIDE = 320;
/**
 * Passes of a 3 x 3 binomial filter over the fine picture. On real frames three passes halve the error of one, and a pattern fixed to
 * the sensor, which has no slow part, weighs less.
 */
const SMOOTHING = 3;
/** What is wider than about twice this is left out of the fine step, px of its picture. */
const DETAIL_RADIUS = 6;
/** Side of the picture that the coarse step works on. */
const COARSE_SIDE = 128;
/** One point is taken from every block of so many pixels squared: the steepest. */
const BLOCK = 4;
const MAX_POINTS = Math.ceil(FINE_SIDE / BLOCK) ** 2;
const ITERATIONS = 10;
/** A step below this ends the iterations, px of the fine picture. */
const CONVERGED = 2e-3;
/** Fewer points than this say nothing. */
const MIN_POINTS = 50;
/** Cut of Tukey's biweight in robust standard deviations: 95 % as good as least squares where nothing moves by itself. */
const TUKEY = 4.685;
/** Starts of the fine step closer than this lead to the same place, px of its picture. */
const SAME_START = 1;
/** What interpolation adds to the standard error, px of the fine picture: about what is measured without any noise. */
const MODEL_ERROR = 0.02;
/** The spread of the residuals is taken from every so many-th point: sorting all of them would cost more than all the rest. */
const SPREAD_STEP = 8;
/** Part of the motion that is assumed to go on, a frame, when it cannot be measured any more. */
const FADE = 0.8;
/**
 * After frames that could not be measured the scene is another one when so many that could be, over so many seconds, do not show the one
 * before: longer than a shutter is closed, whose picture fits itself well.
 */
const LOST_FRAMES = 30;
const LOST_SECONDS = 3;
/** They do not show it with less than this part of `minConfidence`; what is alike more than that is doubtful. */
const UNLIKE = 0.5;
/** So many doubtful ones end the question: the scene counts as the same. */
const DOUBTFUL_FRAMES = 10;

/**
 * How far the scene moved between consecutive frames, as one translation: what a small pan or shake of the camera does. Rotation,
 * zoom and parallax are not modelled; they lower the confidence.
 *
 * Coarse: phase correlation (https://en.wikipedia.org/wiki/Phase_correlation) of the frames averaged down, for motion of up to a
 * quarter of the frame. Fine: Gauss-Newton on the grey values at some thousand steep points (inverse compositional Lucas-Kanade, Baker and
 * Matthews, https://doi.org/10.1023/B:VISI.0000011205.11775.fd) with Tukey weights, so that what moves by itself has no say. The
 * fine step is started from the coarse result, from rest and from the last motion; the best fit counts. Gain and offset of the two
 * frames may differ. A pattern fixed to the sensor that is stronger
 * than the scene looks like a camera at rest.
 *
 * A frame that cannot be measured may be blurred, or the first of another scene. So the last one that could be is kept, and those
 * after the gap, once they fit each other, are compared with it: `missed` and `lost` of `SceneShift` say what was found.
 */
export class EgoMotion {
  private readonly options: EgoMotionOptions;
  private readonly fft = new Fft2(COARSE_SIDE);
  private readonly re = new Float64Array(COARSE_SIDE ** 2);
  private readonly im = new Float64Array(COARSE_SIDE ** 2);
  private previous: Prepared | null = null;
  private lastX = 0;
  private lastY = 0;
  /** The newest frame whose motion could be measured, ... */
  private known: Prepared | null = null;
  /** ... and since the first after it that could not be: the motion told, and how many frames did not show it, or hardly. */
  private gap: { dx: number; dy: number; unlike: number; unlikeSince: number; doubtful: number } | null = null;

  constructor(options: Partial<EgoMotionOptions> = {}) {
    this.options = { ...EGO_MOTION_DEFAULTS, ...options };
  }

  /** Forgets the previous frame, as after an interruption. */
  reset(): void {
    this.previous = null;
    this.known = null;
    this.gap = null;
    this.lastX = 0;
    this.lastY = 0;
  }

  /**
   * The motion from the frame of the last call to this one. The first frame, and one of another size, has nothing to compare with: a
   * shift of 0, not reliable, `sigma` 0. The data of the frame is not kept.
   * @param seconds capture time; only differences count
   */
  estimate(picture: Picture, seconds: number): SceneShift {
    const now = prepare(picture);
    const { previous } = this;
    if (previous === null || previous.width !== now.width || previous.height !== now.height) {
      this.reset();
      this.previous = now;
      return { dx: 0, dy: 0, sigma: 0, confidence: 0, reliable: false };
    }
    this.previous = now;
    const shift = this.judge(this.compare(previous, now, this.lastX, this.lastY), now.factor);
    return this.recognise(now, shift, seconds);
  }

  /** The best fit of `from` to `to`, started from (x, y) besides: a guess of the motion, px of the frame. Px of the fine picture. */
  private compare(from: Prepared, to: Prepared, x: number, y: number): Fit | null {
    const peak = this.correlate(from.coarse, to.coarse);
    const starts: [number, number][] = [
      [peak.x * to.coarseFactor, peak.y * to.coarseFactor],
      [x / to.factor, y / to.factor],
      [0, 0],
    ];
    let best: Fit | null = null;
    for (const [i, [x, y]] of starts.entries()) {
      if (starts.slice(0, i).some(([u, v]) => Math.hypot(u - x, v - y) < SAME_START)) continue;
      const found = align(from.points, to.fine, x, y);
      if (found !== null && (best === null || found.agreement > best.agreement)) best = found;
    }
    return best;
  }

  /** Is this still the scene from before the frames that could not be measured? */
  private recognise(now: Prepared, shift: SceneShift, seconds: number): SceneShift {
    const { known } = this;
    if (!shift.reliable) {
      if (known !== null) this.gap ??= { dx: 0, dy: 0, unlike: 0, unlikeSince: 0, doubtful: 0 };
      return shift;
    }
    const { gap } = this;
    if (known === null || gap === null) {
      this.know(now);
      return shift;
    }
    gap.dx += shift.dx;
    gap.dy += shift.dy;
    const fit = this.compare(known, now, gap.dx, gap.dy);
    if (fit !== null && this.fits(fit, now.factor)) {
      this.know(now);
      return { ...shift, missed: { dx: fit.dx * now.factor - gap.dx, dy: fit.dy * now.factor - gap.dy } };
    }
    if ((fit?.agreement ?? 0) >= UNLIKE * this.options.minConfidence) gap.doubtful++;
    else if (gap.unlike++ === 0) gap.unlikeSince = seconds;
    const lost = gap.unlike >= LOST_FRAMES && seconds - gap.unlikeSince >= LOST_SECONDS;
    if (!lost && gap.doubtful < DOUBTFUL_FRAMES) return shift;
    this.know(now);
    return lost ? { ...shift, lost } : shift;
  }

  private know(scene: Prepared): void {
    this.known = scene;
    this.gap = null;
  }

  private fits(fit: Fit, factor: number): boolean {
    const { minConfidence, maxSigma } = this.options;
    return fit.agreement >= minConfidence && standardError(fit, factor) <= maxSigma;
  }

  private judge(best: Fit | null, factor: number): SceneShift {
    const confidence = Math.max(0, best?.agreement ?? 0);
    if (best !== null && this.fits(best, factor)) {
      this.lastX = best.dx * factor;
      this.lastY = best.dy * factor;
      return { dx: this.lastX, dy: this.lastY, sigma: standardError(best, factor), confidence, reliable: true };
    }
    // The camera may have gone on moving as it did; whoever uses the shift must allow for that, ever less.
    const unseen = Math.hypot(this.lastX, this.lastY);
    this.lastX *= FADE;
    this.lastY *= FADE;
    return { dx: 0, dy: 0, sigma: unseen, confidence, reliable: false };
  }

  /** Peak of the phase correlation: motion from `a` to `b`, to a fraction of a pixel of theirs. */
  private correlate(a: Grey, b: Grey): { x: number; y: number } {
    const { re, im, fft } = this;
    const n = COARSE_SIDE;
    // Both pictures in one transform: a as the real part, b as the imaginary one.
    this.load(a, re);
    this.load(b, im);
    fft.forward(re, im);
    for (let v = 0; v <= n / 2; v++) {
      for (let u = 0; u < n; u++) {
        const k = v * n + u;
        const m = ((n - v) % n) * n + ((n - u) % n);
        if (m < k) continue;
        // A = (Z(k) + conj Z(-k)) / 2, B = (Z(k) - conj Z(-k)) / 2i.
        const ar = re[k]! + re[m]!;
        const ai = im[k]! - im[m]!;
        const br = im[k]! + im[m]!;
        const bi = re[m]! - re[k]!;
        let cr = br * ar + bi * ai;
        let ci = bi * ar - br * ai;
        const size = Math.hypot(cr, ci) || 1;
        cr /= size;
        ci /= size;
        re[k] = cr;
        im[k] = ci;
        re[m] = cr;
        im[m] = -ci;
      }
    }
    fft.inverse(re, im);
    let best = 0;
    for (let k = 1; k < n * n; k++) if (re[k]! > re[best]!) best = k;
    const bx = best % n;
    const by = (best - bx) / n;
    const at = (x: number, y: number) => re[((y + n) % n) * n + ((x + n) % n)]!;
    return {
      x: signed(bx, n) + vertex(at(bx - 1, by), at(bx, by), at(bx + 1, by)),
      y: signed(by, n) + vertex(at(bx, by - 1), at(bx, by), at(bx, by + 1)),
    };
  }

  /** Puts the picture, windowed, into the middle of the square; zeros around it. */
  private load(grey: Grey, into: Float64Array): void {
    into.fill(0);
    const { width, height, data } = grey;
    const across = Float64Array.from({ length: width }, (_, x) => hann(x, width));
    for (let y = 0; y < height; y++) {
      const share = hann(y, height);
      for (let x = 0; x < width; x++) into[y * COARSE_SIDE + x] = data[y * width + x]! * share * across[x]!;
    }
  }
}

function prepare(picture: Picture): Prepared {
  const { width, height } = picture;
  const factor = Math.ceil(Math.max(width, height) / FINE_SIDE);
  let grey = average(picture, factor);
  for (let pass = 0; pass < SMOOTHING; pass++) grey = smooth(grey);
  const coarseFactor = Math.ceil(Math.max(grey.width, grey.height) / COARSE_SIDE);
  const coarse = average(grey, coarseFactor);
  standardise(coarse.data);
  // Without its slow changes, or any two places of a sky would agree.
  const fine = detail(grey);
  standardise(fine.data);
  return { fine, coarse, points: pickPoints(fine), width, height, factor, coarseFactor };
}

/** Px of the frame. */
function standardError(fit: Fit, factor: number): number {
  return Math.hypot(fit.sigma, MODEL_ERROR) * factor;
}

/** Gauss-Newton for the translation that takes the points onto `to`, from (x, y), px of the fine picture. Null without enough points. */
function align(points: Points, to: Grey, startX: number, startY: number): Fit | null {
  const { width, height, data } = to;
  const { count } = points;
  const residual = new Float32Array(count);
  const other = new Float32Array(count);
  const inside = new Uint8Array(count);
  const sizes = new Float32Array(count);
  let dx = startX;
  let dy = startY;
  let a = 0;
  let b = 0;
  let c = 0;
  let scale = 0;
  let used = 0;
  for (let round = 0; round < ITERATIONS; round++) {
    const ix = Math.floor(dx);
    const iy = Math.floor(dy);
    const fx = dx - ix;
    const fy = dy - iy;
    used = 0;
    let meanA = 0;
    let meanB = 0;
    for (let k = 0; k < count; k++) {
      const px = points.x[k]! + ix;
      const py = points.y[k]! + iy;
      inside[k] = px >= 0 && py >= 0 && px < width - 1 && py < height - 1 ? 1 : 0;
      if (!inside[k]) continue;
      const at = py * width + px;
      const top = data[at]! * (1 - fx) + data[at + 1]! * fx;
      const bottom = data[at + width]! * (1 - fx) + data[at + width + 1]! * fx;
      other[k] = top * (1 - fy) + bottom * fy;
      meanA += points.value[k]!;
      meanB += other[k]!;
      used++;
    }
    if (used < MIN_POINTS) return null;
    const offset = (meanB - meanA) / used;
    let n = 0;
    for (let k = 0; k < count; k++) {
      if (!inside[k]) continue;
      residual[k] = other[k]! - points.value[k]! - offset;
      if (k % SPREAD_STEP === 0) sizes[n++] = Math.abs(residual[k]!);
    }
    scale = 1.4826 * (sizes.subarray(0, n).sort()[n >> 1] ?? 0) + 1e-6;
    const cut = TUKEY * scale;
    a = 0;
    b = 0;
    c = 0;
    let ex = 0;
    let ey = 0;
    for (let k = 0; k < count; k++) {
      if (!inside[k]) continue;
      const t = residual[k]! / cut;
      if (t > 1 || t < -1) continue;
      const w = (1 - t * t) ** 2;
      const gx = points.gx[k]!;
      const gy = points.gy[k]!;
      a += w * gx * gx;
      b += w * gx * gy;
      c += w * gy * gy;
      ex += w * gx * residual[k]!;
      ey += w * gy * residual[k]!;
    }
    const det = a * c - b * b;
    if (!(det > 1e-9 * (a + c) ** 2)) return null;
    const sx = (c * ex - b * ey) / det;
    const sy = (a * ey - b * ex) / det;
    // A step of more than two pixels is beyond what the gradient knows.
    const length = Math.hypot(sx, sy);
    const share = length > 2 ? 2 / length : 1;
    dx -= share * sx;
    dy -= share * sy;
    if (length < CONVERGED) break;
  }
  // Standard error along the worse axis, from the information matrix and the robust residual.
  const least = (a + c) / 2 - Math.sqrt(((a - c) / 2) ** 2 + b * b);
  return {
    dx,
    dy,
    sigma: scale / Math.sqrt(least),
    agreement: agreement(points, other, inside),
  };
}

/**
 * How alike the two pictures are at the points: 1 the same, 0 unrelated. Like a correlation, but a point counts by its amplitude up to
 * a limit, not by the square of it, so that a few hot targets cannot decide; and without the weights of the fit, which would leave
 * out whatever disagrees with a wrong shift.
 */
function agreement(points: Points, other: Float32Array, inside: Uint8Array): number {
  let sum = 0;
  let all = 0;
  for (let k = 0; k < points.count; k++) {
    if (!inside[k]) continue;
    const p = points.value[k]!;
    const q = other[k]!;
    const power = p * p + q * q;
    if (power === 0) continue;
    const weight = Math.min(Math.sqrt(power), points.limit);
    sum += (weight * 2 * p * q) / power;
    all += weight;
  }
  return all > 0 ? sum / all : 0;
}

/** Means of `factor` x `factor` pixels; what is left over at the right and lower edge is cut off. */
function average(from: Picture | Grey, factor: number): Grey {
  const width = Math.floor(from.width / factor);
  const height = Math.floor(from.height / factor);
  const { data } = from;
  const out = new Float32Array(width * height);
  const share = 1 / factor ** 2;
  for (let y = 0; y < height * factor; y++) {
    const row = y * from.width;
    const to = Math.floor(y / factor) * width;
    for (let x = 0; x < width; x++) {
      let sum = 0;
      const at = row + x * factor;
      for (let i = 0; i < factor; i++) sum += data[at + i]!;
      out[to + x]! += sum * share;
    }
  }
  return { width, height, data: out };
}

/** Binomial 3 x 3; edge pixels repeat. */
function smooth({ width, height, data }: Grey): Grey {
  const across = new Float32Array(data.length);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    for (let x = 0; x < width; x++) {
      const l = data[row + Math.max(0, x - 1)]!;
      const r = data[row + Math.min(width - 1, x + 1)]!;
      across[row + x] = (l + 2 * data[row + x]! + r) / 4;
    }
  }
  const out = new Float32Array(data.length);
  for (let y = 0; y < height; y++) {
    const up = Math.max(0, y - 1) * width;
    const here = y * width;
    const down = Math.min(height - 1, y + 1) * width;
    for (let x = 0; x < width; x++) out[here + x] = (across[up + x]! + 2 * across[here + x]! + across[down + x]!) / 4;
  }
  return { width, height, data: out };
}

/** The picture less its mean over a square of 2 `DETAIL_RADIUS` + 1 pixels; at the edge, of what there is of it. */
function detail({ width, height, data }: Grey): Grey {
  const rows = new Float32Array(data.length);
  for (let y = 0; y < height; y++) runningMean(data, rows, y * width, width, 1);
  const means = new Float32Array(data.length);
  for (let x = 0; x < width; x++) runningMean(rows, means, x, height, width);
  for (let k = 0; k < data.length; k++) means[k] = data[k]! - means[k]!;
  return { width, height, data: means };
}

/** Means of `count` values from `at`, `stride` apart, over windows of 2 `DETAIL_RADIUS` + 1. */
function runningMean(from: Float32Array, to: Float32Array, at: number, count: number, stride: number): void {
  let sum = 0;
  let n = 0;
  for (let k = 0; k < Math.min(DETAIL_RADIUS, count); k++) {
    sum += from[at + k * stride]!;
    n++;
  }
  for (let k = 0; k < count; k++) {
    const enter = k + DETAIL_RADIUS;
    const leave = k - DETAIL_RADIUS - 1;
    if (enter < count) {
      sum += from[at + enter * stride]!;
      n++;
    }
    if (leave >= 0) {
      sum -= from[at + leave * stride]!;
      n--;
    }
    to[at + k * stride] = sum / n;
  }
}

/** Mean 0, variance 1, in place; a constant becomes 0. */
function standardise(data: Float32Array): void {
  // By index: `for of` over typed arrays costs several times as much.
  const n = data.length;
  let sum = 0;
  for (let k = 0; k < n; k++) sum += data[k]!;
  const mean = sum / n;
  let squares = 0;
  for (let k = 0; k < n; k++) squares += (data[k]! - mean) ** 2;
  const deviation = Math.sqrt(squares / n);
  const scale = deviation > 1e-6 ? 1 / deviation : 0;
  for (let k = 0; k < n; k++) data[k] = (data[k]! - mean) * scale;
}

/** The steepest pixel of every block. */
function pickPoints({ width, height, data }: Grey): Points {
  const points: Points = {
    count: 0,
    x: new Int32Array(MAX_POINTS),
    y: new Int32Array(MAX_POINTS),
    value: new Float32Array(MAX_POINTS),
    gx: new Float32Array(MAX_POINTS),
    gy: new Float32Array(MAX_POINTS),
    limit: 0,
  };
  for (let top = 1; top + BLOCK < height; top += BLOCK) {
    for (let left = 1; left + BLOCK < width; left += BLOCK) {
      let best = -1;
      let at = 0;
      for (let y = top; y < top + BLOCK; y++) {
        for (let k = y * width + left; k < y * width + left + BLOCK; k++) {
          const g = (data[k + 1]! - data[k - 1]!) ** 2 + (data[k + width]! - data[k - width]!) ** 2;
          if (g > best) {
            best = g;
            at = k;
          }
        }
      }
      const i = points.count++;
      points.x[i] = at % width;
      points.y[i] = Math.floor(at / width);
      points.value[i] = data[at]!;
      points.gx[i] = (data[at + 1]! - data[at - 1]!) / 2;
      points.gy[i] = (data[at + width]! - data[at - width]!) / 2;
    }
  }
  const sizes = new Float32Array(Math.floor(points.count / SPREAD_STEP));
  for (let i = 0; i < sizes.length; i++) sizes[i] = Math.abs(points.value[i * SPREAD_STEP]!);
  points.limit = sizes.sort()[Math.floor(0.9 * sizes.length)] ?? 0;
  return points;
}

function hann(k: number, n: number): number {
  return 0.5 - 0.5 * Math.cos((2 * Math.PI * (k + 0.5)) / n);
}

function signed(k: number, n: number): number {
  return k > n / 2 ? k - n : k;
}

/** Place of the vertex of the parabola through three values at -1, 0, 1. */
function vertex(left: number, middle: number, right: number): number {
  const curvature = left - 2 * middle + right;
  return curvature < 0 ? Math.max(-0.5, Math.min(0.5, (left - right) / (2 * curvature))) : 0;
}
