/**
 * Contrast and noise of one target in the camera's raw counts.
 */

/** Standard deviation of rounding to whole counts: no background is quieter than its own quantisation. */
export const QUANTISATION_NOISE = 1 / Math.sqrt(12);

/** The ring starts this many target sigmas from the centre, within limits, px. */
const RING_SIGMAS = 2.5;
const RING_NEAREST = 3;
const RING_FARTHEST = 12;
const RING_THICKNESS = 3;
const MAX_RING_CELLS = (2 * (RING_FARTHEST + RING_THICKNESS) + 1) ** 2;
/** With fewer background pixels (a target in the corner of a tiny image) no noise can be stated. */
const FEWEST_PIXELS = 8;
/** Times the noise: of nine pixels of background the brightest is below in 99 of 100. */
const OUTSTANDING = 3;

/** What an snr measurement needs of a frame. */
export interface FrameView {
  readonly data: Uint8Array | Uint16Array;
  readonly width: number;
  readonly height: number;
}

/** Whether a pixel of the frame is at this place. */
export function isInside({ width, height }: FrameView, x: number, y: number): boolean {
  return x >= -0.5 && y >= -0.5 && x <= width - 0.5 && y <= height - 0.5;
}

// Scratch of the one measurement under way.
const ring = new Float64Array(MAX_RING_CELLS);
const deviations = new Float64Array(MAX_RING_CELLS);

/**
 * Peak contrast over background noise at (`x`, `y`), px; `extent` is the target's sigma, px. 0 where nothing stands out or the
 * background cannot be seen.
 *
 * Contrast: the brightest departure of the 3x3 pixels around the centre from the median of a square ring around the target; where
 * none stands out of the noise, the largest of either sign (a dark target; a dead pixel beside a bright one is not taken for it). Noise: standard deviation of the ring without its outliers (3 robust sigmas), so that a neighbouring target, an edge or a
 * dead pixel in the ring does not hide this one; at least the quantisation noise, so that flat and saturated backgrounds stay finite.
 */
export function measureSnr(frame: FrameView, x: number, y: number, extent: number): number {
  const { data, width, height } = frame;
  const col = Math.max(0, Math.min(width - 1, Math.round(x)));
  const row = Math.max(0, Math.min(height - 1, Math.round(y)));
  const inner = Math.max(RING_NEAREST, Math.min(RING_FARTHEST, Math.ceil(RING_SIGMAS * extent)));
  const outer = inner + RING_THICKNESS - 1;

  let count = 0;
  const top = Math.max(0, row - outer);
  const bottom = Math.min(height - 1, row + outer);
  const left = Math.max(0, col - outer);
  const right = Math.min(width - 1, col + outer);
  for (let v = top; v <= bottom; v++) {
    const beside = v > row - inner && v < row + inner;
    for (let u = left; u <= right; u++) {
      if (beside && u > col - inner && u < col + inner) continue;
      ring[count++] = data[v * width + u]!;
    }
  }
  if (count < FEWEST_PIXELS) return 0;
  const background = median(ring, count);
  for (let i = 0; i < count; i++) deviations[i] = Math.abs(ring[i]! - background);
  // 1.4826: median absolute deviation to sigma of a Gaussian. At least one count: quantised data often has a median of zero.
  const clip = 3 * Math.max(1, 1.4826 * median(deviations, count));
  let inliers = 0;
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < count; i++) {
    const d = ring[i]! - background;
    if (Math.abs(d) > clip) continue;
    inliers++;
    sum += d;
    squares += d * d;
  }
  const mean = sum / inliers;
  const noise = Math.max(QUANTISATION_NOISE, Math.sqrt(Math.max(0, squares / inliers - mean * mean)));

  let bright = 0;
  let dark = 0;
  for (let v = Math.max(0, row - 1); v <= Math.min(height - 1, row + 1); v++) {
    for (let u = Math.max(0, col - 1); u <= Math.min(width - 1, col + 1); u++) {
      const departure = data[v * width + u]! - background;
      bright = Math.max(bright, departure);
      dark = Math.max(dark, -departure);
    }
  }
  return (bright >= OUTSTANDING * noise ? bright : Math.max(bright, dark)) / noise;
}

/** Median (the upper of the two middle ones) of the first `count` values, which it reorders. Hoare's quickselect. */
function median(values: Float64Array, count: number): number {
  const target = count >> 1;
  let low = 0;
  let high = count - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1]!;
    let i = low;
    let j = high;
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i <= j) {
        const swap = values[i]!;
        values[i++] = values[j]!;
        values[j--] = swap;
      }
    }
    if (target <= j) high = j;
    else if (target >= i) low = i;
    else break;
  }
  return values[target]!;
}
