import { EdgeError } from '../types/errors.js';
import type { Judgement } from './progress.js';

export interface WatchdogHooks {
  /** WATCHDOG=1. */
  feed(): void;
  /** What each worker does now, by camera. */
  workers(): ReadonlyMap<string, Judgement>;
  /** Told once when feeding is held back. */
  onHeld(error: EdgeError): void;
  /** Fed again after `onHeld`. */
  onFed(): void;
  /** CLOCK_MONOTONIC, ms; for tests. */
  now?(): number;
}

/** Looks in one interval of systemd's: a single late one is no reason to be killed. */
const LOOKS = 4;
/** The event loop does no long work: a turn of this length is none that it should have. */
const PROMPT_MS = 5000;

/**
 * Feeds systemd's watchdog (WatchdogSec=) as long as the truth allows: the event loop is prompt, and every worker makes progress or has a
 * known excuse (`judgeWorker`). Otherwise it does not, and systemd restarts the service when the interval is over.
 */
export class Watchdog {
  private timer: NodeJS.Timeout | undefined;
  private lookedAt = 0;
  private held: string | undefined;
  private readonly everyMs: number;
  private readonly now: () => number;

  /** @param intervalMs within which systemd wants to be fed */
  constructor(
    intervalMs: number,
    private readonly hooks: WatchdogHooks,
  ) {
    this.everyMs = intervalMs / LOOKS;
    this.now = hooks.now ?? (() => performance.now());
  }

  /** Why it was not fed at the last look. */
  get heldBy(): string | undefined {
    return this.held;
  }

  start(): void {
    this.lookedAt = this.now();
    this.timer = setInterval(() => this.look(), this.everyMs);
    this.hooks.feed();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** One look; called by the timer. */
  look(): void {
    const now = this.now();
    const late = now - this.lookedAt - this.everyMs;
    this.lookedAt = now;
    const stuck = [...this.hooks.workers()].filter(([, { condition }]) => condition === 'stuck');
    const why =
      late > PROMPT_MS
        ? `the event loop was blocked for ${Math.round(late / 1000)} s`
        : stuck.map(([camera, { reason }]) => `camera ${camera}: ${reason ?? 'stuck'}`).join('; ');
    if (why === '') {
      this.hooks.feed();
      if (this.held !== undefined) this.hooks.onFed();
      this.held = undefined;
      return;
    }
    // The seconds in it count up: one line is enough.
    if (this.held === undefined) {
      this.hooks.onHeld(
        new EdgeError('WATCHDOG_HELD', `no progress: ${why}`, {
          hint: 'systemd is not told to go on and restarts the service unless it recovers; report it with the log',
        }),
      );
    }
    this.held = why;
  }
}
