import { type EventMessage, severityRank } from '../schema.js';

/** Open events that are remembered. */
const MAX_OPEN = 256;

/**
 * The one target of a camera for receivers that know only one: it stays until it ends or a more severe one comes; then the most
 * severe, and of these the one with the highest score. Pure: no clock.
 */
export class ForemostTarget {
  private readonly open = new Map<string, EventMessage>();
  private current: string | undefined;

  /** @returns the message to show; null when the last target ended; undefined when nothing changed for the shown one */
  update(event: EventMessage): EventMessage | null | undefined {
    const before = this.current;
    if (event.type === 'end') this.open.delete(event.id);
    else {
      // The oldest goes first: with so many open it is the one whose end was lost.
      if (!this.open.has(event.id) && this.open.size >= MAX_OPEN) this.forgetOldest();
      this.open.set(event.id, event);
    }
    const now = this.choose();
    this.current = now?.id;
    if (now === undefined) return before === undefined ? undefined : null;
    return now.id !== before || now === event ? now : undefined;
  }

  private choose(): EventMessage | undefined {
    const all = [...this.open.values()];
    const held = this.current === undefined ? undefined : this.open.get(this.current);
    return all.reduce((best, event) => {
      if (best === undefined) return event;
      const rank = severityRank(event.severity) - severityRank(best.severity);
      return rank > 0 || (rank === 0 && best !== held && event.score > best.score) ? event : best;
    }, held);
  }

  private forgetOldest(): void {
    const oldest = this.open.keys().next().value;
    if (oldest !== undefined) this.open.delete(oldest);
  }
}
