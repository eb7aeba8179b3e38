import type { OutboxRecord } from './outbox-record.js';

/**
 * The `end` that stands on disk for each event that is open, in the place where its real one will be: what the next start says of
 * an event that this program cannot end any more. Pure; the owner writes, removes and reads.
 */
export class OpenEnds {
  readonly #ends = new Map<string, OutboxRecord>();
  /** Of those, what the disk does not have yet. */
  readonly #due = new Set<string>();
  /** Events, open or not, whose place on disk may hold such an `end`. */
  readonly #written = new Set<string>();

  /** How many are to be written. */
  get due(): number {
    return this.#due.size;
  }

  /** Takes what a message about an event brings. A write for each would wear out the disk: the first, and where the severity has risen. */
  keep({ id, severity }: OutboxRecord, end: () => OutboxRecord): void {
    const before = this.#ends.get(id);
    if (before !== undefined && before.severity >= severity) return;
    this.#ends.set(id, { ...end(), provisional: true });
    this.#due.add(id);
  }

  /** Those to be written: of one event, or of all. */
  *next(id?: string): Generator<OutboxRecord> {
    const ids = id === undefined ? [...this.#due] : this.#due.has(id) ? [id] : [];
    for (const each of ids) yield this.#ends.get(each) as OutboxRecord;
  }

  /** It is being written. */
  writing(id: string): void {
    this.#due.delete(id);
    this.#written.add(id);
  }

  /** It could not be written, as far as is known. */
  failed(id: string): void {
    if (this.#ends.has(id)) this.#due.add(id);
  }

  /** The real `end` is there, or there will be none. */
  close(id: string): void {
    this.#ends.delete(id);
    this.#due.delete(id);
  }

  /** Whether the place on disk may hold one. */
  mayBeStored(id: string): boolean {
    return this.#written.has(id);
  }

  /** Its place on disk is given up. */
  forget(id: string): void {
    this.close(id);
    this.#written.delete(id);
  }

  /** What is on disk is known anew. @param there takes an event's id, says whether its place is taken, and leaves it alone */
  reconcile(there: (id: string) => boolean): void {
    for (const id of this.#ends.keys()) {
      if (there(id)) this.#written.add(id);
      else this.#due.add(id);
    }
  }
}

/** As it is sent at the next start. Nobody knows when the event ended: its life begins then. */
export function afterInterruption(record: OutboxRecord, nowMs: number): OutboxRecord {
  const { provisional: _, ...rest } = record;
  return { ...rest, createdAtMs: nowMs, expiresAtMs: nowMs + record.expiresAtMs - record.createdAtMs };
}
