import type { Track, TrackUpdate } from '../types/track.js';
import { assign } from '../util/assignment.js';
import { distance, match, type Point } from './matching.js';

/** A target that is really there in one frame. `id` names the same target in all frames of a sequence. */
export interface TruthPoint extends Point {
  id: number | string;
}

export interface SequenceFrame {
  /** Capture time, s; only differences count. */
  seconds: number;
  /** Null: nobody labelled this frame, so what is found in it is neither right nor wrong. */
  truth: readonly TruthPoint[] | null;
  /** Tracks reported for this frame: `reported(update)`. */
  tracks: readonly Track[];
  /** What the detector alone would report at its own threshold, for comparison. */
  detections?: readonly Point[];
}

/** What one sequence contributes; plain sums and lists, so that sequences add up. */
export interface SequenceCounts {
  frames: number;
  /** Those of them that nobody labelled. */
  unlabelledFrames: number;
  seconds: number;
  targets: number;
  /** Targets that a moving (not `stationary`) track was ever on. */
  targetsFound: number;
  /** Sum over frames of the targets in them, and of those that a track was on. */
  targetFrames: number;
  trackedFrames: number;
  /** Frames that came with detections; `targetFrames` in these, and those of them with a detection on the target. */
  comparedFrames: number;
  comparedTargets: number;
  detectedTargets: number;
  /** Detections on no target in those frames. */
  falseDetections: number;
  tracks: number;
  /** Tracks that had no target in most of their frames and were not `stationary` in all of these. */
  falseTracks: number;
  /** Such tracks that were `stationary` in all of them: suppressed clutter. */
  stationaryTracks: number;
  /** Times that a target got another track than its last one. */
  idSwitches: number;
  /** For each target found: from its first frame to its first alert; 1 frame is "in the same frame". */
  framesToAlert: number[];
  secondsToAlert: number[];
  /** Squared errors, px^2, of tracks on targets: with a detection (filtered, and the detection itself), and coasting. */
  updates: number;
  smoothedSquared: number;
  rawSquared: number;
  coasts: number;
  coastSquared: number;
}

export interface SequenceScore {
  sequences: number;
  frames: number;
  unlabelledFrames: number;
  seconds: number;
  targets: number;
  targetsFound: number;
  /** Share of target-frames with a track on the target. */
  trackPd: number | null;
  /** The same of the single frames' detections; null where none were given. */
  detectionPd: number | null;
  falseDetectionsPerFrame: number | null;
  /** Share of all targets that had an alert within ten frames of their first one. */
  foundWithinTen: number | null;
  timeToAlert: {
    framesMedian: number;
    framesP95: number;
    framesMax: number;
    secondsMedian: number;
    secondsP95: number;
  } | null;
  tracks: number;
  falseTracks: number;
  /** Of the frames that are labelled. */
  falseTracksPerHour: number | null;
  stationaryTracks: number;
  idSwitches: number;
  /** Root mean square distances, px, of filtered positions and of the detections behind them, in the same frames. */
  rmsSmoothed: number | null;
  rmsRaw: number | null;
  /** Of predictions in frames without a detection. */
  rmsCoasting: number | null;
}

interface Target {
  firstIndex: number;
  firstSeconds: number;
  /** The track that was on it last, and in which frame. */
  track: number | null;
  trackedIndex: number;
  found: boolean;
}

interface Seen {
  /** Frames with a detection: on a target; not, and moving; not, and stationary. */
  on: number;
  off: number;
  offStationary: number;
}

/** All tracks that an update reports, `ended` ones not. */
export function reported(update: TrackUpdate): Track[] {
  return [...update.started, ...update.updated];
}

/**
 * Compares tracks with the truth, frame by frame in order; one instance a sequence.
 *
 * A track is on a target when it is within `radius` px. As in CLEAR MOT (https://doi.org/10.1155/2008/246309), a pair of the frame
 * before stays together while it is; the others are assigned for the least sum of distances.
 */
export class SequenceScorer {
  private readonly radius: number;
  private index = 0;
  private unlabelled = 0;
  private first = 0;
  private latest = 0;
  private readonly targets = new Map<number | string, Target>();
  private readonly seen = new Map<number, Seen>();
  private readonly sums = {
    targetFrames: 0,
    trackedFrames: 0,
    comparedFrames: 0,
    comparedTargets: 0,
    detectedTargets: 0,
    falseDetections: 0,
    idSwitches: 0,
    updates: 0,
    smoothedSquared: 0,
    rawSquared: 0,
    coasts: 0,
    coastSquared: 0,
  };
  private readonly framesToAlert: number[] = [];
  private readonly secondsToAlert: number[] = [];

  constructor(radius = 5) {
    this.radius = radius;
  }

  add(frame: SequenceFrame): void {
    if (this.index === 0) this.first = frame.seconds;
    this.latest = frame.seconds;
    if (frame.truth === null) this.unlabelled++;
    else this.compare(frame, frame.truth);
    this.index++;
  }

  private compare(frame: SequenceFrame, truth: readonly TruthPoint[]): void {
    for (const t of truth) {
      if (!this.targets.has(t.id))
        this.targets.set(t.id, {
          firstIndex: this.index,
          firstSeconds: frame.seconds,
          track: null,
          trackedIndex: -1,
          found: false,
        });
    }
    const pairs = this.pair(frame.tracks, truth);
    const { sums } = this;
    sums.targetFrames += truth.length;
    sums.trackedFrames += pairs.size;
    for (const [track, point] of pairs) this.onTarget(track, point, frame.seconds);
    for (const track of frame.tracks) {
      if (track.detection === null) continue;
      const seen = this.seen.get(track.id) ?? { on: 0, off: 0, offStationary: 0 };
      this.seen.set(track.id, seen);
      if (pairs.has(track)) seen.on++;
      else if (track.stationary) seen.offStationary++;
      else seen.off++;
    }
    if (frame.detections !== undefined) {
      const hits = match(frame.detections, truth, this.radius).length;
      sums.comparedFrames++;
      sums.comparedTargets += truth.length;
      sums.detectedTargets += hits;
      sums.falseDetections += frame.detections.length - hits;
    }
  }

  counts(): SequenceCounts {
    let falseTracks = 0;
    let stationaryTracks = 0;
    for (const { on, off, offStationary } of this.seen.values()) {
      if (on > off + offStationary) continue;
      if (off > 0) falseTracks++;
      else if (offStationary > 0) stationaryTracks++;
    }
    return {
      frames: this.index,
      unlabelledFrames: this.unlabelled,
      // The last frame lasts as long as the others.
      seconds: this.index > 1 ? ((this.latest - this.first) * this.index) / (this.index - 1) : 0,
      targets: this.targets.size,
      targetsFound: this.framesToAlert.length,
      ...this.sums,
      tracks: this.seen.size,
      falseTracks,
      stationaryTracks,
      framesToAlert: [...this.framesToAlert],
      secondsToAlert: [...this.secondsToAlert],
    };
  }

  private pair(tracks: readonly Track[], truth: readonly TruthPoint[]): Map<Track, TruthPoint> {
    const pairs = new Map<Track, TruthPoint>();
    const byId = new Map(tracks.map((t) => [t.id, t]));
    const open: TruthPoint[] = [];
    for (const point of truth) {
      const target = this.targets.get(point.id)!;
      // An older pair has no claim: another track may have had the target since then, or be nearer to it now.
      const kept = target.track !== null && target.trackedIndex === this.index - 1;
      const track = kept ? byId.get(target.track!) : undefined;
      if (track !== undefined && !pairs.has(track) && distance(track, point) <= this.radius) pairs.set(track, point);
      else open.push(point);
    }
    const free = tracks.filter((t) => !pairs.has(t));
    const rest = assign(open.length, free.length, (i, j) => {
      const d = distance(free[j]!, open[i]!);
      return d <= this.radius ? d : Number.POSITIVE_INFINITY;
    });
    rest.forEach((j, i) => {
      if (j >= 0) pairs.set(free[j]!, open[i]!);
    });
    return pairs;
  }

  private onTarget(track: Track, point: TruthPoint, now: number): void {
    const { sums } = this;
    const target = this.targets.get(point.id)!;
    if (target.track !== null && target.track !== track.id) sums.idSwitches++;
    target.track = track.id;
    target.trackedIndex = this.index;
    if (!target.found && !track.stationary) {
      target.found = true;
      this.framesToAlert.push(this.index - target.firstIndex + 1);
      this.secondsToAlert.push(now - target.firstSeconds);
    }
    const squared = distance(track, point) ** 2;
    if (track.detection === null) {
      sums.coasts++;
      sums.coastSquared += squared;
    } else {
      sums.updates++;
      sums.smoothedSquared += squared;
      sums.rawSquared += distance(track.detection, point) ** 2;
    }
  }
}

/** The score of a set of sequences. Rates without anything to divide by are null. */
export function scoreSequences(all: readonly SequenceCounts[]): SequenceScore {
  const sum = (
    key: {
      [K in keyof SequenceCounts]: SequenceCounts[K] extends number ? K : never;
    }[keyof SequenceCounts],
  ) => all.reduce((total, c) => total + c[key], 0);
  const share = (a: number, b: number) => (b === 0 ? null : a / b);
  const rms = (squares: number, count: number) => (count === 0 ? null : Math.sqrt(squares / count));
  // Time in which a false track could have been told.
  const labelled = all.reduce((t, c) => t + (c.frames === 0 ? 0 : c.seconds * (1 - c.unlabelledFrames / c.frames)), 0);
  const frames = all.flatMap((c) => c.framesToAlert).sort((a, b) => a - b);
  const seconds = all.flatMap((c) => c.secondsToAlert).sort((a, b) => a - b);
  return {
    sequences: all.length,
    frames: sum('frames'),
    unlabelledFrames: sum('unlabelledFrames'),
    seconds: sum('seconds'),
    targets: sum('targets'),
    targetsFound: sum('targetsFound'),
    trackPd: share(sum('trackedFrames'), sum('targetFrames')),
    detectionPd: share(sum('detectedTargets'), sum('comparedTargets')),
    falseDetectionsPerFrame: share(sum('falseDetections'), sum('comparedFrames')),
    foundWithinTen: share(frames.filter((n) => n <= 10).length, sum('targets')),
    timeToAlert:
      frames.length === 0
        ? null
        : {
            framesMedian: quantile(frames, 0.5),
            framesP95: quantile(frames, 0.95),
            framesMax: frames.at(-1)!,
            secondsMedian: quantile(seconds, 0.5),
            secondsP95: quantile(seconds, 0.95),
          },
    tracks: sum('tracks'),
    falseTracks: sum('falseTracks'),
    falseTracksPerHour: share(sum('falseTracks') * 3600, labelled),
    stationaryTracks: sum('stationaryTracks'),
    idSwitches: sum('idSwitches'),
    rmsSmoothed: rms(sum('smoothedSquared'), sum('updates')),
    rmsRaw: rms(sum('rawSquared'), sum('updates')),
    rmsCoasting: rms(sum('coastSquared'), sum('coasts')),
  };
}

/** Nearest-rank quantile of an ascending list that is not empty. */
function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]!;
}
