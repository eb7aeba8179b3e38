import { readStillImage } from '../capture/still-image.js';
import type { Thresholds } from '../decode/detections.js';
import { Detector, type DetectorOptions } from '../detect/detector.js';
import type { Detection } from '../types/detection.js';
import type { Frame } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import { Percentiles } from '../util/percentiles.js';
import type { LabelledImage } from './dataset.js';
import { bootstrapF1, type ImageScore, type Score, scoreImage, total } from './score.js';
import { StillDecoder } from './still-decoder.js';

/** The field's other convention beside the radius asked for: a hit is closer than 3 px. */
export const STRICT_RADIUS = 3;

export interface EvaluateOptions extends Thresholds {
  detector: DetectorOptions;
  /** A hit is at most this far, px. */
  radius: number;
  onProgress?: (done: number, all: number) => void;
}

export interface Evaluation extends Score {
  radius: number;
  threshold: number;
  relativeThreshold: number;
  /** 95 % interval of F1, by resampling images. */
  f1Interval: [number, number];
  /** The same detections with hits below 3 px. */
  strict: Score;
  /** Images a second of normalisation, inference and decoding on one thread of calls, from the median time. */
  fps: number;
  model: ModelIdentity;
  provider: string;
  perImage: ImageScore[];
}

/** Runs the detector over labelled images of any size and scores what it finds. */
export async function evaluate(images: readonly LabelledImage[], options: EvaluateOptions): Promise<Evaluation> {
  const finder = new ImageDetector(options.detector, options);
  const scores: ImageScore[] = [];
  const strict: ImageScore[] = [];
  const times = new Percentiles();
  try {
    for (const [index, image] of images.entries()) {
      const { width, height, bits, data } = await readStillImage(image.path);
      const frame = stillFrame(index, { width, height, bits, data });
      await finder.prepare(frame);
      const start = performance.now();
      const found = await finder.find(frame);
      times.add(performance.now() - start);
      scores.push(scoreImage(image.name, found, image.truth, options.radius, width * height));
      strict.push(scoreImage(image.name, found, image.truth, STRICT_RADIUS - 1e-9, width * height));
      options.onProgress?.(index + 1, images.length);
    }
    const { model, provider, threshold, relativeThreshold } = finder.running;
    return {
      ...total(scores),
      radius: options.radius,
      threshold,
      relativeThreshold,
      f1Interval: bootstrapF1(scores),
      strict: total(strict),
      fps: 1000 / times.summary().p50,
      model,
      provider,
      perImage: scores,
    };
  } finally {
    await finder.close();
  }
}

/** One picture as a frame. */
export function stillFrame(sequence: number, image: Pick<Frame, 'width' | 'height' | 'bits' | 'data'>): Frame {
  return { sequence, captureMonotonicNs: process.hrtime.bigint(), capturedAtMs: Date.now(), ...image };
}

/** Detector and decoder for pictures whose sizes change; keeps the last size's network loaded. */
export class ImageDetector {
  private detector: Detector | undefined;
  private decoder: StillDecoder | undefined;
  private size = '';

  constructor(
    private readonly options: DetectorOptions,
    private readonly thresholds: Thresholds,
  ) {}

  /** Loads the network for this size, if another one is loaded. */
  async prepare(frame: Pick<Frame, 'width' | 'height'>): Promise<void> {
    const size = `${frame.width}x${frame.height}`;
    if (this.size === size) return;
    await this.close();
    const detector = await Detector.create(this.options, frame);
    this.decoder = new StillDecoder(detector.manifest, this.thresholds);
    this.detector = detector;
    this.size = size;
  }

  async find(frame: Frame): Promise<Detection[]> {
    await this.prepare(frame);
    const maps = await this.detector!.run(frame, { normalise: 0, infer: 0 });
    return this.decoder!.find(maps, frame);
  }

  /** After the first picture. */
  get running(): { model: ModelIdentity; provider: string; threshold: number; relativeThreshold: number } {
    const { identity: model, provider } = this.detector!;
    const { threshold, relativeThreshold } = this.decoder!;
    return { model, provider, threshold, relativeThreshold };
  }

  async close(): Promise<void> {
    await this.detector?.close();
    this.detector = undefined;
    this.size = '';
  }
}
