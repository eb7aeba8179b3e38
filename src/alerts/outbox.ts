/** Why an accepted alert was not delivered. */
export const ALERT_DROP_REASONS = [
  /** The queue was full: the oldest made room for the newest. */
  'queue_full',
  /** Larger than we, or the broker, allow. */
  'oversized',
  /** The broker said no to it (PUBACK with an error, or it closes the connection whenever it sees it). */
  'refused',
  /** Not acknowledged when the publisher stopped. */
  'shutdown',
] as const;
export type AlertDropReason = (typeof ALERT_DROP_REASONS)[number];

/** `accepted = published + sum(dropped) + queued + inFlight` at any time. */
export interface AlertCounters {
  accepted: number;
  /** QoS 1: acknowledged by the broker. QoS 0: written to the connection. */
  published: number;
  dropped: Record<AlertDropReason, number>;
  queued: number;
  inFlight: number;
}

export interface OutboxEntry {
  readonly topic: string;
  readonly payload: Buffer;
  /** MIME type. */
  readonly contentType: string;
  /** Times the connection was closed while this one was the only alert under way. */
  soloLosses: number;
}

export interface OutboxLimits {
  /** Most alerts that wait, at least 1. */
  maxQueued: number;
  /** Most payload bytes that wait; a single alert is always let in. */
  maxQueuedBytes: number;
}

/**
 * The only place where alerts wait: in memory, in order, bounded in number and bytes, newest kept. mqtt.js gets an
 * alert only when it can be sent, because its own store is unbounded and overwrites silently past 65 535 messages.
 * Knows nothing of the network, so that a durable one can take its place.
 */
export class Outbox {
  readonly #limits: OutboxLimits;
  #queue: OutboxEntry[] = [];
  #queuedBytes = 0;
  /** In the order in which they were taken. */
  readonly #inFlight = new Set<OutboxEntry>();
  #accepted = 0;
  #published = 0;
  readonly #dropped: Record<AlertDropReason, number> = { queue_full: 0, oversized: 0, refused: 0, shutdown: 0 };

  constructor(limits: OutboxLimits) {
    this.#limits = limits;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Accepts an alert; drops the oldest waiting ones when there is no room. */
  offer(topic: string, payload: Buffer, contentType = 'application/json'): void {
    this.#accepted += 1;
    this.#queue.push({ topic, payload, contentType, soloLosses: 0 });
    this.#queuedBytes += payload.length;
    this.#trim();
  }

  /** Counts an alert that is dropped as it comes. */
  reject(reason: AlertDropReason): void {
    this.#accepted += 1;
    this.#dropped[reason] += 1;
  }

  /** The oldest waiting alert, now in flight. It must end in `done`, `drop` or `requeue`. */
  take(): OutboxEntry | undefined {
    const entry = this.#queue.shift();
    if (entry === undefined) return undefined;
    this.#queuedBytes -= entry.payload.length;
    this.#inFlight.add(entry);
    return entry;
  }

  /** Delivered. False when the entry is no longer in flight: an answer from an earlier connection. */
  done(entry: OutboxEntry): boolean {
    if (!this.#inFlight.delete(entry)) return false;
    this.#published += 1;
    return true;
  }

  /** Given up. False when the entry is no longer in flight. */
  drop(entry: OutboxEntry, reason: AlertDropReason): boolean {
    if (!this.#inFlight.delete(entry)) return false;
    this.#dropped[reason] += 1;
    return true;
  }

  /** The connection is gone: what was in flight goes back in front, in its old order. */
  requeue(): void {
    if (this.#inFlight.size === 0) return;
    const back = [...this.#inFlight];
    this.#inFlight.clear();
    for (const entry of back) this.#queuedBytes += entry.payload.length;
    this.#queue = [...back, ...this.#queue];
    this.#trim();
  }

  /** The one alert in flight, if there is exactly one. */
  sole(): OutboxEntry | undefined {
    if (this.#inFlight.size !== 1) return undefined;
    for (const entry of this.#inFlight) return entry;
    return undefined;
  }

  /** Gives up everything that waits or is in flight. */
  clear(reason: AlertDropReason): void {
    this.#dropped[reason] += this.#queue.length + this.#inFlight.size;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#inFlight.clear();
  }

  counters(): AlertCounters {
    return {
      accepted: this.#accepted,
      published: this.#published,
      dropped: { ...this.#dropped },
      queued: this.#queue.length,
      inFlight: this.#inFlight.size,
    };
  }

  #trim(): void {
    while (
      this.#queue.length > this.#limits.maxQueued ||
      (this.#queuedBytes > this.#limits.maxQueuedBytes && this.#queue.length > 1)
    ) {
      const oldest = this.#queue.shift();
      if (oldest === undefined) return;
      this.#queuedBytes -= oldest.payload.length;
      this.#dropped.queue_full += 1;
    }
  }
}
