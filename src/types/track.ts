import type { Detection } from './detection.js';

/**
 * - `tentative`: seen, not yet in M of N frames; never leaves the tracker in an update.
 * - `confirmed`: updated by a detection in the newest frame.
 * - `coasting`: confirmed earlier, without a detection in the newest frame; its position is predicted.
 * - `lost`: ended; its number is never used again within the run.
 */
export type TrackState = 'tentative' | 'confirmed' | 'coasting' | 'lost';

/** A frame's place in time. */
export interface TrackMoment {
  /** The source's frame number. */
  sequence: number;
  /** CLOCK_MONOTONIC at capture, ns; the recording's own time where one is played as fast as possible (`sceneTimeNs`). */
  monotonicNs: bigint;
}

/**
 * A target followed over frames. Plain data, a copy of the tracker's state after one frame.
 *
 * Positions in the camera's own pixels (centres at integers, x right, y down, 0-based), velocities in px/s, times from the
 * frames' capture times. With ego-motion compensation the velocity is that against the scene, not against the sensor
 * (except for a track that is `sensorFixed`).
 */
export interface Track {
  /** From 1, rising, unique within a tracker's run. */
  id: number;
  state: TrackState;
  /** Filtered centre, px; the prediction while coasting. */
  x: number;
  y: number;
  /** Filtered velocity, px/s. */
  vx: number;
  vy: number;
  /** Standard error of `x` and `y`, px. */
  sigmaX: number;
  sigmaY: number;
  /** Covariance of `x` and `y`, px^2. */
  covarianceXY: number;
  /** Standard error of `vx` and `vy`, px/s. */
  sigmaVx: number;
  sigmaVy: number;
  /** Score, contrast over noise and size (px) of its latest detection; `topScore` is the highest so far. */
  score: number;
  topScore: number;
  snr: number;
  extent: number;
  /** The detection of the newest frame, as the detector gave it; null while coasting. */
  detection: Detection | null;
  /** Detections so far. */
  hits: number;
  /** Processed frames since the latest detection. */
  misses: number;
  firstSeen: TrackMoment;
  /** Null while tentative. */
  confirmedAt: TrackMoment | null;
  /** Frame of the latest detection. */
  lastSeen: TrackMoment;
  /** It stands where something has stood for long (`ClutterMap`): a hot pixel, a lamp, or a target that does not move. */
  stationary: boolean;
  /** It keeps its place on the sensor while the scene moves: a fault of the sensor. */
  sensorFixed: boolean;
}

/** Why a confirmed track ended. */
export type TrackEndReason =
  /** Coasted for as long as allowed. */
  | 'lost'
  /** Its predicted place left the frame. */
  | 'left'
  /** Given up for a more valuable one: the number of tracks is bounded. */
  | 'displaced'
  /** The tracker was reset. */
  | 'reset';

export interface EndedTrack extends Track {
  state: 'lost';
  endReason: TrackEndReason;
}

/** What one frame changed. Tentative tracks are not in it. Each confirmed track is in exactly one of the lists. */
export interface TrackUpdate {
  moment: TrackMoment;
  /** Confirmed by this frame. */
  started: Track[];
  /** Confirmed before and still followed: `confirmed` or `coasting`. */
  updated: Track[];
  ended: EndedTrack[];
}

/** Motion of the scene in the picture from the previous frame to this one: what was at `p` is now at `p + (dx, dy)`, px. */
export interface SceneShift {
  dx: number;
  dy: number;
  /** Standard error of either part, px. Where `reliable` is false: how far the scene may have moved unseen. */
  sigma: number;
  /** 0..1. */
  confidence: number;
  /** False: `dx` and `dy` are 0 because nothing could be measured. */
  reliable: boolean;
  /** How far the scene had moved in frames before this one that could not be measured, px: known once it is recognised after them. */
  missed?: { dx: number; dy: number };
  /** True in one frame: the scene that is seen since some frames that could not be measured is another one than before them. */
  lost?: boolean;
}
