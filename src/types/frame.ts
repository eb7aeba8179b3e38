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
  readonly width: number;
  readonly height: number;
  /** Significant bits of a count: 8 to 16. */
  readonly bits: number;
  /** `width * height` counts, row by row. Valid until the next call of the source's `next()`. */
  readonly data: Uint8Array | Uint16Array;
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
