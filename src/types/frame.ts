/** Why a frame that a source captured was not processed. Every drop is counted under exactly one of these. */
export const DROP_REASONS = [
  /** A newer frame took its place before the pipeline was free (newest frame wins). */
  'stale',
  /** The source's own sequence numbers skipped it. */
  'sequence',
  /** Fewer bytes than a frame has. */
  'short',
  /** Unreadable, or flagged as damaged by the driver. */
  'corrupt',
  /** Its size differs from the first frame's. */
  'size',
  /** Inference failed on it. */
  'inference',
  /** Still pending when the pipeline was told to stop. */
  'shutdown',
] as const;
export type DropReason = (typeof DROP_REASONS)[number];

/** Flat-field correction: `imminent`: about to begin; `running`: the shutter is closed; `settling`: just done. */
export const FFC_STATES = ['idle', 'imminent', 'running', 'settling'] as const;
export type FfcState = (typeof FFC_STATES)[number];

/** What tells a flat-field correction: the camera's telemetry, the same picture again and again, a step of the whole picture. */
export const FFC_SIGNS = ['telemetry', 'freeze', 'step'] as const;
export type FfcSign = (typeof FFC_SIGNS)[number];

/** How the flat-field corrections of a camera are noticed. */
export interface FfcRule {
  /** Any of these; empty: none is noticed. */
  detect: readonly FfcSign[];
  /** How long pictures are not trusted after a correction, ms. */
  settleMs: number;
}

/** What the camera says of itself in the rows beside the picture; what it does not say is absent. */
export interface FrameTelemetry {
  /** The camera's own number of the frame. */
  frameCounter?: number;
  /** Since the camera was switched on, ms. */
  uptimeMs?: number;
  /** `never`: none since it was switched on; `done`: at least one. */
  ffc?: 'never' | 'imminent' | 'running' | 'done';
  /** When the last correction was, in the camera's own ms or frames: tells only that there was another one. */
  lastFfc?: number;
  /** The camera asks for a correction. */
  ffcDesired?: boolean;
  /** Of the focal plane array, degrees Celsius. */
  temperatureC?: number;
  /** The camera is about to switch itself off for its heat. */
  overheated?: boolean;
}

/** What is wrong with a sensor; none stops the camera. */
export const SENSOR_ISSUES = [
  /** The same picture for longer than any correction takes. */
  'frozen',
  /** All counts are the same: no scene at all. */
  'blank',
  /** A large share of the pixels is at the end of the scale. */
  'saturated',
  /** Pixels that do not follow the scene. */
  'deadPixels',
  /** More of them than are replaced: the sensor, or the way the picture is read, is broken. */
  'manyDeadPixels',
  /** Signs of a correction that do not end: they are not believed any more, and the frames are searched. */
  'ffcStuck',
  /** The whole picture grows brighter or darker at once again and again, too often for corrections: the frames are searched. */
  'levelSteps',
  /** The camera says that it is too hot. */
  'overheated',
] as const;
export type SensorIssue = (typeof SENSOR_ISSUES)[number];

export type SensorHealth = 'ok' | 'degraded' | 'frozen' | 'fault';

/** State of the sensor as of one frame. */
export interface FrameSensor {
  ffc: FfcState;
  health: SensorHealth;
  /** Why nothing is searched in this frame; absent: it is searched. */
  held?: 'ffc' | 'frozen';
  issues: readonly SensorIssue[];
  /** Pixels found dead, stuck or hot so far. */
  deadPixels: number;
  /** Pixels at the end of the scale, of all, 0 to 1. */
  saturatedShare: number;
  /** Of the focal plane array, degrees Celsius, when the camera says so. */
  temperatureC?: number;
}

/**
 * One picture of counts as the camera delivered it.
 *
 * Pixel centres are at integer coordinates, x to the right, y down, 0-based.
 */
export interface Frame {
  /** The source's frame number, from 0; gaps are frames that were never seen here. */
  readonly sequence: number;
  /** CLOCK_MONOTONIC at capture, ns (`process.hrtime.bigint()` reads the same clock). */
  readonly captureMonotonicNs: bigint;
  /** Wall clock at capture, ms since 1970 (what `Date.now()` gives). */
  readonly capturedAtMs: number;
  /**
   * When it was recorded, ns since the first frame: of a recording played as fast as possible, whose frames come at other intervals
   * than they were taken. Absent: at capture.
   */
  readonly recordedNs?: bigint;
  readonly width: number;
  readonly height: number;
  /** Significant bits of a count: 8 to 16. */
  readonly bits: number;
  /** `width * height` counts, row by row. Valid until the next call of the source's `next()`. */
  readonly data: Uint8Array | Uint16Array;
  /** From the camera's telemetry rows. Valid as long as `data`. */
  readonly telemetry?: FrameTelemetry;
  /** Set by the sensor monitor, where there is one. */
  readonly sensor?: FrameSensor;
}

/** The clock of what is seen, ns: of speeds, of the time without a detection, of a correction. Only its differences mean something. */
export function sceneTimeNs(frame: Pick<Frame, 'captureMonotonicNs' | 'recordedNs'>): bigint {
  return frame.recordedNs ?? frame.captureMonotonicNs;
}

export interface SourceInfo {
  /** One line for people: `recording clips/sky (150 frames, 320x256, 8 bit)`. */
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  /** Nominal frame rate, Hz, when the source knows it. */
  readonly fps?: number;
  /** Number of frames, when the source ends. */
  readonly frames?: number;
  /** Name of the camera profile in force. */
  readonly profile?: string;
  /** How corrections are noticed; present: the source is a live sensor, which is watched unless configured otherwise. */
  readonly ffc?: FfcRule;
}

/**
 * Where a source with a device stands. `lost`: the device, or its stream, is gone; `back-off`: it is waited for before the next attempt.
 */
export const CAPTURE_STATES = ['closed', 'opening', 'streaming', 'stalled', 'lost', 'back-off'] as const;
export type CaptureState = (typeof CAPTURE_STATES)[number];

/** A step of a source with a device. */
export interface CaptureTransition {
  from: CaptureState;
  to: CaptureState;
  /** One line for people. */
  reason: string;
  /** Of the error behind it (docs/errors.md). */
  code?: string;
  /** What to do about it. */
  hint?: string;
  /** Wall clock, ms since 1970. */
  atMs: number;
}

/** `captured = delivered + sum(dropped)` at any time that no call of `next()` is under way. */
export interface SourceCounters {
  captured: number;
  /** Handed out by `next()`. */
  delivered: number;
  dropped: Partial<Record<DropReason, number>>;
}

/** Where frames come from. The constructor only stores its options; `start` opens, `stop` closes and may be called twice. */
export interface FrameSource {
  /** Opens the source and learns its size. Throws `EdgeError`. */
  start(signal: AbortSignal): Promise<SourceInfo>;
  /**
   * The newest frame not yet handed out; waits for one; `null` when the source has ended or was stopped.
   * In real time, older pending frames are dropped and counted as `stale`; as fast as possible, every frame is delivered.
   */
  next(): Promise<Frame | null>;
  counters(): SourceCounters;
  stop(): Promise<void>;
}
