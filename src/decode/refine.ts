import type { Detection } from '../types/detection.js';
import { type FrameView, isInside, QUANTISATION_NOISE } from './background.js';

/**
 * Image-domain refinement: the heat map says where a target is to a fraction of a pixel, the pixels themselves say it to the
 * limit of their noise. Least squares (Levenberg-Marquardt) of a pixel-integrated round Gaussian on a sloping background, in a
 * window around the detection: x, y, ln sigma, flux, level, slope x, slope y.
 */

/** Counts of a frame, with its significant bits if full scale is to be recognised as saturation. */
export interface RefineFrame extends FrameView {
  readonly bits?: number;
}

export interface RefineOptions {
  /** Least fitted peak contrast over the fit's residual noise. Default 2.5. */
  minSnr?: number;
  /** Farthest move along each axis, px. Default 1.2. */
  maxShift?: number;
}

/** Why a refinement was not taken over; `ok` if it was. */
export type RefineOutcome = 'ok' | 'border' | 'pixels' | 'diverged' | 'shift' | 'faint' | 'shape';

export interface Refined {
  /** Centre, px. Valid, as all numbers here, only if `outcome` is `ok`. */
  x: number;
  y: number;
  /** Standard errors of the centre, px: inverse Fisher information with the noise that the residuals show. */
  sigmaX: number;
  sigmaY: number;
  /** Sigma of the target's profile before pixel integration, px: the fit's, tied to the detector's. */
  extent: number;
  /** Fitted contrast of a target centred on a pixel, over the residual noise. Negative: darker than the background. */
  snr: number;
  outcome: RefineOutcome;
}

/** What the heat map knows of a target, px, and how it stands out from the noise around (`measureSnr`). */
export interface RefineTarget {
  readonly x: number;
  readonly y: number;
  readonly extent: number;
  readonly snr: number;
}

/** Half-size of the window: this many sigmas and a pixel, within limits, px. Default targets get 9x9. */
const WINDOW_SIGMAS = 3;
const MIN_RADIUS = 4;
const MAX_RADIUS = 12;
const MAX_SIDE = 2 * MAX_RADIUS + 1;
const MIN_SIGMA = 0.35;
const MAX_SIGMA = 8;
/**
 * How well the heat map knows a target's sigma (standard deviation of its logarithm). The tie keeps faint fits from growing into
 * the background; bright targets overrule it. Sigma and centre are uncorrelated by symmetry, so the fit of it costs no accuracy.
 */
const SIGMA_TIE = 0.35;
/** A sigma that must be wrong by more than this factor (logarithm) is not this target's profile. */
const MAX_SIGMA_CHANGE = 1;

/**
 * A target whose core departs from a Gaussian by more than this share of its peak, and by more than so many times the noise
 * around, has a shape of its own (aircraft, ships): there the heat map's idea of its middle is the better one.
 */
const MAX_MISFIT = 0.1;
const MAX_MISFIT_NOISE = 1.7;

const STEPS = 16;
/** Converged when a step moves the centre by less than this share of its standard error, or less than so many px. */
const SETTLED_SHARE = 0.03;
const SETTLED = 0.001;
/** Longest step, sigmas: beyond it the linearisation means nothing. */
const LONGEST_STEP = 0.8;
const LEAST_RELAXATION = 0.3;

/** Position errors below this are not claimed, px: no optics draw perfect Gaussians. */
const SIGMA_FLOOR = 0.01;

/**
 * A fit that may choose place and flux finds the flux too large on average, its square by about this many of its variances; the
 * Fisher information would be overstated as much.
 */
const FITTED_GAIN = 3;

/** Where the background is probed for structure: in rings of so many places, so many target sigmas beyond where windows touch the target. */
const PROBE_RINGS = [3, 6];
const PROBES = 8;
/** Probes keep this far from other detections, in sigmas of both. */
const PROBE_CLEARANCE = 3;
/** Most that one probe may say, as a variance ratio: an edge there is not under the target. */
const PROBE_CLIP = 12;
const PRIOR_PLACES = 8;
/** Sigma that pixel integration adds in quadrature, px. */
const PIXEL_SIGMA = 1 / Math.sqrt(12);

const N = 7;
/** Fewer free pixels than twice the parameters leave no residual to judge by. */
const FEWEST_PIXELS = 2 * N;

/** A pixel within this many sigmas of another detection, and nearer to it, shows that one. */
const NEIGHBOUR_SIGMAS = 2.5;
/** A pixel within this many sigmas of the target stays the target's unless it is nearer to the neighbour. */
const OWN_SIGMAS = 1.5;

const SQRT_2PI = Math.sqrt(2 * Math.PI);

// Scratch of the one fit under way; JavaScript runs one at a time in a thread.
const used = new Uint8Array(MAX_SIDE * MAX_SIDE);
const values = new Float64Array(MAX_SIDE * MAX_SIDE);
const shareX = new Float64Array(MAX_SIDE);
const shareY = new Float64Array(MAX_SIDE);
const moveX = new Float64Array(MAX_SIDE);
const moveY = new Float64Array(MAX_SIDE);
const growX = new Float64Array(MAX_SIDE);
const growY = new Float64Array(MAX_SIDE);
const normal = new Float64Array(N * N);
const factored = new Float64Array(N * N);
const right = new Float64Array(N);
const step = new Float64Array(N);
const unit = new Float64Array(N);
const params = new Float64Array(N);
const trial = new Float64Array(N);
const move = new Float64Array(N);
const across = new Float64Array(MAX_SIDE);
const sums = {
  mm: 0,
  ms: 0,
  mg: 0,
  m1: 0,
  mu: 0,
  ss: 0,
  sg: 0,
  s1: 0,
  su: 0,
  gg: 0,
  g1: 0,
  gu: 0,
  n: 0,
  u1: 0,
  uu: 0,
};
const responseX = new Float64Array(N);
const responseY = new Float64Array(N);
const weightX = new Float64Array(MAX_SIDE * MAX_SIDE);
const weightY = new Float64Array(MAX_SIDE * MAX_SIDE);
/** Window of the fit under way. */
const window = { left: 0, top: 0, cols: 0, rows: 0, pixels: 0 };

const X = 0;
const Y = 1;
const LN_SIGMA = 2;
const FLUX = 3;

/**
 * Refines one detection. Returns whether it succeeded; `out` then holds the result and else only says why not. Allocates nothing.
 *
 * Pixels at full scale are left out (at zero, for targets darker than the background), and pixels that belong to one of `others`
 * (all detections of the frame; `target` itself may be among them).
 */
export function refine(
  frame: RefineFrame,
  target: RefineTarget,
  others: readonly RefineTarget[],
  options: RefineOptions,
  out: Refined,
): boolean {
  const { x, y, extent } = target;
  const start = Math.max(MIN_SIGMA, Math.min(MAX_SIGMA, extent));
  if (!isInside(frame, x, y)) return fail(out, 'border');
  // Near the border the window is cut. What that costs shows in the Fisher information: the target is fitted to the last pixel.
  gather(frame, target, start, others);
  if (window.pixels < FEWEST_PIXELS) return fail(out, 'pixels');

  params.fill(0);
  params[X] = x;
  params[Y] = y;
  params[LN_SIGMA] = Math.log(start);
  if (!fitLinear(frame)) return fail(out, 'diverged');
  const lnStart = params[LN_SIGMA];

  let residual = accumulate(params);
  let damping = 1e-3;
  let settled = false;
  let relaxation = 1;
  let last = 0;
  for (let k = 0; k < STEPS && !settled; k++) {
    const noise = noiseVariance(residual);
    const tie = noise / (SIGMA_TIE * SIGMA_TIE);
    const away = params[LN_SIGMA]! - lnStart;
    normal[LN_SIGMA * N + LN_SIGMA]! += tie;
    right[LN_SIGMA]! -= tie * away;
    if (!factor(damping)) return fail(out, 'diverged');
    solve(right, step);
    // Small and faint targets make Gauss-Newton overshoot to and fro; the last move and this step tell by how much (Aitken).
    if (last > 0) {
      const along = (step[X]! * move[X]! + step[Y]! * move[Y]! + step[LN_SIGMA]! * move[LN_SIGMA]!) / last;
      relaxation = Math.max(LEAST_RELAXATION, Math.min(1, 1 / Math.max(1, 1 / relaxation - along)));
    }
    const sigma = Math.exp(params[LN_SIGMA]!);
    const longest = Math.max(Math.abs(step[X]!), Math.abs(step[Y]!)) / sigma;
    const scale = Math.min(relaxation, LONGEST_STEP / Math.max(longest, Math.abs(step[LN_SIGMA]!)));
    for (let i = 0; i < N; i++) trial[i] = params[i]! + scale * step[i]!;
    trial[LN_SIGMA] = Math.max(LN_LOWEST, Math.min(LN_HIGHEST, trial[LN_SIGMA]!));
    const before = residual + tie * away * away;
    const next = accumulate(trial);
    const after = next + tie * (trial[LN_SIGMA]! - lnStart) ** 2;
    if (after <= before * (1 + 1e-9)) {
      const moved = Math.max(Math.abs(trial[X]! - params[X]!), Math.abs(trial[Y]! - params[Y]!));
      // A strongly damped step is short wherever it starts.
      const near = Math.max(SETTLED, SETTLED_SHARE * Math.sqrt(noise / Math.max(normal[0]!, normal[N + 1]!)));
      settled = moved < near && damping < 1;
      for (let i = 0; i <= LN_SIGMA; i++) move[i] = trial[i]! - params[i]!;
      last = move[X]! ** 2 + move[Y]! ** 2 + move[LN_SIGMA]! ** 2;
      params.set(trial);
      residual = next;
      damping *= 0.1;
    } else {
      damping = Math.max(1e-2, damping * 10);
      last = 0;
      accumulate(params);
    }
  }
  if (!settled) return fail(out, 'diverged');

  const maxShift = options.maxShift ?? 1.2;
  if (!(Math.abs(params[X]! - x) <= maxShift && Math.abs(params[Y]! - y) <= maxShift)) return fail(out, 'shift');
  if (!(Math.abs(params[LN_SIGMA]! - lnStart) <= MAX_SIGMA_CHANGE)) return fail(out, 'shape');

  const noise = noiseVariance(residual);
  const sigma = Math.exp(params[LN_SIGMA]!);
  const half = 0.5 / sigma;
  const centre = 2 * shareBelow(half, Math.exp(-0.5 * half * half) / SQRT_2PI) - 1;
  const snr = (params[FLUX]! * centre * centre) / Math.sqrt(noise);
  if (!(Math.abs(snr) >= (options.minSnr ?? 2.5))) return fail(out, 'faint');
  // Over the peak contrast, as is the noise around: 1 / snr.
  const misfit = coreResidual(sigma) / (Math.abs(snr) * Math.sqrt(noise));
  if (misfit > MAX_MISFIT && misfit * target.snr > MAX_MISFIT_NOISE) return fail(out, 'shape');

  // `normal` is the one of the accepted parameters: the last trial settled.
  normal[LN_SIGMA * N + LN_SIGMA]! += noise / (SIGMA_TIE * SIGMA_TIE);
  if (!factor(0)) return fail(out, 'diverged');
  const boost = 1 - (FITTED_GAIN * noise * inverseColumn(FLUX, responseX)) / (params[FLUX]! * params[FLUX]!);
  const variance = noise / Math.max(0.25, boost);
  const perX = inverseColumn(X, responseX);
  const perY = inverseColumn(Y, responseY);
  const structure = structureFactor(frame, sigma, noise * perX, noise * perY, target, others);
  const varianceX = structure * variance * perX;
  const varianceY = structure * variance * perY;
  if (!(varianceX > 0 && varianceY > 0 && varianceX < maxShift ** 2 && varianceY < maxShift ** 2)) {
    return fail(out, 'faint');
  }
  out.x = params[X]!;
  out.y = params[Y]!;
  out.sigmaX = Math.hypot(Math.sqrt(varianceX), SIGMA_FLOOR);
  out.sigmaY = Math.hypot(Math.sqrt(varianceY), SIGMA_FLOOR);
  // Of targets whose centre is outside only those would pass that noise moves inside.
  if (!isInside(frame, out.x - out.sigmaX, out.y - out.sigmaY)) return fail(out, 'border');
  if (!isInside(frame, out.x + out.sigmaX, out.y + out.sigmaY)) return fail(out, 'border');
  out.extent = sigma;
  out.snr = snr;
  out.outcome = 'ok';
  return true;
}

const LN_LOWEST = Math.log(MIN_SIGMA);
const LN_HIGHEST = Math.log(MAX_SIGMA);

/** A `Refined` to be filled. */
export function emptyRefined(): Refined {
  return { x: 0, y: 0, sigmaX: 0, sigmaY: 0, extent: 0, snr: 0, outcome: 'diverged' };
}

const scratch = emptyRefined();

/**
 * Refines detections in place, where the pixels allow: `x`, `y`, `sigmaX`, `sigmaY` and `extent`. Others stay as the heat map gave
 * them. Returns how many were refined.
 */
export function refineDetections(detections: Detection[], frame: RefineFrame, options: RefineOptions = {}): number {
  let count = 0;
  for (let i = 0; i < detections.length; i++) {
    const d = detections[i]!;
    if (!refine(frame, d, detections, options, scratch)) continue;
    d.x = scratch.x;
    d.y = scratch.y;
    d.sigmaX = scratch.sigmaX;
    d.sigmaY = scratch.sigmaY;
    d.extent = scratch.extent;
    count++;
  }
  return count;
}

function fail(out: Refined, outcome: RefineOutcome): false {
  out.outcome = outcome;
  return false;
}

/** Copies the window's counts and marks the pixels that take part. */
function gather(frame: RefineFrame, target: RefineTarget, sigma: number, others: readonly RefineTarget[]): void {
  const { data, width, height } = frame;
  const { x, y } = target;
  const radius = Math.max(MIN_RADIUS, Math.min(MAX_RADIUS, Math.ceil(WINDOW_SIGMAS * sigma) + 1));
  const left = Math.max(0, Math.round(x) - radius);
  const top = Math.max(0, Math.round(y) - radius);
  const cols = Math.min(width - 1, Math.round(x) + radius) - left + 1;
  const rows = Math.min(height - 1, Math.round(y) + radius) - top + 1;
  window.left = left;
  window.top = top;
  window.cols = cols;
  window.rows = rows;
  window.pixels = cols * rows;
  for (let j = 0; j < rows; j++) {
    const from = (top + j) * width + left;
    for (let i = 0; i < cols; i++) {
      values[j * cols + i] = data[from + i]!;
      used[j * cols + i] = 1;
    }
  }
  for (let k = 0; k < others.length; k++) {
    const other = others[k]!;
    if (other === target) continue;
    const reach = radius + NEIGHBOUR_SIGMAS * other.extent + 1;
    const apart = Math.max(Math.abs(other.x - x), Math.abs(other.y - y));
    // Two detections in one place are one target seen twice: leave it its pixels.
    if (apart > 2 * reach || apart < 0.5 * sigma) continue;
    exclude(other, x, y, sigma);
  }
}

function exclude(other: RefineTarget, x: number, y: number, sigma: number): void {
  const { left, top, cols, rows } = window;
  const theirs = (NEIGHBOUR_SIGMAS * other.extent + 0.5) ** 2;
  const own = (OWN_SIGMAS * sigma) ** 2;
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < cols; i++) {
      const toOther = (left + i - other.x) ** 2 + (top + j - other.y) ** 2;
      const toSelf = (left + i - x) ** 2 + (top + j - y) ** 2;
      if (used[j * cols + i] === 1 && (toOther < toSelf || (toOther < theirs && toSelf > own))) {
        used[j * cols + i] = 0;
        window.pixels--;
      }
    }
  }
}

/** Flux, level and slopes at the starting centre and sigma; leaves out clipped pixels once the target's sign is known. */
function fitLinear(frame: RefineFrame): boolean {
  for (let pass = 0; pass < 2; pass++) {
    accumulate(params);
    // Centre and sigma are held: their rows and columns become the identity's.
    for (let i = 0; i < FLUX; i++) {
      right[i] = 0;
      for (let j = 0; j < N; j++) {
        normal[i * N + j] = i === j ? 1 : 0;
        normal[j * N + i] = i === j ? 1 : 0;
      }
    }
    if (!factor(0)) return false;
    solve(right, step);
    for (let i = FLUX; i < N; i++) params[i]! += step[i]!;
    if (pass === 0 && !dropClipped(frame, params[FLUX]! > 0)) return true;
    if (window.pixels < FEWEST_PIXELS) return false;
  }
  return true;
}

/** Leaves out the pixels at the end of the range that the target points to. Returns whether there were any. */
function dropClipped(frame: RefineFrame, bright: boolean): boolean {
  const wide = frame.data instanceof Uint16Array;
  const full = frame.bits === undefined ? (wide ? 65535 : 255) : 2 ** frame.bits - 1;
  const total = window.cols * window.rows;
  const before = window.pixels;
  for (let i = 0; i < total; i++) {
    if (used[i] === 1 && (bright ? values[i]! >= full : values[i]! <= 0)) {
      used[i] = 0;
      window.pixels--;
    }
  }
  return window.pixels < before;
}

/** Root mean square residual within two sigmas and a pixel of the fitted centre, counts. */
function coreResidual(sigma: number): number {
  const { left, top, cols, rows } = window;
  const reach = (2 * sigma) ** 2 + 1;
  let sum = 0;
  let count = 0;
  for (let j = 0; j < rows; j++) {
    const v = (2 * (j - (rows - 1) / 2)) / rows;
    for (let i = 0; i < cols; i++) {
      const at = j * cols + i;
      const distance = (left + i - params[X]!) ** 2 + (top + j - params[Y]!) ** 2;
      if (used[at] === 0 || distance > reach) continue;
      const background = params[4]! + params[5]! * across[i]! + params[6]! * v;
      sum += (values[at]! - background - params[FLUX]! * shareX[i]! * shareY[j]!) ** 2;
      count++;
    }
  }
  return Math.sqrt(sum / Math.max(1, count));
}

function noiseVariance(residual: number): number {
  return Math.max(QUANTISATION_NOISE * QUANTISATION_NOISE, residual / Math.max(1, window.pixels - N));
}

/**
 * Fills `normal` (lower triangle) and `right` for a step from `p`; returns the sum of squared residuals at `p`.
 *
 * Each derivative is a sum of products of a factor of the row and one of the column, so the products of derivatives summed along
 * a row need the columns' factors only: computed once, except for rows with pixels left out.
 */
function accumulate(p: Float64Array): number {
  const { left, top, cols, rows } = window;
  const sigma = Math.exp(p[LN_SIGMA]!);
  profile(left - p[X]!, cols, sigma, shareX, moveX, growX);
  profile(top - p[Y]!, rows, sigma, shareY, moveY, growY);
  const flux = p[FLUX]!;
  const slopeX = p[5]!;
  const m = normal;
  const middleY = (rows - 1) / 2;
  normal.fill(0);
  right.fill(0);
  sumColumns(-1);
  let isWhole = true;
  let residual = 0;
  for (let j = 0; j < rows; j++) {
    // The derivatives along the row: x: a move; y: b share; ln sigma: a grow + c share; flux: d share; level: 1; slopes: u, v.
    const d = shareY[j]!;
    const a = flux * d;
    const b = flux * moveY[j]!;
    const c = flux * growY[j]!;
    const v = (2 * (j - middleY)) / rows;
    const base = p[4]! + p[6]! * v;
    let em = 0;
    let es = 0;
    let eg = 0;
    let e1 = 0;
    let eu = 0;
    let free = 0;
    for (let i = 0; i < cols; i++) {
      const at = j * cols + i;
      if (used[at] === 0) continue;
      free++;
      const u = across[i]!;
      const share = shareX[i]!;
      const e = values[at]! - (base + slopeX * u + a * share);
      residual += e * e;
      em += e * moveX[i]!;
      es += e * share;
      eg += e * growX[i]!;
      e1 += e;
      eu += e * u;
    }
    if (free === 0) continue;
    right[0]! += a * em;
    right[1]! += b * es;
    right[2]! += a * eg + c * es;
    right[3]! += d * es;
    right[4]! += e1;
    right[5]! += eu;
    right[6]! += v * e1;
    if (free < cols || !isWhole) sumColumns(free < cols ? j : -1);
    isWhole = free === cols;
    const { mm, ms, mg, m1, mu, ss, sg, s1, su, gg, g1, gu, n, u1, uu } = sums;
    m[0]! += a * a * mm;
    m[7]! += a * b * ms;
    m[8]! += b * b * ss;
    m[14]! += a * (a * mg + c * ms);
    m[15]! += b * (a * sg + c * ss);
    m[16]! += a * a * gg + c * (2 * a * sg + c * ss);
    m[21]! += d * a * ms;
    m[22]! += d * b * ss;
    m[23]! += d * (a * sg + c * ss);
    m[24]! += d * d * ss;
    m[28]! += a * m1;
    m[29]! += b * s1;
    m[30]! += a * g1 + c * s1;
    m[31]! += d * s1;
    m[32]! += n;
    m[35]! += a * mu;
    m[36]! += b * su;
    m[37]! += a * gu + c * su;
    m[38]! += d * su;
    m[39]! += u1;
    m[40]! += uu;
    m[42]! += v * a * m1;
    m[43]! += v * b * s1;
    m[44]! += v * (a * g1 + c * s1);
    m[45]! += v * d * s1;
    m[46]! += v * n;
    m[47]! += v * u1;
    m[48]! += v * v * n;
  }
  return residual;
}

/** Sums of products of the columns' factors over the free pixels of row `j`, or over all columns if `j` is negative. */
function sumColumns(j: number): void {
  const { cols } = window;
  const middle = (cols - 1) / 2;
  let mm = 0;
  let ms = 0;
  let mg = 0;
  let m1 = 0;
  let mu = 0;
  let ss = 0;
  let sg = 0;
  let s1 = 0;
  let su = 0;
  let gg = 0;
  let g1 = 0;
  let gu = 0;
  let n = 0;
  let u1 = 0;
  let uu = 0;
  for (let i = 0; i < cols; i++) {
    // About the window's middle and in units of half its size, which keeps the normal equations well scaled.
    const u = (2 * (i - middle)) / cols;
    across[i] = u;
    if (j >= 0 && used[j * cols + i] === 0) continue;
    const move = moveX[i]!;
    const share = shareX[i]!;
    const grow = growX[i]!;
    mm += move * move;
    ms += move * share;
    mg += move * grow;
    m1 += move;
    mu += move * u;
    ss += share * share;
    sg += share * grow;
    s1 += share;
    su += share * u;
    gg += grow * grow;
    g1 += grow;
    gu += grow * u;
    n++;
    u1 += u;
    uu += u * u;
  }
  sums.mm = mm;
  sums.ms = ms;
  sums.mg = mg;
  sums.m1 = m1;
  sums.mu = mu;
  sums.ss = ss;
  sums.sg = sg;
  sums.s1 = s1;
  sums.su = su;
  sums.gg = gg;
  sums.g1 = g1;
  sums.gu = gu;
  sums.n = n;
  sums.u1 = u1;
  sums.uu = uu;
}

/**
 * Shares of a unit Gaussian on `count` pixels, the first of which has its centre `first` px from the Gaussian's, and their
 * derivatives by the Gaussian's centre (`move`) and by ln sigma (`grow`).
 */
function profile(
  first: number,
  count: number,
  sigma: number,
  share: Float64Array,
  move: Float64Array,
  grow: Float64Array,
): void {
  let below = 0;
  let density = 0;
  let weighted = 0;
  for (let k = -1; k < count; k++) {
    const t = (first + k + 0.5) / sigma;
    const nextDensity = Math.exp(-0.5 * t * t) / SQRT_2PI;
    const nextBelow = shareBelow(t, nextDensity);
    const nextWeighted = t * nextDensity;
    if (k >= 0) {
      share[k] = nextBelow - below;
      move[k] = (density - nextDensity) / sigma;
      grow[k] = weighted - nextWeighted;
    }
    below = nextBelow;
    density = nextDensity;
    weighted = nextWeighted;
  }
}

/** Share of the standard normal distribution below `t`, where its density is `density`; error below 1e-7 (Abramowitz and Stegun 26.2.17). */
function shareBelow(t: number, density: number): number {
  const k = 1 / (1 + 0.2316419 * Math.abs(t));
  const series = k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429))));
  return t < 0 ? density * series : 1 - density * series;
}

/** Cholesky factor of `normal` with its diagonal raised by the share `damping`; false if singular. */
function factor(damping: number): boolean {
  const m = factored;
  for (let j = 0; j < N; j++) {
    const whole = normal[j * N + j]! * (1 + damping);
    let d = whole;
    for (let k = 0; k < j; k++) d -= m[j * N + k]! * m[j * N + k]!;
    if (!(d > 1e-10 * whole)) return false;
    d = Math.sqrt(d);
    m[j * N + j] = d;
    for (let i = j + 1; i < N; i++) {
      let s = normal[i * N + j]!;
      for (let k = 0; k < j; k++) s -= m[i * N + k]! * m[j * N + k]!;
      m[i * N + j] = s / d;
    }
  }
  return true;
}

/** Solves with the factor in `factored`. */
function solve(b: Float64Array, x: Float64Array): void {
  for (let i = 0; i < N; i++) {
    let s = b[i]!;
    for (let k = 0; k < i; k++) s -= factored[i * N + k]! * x[k]!;
    x[i] = s / factored[i * N + i]!;
  }
  for (let i = N - 1; i >= 0; i--) {
    let s = x[i]!;
    for (let k = i + 1; k < N; k++) s -= factored[k * N + i]! * x[k]!;
    x[i] = s / factored[i * N + i]!;
  }
}

/** Column `index` of the inverse of the factored matrix, into `column`; returns its diagonal element. */
function inverseColumn(index: number, column: Float64Array): number {
  unit.fill(0);
  unit[index] = 1;
  solve(unit, column);
  return column[index]!;
}

/**
 * How much larger position errors are than white noise would make them, as a variance ratio. Structure (clouds, trees) is smooth
 * on the scale of a target, so it moves a fit more than its variance says. Measured: how far the fit would be moved by what lies
 * around, if that lay under the target. `varianceX`, `varianceY`: of the fit in white noise.
 */
function structureFactor(
  frame: RefineFrame,
  sigma: number,
  varianceX: number,
  varianceY: number,
  target: RefineTarget,
  others: readonly RefineTarget[],
): number {
  const { data, width, height } = frame;
  const { left, top, cols, rows } = window;
  fillResponses();
  const spread = Math.hypot(sigma, PIXEL_SIGMA);
  const radius = Math.max(cols, rows) / 2;
  let places = 0;
  let sum = 0;
  for (let ring = 0; ring < PROBE_RINGS.length; ring++) {
    const distance = radius + PROBE_RINGS[ring]! * spread;
    for (let k = 0; k < PROBES; k++) {
      const angle = (2 * Math.PI * (k + 0.5 * ring)) / PROBES;
      const dx = Math.round(distance * Math.cos(angle));
      const dy = Math.round(distance * Math.sin(angle));
      const x0 = left + dx;
      const y0 = top + dy;
      if (x0 < 0 || y0 < 0 || x0 + cols > width || y0 + rows > height) continue;
      if (isNearOther(params[X]! + dx, params[Y]! + dy, sigma, target, others)) continue;
      let moveByX = 0;
      let moveByY = 0;
      for (let j = 0; j < rows; j++) {
        const from = (y0 + j) * width + x0;
        for (let i = 0; i < cols; i++) {
          const value = data[from + i]!;
          moveByX += weightX[j * cols + i]! * value;
          moveByY += weightY[j * cols + i]! * value;
        }
      }
      places++;
      sum +=
        Math.min(PROBE_CLIP, (moveByX * moveByX) / varianceX) + Math.min(PROBE_CLIP, (moveByY * moveByY) / varianceY);
    }
  }
  // A dozen places know a variance to about a third only: lean on the white noise by so many places.
  return (PRIOR_PLACES + 0.5 * sum) / (PRIOR_PLACES + places);
}

/** How far a count in each pixel of the window moves the fit, px. */
function fillResponses(): void {
  const { cols, rows } = window;
  const flux = params[FLUX]!;
  for (let j = 0; j < rows; j++) {
    const sy = shareY[j]!;
    const v = (2 * (j - (rows - 1) / 2)) / rows;
    for (let i = 0; i < cols; i++) {
      const at = j * cols + i;
      const sx = shareX[i]!;
      const u = across[i]!;
      const free = used[at]!;
      const byX = flux * sy * moveX[i]!;
      const byY = flux * moveY[j]! * sx;
      const bySigma = flux * (sy * growX[i]! + growY[j]! * sx);
      const byFlux = sx * sy;
      const rx = responseX;
      const ry = responseY;
      weightX[at] =
        free * (rx[0]! * byX + rx[1]! * byY + rx[2]! * bySigma + rx[3]! * byFlux + rx[4]! + rx[5]! * u + rx[6]! * v);
      weightY[at] =
        free * (ry[0]! * byX + ry[1]! * byY + ry[2]! * bySigma + ry[3]! * byFlux + ry[4]! + ry[5]! * u + ry[6]! * v);
    }
  }
}

function isNearOther(
  x: number,
  y: number,
  sigma: number,
  target: RefineTarget,
  others: readonly RefineTarget[],
): boolean {
  for (let k = 0; k < others.length; k++) {
    const other = others[k]!;
    if (other === target) continue;
    const reach = PROBE_CLEARANCE * (sigma + other.extent) + 1;
    if ((other.x - x) ** 2 + (other.y - y) ** 2 < reach * reach) return true;
  }
  return false;
}
