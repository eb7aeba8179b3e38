import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { createSource } from '../capture/create-source.js';
import type { SyntheticOptions } from '../capture/options.js';
import { DEFAULT_FPS, recordedNs } from '../capture/pacing.js';
import { SyntheticSource } from '../capture/synthetic.js';
import { type Thresholds, thresholdsInForce } from '../decode/detections.js';
import { Detector, type DetectorOptions } from '../detect/detector.js';
import type { TrackerJob } from '../pipeline/messages.js';
import { TargetFinder } from '../pipeline/target-finder.js';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import type { FrameSource } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import { listImages, readDataset } from './dataset.js';
import {
  reported,
  type SequenceCounts,
  type SequenceScore,
  SequenceScorer,
  scoreSequences,
  type TruthPoint,
} from './sequence.js';
import { StillSource } from './still-source.js';

/** Frames to follow, and where the targets are in each: null where nobody labelled them. */
export interface Sequence {
  name: string;
  open(): FrameSource;
  truth(frame: number): TruthPoint[] | null;
}

export interface SequenceOptions extends Thresholds {
  detector: DetectorOptions;
  tracker: TrackerJob;
  /** A track is on a target when it is within so many px. */
  radius: number;
  onProgress?: (name: string, frames: number, done: number, all: number) => void;
}

export interface SequenceReport extends SequenceScore {
  radius: number;
  threshold: number;
  /** Least share of the strongest score of a frame that single frames' detections need; tracks do not depend on it. */
  relativeThreshold: number;
  model: ModelIdentity;
  provider: string;
  perSequence: (SequenceScore & { name: string })[];
  /** Median and 95th percentile of the tracker's time a frame, ms. */
  trackMs: { p50: number; p95: number };
}

/** Runs detector and tracker over sequences, every frame, at the recording's own clock, and scores the tracks. */
export async function runSequences(sequences: readonly Sequence[], options: SequenceOptions): Promise<SequenceReport> {
  const counts: { name: string; counts: SequenceCounts }[] = [];
  const times: number[] = [];
  let detector: Detector | undefined;
  let size = '';
  try {
    for (const [index, sequence] of sequences.entries()) {
      const source = sequence.open();
      const scorer = new SequenceScorer(options.radius);
      try {
        const info = await source.start(new AbortController().signal);
        if (detector === undefined || size !== `${info.width}x${info.height}`) {
          await detector?.close();
          detector = await Detector.create(options.detector, info);
          size = `${info.width}x${info.height}`;
        }
        const { threshold, relativeThreshold } = thresholdsInForce(detector.manifest.decode, options);
        const finder = new TargetFinder(options.tracker, detector, info, threshold, relativeThreshold);
        const fps = info.fps ?? DEFAULT_FPS;
        for (let frame = await source.next(); frame !== null; frame = await source.next()) {
          // The recording's time, not that of this run: speeds are in px a second.
          const seconds = frame.sequence / fps;
          const timed = { ...frame, recordedNs: recordedNs(frame.sequence, fps) };
          const { detections, tracks, timings } = await finder.find(timed, threshold);
          times.push(timings.track);
          scorer.add({ seconds, truth: sequence.truth(frame.sequence), tracks: reported(tracks), detections });
          options.onProgress?.(sequence.name, frame.sequence + 1, index, sequences.length);
        }
      } finally {
        await source.stop();
      }
      counts.push({ name: sequence.name, counts: scorer.counts() });
    }
    if (detector === undefined) throw invalid('there is no sequence to evaluate');
    times.sort((a, b) => a - b);
    const at = (share: number) => times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? 0;
    return {
      ...scoreSequences(counts.map((c) => c.counts)),
      radius: options.radius,
      ...thresholdsInForce(detector.manifest.decode, options),
      model: detector.identity,
      provider: detector.provider,
      perSequence: counts.map(({ name, counts: c }) => ({ name, ...scoreSequences([c]) })),
      trackMs: { p50: at(0.5), p95: at(0.95) },
    };
  } finally {
    await detector?.close();
  }
}

/** Synthetic scenes with exact truth, one a seed. */
export function syntheticSequences(
  options: Omit<SyntheticOptions, 'kind' | 'rate' | 'seed'>,
  seeds: number,
  firstSeed = 1,
): Sequence[] {
  return Array.from({ length: seeds }, (_, i) => {
    const source: SyntheticOptions = { ...options, kind: 'synthetic', rate: 'fast', seed: firstSeed + i };
    const scene = new SyntheticSource(source);
    return {
      name: `synthetic seed ${source.seed}`,
      open: () => createSource(source),
      truth: (frame) => scene.truthAt(frame),
    };
  });
}

/** Each picture of a folder as a steady camera would see it, `frames` times with fresh noise (standard deviation, counts of the picture). Without targets. */
export async function stillSequences(
  dir: string,
  frames: number,
  noise: number,
  firstSeed: number,
  list?: string,
): Promise<Sequence[]> {
  const images = await listImages(dir, list);
  return images.map(({ name, path: file }, i) => ({
    name,
    open: () => new StillSource({ path: file, frames, noise, seed: firstSeed + i }),
    truth: () => [],
  }));
}

/**
 * The sequences of a folder: `videos/*.mp4` with `boxes.json` (`{video: [[[cx, cy, w, h], ...] a frame]}`), or one sequence of
 * pictures with `points.json`. Targets have no names there: the n-th of a frame is taken for the n-th of the next.
 * @param options.list file with the names of the videos to take, one a line
 * @param options.gaps a frame without a box, in a video that has boxes, is one that nobody labelled, and not one without a target
 * @throws EdgeError INPUT_NOT_FOUND, DATASET_INVALID
 */
export async function readSequences(
  dir: string,
  { list, gaps = false }: { list?: string | undefined; gaps?: boolean } = {},
): Promise<Sequence[]> {
  const boxes = await readBoxes(path.join(dir, 'boxes.json'));
  if (boxes === undefined) {
    if (list !== undefined) throw invalid(`${dir} holds pictures in order, one sequence: a list names videos`);
    const images = await readDataset(dir);
    const truth = (frame: number) => (images[frame]?.truth ?? []).map((p, id) => ({ ...p, id }));
    const folder = path.dirname(images[0]!.path);
    return [
      { name: path.basename(dir), open: () => createSource({ kind: 'recording', path: folder, rate: 'fast' }), truth },
    ];
  }
  const folder = path.join(dir, 'videos');
  const files = await readdir(folder).catch((cause) => {
    throw missing(folder, cause);
  });
  const wanted = list === undefined ? Object.keys(boxes).sort() : await readList(list);
  return wanted.map((name) => {
    const frames = boxes[name];
    const file = files.find((f) => path.parse(f).name === name);
    if (frames === undefined || file === undefined) throw invalid(`${dir} has no video ${name} with boxes`);
    const unlabelled = gaps && frames.some((boxes) => boxes.length > 0);
    return {
      name,
      open: () => createSource({ kind: 'ffmpeg', input: path.join(folder, file), rate: 'fast' }),
      truth: (frame: number) => {
        const points = (frames[frame] ?? []).map(([x, y], id) => ({ x, y, id }));
        return unlabelled && points.length === 0 ? null : points;
      },
    };
  });
}

const boxesSchema = z.record(z.string(), z.array(z.array(z.tuple([z.number(), z.number(), z.number(), z.number()]))));

async function readBoxes(file: string): Promise<z.infer<typeof boxesSchema> | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (errno(cause) === 'ENOENT') return undefined;
    throw missing(file, cause);
  }
  try {
    return boxesSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw invalid(
      `${file}: expected {"video": [[[cx, cy, w, h], ...], ...]}: ${(cause as Error).message.slice(0, 200)}`,
    );
  }
}

async function readList(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw missing(file, cause);
  });
  return text.split(/\r?\n/).flatMap((line) => line.trim() || []);
}

const HINT = 'sequences are videos/ with boxes.json, or pictures with points.json; see docs/evaluation.md';

function missing(file: string, cause: unknown): EdgeError {
  return new EdgeError('INPUT_NOT_FOUND', `cannot read ${file} (${errno(cause) ?? 'unknown error'})`, {
    hint: HINT,
    exitCode: EXIT.noInput,
    cause,
  });
}

function invalid(message: string): EdgeError {
  return new EdgeError('DATASET_INVALID', message, { hint: HINT, exitCode: EXIT.dataError });
}
