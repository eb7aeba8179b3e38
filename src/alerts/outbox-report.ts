import { EdgeError, EXIT } from '../types/errors.js';
import { since } from './counts-report.js';
import type { EventCounters } from './durable-outbox.js';
import type { OutboxStats } from './schema.js';

type Counts = Record<string, number>;

/**
 * What the outbox gave up, for the log: one line for all that was dropped since the last line, by reason, and one for stored
 * records that could not be read. Pure; ask it every few seconds.
 */
export class OutboxReport {
  private dropped: Counts = {};
  private skipped: Counts = {};
  private coalesced = 0;
  private unlogged = false;
  private saidAt = Number.NEGATIVE_INFINITY;

  /** @param intervalMs shortest time between two lines of a kind */
  constructor(private readonly intervalMs = 30_000) {}

  /**
   * @param now on any clock, ms
   * @param last at the stop: what there is to say is said now
   * @returns any of `EVENTS_DROPPED`, `OUTBOX_SKIPPED` and, once, `OUTBOX_UNLOGGED`
   */
  look(counters: EventCounters, now: number, last = false): EdgeError[] {
    if (!last && now - this.saidAt < this.intervalMs) return [];
    const dropped = since(counters.dropped, this.dropped);
    const skipped = since(counters.store.skipped, this.skipped);
    const errors: EdgeError[] = [];
    if (dropped !== '') {
      const coalesced = counters.coalesced - this.coalesced;
      const also = coalesced > 0 ? `, ${coalesced} updates gave way to newer ones` : '';
      errors.push(
        new EdgeError('EVENTS_DROPPED', `messages about events given up: ${dropped}${also}; ${counters.waiting} wait`, {
          hint: hint(counters.dropped, this.dropped),
          exitCode: EXIT.unavailable,
        }),
      );
    }
    if (skipped !== '') {
      errors.push(
        new EdgeError('OUTBOX_SKIPPED', `stored events could not be read and were left out: ${skipped}`, {
          hint: 'Check the disk (dmesg). unknown_version: they were written by another version of the program.',
          exitCode: EXIT.ioError,
        }),
      );
    }
    if (!this.unlogged && counters.store.unlogged > 0) {
      this.unlogged = true;
      errors.push(
        new EdgeError(
          'OUTBOX_UNLOGGED',
          'outbox.log cannot be opened or written: events are as safe, but reach the disk later',
          {
            hint: 'Free 4 MiB in the state directory, and see that outbox/outbox.log is a file of the service; then restart it.',
            exitCode: EXIT.ioError,
          },
        ),
      );
    }
    if (errors.length > 0) this.saidAt = now;
    this.dropped = { ...counters.dropped };
    this.skipped = { ...counters.store.skipped };
    this.coalesced = counters.coalesced;
    return errors;
  }
}

/** The outbox's counters as /stats tells them. */
export function outboxStats(counters: EventCounters): OutboxStats {
  const { accepted, recovered, published, coalesced, dropped, waiting, waitingBytes, inFlight, held } = counters;
  const { mode, fault, memoryOnly, failures, skipped, movedAside, unlogged } = counters.store;
  return {
    accepted,
    recovered,
    published,
    coalesced,
    dropped,
    waiting,
    waitingBytes,
    inFlight,
    held,
    store: { mode, ...(fault === undefined ? {} : { fault }), memoryOnly, failures, skipped, movedAside, unlogged },
  };
}

function hint(now: EventCounters['dropped'], before: Readonly<Counts>): string {
  if (now.overflow > (before.overflow ?? 0)) {
    return 'More waits than outbox.maxEvents or outbox.maxMegabytes allow: mend the link to the broker, or raise them.';
  }
  if (now.expired > (before.expired ?? 0)) {
    return 'They waited longer than outbox.eventLifeSeconds or outbox.updateLifeSeconds: mend the link to the broker.';
  }
  return 'docs/alerts.md explains each reason.';
}
