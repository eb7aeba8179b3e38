/** Synthetic heat maps with known truth, as the training labels draw them: the largest of Gaussians at unrounded centres. */

export interface Blob {
  u: number;
  v: number;
  /** Standard deviation, cells. */
  sigma: number;
  /** Height; default 1. */
  height?: number;
  /** Mean over each cell's square instead of the value at its centre. */
  integrated?: boolean;
}

export function drawHeat(rows: number, cols: number, blobs: readonly Blob[]): Float32Array {
  const heat = new Float32Array(rows * cols);
  for (const blob of blobs) {
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const h = (blob.height ?? 1) * profile(col - blob.u, blob) * profile(row - blob.v, blob);
        heat[row * cols + col] = Math.max(heat[row * cols + col]!, h);
      }
    }
  }
  return heat;
}

/** One axis of a Gaussian, at a point or averaged over a cell by 5-point Gauss-Legendre quadrature. */
function profile(distance: number, { sigma, integrated }: Blob): number {
  const at = (d: number) => Math.exp((-d * d) / (2 * sigma * sigma));
  if (integrated !== true) return at(distance);
  const nodes = [-0.9061798459, -0.5384693101, 0, 0.5384693101, 0.9061798459];
  const weights = [0.2369268851, 0.4786286705, 0.5688888889, 0.4786286705, 0.2369268851];
  return nodes.reduce((sum, node, k) => sum + (weights[k]! / 2) * at(distance + node / 2), 0);
}

/** Adds Gaussian noise of `sigma` and keeps the result within 0..1, as a sigmoid output is. */
export function addNoise(heat: Float32Array, sigma: number, random: () => number): Float32Array {
  return heat.map((h) => Math.min(1, Math.max(0, h + sigma * gaussian(random))));
}

export function gaussian(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Seeded numbers in 0..1 (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
