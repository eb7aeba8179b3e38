import type { Detection } from '../types/detection.js';
import type {
  EndedTrack,
  SceneShift,
  Track,
  TrackEndReason,
  TrackMoment,
  TrackState,
  TrackUpdate,
} from '../types/track.js';
import { associate, type Candidate } from './associate.js';
import { CLUTTER_DEFAULTS, ClutterMap, type ClutterOptions } from './clutter.js';
import { ConstantVelocityFilter } from './kalman.js';
import { ClutterDensity, confirmScore, hitScore, MISS_SCORE, rejectScore, startScore } from './track-score.js';

export interface TrackerOptions {
  /** Size of the frames, px: a track that is predicted to leave them ends. */
  width: number;
  height: number;
  /** Detections with at least this score start tracks. */
  highScore: number;
  /** Weaker ones, down to this score, only continue tracks. */
  lowScore: number;
  /** Confirmed with `confirmHits` detections within the first `confirmFrames` processed frames ("M of N"), ... */
  confirmHits: number;
  confirmFrames: number;
  /** ... of which so many strong, the first one counted. */
  confirmStrongHits: number;
  /**
   * Faint targets that persist: detections from this score on, and from `lowScore`, begin tracks too. Within `faintFrames` processed
   * frames a track is also confirmed when it has `confirmHits` detections, moves, and its log-likelihood ratio (`track-score.ts`) says target. One that
   * stands still needs strong detections: what repeats in its place is mostly clutter. Null: not at all.
   */
  faintScore: number | null;
  faintFrames: number;
  /** What a search over many frames is sure of (`TrackerInput.sure`) begins, and confirms, tracks from this score on; it continues any. */
  sureScore: number;
  /** A confirmed track ends after more than so many processed frames, or seconds, without a detection. */
  maxCoastFrames: number;
  maxCoastSeconds: number;
  /** Largest squared Mahalanobis distance of a detection from a prediction; 9.21 is the 99 % quantile of chi-squared with 2 degrees. */
  gate: number;
  /** Standard deviation of the speed per axis that a new target is expected to have, px/s. Sets how far its second detection may be. */
  startSpeed: number;
  /** Spectral density of the random acceleration of targets, px^2/s^3: a velocity changes by sqrt(density * t) px/s in t seconds. */
  processNoise: number;
  /** Least standard error of a detection per axis, px: the detector's own may be too good to be true. */
  measurementFloor: number;
  /** Factor on the detector's standard errors. */
  measurementScale: number;
  /**
   * Standard error, per axis, that each px of a detection's extent beyond that of a point adds: which part of an extended target is the
   * brightest changes from frame to frame, and the detector's own error bar is that of the peak, not of the body.
   */
  extentNoise: number;
  /** No track starts within this distance of one that has a detection, px: it would be a second peak of the same target. */
  minSeparation: number;
  /** ... nor within so many extents (standard deviations of the profile) of the larger of the two. */
  separationExtents: number;
  /** Largest number of tracks; when full, the least valuable gives way. */
  maxTracks: number;
  /** Most detections of a frame that are looked at, best scores first. */
  maxDetections: number;
  /** A track in a marked cell counts as stationary up to this speed, px/s, and as far as the standard error of its speed allows. */
  stationarySpeed: number;
  /** Null: stationary clutter is not learnt. */
  clutter: ClutterOptions | null;
}

export type TrackerScores = Pick<TrackerOptions, 'highScore' | 'lowScore' | 'faintScore' | 'sureScore'>;

export const TRACKER_DEFAULTS: Readonly<Omit<TrackerOptions, 'width' | 'height'>> = {
  highScore: 0.5,
  lowScore: 0.2,
  confirmHits: 3,
  confirmFrames: 5,
  confirmStrongHits: 2,
  faintScore: 0.3,
  faintFrames: 10,
  sureScore: 0,
  maxCoastFrames: 15,
  maxCoastSeconds: 1.5,
  gate: 9.21,
  startSpeed: 60,
  processNoise: 50,
  measurementFloor: 0.1,
  measurementScale: 1,
  extentNoise: 0.3,
  minSeparation: 3,
  separationExtents: 2,
  maxTracks: 64,
  maxDetections: 256,
  stationarySpeed: 2,
  clutter: CLUTTER_DEFAULTS,
};

export interface TrackerInput {
  sequence: number;
  /** Capture time, ns (`sceneTimeNs`): the tracker's only clock. */
  captureMonotonicNs: bigint;
  /** All detections down to `lowScore`. */
  detections: readonly Detection[];
  /**
   * Where targets are in this frame that a search over many frames is sure of (`FaintSearch`): whatever their scores, they continue
   * tracks that have no detection; from `sureScore` on they begin confirmed ones.
   */
  sure?: readonly SureDetection[];
  /** Motion of the scene since the previous frame given to the tracker, if it is estimated. */
  shift?: SceneShift;
  /**
   * Nothing was searched in the frame (a flat-field correction): tracks coast, and it is no miss of theirs. Its detections are not
   * looked at. A track outlives at most `MAX_HELD_SECONDS` of such frames in a row; time without any frame is not among them.
   */
  held?: boolean;
}

/** Where a target is that a search over many frames found, and how it moves. */
export interface SureDetection extends Detection {
  /** px/s. */
  vx: number;
  vy: number;
  /** Standard error per axis, px/s. */
  sigmaV: number;
}

/** A track whose target was not looked for is kept for so long, s, and then for as long as it may coast. */
export const MAX_HELD_SECONDS = 10;
/** A track outlives so many times the interval of the last two frames, s, but not more than so many. */
const SLOW_INTERVALS = 1.5;
const MAX_SLOW_SECONDS = 5;
/** So much of the time before a held frame counts as held, s; more only where frames always come so slowly. The rest is a gap. */
const LONGEST_HELD_STEP = 0.5;

/** Counts since the tracker was made, but for the last group, which is the state now. */
export interface TrackerCounters {
  frames: number;
  /** Of these: held, without a search. */
  held: number;
  /** Frames refused: not newer than the previous one. */
  outOfOrder: number;
  /** Detections that continued a track, by their strength. */
  strongMatched: number;
  weakMatched: number;
  /** Detections that started a track: strong ones, and with `faintScore` weaker ones. */
  tentativeStarted: number;
  /** Detections left alone: weak ones (or below `sureScore`) without a track; below `lowScore`; not finite; beyond `maxDetections`; a second peak of a target. */
  weakUnmatched: number;
  belowLow: number;
  invalid: number;
  overflow: number;
  tooClose: number;
  confirmed: number;
  /** Of these: by their log-likelihood ratio where M of N was not met, or by a search over many frames. */
  confirmedFaint: number;
  /** Detections of such a search that continued a track. */
  sureMatched: number;
  /** Tentative tracks given up, mostly for missing M of N. */
  unconfirmed: number;
  /** Tracks not started, or given up, because `maxTracks` was reached. */
  refused: number;
  displaced: number;
  ended: Record<TrackEndReason, number>;
  /** Detections that fell on marked clutter. */
  onClutter: number;
  /** Confirmed tracks that were stationary in the first frame reported. */
  confirmedStationary: number;
  /** Times the scene's clutter map was thrown away because the scene's motion could not be measured, or the scene was another one. */
  sceneLost: number;

  tentative: number;
  following: number;
  stationary: number;
  sensorCells: number;
  sceneCells: number;
}

interface Live {
  id: number;
  state: TrackState;
  filter: ConstantVelocityFilter;
  score: number;
  topScore: number;
  snr: number;
  extent: number;
  detection: Detection | null;
  hits: number;
  strongHits: number;
  misses: number;
  /** Log-likelihood ratio, nats, while tentative. */
  llr: number;
  /** Processed frames since and with the first. */
  age: number;
  /** In held frames since its latest detection, s. */
  heldSeconds: number;
  firstSeen: TrackMoment;
  lastSeen: TrackMoment;
  confirmedAt: TrackMoment | null;
  stationary: boolean;
  sensorFixed: boolean;
}

/**
 * Cost of a track without a detection, on the scale of -2 ln likelihood: -2 ln(2 pi b (1 - Pd) / Pd) with false and new targets of
 * density b = 1e-5 a pixel and a probability of detection Pd = 0.8. A pair costs d^2 + ln |S|: its own -2 ln likelihood.
 */
const MISS_COST = 22.1;
/** What the optics and the pixels make of a point: extents up to this one, px, say nothing of the target's size. */
const POINT_EXTENT = 1;
/** Shares of false alarms confirmed, and of targets given up, in the sequential test of faint tracks. */
const FALSE_SHARE = 1e-6;
const MISSED_SHARE = 1e-3;
const CONFIRM_SCORE = confirmScore(FALSE_SHARE, MISSED_SHARE);
const REJECT_SCORE = rejectScore(FALSE_SHARE, MISSED_SHARE);
/** Parts of the scene shift too small to count as a moving camera, px/s. */
const CAMERA_AT_REST = 2;

/**
 * Detections to tracks. One instance a camera and run; not for frames of different sizes. No clock and no I/O: `update` is given
 * every processed frame in order, with or without detections. Frames that were dropped are simply not given: they are no misses,
 * only time.
 *
 * Each frame: predict; strong detections to confirmed tracks, then to tentative ones; weak detections to what is left, in the same
 * order; what remains of the strong ones, and of those from `faintScore` on, starts tracks (ByteTrack, https://arxiv.org/abs/2110.06864, with a Mahalanobis gate in
 * place of overlap).
 *
 * Stationary clutter. Detections that stand for `clutter.learnSeconds` mark their place. Tracks there that do not move carry
 * `stationary: true`; they are reported, so that whoever alerts can hold them back and say how many. With scene shifts there are two
 * maps: one in sensor pixels (hot pixels), one carried along with the scene (lamps, chimneys). A track on a cell of the sensor map
 * only, while the camera moves, is `sensorFixed`: the shift no longer applies to it. When the scene's motion is lost, so is its map; when
 * the scene is another one, so is what a camera at rest learnt as the sensor's.
 */
export class Tracker {
  private readonly options: TrackerOptions;
  private readonly sensorMap: ClutterMap | null;
  private readonly sceneMap: ClutterMap | null;
  private readonly density: ClutterDensity;
  private live: Live[] = [];
  private nextId = 1;
  private last: TrackMoment | null = null;
  /** From the frame before the last to the last one, s. */
  private interval = 0;
  /** Where the scene's origin is in the frame now, px: the sum of all shifts. */
  private originX = 0;
  private originY = 0;
  private usesShift = false;
  /** The last frame before those in which the motion of the scene could not be measured, until it is known. */
  private gapAfter: TrackMoment | null = null;
  private readonly counts: Omit<
    TrackerCounters,
    'tentative' | 'following' | 'stationary' | 'sensorCells' | 'sceneCells'
  > = {
    frames: 0,
    held: 0,
    outOfOrder: 0,
    strongMatched: 0,
    weakMatched: 0,
    tentativeStarted: 0,
    weakUnmatched: 0,
    belowLow: 0,
    invalid: 0,
    overflow: 0,
    tooClose: 0,
    confirmed: 0,
    confirmedFaint: 0,
    sureMatched: 0,
    unconfirmed: 0,
    refused: 0,
    displaced: 0,
    ended: { lost: 0, left: 0, displaced: 0, reset: 0 },
    onClutter: 0,
    confirmedStationary: 0,
    sceneLost: 0,
  };

  constructor(options: Partial<TrackerOptions> & Pick<TrackerOptions, 'width' | 'height'>) {
    this.options = { ...TRACKER_DEFAULTS, ...options };
    const { clutter, width, height } = this.options;
    this.density = new ClutterDensity(width * height);
    this.sensorMap = clutter === null ? null : new ClutterMap(clutter);
    this.sceneMap = clutter === null ? null : new ClutterMap(clutter, true);
  }

  /** Takes in one frame. A frame that is not newer than the last is counted as `outOfOrder` and changes nothing. */
  update(input: TrackerInput): TrackUpdate {
    const moment: TrackMoment = { sequence: input.sequence, monotonicNs: input.captureMonotonicNs };
    const update: TrackUpdate = { moment, started: [], updated: [], ended: [] };
    const { last, counts } = this;
    if (last !== null && (moment.sequence <= last.sequence || moment.monotonicNs < last.monotonicNs)) {
      counts.outOfOrder++;
      return update;
    }
    counts.frames++;
    const dt = last === null ? 0 : seconds(moment, last);
    const interval = this.interval;
    this.interval = dt;
    this.last = moment;

    this.catchUp(input.shift, last ?? moment, moment);
    this.predict(dt, input.shift);
    if (input.held) return this.hold(dt, moment, update, interval);
    this.endExpired(moment, update, interval);
    const { strong, weak } = this.sort(input.detections);
    this.observeClutter([...strong, ...weak], dt);

    for (const track of this.live) {
      track.age++;
      track.detection = null;
    }
    const freeStrong = this.match(strong, true, moment);
    const freeWeak = this.match(weak, false, moment);
    const { faintScore, sureScore } = this.options;
    const faint = freeWeak.filter((d) => faintScore !== null && d.score >= faintScore);
    counts.weakUnmatched += freeWeak.length - faint.length;
    let explained = 0;
    for (const t of this.live) if (t.detection !== null && t.state !== 'tentative') explained++;
    this.density.observe(strong.length + weak.length - explained);
    const sure = input.sure ?? [];
    const freeSure = this.match(sure, false, moment);
    counts.sureMatched += sure.length - freeSure.length;
    for (const track of this.live) {
      if (track.state === 'tentative' && sure.some((d) => d === track.detection && d.score >= sureScore)) {
        this.confirmFaint(track, moment);
      }
    }
    this.settle(moment, update, dt, input.shift);
    // Best first: of two peaks of one target, the better one starts the track.
    const free = [...freeStrong, ...faint].sort((a, b) => b.score - a.score);
    for (const detection of free) this.start(detection, moment, update);
    for (const detection of freeSure) {
      if (detection.score < sureScore) {
        counts.weakUnmatched++;
        continue;
      }
      const track = this.start(detection, moment, update, detection);
      if (track !== undefined) this.confirmFaint(track, moment);
    }
    for (const track of this.live) {
      if (track.state === 'tentative') continue;
      (track.confirmedAt === moment ? update.started : update.updated).push(snapshot(track));
    }
    return update;
  }

  /** A frame in which nothing was searched: time goes on, and nothing else. */
  private hold(dt: number, moment: TrackMoment, update: TrackUpdate, interval: number): TrackUpdate {
    this.counts.held++;
    // A camera that was gone, and comes back in its power-on correction, was not held all the while.
    const step = Math.min(dt, Math.max(LONGEST_HELD_STEP, slowSeconds(interval)));
    for (const track of this.live) track.heldSeconds = Math.min(MAX_HELD_SECONDS, track.heldSeconds + step);
    this.endExpired(moment, update, interval);
    for (const track of this.live) {
      track.detection = null;
      if (track.state === 'tentative') continue;
      track.state = 'coasting';
      update.updated.push(snapshot(track));
    }
    return update;
  }

  /** Ends all tracks, as when the source starts anew or the sensor was interrupted. What was learnt of clutter stays. */
  reset(moment: TrackMoment): TrackUpdate {
    const update: TrackUpdate = { moment, started: [], updated: [], ended: [] };
    for (const track of this.live) this.end(track, 'reset', update);
    this.live = [];
    this.last = null;
    return update;
  }

  /** Scores from which detections start, and continue, tracks; from the next frame on. */
  setScores(scores: TrackerScores): void {
    Object.assign(this.options, scores);
  }

  /** All tracks, tentative ones too. */
  tracks(): Track[] {
    return this.live.map(snapshot);
  }

  /** Marked places, px in the newest frame. */
  clutter(): { x: number; y: number; fixedTo: 'sensor' | 'scene' }[] {
    const sensor = this.sensorMap?.markedCells() ?? [];
    const scene = this.usesShift ? (this.sceneMap?.markedCells() ?? []) : [];
    return [
      ...sensor.map((c) => ({ ...c, fixedTo: 'sensor' as const })),
      ...scene.map((c) => ({ x: c.x + this.originX, y: c.y + this.originY, fixedTo: 'scene' as const })),
    ];
  }

  counters(): TrackerCounters {
    let tentative = 0;
    let stationary = 0;
    for (const t of this.live) {
      if (t.state === 'tentative') tentative++;
      else if (t.stationary) stationary++;
    }
    return {
      ...this.counts,
      ended: { ...this.counts.ended },
      tentative,
      following: this.live.length - tentative,
      stationary,
      sensorCells: this.sensorMap?.markedCount() ?? 0,
      sceneCells: this.usesShift ? (this.sceneMap?.markedCount() ?? 0) : 0,
    };
  }

  /** Moves tracks that were last seen before the scene's motion was lost by what is known of it only now. */
  private catchUp(shift: SceneShift | undefined, before: TrackMoment, moment: TrackMoment): void {
    if (shift === undefined) return;
    if (!shift.reliable) this.gapAfter ??= before;
    const { gapAfter } = this;
    if (gapAfter === null) return;
    const { missed } = shift;
    if (missed !== undefined) {
      for (const track of this.live) {
        if (track.sensorFixed || track.lastSeen.monotonicNs > gapAfter.monotonicNs) continue;
        track.filter.translate(missed.dx, missed.dy, shift.sigma ** 2);
      }
    }
    // Later than that no track is left that this could be for.
    const over = shift.reliable && seconds(moment, gapAfter) > this.options.maxCoastSeconds;
    if (missed !== undefined || shift.lost || over) this.gapAfter = null;
  }

  private predict(dt: number, shift: SceneShift | undefined): void {
    for (const track of this.live) {
      track.filter.predict(dt, this.options.processNoise);
      if (shift === undefined || track.sensorFixed) continue;
      track.filter.translate(shift.dx, shift.dy, shift.sigma ** 2);
    }
    if (shift === undefined) return;
    if (!this.usesShift) {
      // What was learnt so far stood still on a sensor that was taken to stand still: it starts the scene's map afresh.
      this.usesShift = true;
      this.sceneMap?.clear();
    }
    this.originX += shift.dx + (shift.missed?.dx ?? 0);
    this.originY += shift.dy + (shift.missed?.dy ?? 0);
    if (shift.lost) {
      this.sensorMap?.keepProven();
      this.loseScene();
    } else if (!shift.reliable && this.options.clutter !== null && shift.sigma > this.options.clutter.radius) {
      this.loseScene();
    }
  }

  private loseScene(): void {
    if ((this.sceneMap?.markedCount() ?? 0) > 0) this.counts.sceneLost++;
    this.sceneMap?.clear();
  }

  /**
   * Ends what is too old or out of the frame before it can be given a detection: its gate has grown too wide to mean anything. Where frames
   * always come so slowly (a throttled board) a track outlives the time between two of them: else none would ever be confirmed.
   */
  private endExpired(moment: TrackMoment, update: TrackUpdate, interval: number): void {
    const { width, height } = this.options;
    const maxCoastSeconds = Math.max(this.options.maxCoastSeconds, slowSeconds(interval));
    this.live = this.live.filter((track) => {
      const x = track.filter.state[0]!;
      const y = track.filter.state[1]!;
      const reason =
        seconds(moment, track.lastSeen) - track.heldSeconds > maxCoastSeconds
          ? 'lost'
          : x < -1 || y < -1 || x > width || y > height
            ? 'left'
            : null;
      if (reason !== null) this.end(track, reason, update);
      return reason === null;
    });
  }

  private sort(detections: readonly Detection[]): { strong: Detection[]; weak: Detection[] } {
    const { highScore, lowScore, maxDetections } = this.options;
    const { counts } = this;
    let usable = detections.filter((d) => {
      const valid =
        Number.isFinite(d.x + d.y + d.score) &&
        Number.isFinite(d.sigmaX + d.sigmaY + d.extent) &&
        d.sigmaX >= 0 &&
        d.sigmaY >= 0;
      if (!valid) counts.invalid++;
      else if (d.score < lowScore) counts.belowLow++;
      return valid && d.score >= lowScore;
    });
    if (usable.length > maxDetections) {
      counts.overflow += usable.length - maxDetections;
      usable = usable.sort((a, b) => b.score - a.score).slice(0, maxDetections);
    }
    const strong: Detection[] = [];
    const weak: Detection[] = [];
    for (const d of usable) (d.score >= highScore ? strong : weak).push(d);
    return { strong, weak };
  }

  private observeClutter(detections: readonly Detection[], dt: number): void {
    const { sensorMap, sceneMap, originX, originY } = this;
    if (sensorMap === null || sceneMap === null) return;
    sensorMap.observe(detections, dt, undefined, { x: originX, y: originY });
    if (this.usesShift) {
      const { width, height } = this.options;
      sceneMap.observe(
        detections.map((d) => ({ x: d.x - originX, y: d.y - originY })),
        dt,
        (x, y) => x + originX >= 0 && y + originY >= 0 && x + originX < width && y + originY < height,
      );
    }
    for (const d of detections) if (this.placeOf(d.x, d.y) !== null) this.counts.onClutter++;
  }

  /** Gives detections to tracks that have none yet: confirmed ones first. Returns the detections left. */
  private match<D extends Detection>(detections: readonly D[], strong: boolean, moment: TrackMoment): D[] {
    let free = [...detections];
    for (const tentative of [false, true]) {
      const tracks = this.live.filter((t) => t.detection === null && (t.state === 'tentative') === tentative);
      const pairs = associate(this.candidates(tracks, free), MISS_COST);
      if (pairs.length === 0) continue;
      const taken = new Set<number>();
      for (const { track, detection } of pairs) {
        taken.add(detection);
        this.take(tracks[track]!, free[detection]!, strong, moment);
      }
      free = free.filter((_, j) => !taken.has(j));
    }
    return free;
  }

  private candidates(tracks: readonly Live[], detections: readonly Detection[]): Candidate[] {
    const { gate } = this.options;
    const found: Candidate[] = [];
    const n = detections.length;
    const rx = new Float64Array(n);
    const ry = new Float64Array(n);
    for (let j = 0; j < n; j++) {
      rx[j] = this.variance(detections[j]!, 'sigmaX');
      ry[j] = this.variance(detections[j]!, 'sigmaY');
    }
    tracks.forEach(({ filter }, i) => {
      const x = filter.state[0]!;
      const y = filter.state[1]!;
      const p = filter.covariance;
      for (let j = 0; j < n; j++) {
        const d = detections[j]!;
        // d^2 >= u^2 / S_xx for either axis, so this skips no candidate.
        if ((d.x - x) ** 2 > gate * (p[0]! + rx[j]!) || (d.y - y) ** 2 > gate * (p[5]! + ry[j]!)) continue;
        const d2 = filter.distance2(d.x, d.y, rx[j]!, ry[j]!);
        if (d2 > gate) continue;
        const det = (p[0]! + rx[j]!) * (p[5]! + ry[j]!) - p[1]! * p[1]!;
        found.push({ track: i, detection: j, cost: d2 + Math.log(det) });
      }
    });
    return found;
  }

  /** px^2. */
  private variance(detection: Detection, axis: 'sigmaX' | 'sigmaY'): number {
    const { measurementScale, measurementFloor, extentNoise } = this.options;
    const body = extentNoise * Math.max(0, detection.extent - POINT_EXTENT);
    return Math.max(detection[axis] * measurementScale, measurementFloor) ** 2 + body * body;
  }

  private take(track: Live, detection: Detection, strong: boolean, moment: TrackMoment): void {
    const rx = this.variance(detection, 'sigmaX');
    const ry = this.variance(detection, 'sigmaY');
    if (track.state === 'tentative') {
      const { x, y, score } = detection;
      const p = track.filter.covariance;
      const determinant = (p[0]! + rx) * (p[5]! + ry) - p[1]! * p[1]!;
      const d2 = track.filter.distance2(x, y, rx, ry);
      track.llr += hitScore(d2, determinant, this.density.value, score, this.options.highScore);
    }
    track.filter.update(detection.x, detection.y, rx, ry);
    track.detection = detection;
    track.score = detection.score;
    track.topScore = Math.max(track.topScore, detection.score);
    track.snr = detection.snr;
    track.extent = detection.extent;
    track.hits++;
    if (strong) {
      track.strongHits++;
      this.counts.strongMatched++;
    } else this.counts.weakMatched++;
    track.lastSeen = moment;
    track.heldSeconds = 0;
  }

  /** After the matching: misses, confirmation, coasting, deletion, stationarity. */
  private settle(moment: TrackMoment, update: TrackUpdate, dt: number, shift: SceneShift | undefined): void {
    const { confirmHits, confirmFrames, confirmStrongHits, faintScore, faintFrames, maxCoastFrames } = this.options;
    this.live = this.live.filter((track) => {
      track.misses = track.detection === null ? track.misses + 1 : 0;
      if (track.state !== 'tentative') {
        track.state = track.misses === 0 ? 'confirmed' : 'coasting';
        if (track.misses > maxCoastFrames) {
          this.end(track, 'lost', update);
          return false;
        }
      }
      this.judge(track, dt, shift);
      if (track.state !== 'tentative') return true;
      if (track.misses > 0) track.llr += MISS_SCORE;
      const inTime = track.age <= confirmFrames;
      if (inTime && track.hits >= confirmHits && track.strongHits >= confirmStrongHits) {
        this.confirm(track, moment);
        return true;
      }
      const likely = faintScore !== null && track.hits >= confirmHits && track.llr >= CONFIRM_SCORE;
      if (likely && !this.slow(track, 0, 0)) {
        this.confirmFaint(track, moment);
        return true;
      }
      const framesLeft = confirmFrames - track.age;
      const byHits = Math.max(confirmHits - track.hits, confirmStrongHits - track.strongHits) <= framesLeft;
      const byScore = faintScore !== null && track.age < faintFrames && track.llr > REJECT_SCORE;
      if (byHits || byScore) return true;
      this.counts.unconfirmed++;
      return false;
    });
  }

  private confirmFaint(track: Live, moment: TrackMoment): void {
    this.counts.confirmedFaint++;
    this.confirm(track, moment);
  }

  private confirm(track: Live, moment: TrackMoment): void {
    track.state = 'confirmed';
    track.confirmedAt = moment;
    this.counts.confirmed++;
    if (track.stationary) this.counts.confirmedStationary++;
  }

  /** Is the track standing on marked clutter, and fixed to what? Only judged with a detection: a prediction proves nothing. */
  private judge(track: Live, dt: number, shift: SceneShift | undefined): void {
    if (track.detection === null || this.sensorMap === null) return;
    const s = track.filter.state;
    const place = this.placeOf(s[0]!, s[1]!);
    const cameraX = shift !== undefined && dt > 0 ? shift.dx / dt : 0;
    const cameraY = shift !== undefined && dt > 0 ? shift.dy / dt : 0;
    const cameraMoves = Math.hypot(cameraX, cameraY) > CAMERA_AT_REST;
    if (track.sensorFixed) track.sensorFixed = place === 'sensor' || place === 'both';
    else if (place === 'sensor' && cameraMoves && this.slow(track, cameraX, cameraY)) {
      // Only a camera that moves tells the sensor's faults from the scene's lights.
      track.sensorFixed = true;
      s[2]! += cameraX;
      s[3]! += cameraY;
    }
    const standing = place === 'sensor' ? track.sensorFixed || !cameraMoves : place !== null;
    track.stationary = standing && this.slow(track, 0, 0);
  }

  /** May the track be at rest, when (vx, vy) is added to its velocity? */
  private slow(track: Live, vx: number, vy: number): boolean {
    const s = track.filter.state;
    const p = track.filter.covariance;
    const allowed = this.options.stationarySpeed + 2 * Math.sqrt(Math.max(p[10]!, p[15]!));
    return Math.hypot(s[2]! + vx, s[3]! + vy) <= allowed;
  }

  private placeOf(x: number, y: number): 'sensor' | 'scene' | 'both' | null {
    const sensor = this.sensorMap?.marked(x, y) ?? false;
    const scene = this.usesShift && (this.sceneMap?.marked(x - this.originX, y - this.originY) ?? false);
    return sensor ? (scene ? 'both' : 'sensor') : scene ? 'scene' : null;
  }

  /** The track that this detection begins, if it may. */
  private start(
    detection: Detection,
    moment: TrackMoment,
    update: TrackUpdate,
    motion?: SureDetection,
  ): Live | undefined {
    const { minSeparation, separationExtents, maxTracks, startSpeed, confirmHits, confirmStrongHits } = this.options;
    const { x, y } = detection;
    const near = (t: Live) =>
      Math.hypot(t.filter.state[0]! - x, t.filter.state[1]! - y) <
      Math.max(minSeparation, separationExtents * Math.max(t.extent, detection.extent));
    // What lies just outside the gate of a track is that track's own outlier, if a search over many frames says that there is a target.
    if (this.live.some((t) => (t.detection !== null || motion !== undefined) && near(t))) {
      this.counts.tooClose++;
      return undefined;
    }
    const place = this.placeOf(x, y);
    // What the search is sure of is a target whatever its score in one frame.
    const worth = place !== null ? 0 : motion !== undefined ? Number.POSITIVE_INFINITY : detection.score;
    if (this.live.length >= maxTracks && !this.makeRoom(worth, update)) {
      this.counts.refused++;
      return undefined;
    }
    const track: Live = {
      id: this.nextId++,
      state: 'tentative',
      filter: new ConstantVelocityFilter(
        x,
        y,
        this.variance(detection, 'sigmaX'),
        this.variance(detection, 'sigmaY'),
        (motion?.sigmaV ?? startSpeed) ** 2,
        motion?.vx,
        motion?.vy,
      ),
      score: detection.score,
      topScore: detection.score,
      snr: detection.snr,
      extent: detection.extent,
      detection,
      hits: 1,
      strongHits: detection.score >= this.options.highScore ? 1 : 0,
      llr: startScore(detection.score, this.options.highScore),
      misses: 0,
      age: 1,
      heldSeconds: 0,
      firstSeen: moment,
      lastSeen: moment,
      confirmedAt: null,
      stationary: place !== null,
      sensorFixed: this.usesShift && place === 'sensor',
    };
    this.counts.tentativeStarted++;
    if (confirmHits <= 1 && confirmStrongHits <= track.strongHits) this.confirm(track, moment);
    this.live.push(track);
    return track;
  }

  /**
   * Gives up the least valuable track for a new one worth `score`: a tentative one with a lower score, else one on clutter. Others
   * stay: a target that was confirmed is worth more than what may be noise.
   */
  private makeRoom(score: number, update: TrackUpdate): boolean {
    const value = (t: Live) => (t.state === 'tentative' ? (t.stationary ? 0 : t.topScore) : t.stationary ? 1 : 2);
    let least: Live | undefined;
    for (const t of this.live) if (least === undefined || value(t) < value(least)) least = t;
    if (least === undefined || value(least) === 2 || score <= 0) return false;
    if (least.state === 'tentative' && value(least) >= score) return false;
    this.counts.displaced++;
    this.live = this.live.filter((t) => t !== least);
    this.end(least, 'displaced', update);
    return true;
  }

  private end(track: Live, reason: TrackEndReason, update: TrackUpdate): void {
    if (track.state === 'tentative') {
      this.counts.unconfirmed++;
      return;
    }
    track.state = 'lost';
    this.counts.ended[reason]++;
    const ended: EndedTrack = { ...snapshot(track), state: 'lost', endReason: reason };
    update.ended.push(ended);
  }
}

/** How long a track may be unseen where frames come every `interval` s. */
function slowSeconds(interval: number): number {
  return Math.min(SLOW_INTERVALS * interval, MAX_SLOW_SECONDS);
}

function seconds(later: TrackMoment, earlier: TrackMoment): number {
  return Number(later.monotonicNs - earlier.monotonicNs) / 1e9;
}

function snapshot(t: Live): Track {
  const s = t.filter.state;
  const p = t.filter.covariance;
  return {
    id: t.id,
    state: t.state,
    x: s[0]!,
    y: s[1]!,
    vx: s[2]!,
    vy: s[3]!,
    sigmaX: Math.sqrt(p[0]!),
    sigmaY: Math.sqrt(p[5]!),
    covarianceXY: p[1]!,
    sigmaVx: Math.sqrt(p[10]!),
    sigmaVy: Math.sqrt(p[15]!),
    score: t.score,
    topScore: t.topScore,
    snr: t.snr,
    extent: t.extent,
    detection: t.detection,
    hits: t.hits,
    misses: t.misses,
    firstSeen: t.firstSeen,
    confirmedAt: t.confirmedAt,
    lastSeen: t.lastSeen,
    stationary: t.stationary,
    sensorFixed: t.sensorFixed,
  };
}
