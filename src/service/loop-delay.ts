/** How closely the event loop is watched. */
const EVERY_MS = 50;

/**
 * By how much the event loop is late. Not `monitorEventLoopDelay`: its figures have its interval in them, so that an idle loop seems
 * 50 ms late, and each `reset` makes it blind for an interval: a loop that blocks right afterwards is not noticed.
 */
export class LoopDelay {
  private timer: NodeJS.Timeout | undefined;
  private lookedAt = 0;
  private longest = 0;

  start(): void {
    this.lookedAt = performance.now();
    this.timer = setInterval(() => this.look(), EVERY_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** Longest time by which a turn was late, since the last call, ms: how long the loop was blocked, or less by an interval. */
  take(): number {
    const { longest } = this;
    this.longest = 0;
    return longest;
  }

  private look(): void {
    const now = performance.now();
    this.longest = Math.max(this.longest, now - this.lookedAt - EVERY_MS);
    this.lookedAt = now;
  }
}
