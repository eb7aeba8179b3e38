/** A source that waits for a frame waits for so many frame periods at least, whatever it is told: a slow camera is not a stalled one. */
const STALL_PERIODS = 5;

/** How long a source waits for a frame before it does something about it, ms. @param framePeriodMs 0 where it is not known */
export function stallAfterMs(toldMs: number, framePeriodMs: number): number {
  return Math.max(toldMs, STALL_PERIODS * framePeriodMs);
}
