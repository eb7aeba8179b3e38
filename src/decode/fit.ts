/**
 * Sub-pixel fit of one heat-map peak.
 *
 * The net is trained on Gaussians, so the logarithm of a peak is a parabola: ln h = a + bx x + cx x^2 + by y + cy y^2. A least
 * squares fit of that in the logarithm (weights h^2, because a noise s in h is a noise s/h in ln h) gives a start; one
 * Gauss-Newton step on h itself then removes the bias that the logarithm of noisy tails leaves.
 */

/** Largest half-size of the fit window, cells. */
const MAX_RADIUS = 4;
/** Side of the looked-at square: the window and one ring more, to see valleys at its rim. */
const SIDE = 2 * MAX_RADIUS + 3;
const MAX_CELLS = SIDE * SIDE;
const MIDDLE = (MAX_CELLS - 1) / 2;

/** Window half-size over the peak's sigma: beyond 1.6 sigma a cell holds little information and other things' tails. */
const WINDOW_SIGMAS = 1.6;
/** Cells below this share of the peak do not enter the logarithmic start: with 3 % noise their logarithms are mostly noise. */
const LOG_CUT = 0.1;
/** A cell may rise by this share of the peak over its inner neighbour and still be on the same hill: raggedness, noise. */
const HILL_TOLERANCE = 0.05;
/** A rise by more than this share of the peak is another peak's flank, and the cell before it the floor of a valley. */
const VALLEY_RISE = 0.1;
const OFF_HILL = 0;
const ON_HILL = 1;
const VALLEY = 2;
/** Farthest that a fit may move a peak from its cell, along each axis. */
const MAX_SHIFT = 1.5;

/** Limits of a believable width, cells (labels are 1.0 to 2.5). */
export const MIN_WIDTH = 0.5;
export const MAX_WIDTH = 5;

/**
 * Noise of a heat-map cell assumed before the residuals are seen, and the weight of that assumption in degrees of freedom: a
 * 3x3 window leaves only four of its own.
 */
const PRIOR_NOISE = 0.015;
const PRIOR_FREEDOM = 4;
/**
 * How far the two axes' curvatures may differ, as a share of the curvature (standard deviation of a Gaussian prior). Labels are
 * round; without this a narrow peak at the border, seen from one side only, has no solution.
 */
const ROUNDNESS = 0.2;
/** Position errors below this are not claimed, cells: no trained net draws perfect Gaussians. */
const SIGMA_FLOOR = 0.01;
/** Position error where the shape of a peak says nothing, cells. */
const SIGMA_UNKNOWN = 0.5;

export interface PeakFit {
  /** Shift from the peak's cell, cells. */
  du: number;
  dv: number;
  /** Standard error of the shift, cells. */
  sigmaU: number;
  sigmaV: number;
  /** Standard deviation of the peak (geometric mean of both axes), cells. */
  width: number;
  /** `gauss`: the two-dimensional fit; `parabola`: three points an axis; `none`: no axis has a usable shape. */
  method: 'gauss' | 'parabola' | 'none';
}

// Scratch of the one fit under way; JavaScript runs one at a time in a thread.
const cellX = new Float64Array(MAX_CELLS);
const cellY = new Float64Array(MAX_CELLS);
const cellH = new Float64Array(MAX_CELLS);
const hill = new Uint8Array(MAX_CELLS);
const normal = new Float64Array(25);
const right = new Float64Array(5);
const params = new Float64Array(5);
const trial = new Float64Array(5);
const jacobian = new Float64Array(5);
const solved = new Float64Array(5);

/**
 * Fits the peak at cell (`col`, `row`) of `heat` (`rows` x `cols`, row-major, finite values) into `out`.
 *
 * `widthHint` is the sigma that the net states for the peak, cells, or NaN. The cell must be positive and a local maximum.
 */
export function fitPeak(
  heat: Float32Array,
  rows: number,
  cols: number,
  row: number,
  col: number,
  widthHint: number,
  out: PeakFit,
): void {
  const peak = heat[row * cols + col]!;
  const walked = walkWidth(heat, rows, cols, row, col);
  const first = widthHint > 0 ? Math.sqrt(walked * widthHint) : walked;
  // Where the border cuts the window, three cells along each axis are the least that holds a parabola.
  const isAtBorder = row === 0 || col === 0 || row === rows - 1 || col === cols - 1;
  const radius = Math.max(isAtBorder ? 2 : 1, Math.min(MAX_RADIUS, Math.round(WINDOW_SIGMAS * first)));
  const cells = gatherHill(heat, rows, cols, row, col, radius);
  if (fitGauss(cells, first, PRIOR_NOISE / peak, out)) return;
  fitParabolas(heat, rows, cols, row, col, walked, out);
}

/** Distance at which the peak falls to exp(-1/2) of its height, cells: mean of the four axis directions that tell. */
function walkWidth(heat: Float32Array, rows: number, cols: number, row: number, col: number): number {
  const at = row * cols + col;
  let sum = 0;
  let count = 0;
  for (let direction = 0; direction < 4; direction++) {
    const step = direction === 0 ? 1 : direction === 1 ? -1 : direction === 2 ? cols : -cols;
    const room = direction === 0 ? cols - 1 - col : direction === 1 ? col : direction === 2 ? rows - 1 - row : row;
    const distance = walk(heat, at, step, Math.min(room, MAX_WIDTH + 1));
    if (distance > 0) {
      sum += distance;
      count++;
    }
  }
  return count === 0 ? 1.25 : Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, sum / count));
}

function walk(heat: Float32Array, at: number, step: number, room: number): number {
  const peak = heat[at]!;
  const level = peak * Math.exp(-0.5);
  let previous = peak;
  for (let k = 1; k <= room; k++) {
    const h = heat[at + k * step]!;
    if (h <= level) return k - 1 + (previous - level) / (previous - h);
    if (h > previous + HILL_TOLERANCE * peak) {
      // A neighbour's flank: judge by how far the peak has fallen before it.
      return previous < peak ? (k - 1) / Math.sqrt(2 * Math.log(peak / previous)) : 0;
    }
    previous = h;
  }
  return room > 0 && previous < peak ? room / Math.sqrt(2 * Math.log(peak / previous)) : 0;
}

/**
 * Collects the cells of the window that belong to the peak's hill: going outward a value may not rise, nothing behind a cell that
 * did is taken, nor the valley floor before it, which is as much the neighbour's. Heights are relative to the peak. Returns their
 * number.
 */
function gatherHill(heat: Float32Array, rows: number, cols: number, row: number, col: number, radius: number): number {
  const peak = heat[row * cols + col]!;
  const rise = HILL_TOLERANCE * peak;
  const valleyRise = VALLEY_RISE * peak;
  hill[MIDDLE] = ON_HILL;
  for (let ring = 1; ring <= radius + 1; ring++) {
    for (let dy = -ring; dy <= ring; dy++) {
      const y = row + dy;
      const stride = dy > -ring && dy < ring ? 2 * ring : 1;
      for (let dx = -ring; dx <= ring; dx += stride) {
        const x = col + dx;
        const slot = MIDDLE + dy * SIDE + dx;
        hill[slot] = OFF_HILL;
        if (x < 0 || y < 0 || x >= cols || y >= rows) continue;
        const inX = dx === ring ? dx - 1 : dx === -ring ? dx + 1 : dx;
        const inY = dy === ring ? dy - 1 : dy === -ring ? dy + 1 : dy;
        const inSlot = MIDDLE + inY * SIDE + inX;
        if (hill[inSlot] === OFF_HILL) continue;
        const up = heat[y * cols + x]! - heat[(row + inY) * cols + col + inX]!;
        if (up <= rise) hill[slot] = ON_HILL;
        else if (up > valleyRise) hill[inSlot] = VALLEY;
      }
    }
  }
  let count = 0;
  for (let dy = -radius; dy <= radius; dy++) {
    for (let dx = -radius; dx <= radius; dx++) {
      if (hill[MIDDLE + dy * SIDE + dx] !== ON_HILL) continue;
      cellX[count] = dx;
      cellY[count] = dy;
      cellH[count] = heat[(row + dy) * cols + col + dx]! / peak;
      count++;
    }
  }
  return count;
}

/** The fit over the gathered cells; false if they do not hold a peak. `noise`: assumed noise of a cell, relative to the peak. */
function fitGauss(cells: number, width: number, noise: number, out: PeakFit): boolean {
  const spread = ROUNDNESS / (2 * width * width);
  const tie = (noise * noise) / (spread * spread);
  params.fill(0);
  accumulate(cells, tie, true);
  if (!factor()) return false;
  solve(right, params);
  if (!isPeak(params)) return false;

  const residual = accumulate(cells, tie, false);
  if (!factor()) return false;
  solve(right, trial);
  // A step that diverges is a misshapen peak: the start stands, and its residuals widen the error.
  if (isPeak(trial)) params.set(trial);

  const variance = (PRIOR_FREEDOM * noise * noise + residual) / (PRIOR_FREEDOM + Math.max(0, cells - 5));
  const bx = params[1]!;
  const cx = params[2]!;
  const by = params[3]!;
  const cy = params[4]!;
  const sigmaX = axisSigma(cx);
  const sigmaY = axisSigma(cy);
  out.du = -bx / (2 * cx);
  out.dv = -by / (2 * cy);
  // However poor the fit, the target is somewhere under the peak.
  out.sigmaU = Math.min(sigmaX, Math.hypot(Math.sqrt(variance * positionVariance(1, bx, cx)), SIGMA_FLOOR));
  out.sigmaV = Math.min(sigmaY, Math.hypot(Math.sqrt(variance * positionVariance(3, by, cy)), SIGMA_FLOOR));
  out.width = Math.sqrt(sigmaX * sigmaY);
  out.method = 'gauss';
  return Number.isFinite(out.sigmaU) && Number.isFinite(out.sigmaV);
}

function axisSigma(c: number): number {
  return Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, 1 / Math.sqrt(-2 * c)));
}

/** Both axes bend down and the top is near the cell. */
function isPeak(p: Float64Array): boolean {
  return (
    p[2]! < 0 && p[4]! < 0 && Math.abs(p[1]!) <= -2 * MAX_SHIFT * p[2]! && Math.abs(p[3]!) <= -2 * MAX_SHIFT * p[4]!
  );
}

/** Variance of -b/2c for unit noise: its gradient through the inverse of the factored normal matrix. */
function positionVariance(at: number, b: number, c: number): number {
  jacobian.fill(0);
  jacobian[at] = -1 / (2 * c);
  jacobian[at + 1] = b / (2 * c * c);
  solve(jacobian, solved);
  return Math.max(0, jacobian[at]! * solved[at]! + jacobian[at + 1]! * solved[at + 1]!);
}

/**
 * Fills the normal equations (lower triangle): of the logarithm of the heights, or of one Gauss-Newton step on the heights from
 * `params`. `tie` weighs the prior that both axes bend alike. Returns the squared residuals before the step.
 */
function accumulate(cells: number, tie: number, logarithm: boolean): number {
  const a = params[0]!;
  const bx = params[1]!;
  const cx = params[2]!;
  const by = params[3]!;
  const cy = params[4]!;
  let n = 0;
  let nx = 0;
  let nxx = 0;
  let nxxx = 0;
  let nxxxx = 0;
  let ny = 0;
  let nxy = 0;
  let nxxy = 0;
  let nyy = 0;
  let nxyy = 0;
  let nxxyy = 0;
  let nyyy = 0;
  let nyyyy = 0;
  let r0 = 0;
  let r1 = 0;
  let r2 = 0;
  let r3 = 0;
  let r4 = 0;
  let residual = 0;
  for (let i = 0; i < cells; i++) {
    const x = cellX[i]!;
    const y = cellY[i]!;
    const h = cellH[i]!;
    let weight: number;
    let value: number;
    if (logarithm) {
      if (h <= LOG_CUT) continue;
      weight = h * h;
      value = weight * Math.log(h);
    } else {
      const log = a + x * (bx + x * cx) + y * (by + y * cy);
      const model = Math.exp(log);
      const difference = h - model;
      weight = model * model;
      value = weight * log + model * difference;
      residual += difference * difference;
    }
    const xx = x * x;
    const yy = y * y;
    const wx = weight * x;
    const wxx = weight * xx;
    const wy = weight * y;
    const wyy = weight * yy;
    n += weight;
    nx += wx;
    nxx += wxx;
    nxxx += wxx * x;
    nxxxx += wxx * xx;
    ny += wy;
    nxy += wx * y;
    nxxy += wxx * y;
    nyy += wyy;
    nxyy += wyy * x;
    nxxyy += wyy * xx;
    nyyy += wyy * y;
    nyyyy += wyy * yy;
    r0 += value;
    r1 += value * x;
    r2 += value * xx;
    r3 += value * y;
    r4 += value * yy;
  }
  normal[0] = n;
  normal[5] = nx;
  normal[6] = nxx;
  normal[10] = nxx;
  normal[11] = nxxx;
  normal[12] = nxxxx + tie;
  normal[15] = ny;
  normal[16] = nxy;
  normal[17] = nxxy;
  normal[18] = nyy;
  normal[20] = nyy;
  normal[21] = nxyy;
  normal[22] = nxxyy - tie;
  normal[23] = nyyy;
  normal[24] = nyyyy + tie;
  right[0] = r0;
  right[1] = r1;
  right[2] = r2;
  right[3] = r3;
  right[4] = r4;
  return residual;
}

/** Cholesky factor of `normal` in place (lower triangle); false if singular: too few cells, rows or columns. */
function factor(): boolean {
  const m = normal;
  for (let j = 0; j < 5; j++) {
    const whole = m[j * 5 + j]!;
    let d = whole;
    for (let k = 0; k < j; k++) d -= m[j * 5 + k]! * m[j * 5 + k]!;
    if (!(d > 1e-9 * whole)) return false;
    d = Math.sqrt(d);
    m[j * 5 + j] = d;
    for (let i = j + 1; i < 5; i++) {
      let s = m[i * 5 + j]!;
      for (let k = 0; k < j; k++) s -= m[i * 5 + k]! * m[j * 5 + k]!;
      m[i * 5 + j] = s / d;
    }
  }
  return true;
}

/** Solves with the factor in `normal`. */
function solve(b: Float64Array, x: Float64Array): void {
  for (let i = 0; i < 5; i++) {
    let s = b[i]!;
    for (let k = 0; k < i; k++) s -= normal[i * 5 + k]! * x[k]!;
    x[i] = s / normal[i * 5 + i]!;
  }
  for (let i = 4; i >= 0; i--) {
    let s = x[i]!;
    for (let k = i + 1; k < 5; k++) s -= normal[k * 5 + i]! * x[k]!;
    x[i] = s / normal[i * 5 + i]!;
  }
}

const axis = { shift: 0, sigma: SIGMA_UNKNOWN, width: Number.NaN };

function fitParabolas(
  heat: Float32Array,
  rows: number,
  cols: number,
  row: number,
  col: number,
  walked: number,
  out: PeakFit,
): void {
  const at = row * cols + col;
  const noise = PRIOR_NOISE / heat[at]!;
  out.method = 'none';
  fitParabola(heat, at, 1, col > 0 && col < cols - 1, noise);
  out.du = axis.shift;
  out.sigmaU = axis.sigma;
  const widthU = axis.width;
  fitParabola(heat, at, cols, row > 0 && row < rows - 1, noise);
  out.dv = axis.shift;
  out.sigmaV = axis.sigma;
  const widthV = axis.width;
  if (widthU > 0 || widthV > 0) out.method = 'parabola';
  out.width = widthU > 0 && widthV > 0 ? Math.sqrt(widthU * widthV) : walked;
}

/** Parabola through the logarithms of a cell and its two neighbours along one axis, into `axis`. */
function fitParabola(heat: Float32Array, at: number, step: number, hasBoth: boolean, noise: number): void {
  axis.shift = 0;
  axis.sigma = SIGMA_UNKNOWN;
  axis.width = Number.NaN;
  if (!hasBoth) return;
  const peak = heat[at]!;
  // A neighbour of zero has no logarithm; a thousandth says the same.
  const low = Math.max(1e-3, heat[at - step]! / peak);
  const high = Math.max(1e-3, heat[at + step]! / peak);
  const lowLog = Math.log(low);
  const highLog = Math.log(high);
  const bend = lowLog + highLog;
  if (!(bend < -1e-6)) return;
  const slope = (lowLog - highLog) / 2;
  const shift = slope / bend;
  const perLow = ((0.5 * bend - slope) / (bend * bend)) * (noise / low);
  const perHigh = ((-0.5 * bend - slope) / (bend * bend)) * (noise / high);
  const perPeak = ((2 * slope) / (bend * bend)) * noise;
  axis.shift = shift;
  axis.sigma = Math.min(SIGMA_UNKNOWN, Math.hypot(perLow, perHigh, perPeak, SIGMA_FLOOR));
  axis.width = Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, 1 / Math.sqrt(-bend)));
}
