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

/**
 * What waits in a queue of its own, so that many of the one do not push out the other: `frames`, detections, figures and answers;
 * `forms`, events in other forms (CBOR, SAPIENT).
 */
export const LANES = ['frames', 'forms'] as const;
export type Lane = (typeof LANES)[number];

export interface OutboxEntry {
  readonly lane: Lane;
  readonly topic: string;
  readonly payload: Buffer;
  /** MIME type. */
  readonly contentType: string;
  /** Times the connection was closed while this one was the only alert under way. */
  soloLosses: number;
}

/** Of each lane. */
export interface OutboxLimits {
  /** Most alerts that wait, at least 1. */
  maxQueued: number;
  /** Most payload bytes that wait; a single alert is always let in. */
  maxQueuedBytes: number;
}

class Waiting {
  queue: OutboxEntry[] = [];
  bytes = 0;
  accepted = 0;
  published = 0;
  inFlight = 0;
  readonly dropped: Record<AlertDropReason, number> = { queue_full: 0, oversized: 0, refused: 0, shutdown: 0 };
}

/**
 * The only place where alerts wait: in memory, in order within a lane, each lane bounded in number and bytes, newest kept. mqtt.js gets an
 * alert only when it can be sent, because its own store is unbounded and overwrites silently past 65 535 messages.
 * Knows nothing of the network, so that a durable one can take its place.
 */
export class Outbox {
  readonly #limits: OutboxLimits;
  readonly #lanes: Readonly<Record<Lane, Waiting>> = { frames: new Waiting(), forms: new Waiting() };
  /** In the order in which they were taken. */
  readonly #inFlight = new Set<OutboxEntry>();
  /** Whose turn it is where both wait. */
  #turn: Lane = 'forms';

  constructor(limits: OutboxLimits) {
    this.#limits = limits;
  }

  get queued(): number {
    return LANES.reduce((sum, lane) => sum + this.#lanes[lane].queue.length, 0);
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Accepts an alert; drops the oldest waiting ones of its lane when there is no room. */
  offer(topic: string, payload: Buffer, contentType = 'application/json', lane: Lane = 'frames'): void {
    const waiting = this.#lanes[lane];
    waiting.accepted += 1;
    waiting.queue.push({ lane, topic, payload, contentType, soloLosses: 0 });
    waiting.bytes += payload.length;
    this.#trim(waiting);
  }

  /** Counts an alert that is dropped as it comes. */
  reject(reason: AlertDropReason, lane: Lane = 'frames'): void {
    this.#lanes[lane].accepted += 1;
    this.#lanes[lane].dropped[reason] += 1;
  }

  /** The oldest waiting alert, of the lanes in turns, now in flight. It must end in `done`, `drop` or `requeue`. */
  take(): OutboxEntry | undefined {
    const lane = this.#lanes[this.#turn].queue.length > 0 ? this.#turn : other(this.#turn);
    const waiting = this.#lanes[lane];
    const entry = waiting.queue.shift();
    if (entry === undefined) return undefined;
    this.#turn = other(lane);
    waiting.bytes -= entry.payload.length;
    waiting.inFlight += 1;
    this.#inFlight.add(entry);
    return entry;
  }

  /** Delivered. False when the entry is no longer in flight: an answer from an earlier connection. */
  done(entry: OutboxEntry): boolean {
    if (!this.#leave(entry)) return false;
    this.#lanes[entry.lane].published += 1;
    return true;
  }

  /** Given up. False when the entry is no longer in flight. */
  drop(entry: OutboxEntry, reason: AlertDropReason): boolean {
    if (!this.#leave(entry)) return false;
    this.#lanes[entry.lane].dropped[reason] += 1;
    return true;
  }

  #leave(entry: OutboxEntry): boolean {
    if (!this.#inFlight.delete(entry)) return false;
    this.#lanes[entry.lane].inFlight -= 1;
    return true;
  }

  /** The connection is gone: what was in flight goes back in front, in its old order. */
  requeue(): void {
    if (this.#inFlight.size === 0) return;
    const back = [...this.#inFlight];
    this.#inFlight.clear();
    for (const lane of LANES) {
      const waiting = this.#lanes[lane];
      const entries = back.filter((entry) => entry.lane === lane);
      for (const entry of entries) waiting.bytes += entry.payload.length;
      waiting.queue = [...entries, ...waiting.queue];
      waiting.inFlight = 0;
      this.#trim(waiting);
    }
  }

  /** The one alert in flight, if there is exactly one. */
  sole(): OutboxEntry | undefined {
    if (this.#inFlight.size !== 1) return undefined;
    for (const entry of this.#inFlight) return entry;
    return undefined;
  }

  /** Gives up everything that waits or is in flight. */
  clear(reason: AlertDropReason): void {
    for (const lane of LANES) {
      const waiting = this.#lanes[lane];
      waiting.dropped[reason] += waiting.queue.length + waiting.inFlight;
      waiting.queue = [];
      waiting.bytes = 0;
      waiting.inFlight = 0;
    }
    this.#inFlight.clear();
  }

  counters(lane: Lane = 'frames'): AlertCounters {
    const { accepted, published, dropped, queue, inFlight } = this.#lanes[lane];
    return { accepted, published, dropped: { ...dropped }, queued: queue.length, inFlight };
  }

  #trim(waiting: Waiting): void {
    const { maxQueued, maxQueuedBytes } = this.#limits;
    while (waiting.queue.length > maxQueued || (waiting.bytes > maxQueuedBytes && waiting.queue.length > 1)) {
      const oldest = waiting.queue.shift();
      if (oldest === undefined) return;
      waiting.bytes -= oldest.payload.length;
      waiting.dropped.queue_full += 1;
    }
  }
}

function other(lane: Lane): Lane {
  return lane === 'frames' ? 'forms' : 'frames';
}
