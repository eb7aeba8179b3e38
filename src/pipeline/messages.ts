import type { SourceOptions } from '../capture/options.js';
import type { DetectorOptions } from '../detect/detector.js';
import type { Detection } from '../types/detection.js';
import type { PlainError } from '../types/errors.js';
import type { DropReason, SourceInfo } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';

/** What a camera's worker is started with. */
export interface CameraJob {
  camera: string;
  source: SourceOptions;
  detector: DetectorOptions;
  /** Score from which a peak is a detection; absent: the model's own. */
  threshold?: number;
}

/** `captured = processed + sum(dropped)` whenever no frame is under way; a test holds it. */
export interface FrameCounters {
  captured: number;
  processed: number;
  dropped: Partial<Record<DropReason, number>>;
  /** Heat-map cells that were NaN or infinite and were taken as 0. */
  invalidCells: number;
}

/** ms of each stage of one frame. */
export interface StageTimings {
  normalise: number;
  infer: number;
  decode: number;
  /** From the capture to the end of decoding; includes waiting. */
  total: number;
}

export interface FrameResult {
  type: 'frame';
  sequence: number;
  capturedAtMs: number;
  captureMonotonicNs: bigint;
  width: number;
  height: number;
  /** Sorted by descending score; empty when nothing was found. */
  detections: Detection[];
  timings: StageTimings;
}

/** Worker to main thread. */
export type WorkerEvent =
  | { type: 'ready'; model: ModelIdentity; provider: string; library: string; threshold: number; source: SourceInfo }
  | FrameResult
  | { type: 'counters'; counters: FrameCounters }
  /** A frame was dropped because of this; at most one of a code in ten seconds. */
  | { type: 'fault'; reason: DropReason; error: PlainError }
  | { type: 'ended'; counters: FrameCounters }
  | { type: 'failed'; error: PlainError; counters: FrameCounters };

/** Main thread to worker. */
export type WorkerRequest = { type: 'stop' };
