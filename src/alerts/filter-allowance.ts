export interface FilterLimits {
  /** Most filters held, and most that may be subscribed to at once. */
  maxFilters: number;
  /** Subscribed to on average, filters a second. */
  perSecond: number;
  /** Longest filter, bytes. */
  maxBytes: number;
}

/** What one client of the embedded broker may subscribe to: each filter is held against every retained message, in one go. */
export class FilterAllowance {
  readonly #held = new Set<string>();
  #tokens: number;
  #at: number;

  /** @param now a clock that is never set, ms */
  constructor(
    private readonly limits: FilterLimits,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#tokens = limits.maxFilters;
    this.#at = now();
  }

  /** One more, also one that is held already: its retained messages are sent again. Returns why not. */
  take(filter: string): string | undefined {
    const { maxFilters, perSecond, maxBytes } = this.limits;
    if (Buffer.byteLength(filter) > maxBytes) return `a filter over ${maxBytes} bytes`;
    const now = this.now();
    this.#tokens = Math.min(maxFilters, this.#tokens + ((now - this.#at) * perSecond) / 1_000);
    this.#at = now;
    if (this.#tokens < 1) return `more than ${perSecond} subscriptions a second`;
    if (!this.#held.has(filter) && this.#held.size >= maxFilters) return `more than ${maxFilters} subscriptions`;
    this.#tokens -= 1;
    this.#held.add(filter);
    return undefined;
  }

  /** Given up by the client. */
  release(filters: readonly string[]): void {
    for (const filter of filters) this.#held.delete(filter);
  }
}
