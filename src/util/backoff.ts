/**
 * Waiting time before the next attempt, ms: doubles from `minMs` to `maxMs`, drawn from the upper half of the step so
 * that a fleet does not come back to a restarted broker all at once.
 *
 * @param attempt failures so far, from 0
 * @param random 0 ≤ r < 1, as `Math.random`
 */
export function backoffMs(attempt: number, minMs: number, maxMs: number, random: () => number): number {
  const step = Math.min(maxMs, minMs * 2 ** Math.min(attempt + 1, 32));
  return Math.max(minMs, step / 2 + (random() * step) / 2);
}
