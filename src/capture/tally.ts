import type { DropReason, SourceCounters } from '../types/frame.js';

/** Keeps `captured = delivered + sum(dropped)`: every frame enters through exactly one of these two calls, once its fate is known. */
export class Tally {
  private delivered = 0;
  private readonly dropped = new Map<DropReason, number>();

  deliver(count = 1): void {
    this.delivered += count;
  }

  drop(reason: DropReason, count = 1): void {
    if (count > 0) this.dropped.set(reason, (this.dropped.get(reason) ?? 0) + count);
  }

  counters(): SourceCounters {
    const { delivered } = this;
    let captured = delivered;
    for (const count of this.dropped.values()) captured += count;
    return { captured, delivered, dropped: Object.fromEntries(this.dropped) };
  }
}
