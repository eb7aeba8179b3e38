import type { SourceOptions } from '../capture/options.js';
import type { SensorCounters, SensorOptions } from '../capture/sensor-monitor.js';
import type { DetectorOptions } from '../detect/detector.js';
import type { TrackerOptions } from '../track/tracker.js';
import type { Detection } from '../types/detection.js';
import type { PlainError } from '../types/errors.js';
import type { CaptureTransition, DropReason, FrameSensor, SourceInfo } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import type { Crop, FramePicture, FramePictureOptions } from '../types/picture.js';
import type { ProviderChange, ProviderStatus } from '../types/provider.js';
import type { TrackUpdate } from '../types/track.js';

/** What a camera's worker is started with. */
export interface CameraJob {
  camera: string;
  source: SourceOptions;
  detector: DetectorOptions;
  /** Score from which a peak is a detection; absent: the model's own. */
  threshold?: number;
  /** Share of the frame's strongest score that a detection needs, 0..1; absent: the model's own. Tracks do not depend on it. */
  relativeThreshold?: number;
  /** How detections become tracks; absent: the tracker's defaults. */
  tracker?: TrackerJob;
  /** How the sensor is watched; absent: the monitor's defaults. */
  sensor?: SensorOptions;
  /** Side of the chip that goes with each track seen in a frame, px; absent: none. */
  chipSide?: number;
}

export interface TrackerJob extends Partial<Omit<TrackerOptions, 'width' | 'height' | 'clutter'>> {
  /** Measure the camera's own motion between frames and take it out. Default false. */
  egoMotion?: boolean;
  /** Search moving points over many frames that are too faint for one. Default true. */
  faintSearch?: boolean;
  /** What stands still for so long is stationary, s; 0: nothing is. */
  stationarySeconds?: number;
}

/** `captured = processed + sum(dropped)` whenever no frame is under way; a test holds it. */
export interface FrameCounters {
  captured: number;
  processed: number;
  dropped: Partial<Record<DropReason, number>>;
  /** Heat-map cells that were NaN or infinite and were taken as 0. */
  invalidCells: number;
  /** Where the sensor is watched: corrections noticed, and processed frames in which nothing was searched. */
  sensor?: SensorCounters;
}

/** ms of each stage of one frame. */
export interface StageTimings {
  normalise: number;
  /** The network; where it runs on another thread, and the search over many frames beside it, until both are over. */
  infer: number;
  decode: number;
  /** The camera's own motion, the tracks, and the search over many frames where it did not run beside the network. */
  track: number;
  /** From the capture to the end of tracking; includes waiting. */
  total: number;
}

export const STAGES = ['normalise', 'infer', 'decode', 'track'] as const satisfies readonly (keyof StageTimings)[];

export interface FrameResult {
  type: 'frame';
  sequence: number;
  capturedAtMs: number;
  captureMonotonicNs: bigint;
  width: number;
  height: number;
  /** At or above the threshold, by descending score; empty when nothing was found. */
  detections: Detection[];
  /** What the frame changed; a track may live on detections below the threshold. */
  tracks: TrackUpdate;
  /** State of the sensor, where it is watched; with `held`, nothing was searched, and the timings of the search are 0. */
  sensor?: FrameSensor;
  timings: StageTimings;
  /** By track, of those seen in this frame; absent where chips are off or nothing was seen. */
  chips?: Map<number, Crop>;
}

/** Worker to main thread. */
export type WorkerEvent =
  /** The threshold in force, after the request of that number. */
  | { type: 'threshold'; value: number; request: number }
  /** The newest frame at the request of that number; null: it does not fit, however small. */
  | { type: 'snapshot'; picture: FramePicture | null; request: number }
  /** The model and the inference library work on this machine; the source may still be waited for. */
  | { type: 'model'; model: ModelIdentity }
  /** The worker's event loop goes round: once a second, whether or not there are frames. */
  | { type: 'alive' }
  | { type: 'ready'; model: ModelIdentity; provider: string; library: string; threshold: number; source: SourceInfo }
  | FrameResult
  | { type: 'counters'; counters: FrameCounters }
  /** What runs the network took a step; also before `ready`. `model`: what runs from the next frame on. */
  | { type: 'provider'; change: ProviderChange; status: ProviderStatus; model?: ModelIdentity }
  /** The source's device took a step; also before `ready`. */
  | { type: 'capture'; transition: CaptureTransition }
  /** A frame was dropped because of this; at most one of a code in ten seconds. */
  | { type: 'fault'; reason: DropReason; error: PlainError }
  | { type: 'ended'; counters: FrameCounters }
  | { type: 'failed'; error: PlainError; counters: FrameCounters };

/** Main thread to worker. */
/** A threshold of null: the configured one, else the model's. */
export type WorkerRequest =
  | { type: 'stop' }
  | { type: 'threshold'; value: number | null; request: number }
  /** What the configuration now says: a threshold of null is the model's own, a chip side of null is none. */
  | { type: 'configure'; threshold: number | null; chipSide: number | null }
  | { type: 'snapshot'; options: FramePictureOptions; request: number };
