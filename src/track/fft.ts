/**
 * Two-dimensional complex Fourier transform of `size` x `size` values in place, `size` a power of two: radix 2, decimation in time,
 * rows, then columns (by transposing, so that both passes run along memory). Unscaled in both directions.
 */
export class Fft2 {
  readonly size: number;
  private readonly cos: Float64Array;
  private readonly sin: Float64Array;
  private readonly reversed: Uint32Array;

  /** Throws `RangeError` when `size` is not a power of two of at least 2. */
  constructor(size: number) {
    if (size < 2 || (size & (size - 1)) !== 0) throw new RangeError(`FFT size ${size} is not a power of two`);
    this.size = size;
    this.cos = Float64Array.from({ length: size / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / size));
    this.sin = Float64Array.from({ length: size / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / size));
    const bits = Math.log2(size);
    this.reversed = Uint32Array.from({ length: size }, (_, k) => {
      let r = 0;
      for (let b = 0; b < bits; b++) r |= ((k >> b) & 1) << (bits - 1 - b);
      return r;
    });
  }

  /** sum f exp(-2 pi i (ux + vy) / size). The result is transposed back: same layout as the input. */
  forward(re: Float64Array, im: Float64Array): void {
    for (let axis = 0; axis < 2; axis++) {
      for (let row = 0; row < this.size; row++) this.row(re, im, row * this.size);
      transpose(re, this.size);
      transpose(im, this.size);
    }
  }

  /** As `forward` with the other sign of the exponent; divide by size^2 to undo `forward`. */
  inverse(re: Float64Array, im: Float64Array): void {
    // Exchanging the parts conjugates input and output.
    this.forward(im, re);
  }

  private row(re: Float64Array, im: Float64Array, at: number): void {
    const { size, cos, sin, reversed } = this;
    for (let k = 0; k < size; k++) {
      const r = reversed[k]!;
      if (r <= k) continue;
      const x = re[at + k]!;
      re[at + k] = re[at + r]!;
      re[at + r] = x;
      const y = im[at + k]!;
      im[at + k] = im[at + r]!;
      im[at + r] = y;
    }
    for (let half = 1, stride = size / 2; half < size; half *= 2, stride /= 2) {
      for (let start = at; start < at + size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const c = cos[k * stride]!;
          const s = sin[k * stride]!;
          const i = start + k;
          const j = i + half;
          const x = re[j]! * c - im[j]! * s;
          const y = re[j]! * s + im[j]! * c;
          re[j] = re[i]! - x;
          im[j] = im[i]! - y;
          re[i]! += x;
          im[i]! += y;
        }
      }
    }
  }
}

function transpose(values: Float64Array, size: number): void {
  for (let r = 0; r < size; r++) {
    for (let c = r + 1; c < size; c++) {
      const v = values[r * size + c]!;
      values[r * size + c] = values[c * size + r]!;
      values[c * size + r] = v;
    }
  }
}
