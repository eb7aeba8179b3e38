import { match, type Point } from './matching.js';

/** What one image contributes. */
export interface ImageScore {
  name: string;
  tp: number;
  fp: number;
  fn: number;
  /** Squared distances of the hits, px^2. */
  squared: number;
  /** Sum of what the hits are off, detection less truth, px. */
  offX: number;
  offY: number;
  pixels: number;
}

export interface Score {
  images: number;
  targets: number;
  tp: number;
  fp: number;
  fn: number;
  precision: number;
  recall: number;
  f1: number;
  falseAlarmsPerImage: number;
  falseAlarmsPerMpx: number;
  /** Root mean square distance of the hits, px; null without a hit. */
  rmsPositionError: number | null;
  /** Mean of detection less truth over the hits, px; null without a hit. The same on every set: the detector's; on one: its labels'. */
  meanPositionError: Point | null;
}

export function scoreImage(
  name: string,
  found: readonly Point[],
  truth: readonly Point[],
  radius: number,
  pixels: number,
): ImageScore {
  const hits = match(found, truth, radius);
  return {
    name,
    tp: hits.length,
    fp: found.length - hits.length,
    fn: truth.length - hits.length,
    squared: hits.reduce((sum, h) => sum + h.distance ** 2, 0),
    offX: hits.reduce((sum, h) => sum + found[h.found]!.x - truth[h.truth]!.x, 0),
    offY: hits.reduce((sum, h) => sum + found[h.found]!.y - truth[h.truth]!.y, 0),
    pixels,
  };
}

/** Sums over the images (micro average): one TP, FP and FN count for the set, as the field reports target-level F1. */
export function total(images: readonly ImageScore[]): Score {
  let tp = 0;
  let fp = 0;
  let fn = 0;
  let squared = 0;
  let offX = 0;
  let offY = 0;
  let pixels = 0;
  for (const s of images) {
    tp += s.tp;
    fp += s.fp;
    fn += s.fn;
    squared += s.squared;
    offX += s.offX;
    offY += s.offY;
    pixels += s.pixels;
  }
  const share = (a: number, b: number) => (b === 0 ? 0 : a / b);
  return {
    images: images.length,
    targets: tp + fn,
    tp,
    fp,
    fn,
    precision: share(tp, tp + fp),
    recall: share(tp, tp + fn),
    f1: share(2 * tp, 2 * tp + fp + fn),
    falseAlarmsPerImage: share(fp, images.length),
    falseAlarmsPerMpx: share(fp, pixels / 1e6),
    rmsPositionError: tp === 0 ? null : Math.sqrt(squared / tp),
    meanPositionError: tp === 0 ? null : { x: offX / tp, y: offY / tp },
  };
}

/** 95 % interval of F1 by resampling images with replacement (percentile bootstrap, seeded). */
export function bootstrapF1(images: readonly ImageScore[], rounds = 1000, seed = 1): [number, number] {
  let state = seed >>> 0;
  // mulberry32: enough for resampling, and the same interval on every run.
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const n = images.length;
  const values = Float64Array.from({ length: rounds }, () => {
    let tp = 0;
    let wrong = 0;
    for (let i = 0; i < n; i++) {
      const s = images[Math.floor(random() * n)]!;
      tp += s.tp;
      wrong += s.fp + s.fn;
    }
    return tp === 0 ? 0 : (2 * tp) / (2 * tp + wrong);
  }).sort();
  return [values[Math.floor(0.025 * rounds)] ?? 0, values[Math.ceil(0.975 * rounds) - 1] ?? 0];
}
