import type { Clock } from '../../src/capture/pacing.js';

/** A clock that stands still but for `advance` and, unless `frozen`, for sleeping, which takes exactly as long as asked. */
export class FakeClock implements Clock {
  /** CLOCK_MONOTONIC, ms. */
  nowMs = 5_000_000;
  /** Wall clock minus monotonic clock, ms. */
  wallOffsetMs = 1_700_000_000_000;
  frozen = false;
  slept: number[] = [];

  monotonicNs(): bigint {
    return BigInt(Math.round(this.nowMs * 1e6));
  }

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.slept.push(ms);
    if (this.frozen) {
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        else signal.addEventListener('abort', () => resolve(), { once: true });
      });
    } else this.advance(ms);
  }

  advance(ms: number): void {
    this.nowMs += ms;
  }
}
