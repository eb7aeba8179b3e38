import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import type { SourceRate } from './options.js';

/** Rate of a recording that does not say how fast it was taken, Hz. */
export const DEFAULT_FPS = 25;

/** The time as a source sees it; replaced in tests. */
export interface Clock {
  /** CLOCK_MONOTONIC, ns. */
  monotonicNs(): bigint;
  /** ms since 1970. */
  wallMs(): number;
  /** Resolves after about `ms`; early, without error, when `signal` aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  monotonicNs: () => process.hrtime.bigint(),
  wallMs: () => Date.now(),
  sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => {}),
};

export interface Stamp {
  captureMonotonicNs: bigint;
  capturedAtMs: number;
  recordedNs?: bigint;
}

/** The wall clock at an earlier moment of the monotonic clock. Read when needed, so a clock set by NTP meanwhile is followed. */
export function stampOf(clock: Clock, monotonicNs: bigint): Stamp {
  return {
    captureMonotonicNs: monotonicNs,
    capturedAtMs: clock.wallMs() - Number(clock.monotonicNs() - monotonicNs) / 1e6,
  };
}

// setTimeout fires at once for more than 2^31 - 1 ms.
const LONGEST_SLEEP_MS = 2 ** 30;

/**
 * The clock of a source that has none of its own: decides which frame is handed out next and when.
 *
 * In real time frame k is due at t0 + k / fps, t0 being the first call of `turn` (so a model that loads between start and the
 * first frame costs no frames). As fast as possible every frame is due at once.
 */
export class Pacer {
  private t0: bigint | undefined;

  constructor(
    private readonly rate: SourceRate,
    private readonly fps: number,
    private readonly clock: Clock,
  ) {}

  /**
   * Waits until frame `next` is due and returns the newest frame that is, below `end`: more than `next` when the caller is late.
   * `null` when `signal` aborted.
   */
  async turn(next: number, end: number, signal: AbortSignal): Promise<number | null> {
    // Timers, messages and a stop request must get their turn even when a frame is always ready.
    await immediate();
    if (signal.aborted) return null;
    if (this.rate === 'fast') return next;
    this.t0 ??= this.clock.monotonicNs();
    const due = this.dueNs(next);
    for (;;) {
      const left = due - this.clock.monotonicNs();
      if (left <= 0n) break;
      await this.clock.sleep(Math.min(Math.ceil(Number(left) / 1e6), LONGEST_SLEEP_MS), signal);
      if (signal.aborted) return null;
    }
    return Math.max(next, this.dueCount(end) - 1);
  }

  /** Number of frames that are due by now, at most `end`: 0 before the first turn and always 0 as fast as possible. */
  dueCount(end: number): number {
    if (this.rate === 'fast' || this.t0 === undefined) return 0;
    const now = this.clock.monotonicNs();
    const elapsed = Number(now - this.t0);
    let count = Math.floor((elapsed * this.fps) / 1e9) + 1;
    // The two directions round differently: a frame counts exactly from its due time on.
    while (count > 0 && this.dueNs(count - 1) > now) count--;
    while (this.dueNs(count) <= now) count++;
    return Math.min(count, end);
  }

  /** When frame `sequence` was captured: its due time in real time; as fast as possible now, and its time in the recording besides. */
  stamp(sequence: number): Stamp {
    if (this.rate === 'realtime') return stampOf(this.clock, this.dueNs(sequence));
    return { ...stampOf(this.clock, this.clock.monotonicNs()), recordedNs: recordedNs(sequence, this.fps) };
  }

  private dueNs(sequence: number): bigint {
    return (this.t0 ?? this.clock.monotonicNs()) + recordedNs(sequence, this.fps);
  }
}

/** From the first frame to frame `sequence` at so many Hz, ns. */
export function recordedNs(sequence: number, fps: number): bigint {
  return BigInt(Math.round((sequence * 1e9) / fps));
}
