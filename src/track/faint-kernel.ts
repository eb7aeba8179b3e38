/**
 * The arithmetic of `FaintFilter` on whole frames. The addon has the same (`native/src/faint_filter.cc`), to the last bit and several times as
 * fast.
 */

/** The caller's arrays are read and written in place. */
export interface FaintKernel {
  /**
   * A frame -> `filtered` [height, width]: smoothed less the local level, which is the mean of a square of this radius. The frame is mirrored at
   * its borders.
   *
   * @param taps of the smoothing filter, 4 from the middle on
   * @param padded scratch, as are the next three: [height + 2 radius, width + 2 radius], 2 x [height + 2 radius, width], [width]
   */
  faintSmooth(
    data: Uint8Array | Uint16Array,
    width: number,
    height: number,
    radius: number,
    taps: Float64Array,
    padded: Float32Array,
    rows: Float32Array,
    sums: Float32Array,
    column: Float64Array,
    filtered: Float32Array,
  ): void;
  /**
   * Takes the still picture out of `filtered`, and learns it and each pixel's variance. All arrays after `variance` are of the squares of
   * `block` px, row by row.
   *
   * @param shares of a residual that goes into the still picture
   * @param mosts largest square of a residual that counts
   * @param restless not 0: its pixels have no variance
   * @param pixelShare of a squared residual that goes into the variance
   * @param rests result: sums of absolute residuals
   * @param steps result: sums of absolute changes since the frame before
   */
  faintSettle(
    width: number,
    height: number,
    block: number,
    filtered: Float32Array,
    previous: Float32Array,
    still: Float32Array,
    variance: Float32Array,
    shares: Float64Array,
    mosts: Float64Array,
    restless: Uint8Array,
    pixelShare: number,
    rests: Float64Array,
    steps: Float64Array,
  ): void;
}

/** Where there is no addon. */
export const PLAIN_KERNEL: FaintKernel = {
  faintSmooth(data, width, height, radius, taps, padded, rows, sums, column, filtered) {
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

  faintSettle(
    width,
    height,
    block,
    filtered,
    previous,
    still,
    variance,
    shares,
    mosts,
    restless,
    pixelShare,
    rests,
    steps,
  ) {
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
