import { IndexedHeap } from './heap.js';
import { EVENT_KINDS, type OutboxRecord } from './outbox-record.js';

/** Why a message about an event was given up. */
export const EVENT_DROP_REASONS = [
  /** No room: the least valuable goes (updates, then the least severe, then the oldest). */
  'overflow',
  /** Its time ran out before it could be sent. */
  'expired',
  /** Larger than we allow. */
  'oversized',
  /** The broker will never take it. */
  'refused',
  /** An update or end that came after the event's end. */
  'after_end',
  /** A second `new` or `end` of an event while the first one waits. */
  'duplicate',
  /** Offered after the stop, or only in memory at the stop. */
  'shutdown',
] as const;
export type EventDropReason = (typeof EVENT_DROP_REASONS)[number];

/** A message in the queue or in flight. */
export interface EventItem {
  readonly record: OutboxRecord;
  /** On the clock given to the queue, ms: not sent any more from then on. */
  readonly deadline: number;
  readonly bytes: number;
  /** May be offered to the network. */
  ready: boolean;
  /** Times the connection was closed while this was the only message under way. */
  soloLosses: number;
  /** For the owner of the queue: what the store knows of it. */
  stored: 'no' | 'writing' | 'yes';
}

/** The messages about one event: they leave one at a time, in the order of its life. */
interface Group {
  readonly id: string;
  /** Waiting, in order of life: at most one of each kind. */
  readonly items: EventItem[];
  inFlight: EventItem | undefined;
  /** Came while the link was up: goes before what waited for the link. */
  live: boolean;
  severity: number;
  /** When its newest message came (a counter). */
  order: number;
  /** Not to be sent before `releaseHeld`. */
  held: boolean;
}

export interface EventQueueLimits {
  /** Most messages, waiting and in flight. */
  maxCount: number;
  /** Most bytes of them. */
  maxBytes: number;
}

/** Room that a message takes beside topic and payload: objects, index. An estimate. */
const ITEM_OVERHEAD = 256;
/** Events that are over and remembered, so that a late update does not bring one back. */
const MAX_OVER = 4_096;

const rank = (item: EventItem) => EVENT_KINDS.indexOf(item.record.kind);

/**
 * The order in which events leave: what came while the link is up first; then the most severe; then the newest. Within an
 * event `new`, `update`, `end`, one at a time, so that even a refused `new` is never overtaken. Pure: no clock, no disk, no
 * network; every message that leaves, whichever way, is told to `gone`.
 */
export class EventQueue {
  readonly #limits: EventQueueLimits;
  readonly #gone: (item: EventItem, why: EventDropReason | 'sent' | 'coalesced') => void;
  readonly #groups = new Map<string, Group>();
  readonly #inFlight = new Set<EventItem>();
  readonly #heldTopics = new Set<string>();
  /** Events of which nothing more is let in, and why. */
  readonly #over = new Map<string, EventDropReason>();
  #count = 0;
  #bytes = 0;
  #order = 0;
  /** What an earlier run left is older than all that came since. */
  #recoveredOrder = -1e12;

  /** Those that may be sent now. */
  readonly #best = new IndexedHeap<Group>((a, b) =>
    a.live !== b.live ? a.live : a.severity !== b.severity ? a.severity > b.severity : a.order > b.order,
  );
  /** Those with a waiting `new` or `end`, the least valuable first. */
  readonly #worst = new IndexedHeap<Group>(lessValuable);
  /** Those with a waiting update. */
  readonly #updates = new IndexedHeap<Group>(lessValuable);

  constructor(limits: EventQueueLimits, gone: (item: EventItem, why: EventDropReason | 'sent' | 'coalesced') => void) {
    this.#limits = limits;
    this.#gone = gone;
  }

  get waiting(): number {
    return this.#count - this.#inFlight.size;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get inFlightBytes(): number {
    let sum = 0;
    for (const item of this.#inFlight) sum += item.bytes;
    return sum;
  }

  /** Events that are set aside until `releaseHeld` or `releaseTopic`. */
  get held(): number {
    let n = 0;
    for (const group of this.#groups.values()) {
      if (group.items.length > 0 && (group.held || this.#heldTopics.has(topicOf(group)))) n += 1;
    }
    return n;
  }

  /**
   * Adds a message, which may push out others, or itself: ask `has`.
   *
   * @returns why it was not let in, or the item
   */
  add(
    record: OutboxRecord,
    options: { ready: boolean; live: boolean; deadline: number; recovered?: boolean },
  ): EventItem | EventDropReason {
    const over = record.kind === 'new' ? undefined : this.#over.get(record.id);
    if (over !== undefined) return over;
    let group = this.#groups.get(record.id);
    if (group?.items.some((i) => i.record.kind === 'end') || group?.inFlight?.record.kind === 'end') {
      if (record.kind !== 'new') return record.kind === 'end' ? 'duplicate' : 'after_end';
    }
    if (record.kind === 'new' && [group?.inFlight, ...(group?.items ?? [])].some((i) => i?.record.kind === 'new')) {
      return 'duplicate';
    }
    const item: EventItem = {
      record,
      deadline: options.deadline,
      bytes: record.payload.length + record.topic.length + ITEM_OVERHEAD,
      ready: options.ready,
      soloLosses: 0,
      stored: 'no',
    };
    if (group === undefined) {
      group = {
        id: record.id,
        items: [],
        inFlight: undefined,
        live: options.live,
        severity: record.severity,
        order: Number.NEGATIVE_INFINITY,
        held: false,
      };
      this.#groups.set(record.id, group);
    }
    // A newer update, or the end, says all that an older update says.
    if (record.kind !== 'new') this.#coalesce(group);
    group.live ||= options.live;
    group.severity = Math.max(group.severity, record.severity);
    const order = options.recovered === true ? ++this.#recoveredOrder : ++this.#order;
    group.order = Math.max(group.order, order);
    this.#insert(group, item);
    this.#count += 1;
    this.#bytes += item.bytes;
    this.#place(group);
    this.#trim();
    return item;
  }

  has(item: EventItem): boolean {
    return this.#inFlight.has(item) || (this.#groups.get(item.record.id)?.items.includes(item) ?? false);
  }

  /** Whether a `new` or `end` with this key waits or is in flight. */
  hasKind(id: string, kind: OutboxRecord['kind']): boolean {
    const group = this.#groups.get(id);
    return group !== undefined && [group.inFlight, ...group.items].some((i) => i?.record.kind === kind);
  }

  /** It may be offered to the network from now on. */
  ready(item: EventItem): void {
    item.ready = true;
    const group = this.#groups.get(item.record.id);
    if (group !== undefined) this.#place(group);
  }

  /** Whether something could be taken, and whether that came while the link was up. */
  next(): 'live' | 'backlog' | undefined {
    const group = this.#best.peek();
    return group === undefined ? undefined : group.live ? 'live' : 'backlog';
  }

  /** The next message, now in flight: it must end in `sent`, `drop` or `putBack`. Drops what expired on the way. */
  take(now: number): EventItem | undefined {
    for (let group = this.#best.peek(); group !== undefined; group = this.#best.peek()) {
      const item = group.items[0] as EventItem;
      if (item.deadline <= now) {
        this.#remove(group, item, 'expired');
        continue;
      }
      group.items.shift();
      group.inFlight = item;
      this.#inFlight.add(item);
      this.#place(group);
      return item;
    }
    return undefined;
  }

  /** Delivered. False when it is no longer in flight: an answer from an earlier connection. */
  sent(item: EventItem): boolean {
    return this.#land(item, 'sent');
  }

  /** Given up. False when it is no longer in flight. */
  drop(item: EventItem, reason: EventDropReason): boolean {
    return this.#land(item, reason);
  }

  /** Back into the queue. False when it is no longer in flight. */
  putBack(item: EventItem): boolean {
    if (!this.#inFlight.delete(item)) return false;
    const group = this.#groups.get(item.record.id) as Group;
    group.inFlight = undefined;
    if (item.record.kind === 'update' && group.items.some((i) => i.record.kind !== 'new')) {
      // A newer update, or the end, has come meanwhile.
      this.#leave(group, item, 'coalesced');
      return true;
    }
    this.#insert(group, item);
    this.#place(group);
    return true;
  }

  /** The link is gone: everything in flight back, and everything now waits for the link. */
  demote(): void {
    for (const item of [...this.#inFlight]) this.putBack(item);
    for (const group of this.#groups.values()) {
      if (!group.live) continue;
      group.live = false;
      this.#place(group);
    }
    this.#trim();
  }

  /** Sets the event aside until `releaseHeld`. */
  hold(item: EventItem): void {
    const group = this.#groups.get(item.record.id);
    if (group === undefined) return;
    this.putBack(item);
    group.held = true;
    this.#place(group);
  }

  releaseHeld(): void {
    for (const group of this.#groups.values()) {
      if (!group.held) continue;
      group.held = false;
      this.#place(group);
    }
  }

  /** Sends nothing on this topic until `releaseTopic`. */
  holdTopic(topic: string): void {
    this.#heldTopics.add(topic);
    for (const group of this.#groups.values()) if (topicOf(group) === topic) this.#place(group);
  }

  releaseTopic(topic: string): void {
    if (!this.#heldTopics.delete(topic)) return;
    for (const group of this.#groups.values()) if (topicOf(group) === topic) this.#place(group);
  }

  /** The one message in flight, if there is exactly one. */
  sole(): EventItem | undefined {
    if (this.#inFlight.size !== 1) return undefined;
    for (const item of this.#inFlight) return item;
    return undefined;
  }

  /** Drops everything whose time has run out, whether it could be sent or not. */
  expire(now: number): void {
    for (const group of [...this.#groups.values()]) {
      // One that leaves may take others along.
      for (const item of [...group.items]) {
        if (item.deadline <= now && group.items.includes(item)) this.#remove(group, item, 'expired');
      }
    }
  }

  /** Forgets everything, without telling. */
  clear(): void {
    this.#groups.clear();
    this.#inFlight.clear();
    for (const heap of [this.#best, this.#worst, this.#updates]) heap.clear();
    this.#count = 0;
    this.#bytes = 0;
  }

  /** Lets nothing more in of an event: it ended, or its `new` does not get through, and nobody would know what the rest is of. */
  refuseLater(id: string, why: EventDropReason): void {
    this.#over.delete(id);
    this.#over.set(id, why);
    for (const oldest of this.#over.keys()) {
      if (this.#over.size <= MAX_OVER) break;
      this.#over.delete(oldest);
    }
  }

  /** Everything that waits or is in flight, in no order. */
  *all(): Generator<EventItem> {
    yield* this.#inFlight;
    for (const group of this.#groups.values()) yield* group.items;
  }

  #land(item: EventItem, why: EventDropReason | 'sent'): boolean {
    if (!this.#inFlight.delete(item)) return false;
    const group = this.#groups.get(item.record.id) as Group;
    group.inFlight = undefined;
    this.#leave(group, item, why);
    return true;
  }

  #remove(group: Group, item: EventItem, why: EventDropReason | 'coalesced'): void {
    group.items.splice(group.items.indexOf(item), 1);
    this.#leave(group, item, why);
  }

  /** The item is out of `items` and `inFlight` already. */
  #leave(group: Group, item: EventItem, why: EventDropReason | 'sent' | 'coalesced'): void {
    this.#count -= 1;
    this.#bytes -= item.bytes;
    const { id, kind } = item.record;
    if (kind === 'end') this.refuseLater(id, 'after_end');
    this.#place(group);
    this.#gone(item, why);
    if (kind !== 'new' || why === 'sent' || why === 'coalesced') return;
    // An end without its beginning tells nobody anything: the event goes as a whole, as far as it has not left.
    for (let rest = group.items[0]; rest !== undefined; rest = group.items[0]) this.#remove(group, rest, why);
    this.refuseLater(id, why);
  }

  #coalesce(group: Group): void {
    const old = group.items.find((i) => i.record.kind === 'update');
    if (old !== undefined) this.#remove(group, old, 'coalesced');
    // `#place` forgets a group without messages.
    this.#groups.set(group.id, group);
  }

  #insert(group: Group, item: EventItem): void {
    const at = group.items.findIndex((i) => rank(i) > rank(item));
    group.items.splice(at < 0 ? group.items.length : at, 0, item);
  }

  /** Puts a group into the heaps where it belongs now, or forgets it when it is empty. */
  #place(group: Group): void {
    const first = group.items[0];
    const sendable =
      first?.ready === true && group.inFlight === undefined && !group.held && !this.#heldTopics.has(first.record.topic);
    if (sendable) this.#best.set(group);
    else this.#best.delete(group);
    if (group.items.some((i) => i.record.kind === 'update')) this.#updates.set(group);
    else this.#updates.delete(group);
    if (group.items.some((i) => i.record.kind !== 'update')) this.#worst.set(group);
    else this.#worst.delete(group);
    if (first === undefined && group.inFlight === undefined) this.#groups.delete(group.id);
  }

  #trim(): void {
    while (this.#count > this.#limits.maxCount || this.#bytes > this.#limits.maxBytes) {
      const update = this.#updates.peek();
      if (update !== undefined) {
        this.#remove(update, update.items.find((i) => i.record.kind === 'update') as EventItem, 'overflow');
        continue;
      }
      const worst = this.#worst.peek();
      // All that is left is in flight.
      if (worst === undefined) return;
      for (let item = worst.items[0]; item !== undefined; item = worst.items[0]) this.#remove(worst, item, 'overflow');
    }
  }
}

function lessValuable(a: Group, b: Group): boolean {
  return a.severity !== b.severity ? a.severity < b.severity : a.order < b.order;
}

function topicOf(group: Group): string {
  return group.items[0]?.record.topic ?? '';
}
