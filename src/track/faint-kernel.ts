/**
 * The arithmetic of `FaintFilter` on whole frames. The addon has the same (`native/src/faint_filter.cc`), to the last bit and several times as
 * fast.
 */

/** What smoothing reads and writes in place, whole frames row by row. */
export interface FaintSmoothing {
  readonly width: number;
  readonly height: number;
  /** The local level is the mean of a square of this radius, px. */
  readonly radius: number;
  /** Of the smoothing filter, 4 from the middle on. */
  readonly taps: Float64Array;
  /** Scratch: [height + 2 radius, width + 2 radius]. */
  readonly padded: Float32Array;
  /** Scratch, as `sums`: [height + 2 radius, width]. */
  readonly rows: Float32Array;
  readonly sums: Float32Array;
  /** Scratch: [width]. */
  readonly column: Float64Array;
  /** Result: [height, width], the frame smoothed less the local level. */
  readonly filtered: Float32Array;
}

/** What settling reads and writes in place: whole frames, and a number for each square of `block` px, both row by row. */
export interface FaintSettling {
  readonly width: number;
  readonly height: number;
  readonly block: number;
  /** Of this frame; result: what is left of it without the still picture. */
  readonly filtered: Float32Array;
  /** Of the frame before; result: of this one. */
  readonly previous: Float32Array;
  readonly still: Float32Array;
  readonly variance: Float32Array;
  /** Share of a residual that goes into the still picture. */
  readonly shares: Float64Array;
  /** Largest square of a residual that counts. */
  readonly mosts: Float64Array;
  /** Not 0: the square's pixels have no variance. */
  readonly restless: Uint8Array;
  /** Share of a squared residual that goes into the variance. */
  readonly pixelShare: number;
  /** Result: sums of absolute residuals. */
  readonly rests: Float64Array;
  /** Result: sums of absolute changes since the frame before. */
  readonly steps: Float64Array;
}

export interface FaintKernel {
  /** A frame, mirrored at its borders -> `filtered`. */
  faintSmooth(data: Uint8Array | Uint16Array, maps: FaintSmoothing): void;
  /** Takes the still picture out of `filtered`, and learns it and each pixel's variance. */
  faintSettle(maps: FaintSettling): void;
}

/** Where there is no addon. */
export const PLAIN_KERNEL: FaintKernel = {
  faintSmooth(data, maps) {
    const { width, height, radius, taps, padded, rows, sums, column, filtered } = maps;
    pad(data, width, height, radius, padded);
    const [k0, k1, k2, k3] = taps as unknown as [number, number, number, number];
    const stride = width + 2 * radius;
    const lines = height + 2 * radius;
    const side = 2 * radius + 1;
    for (let y = 0; y < lines; y++) {
      const line = y * stride;
      const to = y * width;
      // Sums of counts: whole numbers, exact.
      let sum = 0;
      for (let x = 0; x < side - 1; x++) sum += padded[line + x]!;
      for (let x = 0, i = line + radius; x < width; x++, i++) {
        sum += padded[i + radius]!;
        sums[to + x] = sum;
        sum -= padded[i - radius]!;
        rows[to + x] =
          k0 * padded[i]! +
          k1 * (padded[i - 1]! + padded[i + 1]!) +
          k2 * (padded[i - 2]! + padded[i + 2]!) +
          k3 * (padded[i - 3]! + padded[i + 3]!);
      }
    }
    const share = 1 / (side * side);
    const w1 = width;
    const w2 = 2 * width;
    const w3 = 3 * width;
    const far = radius * width;
    column.fill(0);
    for (let y = 0; y < side - 1; y++) {
      for (let x = 0; x < width; x++) column[x]! += sums[y * width + x]!;
    }
    for (let y = 0; y < height; y++) {
      for (let x = 0, to = y * width, i = to + far; x < width; x++, to++, i++) {
        const level = column[x]! + sums[i + far]!;
        column[x] = level - sums[i - far]!;
        filtered[to] =
          k0 * rows[i]! +
          k1 * (rows[i - w1]! + rows[i + w1]!) +
          k2 * (rows[i - w2]! + rows[i + w2]!) +
          k3 * (rows[i - w3]! + rows[i + w3]!) -
          level * share;
      }
    }
  },

  faintSettle(maps) {
    const { width, height, block, filtered, previous, still, variance } = maps;
    const { shares, mosts, restless, pixelShare, rests, steps } = maps;
    for (let b = 0, top = 0; top < height; top += block) {
      const bottom = Math.min(top + block, height);
      for (let left = 0; left < width; left += block, b++) {
        const right = Math.min(left + block, width);
        const share = shares[b]!;
        const most = mosts[b]!;
        const own = restless[b] === 0;
        let rest = 0;
        let step = 0;
        for (let y = top; y < bottom; y++) {
          for (let i = y * width + left, end = y * width + right; i < end; i++) {
            const value = filtered[i]!;
            const residual = value - still[i]!;
            still[i]! += residual * share;
            rest += Math.abs(residual);
            step += Math.abs(value - previous[i]!);
            previous[i] = value;
            filtered[i] = residual;
            const square = Math.min(most, residual * residual);
            variance[i] = own ? variance[i]! + (square - variance[i]!) * pixelShare : 0;
          }
        }
        rests[b] = rest;
        steps[b] = step;
      }
    }
  },
};

/** The frame as floats with a mirrored rim, which the filters reach into. */
function pad(
  data: Uint8Array | Uint16Array,
  width: number,
  height: number,
  radius: number,
  padded: Float32Array,
): void {
  const stride = width + 2 * radius;
  for (let y = 0; y < height; y++) {
    const from = y * width;
    const to = (y + radius) * stride + radius;
    for (let x = 0; x < width; x++) padded[to + x] = data[from + x]!;
    for (let k = 1; k <= radius; k++) {
      padded[to - k] = data[from + Math.min(k, width - 1)]!;
      padded[to + width - 1 + k] = data[from + Math.max(0, width - 1 - k)]!;
    }
  }
  for (let k = 1; k <= radius; k++) {
    const top = radius + Math.min(k, height - 1);
    const bottom = radius + Math.max(0, height - 1 - k);
    padded.copyWithin((radius - k) * stride, top * stride, (top + 1) * stride);
    padded.copyWithin((radius + height - 1 + k) * stride, bottom * stride, (bottom + 1) * stride);
  }
}
