import type { Frame } from '../types/frame.js';

/**
 * How counts become the network's input. The same arithmetic as `models/training/irst_edge_training/normalise.py`;
 * the constants come from the model's manifest, so an old model keeps the normalisation that it was trained with.
 */
export interface Normalisation {
  kind: 'median-mad';
  /** 1.4826: MAD of a Gaussian to its sigma. */
  madToSigma: number;
  /** Share of the standard deviation below which the scale never falls (frames that are mostly one flat value). */
  stdShare: number;
  /** Least scale, counts: the quantisation step. */
  minScale: number;
  zMin: number;
  zMax: number;
}

/** Median and scale of a frame, counts. */
export interface FrameStatistics {
  median: number;
  scale: number;
}

type Counts = Frame['data'];

/** Padding is in squares of so many px: what the network's coarsest level takes for one. */
const PAD_BLOCK = 8;

/**
 * `z = clip((v - median) / scale, zMin, zMax)`, `scale = max(madToSigma * MAD, stdShare * std, minScale)`.
 *
 * Exact (lower) medians by one histogram over the counts: a pass over the frame and one over the range of its counts.
 * Integers cannot be NaN, and an all-equal frame gives a scale of `minScale` and a map of zeros, so no input makes a NaN.
 */
export class Normaliser {
  private readonly histogram = new Uint32Array(65_536);
  private readonly table = new Float32Array(65_536);
  private readonly block = new Float32Array(3 * PAD_BLOCK * PAD_BLOCK);

  constructor(private readonly options: Normalisation) {}

  /** Median and scale of `counts`. Leaves the histogram empty for the next frame. */
  statistics(counts: Counts): FrameStatistics {
    return this.measure(counts).statistics;
  }

  /**
   * Normalises a `width` x `height` frame into `out`, a plane of `outWidth` x `outHeight` (at least as large). What lies right
   * of and below the frame goes on as the ground at the border is (`pad`).
   */
  run(counts: Counts, width: number, height: number, out: Float32Array, outWidth: number, outHeight: number): void {
    const { statistics, low, high } = this.measure(counts);
    const { zMin, zMax } = this.options;
    const { table } = this;
    const median = Math.fround(statistics.median);
    const gain = Math.fround(1 / statistics.scale);
    // Counts repeat far more often than they differ: normalise each value once, then look it up.
    for (let v = low; v <= high; v++) {
      table[v] = Math.min(zMax, Math.max(zMin, Math.fround(Math.fround(v - median) * gain)));
    }
    for (let y = 0; y < height; y++) {
      let from = y * width;
      let to = y * outWidth;
      const end = from + width;
      while (from < end) out[to++] = table[counts[from++]!]!;
    }
    this.pad(out, width, height, outWidth, outHeight);
  }

  /**
   * Every 8 px along the border the median of the last 8 px of the frame, of 24 along it, fills what lies beyond. A mirror image there
   * would show each target near the border a second time, and the network makes one peak of the two, at the border between them; one
   * value for all, such as the frame's median, makes an edge wherever the ground is another, and its dynamic kernels see that everywhere.
   */
  private pad(out: Float32Array, width: number, height: number, outWidth: number, outHeight: number): void {
    if (outWidth > width) {
      const left = Math.max(0, width - PAD_BLOCK);
      for (let top = 0; top < height; top += PAD_BLOCK) {
        const bottom = Math.min(height, top + PAD_BLOCK);
        const ground = this.median(
          out,
          outWidth,
          left,
          width,
          Math.max(0, top - PAD_BLOCK),
          Math.min(height, bottom + PAD_BLOCK),
        );
        for (let y = top; y < bottom; y++) out.fill(ground, y * outWidth + width, (y + 1) * outWidth);
      }
    }
    if (outHeight > height) {
      const top = Math.max(0, height - PAD_BLOCK);
      for (let left = 0; left < outWidth; left += PAD_BLOCK) {
        const right = Math.min(outWidth, left + PAD_BLOCK);
        const ground = this.median(
          out,
          outWidth,
          Math.max(0, left - PAD_BLOCK),
          Math.min(outWidth, right + PAD_BLOCK),
          top,
          height,
        );
        for (let y = height; y < outHeight; y++) out.fill(ground, y * outWidth + left, y * outWidth + right);
      }
    }
  }

  /** Upper median of a rectangle of a plane; `right` and `bottom` are the first beyond it. */
  private median(
    plane: Float32Array,
    stride: number,
    left: number,
    right: number,
    top: number,
    bottom: number,
  ): number {
    let n = 0;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) this.block[n++] = plane[y * stride + x]!;
    }
    return this.block.subarray(0, n).sort()[n >> 1]!;
  }

  private measure(counts: Counts): { statistics: FrameStatistics; low: number; high: number } {
    const { histogram, options } = this;
    const n = counts.length;
    let low = 65_535;
    let high = 0;
    for (let i = 0; i < n; i++) {
      const v = counts[i]!;
      histogram[v]!++;
      if (v < low) low = v;
      if (v > high) high = v;
    }
    const half = (n + 1) >> 1;
    let median = low;
    for (let seen = 0; median <= high; median++) {
      seen += histogram[median]!;
      if (seen >= half) break;
    }
    let mad = 0;
    for (let seen = histogram[median]!; seen < half; ) {
      mad++;
      seen += (histogram[median - mad] ?? 0) + (histogram[median + mad] ?? 0);
    }
    let sum = 0;
    for (let v = low; v <= high; v++) sum += v * histogram[v]!;
    const mean = sum / n;
    let squares = 0;
    for (let v = low; v <= high; v++) squares += histogram[v]! * (v - mean) ** 2;
    histogram.fill(0, low, high + 1);
    const std = Math.sqrt(squares / n);
    const scale = Math.max(options.madToSigma * mad, options.stdShare * std, options.minScale);
    return { statistics: { median, scale }, low, high };
  }
}
