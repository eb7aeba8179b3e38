import type { Verdict } from './health.js';

const POLL_MS = 250;

export interface HealthWatchOptions {
  /** Waits so long for `ok`, ms, and at least `stableMs`. */
  waitMs: number;
  /** What holds for less, or not by one and the same process, does not count, ms. */
  stableMs: number;
  signal: AbortSignal;
  ask(): Verdict;
  /** Any clock that is never set, ms. */
  now(): number;
  /** May end early when the signal aborts; never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/**
 * Asks until it has been `ok` for `stableMs`, or the time is over. Then `degraded` counts only where the same process was `ok` or
 * `degraded` for `stableMs`: a service that crashes and is started again is `failing`, whatever it says in between.
 */
export async function watchHealth(options: HealthWatchOptions): Promise<Verdict> {
  const { stableMs, signal, ask, now, sleep } = options;
  const waitMs = Math.max(options.waitMs, stableMs);
  let begun: number | undefined;
  let ok: number | undefined;
  let serving: number | undefined;
  let pid: number | undefined;
  for (;;) {
    const verdict = ask();
    const at = now();
    // With the first answer, as the two below: what holds from then to the end has held for all of the time.
    begun ??= at;
    const { severity, health } = verdict;
    const same = health?.pid === pid;
    pid = health?.pid;
    ok = severity === 'ok' ? since(same, ok, at) : undefined;
    serving = severity === 'ok' || severity === 'degraded' ? since(same, serving, at) : undefined;
    if (ok !== undefined && at - ok >= stableMs) return verdict;
    if (at - begun >= waitMs || signal.aborted) {
      if (serving === undefined) return verdict;
      if (at - serving < stableMs) return tooShort(verdict, 'failing', 'it serves', at - serving, stableMs);
      return ok === undefined ? verdict : tooShort(verdict, 'degraded', 'ok', at - ok, stableMs);
    }
    await sleep(Math.min(POLL_MS, begun + waitMs - at), signal);
  }
}

function since(same: boolean, start: number | undefined, at: number): number {
  return same && start !== undefined ? start : at;
}

function tooShort(
  verdict: Verdict,
  severity: 'failing' | 'degraded',
  what: string,
  heldMs: number,
  stableMs: number,
): Verdict {
  const text = `${what} for ${(heldMs / 1000).toFixed(1)} s only, asked for ${stableMs / 1000} s`;
  return { ...verdict, severity, reasons: [text, ...verdict.reasons] };
}
