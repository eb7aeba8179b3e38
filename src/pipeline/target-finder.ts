import { Decoder, type DecoderInput } from '../decode/decoder.js';
import { reportable, thresholdsInForce } from '../decode/detections.js';
import type { HeatMaps } from '../detect/backend.js';
import type { Detector } from '../detect/detector.js';
import { nativeFaintKernel } from '../native.js';
import { CLUTTER_DEFAULTS } from '../track/clutter.js';
import { EgoMotion } from '../track/ego-motion.js';
import { FaintSearch } from '../track/faint-search.js';
import { TRACKER_DEFAULTS, Tracker, type TrackerScores } from '../track/tracker.js';
import { type Detection, HEAT_STRIDE } from '../types/detection.js';
import { type Frame, type SourceInfo, sceneTimeNs } from '../types/frame.js';
import type { TrackUpdate } from '../types/track.js';
import type { StageTimings, TrackerJob } from './messages.js';

export interface Found {
  /** What the frame alone says, see `reportable`. */
  detections: Detection[];
  tracks: TrackUpdate;
  invalidCells: number;
  timings: StageTimings;
}

/**
 * One frame after the other to detections and tracks. Decodes down to the tracker's low score, because weak detections may
 * continue a track; only those at or above the threshold, and not far below the strongest, are reported. The tracker has all: it tells
 * clutter from a second target by more than one frame.
 */
export class TargetFinder {
  private low = Number.NaN;
  private decoder!: Decoder;
  private readonly ego: EgoMotion | undefined;
  private readonly search: FaintSearch | undefined;
  private readonly tracker: Tracker;
  private readonly relative: number;
  private trackerThreshold: number;

  /** @param relative least share of a frame's strongest score that `detections` need; absent: the model's own */
  constructor(
    private readonly job: TrackerJob,
    private readonly detector: Pick<Detector, 'run' | 'manifest' | 'runsApart'>,
    private readonly size: Pick<SourceInfo, 'width' | 'height'>,
    threshold: number,
    relative?: number,
  ) {
    this.relative = thresholdsInForce(detector.manifest.decode, { relativeThreshold: relative }).relativeThreshold;
    this.lowerTo(threshold);
    this.ego = job.egoMotion ? new EgoMotion() : undefined;
    this.search =
      (job.faintSearch ?? true) ? new FaintSearch(size.width, size.height, {}, nativeFaintKernel()) : undefined;
    this.tracker = this.createTracker(threshold);
    this.trackerThreshold = threshold;
  }

  async find(frame: Frame, threshold: number): Promise<Found> {
    const timings: StageTimings = { normalise: 0, infer: 0, decode: 0, track: 0, total: 0 };
    const captureMonotonicNs = sceneTimeNs(frame);
    const search = () => this.search?.update({ ...frame, captureMonotonicNs });
    const { maps, early } = await this.infer(frame, timings, search);
    const start = performance.now();
    const { detections, invalidCells } = this.decoder.run(maps, frame);
    const decoded = performance.now();
    if (threshold !== this.trackerThreshold) {
      this.lowerTo(threshold);
      this.tracker.setScores(this.scores(threshold));
      this.trackerThreshold = threshold;
    }
    const { sequence } = frame;
    const shift = this.ego?.estimate(frame, Number(captureMonotonicNs) / 1e9);
    const sure = (early?.found ?? search())?.map((d) => ({ ...d, score: scoreAt(maps, d) }));
    const tracks = this.tracker.update({
      sequence,
      captureMonotonicNs,
      detections,
      ...(sure && { sure }),
      ...(shift && { shift }),
    });
    timings.decode = decoded - start;
    timings.track = performance.now() - decoded;
    timings.total = Number(process.hrtime.bigint() - frame.captureMonotonicNs) / 1e6;
    return { detections: reportable(detections, threshold, this.relative), tracks, invalidCells, timings };
  }

  /** The heat maps; and where the network runs on another thread, what the search for faint targets found meanwhile: on a GPU it costs no time. */
  private async infer<T>(
    frame: Frame,
    timings: StageTimings,
    search: () => T,
  ): Promise<{ maps: HeatMaps; early?: { found: T } }> {
    const inference = this.detector.run(frame, timings);
    if (!this.detector.runsApart) return { maps: await inference };
    let early: { found: T };
    try {
      early = { found: search() };
    } catch (error) {
      // One run at a time: the next frame's must not begin before this one has ended.
      await inference.catch(() => {});
      throw error;
    }
    return { maps: await inference, early };
  }

  /** A frame that is not to be searched: the tracks coast, and it is no miss of theirs. */
  hold(frame: Frame): Found {
    const start = performance.now();
    const { sequence } = frame;
    const tracks = this.tracker.update({
      sequence,
      captureMonotonicNs: sceneTimeNs(frame),
      detections: [],
      held: true,
    });
    const timings: StageTimings = { normalise: 0, infer: 0, decode: 0, track: performance.now() - start, total: 0 };
    timings.total = Number(process.hrtime.bigint() - frame.captureMonotonicNs) / 1e6;
    return { detections: [], tracks, invalidCells: 0, timings };
  }

  /** Decodes down to the low score in force, or to the threshold where that is lower still. */
  private lowerTo(threshold: number): void {
    const low = Math.min(this.lowScore(threshold), threshold);
    if (low === this.low) return;
    this.low = low;
    const { biasX = 0, biasY = 0 } = this.detector.manifest.decode;
    this.decoder = new Decoder({ threshold: low, biasX, biasY });
  }

  /** What begins a track must be able to continue it: no higher than the high score in force. */
  private lowScore(threshold: number): number {
    return Math.min(this.job.lowScore ?? TRACKER_DEFAULTS.lowScore, this.job.highScore ?? threshold);
  }

  /**
   * What begins and continues tracks at a threshold. Above the model's own, the scores that begin faint tracks rise as the threshold does:
   * each as far towards 1, or a moving false alarm would be an event however high the threshold is. `highScore`, where it is configured,
   * stands in place of the threshold.
   */
  private scores(threshold: number): TrackerScores {
    const { faintScore, sureScore } = { ...TRACKER_DEFAULTS, ...this.job };
    const highScore = this.job.highScore ?? threshold;
    const own = this.detector.manifest.decode.threshold;
    const raised = this.job.highScore === undefined && threshold > own ? (threshold - own) / (1 - own) : 0;
    const raise = (score: number) => score + raised * (1 - score);
    return {
      highScore,
      lowScore: this.lowScore(threshold),
      faintScore: faintScore === null ? null : raise(faintScore),
      sureScore: raise(sureScore),
    };
  }

  private createTracker(threshold: number): Tracker {
    const { egoMotion: _, faintSearch: __, stationarySeconds, ...options } = this.job;
    const learnSeconds = stationarySeconds ?? CLUTTER_DEFAULTS.learnSeconds;
    return new Tracker({
      ...options,
      ...this.size,
      ...this.scores(threshold),
      clutter: learnSeconds > 0 ? { ...CLUTTER_DEFAULTS, learnSeconds } : null,
    });
  }
}

/** The heat map's highest value within a cell of a place, 0..1: what the network makes of it in this frame alone. */
function scoreAt({ heat, rows, cols }: DecoderInput, { x, y }: Detection): number {
  const u = Math.round((x + 0.5) / HEAT_STRIDE - 0.5);
  const v = Math.round((y + 0.5) / HEAT_STRIDE - 0.5);
  let score = 0;
  for (let row = Math.max(0, v - 1); row <= Math.min(rows - 1, v + 1); row++) {
    for (let col = Math.max(0, u - 1); col <= Math.min(cols - 1, u + 1); col++) {
      const value = heat[row * cols + col]!;
      if (value > score) score = Math.min(1, value);
    }
  }
  return score;
}
