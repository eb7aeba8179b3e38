type Counts = Readonly<Record<string, number>>;

/** Says what rose in counts by reason, for the log: all of it in one line, and not too often. Pure; ask it every few seconds. */
export class CountsReport {
  #before: Counts = {};
  #saidAt = Number.NEGATIVE_INFINITY;

  /** @param intervalMs shortest time between two lines */
  constructor(private readonly intervalMs = 30_000) {}

  /**
   * @param now on any clock, ms
   * @param last at the stop: what there is to say is said now
   * @returns `overflow 5, expired 2`, since the last line; empty where there is nothing to say now
   */
  look(counts: Counts, now: number, last = false): string {
    if (!last && now - this.#saidAt < this.intervalMs) return '';
    const rose = since(counts, this.#before);
    if (rose !== '') this.#saidAt = now;
    this.#before = { ...counts };
    return rose;
  }
}

/** `overflow 5, expired 2`: what rose. */
export function since(now: Counts, before: Counts): string {
  return Object.entries(now)
    .map(([reason, n]) => [reason, n - (before[reason] ?? 0)] as const)
    .filter(([, n]) => n > 0)
    .map(([reason, n]) => `${reason} ${n}`)
    .join(', ');
}
