import { readStillImage } from '../capture/still-image.js';
import type { Thresholds } from '../decode/detections.js';
import type { HeatMaps } from '../detect/backend.js';
import { Detector, type DetectorOptions } from '../detect/detector.js';
import type { Detection } from '../types/detection.js';
import type { Frame } from '../types/frame.js';
import type { LabelledImage } from './dataset.js';
import { stillFrame } from './evaluate.js';
import { match } from './matching.js';
import { type ImageScore, type Score, scoreImage, total } from './score.js';
import { StillDecoder } from './still-decoder.js';

/** Detections of the two that are closer are the same one, px. */
const SAME_PX = 2;

type Precision = 'fp32' | 'fp16';
const PRECISIONS = ['fp32', 'fp16'] as const satisfies readonly Precision[];

export interface PrecisionReport {
  images: number;
  targets: number;
  radius: number;
  threshold: number;
  /** Least share of the strongest score of a picture. */
  relativeThreshold: number;
  /** What ran the FP16 build. */
  provider: string;
  fp32: Score;
  fp16: Score;
  /** F1 of FP16 less that of FP32. */
  f1Difference: number;
  /** Differences of the heat maps over all cells (no unit); NaN or infinite cells of the FP16 map. */
  heat: { mean: number; max: number; invalidCells: number };
  /** Of detections found by both: differences of the position, px, and of the score. */
  pairs: { count: number; rmsPx: number | null; maxPx: number | null; maxScore: number | null };
  /** Detections found by one only: those near the threshold. */
  onlyFp32: number;
  onlyFp16: number;
}

export interface PrecisionOptions extends Thresholds {
  /** `runtime`: of the FP16 build; the FP32 one runs on the CPU, as the truth. */
  detector: Omit<DetectorOptions, 'precision'>;
  radius: number;
  onProgress?: (done: number, all: number) => void;
}

interface Run {
  maps: HeatMaps;
  found: Detection[];
}

/** Runs the FP32 and the FP16 build of a model over the same labelled images, and tells how they differ. */
export async function comparePrecisions(
  images: readonly LabelledImage[],
  options: PrecisionOptions,
): Promise<PrecisionReport> {
  const builds = new Builds(options.detector, options);
  const scores: Record<Precision, ImageScore[]> = { fp32: [], fp16: [] };
  const heat = { sum: 0, cells: 0, max: 0, invalid: 0 };
  const pairs = { count: 0, squared: 0, maxPx: 0, maxScore: 0 };
  const only: Record<Precision, number> = { fp32: 0, fp16: 0 };
  try {
    for (const [index, image] of images.entries()) {
      const picture = await readStillImage(image.path);
      const frame = stillFrame(index, picture);
      const runs = { fp32: await builds.run('fp32', frame), fp16: await builds.run('fp16', frame) };
      const pixels = picture.width * picture.height;
      for (const p of PRECISIONS) {
        scores[p].push(scoreImage(image.name, runs[p].found, image.truth, options.radius, pixels));
      }
      for (const [a, b] of sameCells(runs.fp32.maps, runs.fp16.maps)) {
        const difference = Math.abs(a - b);
        if (!Number.isFinite(difference)) {
          heat.invalid++;
          continue;
        }
        heat.sum += difference;
        heat.cells++;
        heat.max = Math.max(heat.max, difference);
      }
      const same = match(runs.fp16.found, runs.fp32.found, SAME_PX);
      for (const { found, truth, distance } of same) {
        pairs.count++;
        pairs.squared += distance ** 2;
        pairs.maxPx = Math.max(pairs.maxPx, distance);
        const difference = Math.abs(runs.fp16.found[found]!.score - runs.fp32.found[truth]!.score);
        pairs.maxScore = Math.max(pairs.maxScore, difference);
      }
      for (const p of PRECISIONS) only[p] += runs[p].found.length - same.length;
      options.onProgress?.(index + 1, images.length);
    }
  } finally {
    await builds.close();
  }
  const [fp32, fp16] = [total(scores.fp32), total(scores.fp16)];
  const some = pairs.count > 0;
  return {
    images: images.length,
    targets: fp32.targets,
    radius: options.radius,
    threshold: builds.threshold,
    relativeThreshold: builds.relativeThreshold,
    provider: builds.provider,
    fp32,
    fp16,
    f1Difference: fp16.f1 - fp32.f1,
    heat: { mean: heat.cells === 0 ? 0 : heat.sum / heat.cells, max: heat.max, invalidCells: heat.invalid },
    pairs: {
      count: pairs.count,
      rmsPx: some ? Math.sqrt(pairs.squared / pairs.count) : null,
      maxPx: some ? pairs.maxPx : null,
      maxScore: some ? pairs.maxScore : null,
    },
    onlyFp32: only.fp32,
    onlyFp16: only.fp16,
  };
}

/** The heat of each cell that both maps have: a file of a fixed size pads a frame farther than one that takes any. */
function* sameCells(a: HeatMaps, b: HeatMaps): Generator<[number, number]> {
  for (let row = 0; row < Math.min(a.rows, b.rows); row++) {
    for (let col = 0; col < Math.min(a.cols, b.cols); col++) {
      yield [a.heat[row * a.cols + col]!, b.heat[row * b.cols + col]!];
    }
  }
}

/** Both builds for the size in use; keeps the last size's loaded. */
class Builds {
  private size = '';
  private readonly loaded = new Map<Precision, { detector: Detector; decoder: StillDecoder }>();
  /** In force, after the first picture. */
  threshold = Number.NaN;
  relativeThreshold = Number.NaN;
  /** Of the FP16 build. */
  provider = '';

  constructor(
    private readonly options: Omit<DetectorOptions, 'precision'>,
    private readonly thresholds: Thresholds,
  ) {}

  async run(precision: Precision, frame: Frame): Promise<Run> {
    const size = `${frame.width}x${frame.height}`;
    if (size !== this.size) await this.close();
    this.size = size;
    let build = this.loaded.get(precision);
    if (build === undefined) {
      const { runtime, ...rest } = this.options;
      const detector = await Detector.create(
        // The plain FP32 file is what the FP16 one was made from; the one for CPUs computes in another order.
        { ...rest, precision, blocked: false, ...(precision === 'fp16' && runtime && { runtime }) },
        frame,
      );
      if (precision === 'fp16') this.provider = `${detector.provider} (${detector.library})`;
      const decoder = new StillDecoder(detector.manifest, this.thresholds);
      this.threshold = decoder.threshold;
      this.relativeThreshold = decoder.relativeThreshold;
      build = { detector, decoder };
      this.loaded.set(precision, build);
    }
    const maps = await build.detector.run(frame, { normalise: 0, infer: 0 });
    return { maps, found: build.decoder.find(maps, frame) };
  }

  async close(): Promise<void> {
    for (const { detector } of this.loaded.values()) await detector.close();
    this.loaded.clear();
  }
}
