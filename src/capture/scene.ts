import { hash, standardise } from './random.js';

/** Error function, to about 1e-15, by its series; the sum is short enough for targets, which are few. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 5.8) return Math.sign(x);
  // erf(x) = 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!! : all terms positive, so nothing cancels.
  let term = a;
  let sum = a;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= (2 * a * a) / (2 * n + 1);
    sum += term;
  }
  return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum;
}

/** Share of a unit Gaussian profile at `centre` that falls on the pixel at `pixel`, which reaches half a pixel to each side. */
export function pixelShare(pixel: number, centre: number, sigma: number): number {
  const scale = 1 / (sigma * Math.SQRT2);
  return 0.5 * (erf((pixel + 0.5 - centre) * scale) - erf((pixel - 0.5 - centre) * scale));
}

/** Where something that starts at `start` with `velocity` a step is after `steps`, mirrored at `low` and `high`; and its velocity. */
export function bounce(start: number, velocity: number, steps: number, low: number, high: number): [number, number] {
  const span = high - low;
  if (span <= 0) return [(low + high) / 2, 0];
  const along = modulo(start + velocity * steps - low, 2 * span);
  return along <= span ? [low + along, velocity] : [low + 2 * span - along, -velocity];
}

/** As `bounce`, but what leaves at one end comes in at the other. */
export function wrap(start: number, velocity: number, steps: number, low: number, high: number): [number, number] {
  return [low + modulo(start + velocity * steps - low, high - low), velocity];
}

function modulo(value: number, period: number): number {
  return value - Math.floor(value / period) * period;
}

/** Smooth noise of about [-1, 1] whose bumps are `size` px wide. */
function valueNoise(x: number, y: number, size: number, seed: number): number {
  const gx = x / size;
  const gy = y / size;
  const ix = Math.floor(gx);
  const iy = Math.floor(gy);
  const fx = smooth(gx - ix);
  const fy = smooth(gy - iy);
  const top = lattice(ix, iy, seed) * (1 - fx) + lattice(ix + 1, iy, seed) * fx;
  const bottom = lattice(ix, iy + 1, seed) * (1 - fx) + lattice(ix + 1, iy + 1, seed) * fx;
  return top * (1 - fy) + bottom * fy;
}

function lattice(ix: number, iy: number, seed: number): number {
  return hash(seed, ix, iy) / 2147483648 - 1;
}

function smooth(t: number): number {
  return t * t * t * (t * (t * 6 - 15) + 10);
}

/** Octaves of value noise whose amplitude falls with their frequency: roughly 1/f, as clouds and terrain. */
function fractal(x: number, y: number, size: number, octaves: number, seed: number): number {
  let sum = 0;
  for (let o = 0; o < octaves; o++) sum += valueNoise(x, y, size / 2 ** o, seed + o) / 2 ** o;
  return sum;
}

/**
 * A thermal view to the horizon: sky that warms downwards with clouds, and three ridges, each nearer, warmer and rougher. Mean 0,
 * variance 1; `width * height` values row by row. Edges are one pixel soft, as through a lens. Deterministic in `seed`.
 */
export function background(width: number, height: number, seed: number): Float64Array {
  const out = new Float64Array(width * height);
  const unit = Math.max(width, height);
  const ridges = [0.66, 0.77, 0.9].map((level, r) => {
    const line = new Float64Array(width);
    for (let x = 0; x < width; x++) line[x] = height * (level + 0.05 * fractal(x, 0, unit / 4, 5, hash(seed, 10 + r)));
    return { line, tone: 0.9 + 0.5 * r, rough: 0.15 + 0.1 * r, seed: hash(seed, 20 + r) };
  });
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let value = 0.8 * (y / height) + 0.7 * fractal(x, y * 1.8, unit / 3, 6, seed);
      for (const { line, tone, rough, seed: own } of ridges) {
        const inside = Math.min(1, Math.max(0, y - line[x]! + 0.5));
        if (inside > 0) value += inside * (tone + rough * fractal(x, y, unit / 12, 4, own) - value);
      }
      out[y * width + x] = value;
    }
  }
  return standardise(out);
}
