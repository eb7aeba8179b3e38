import { EventEmitter } from 'node:events';
import { EdgeError, EXIT } from '../types/errors.js';
import { EARLIEST_MS } from '../util/earliest.js';
import { EVENT_DROP_REASONS, type EventDropReason, type EventItem, EventQueue } from './event-queue.js';
import { EventStore, type StoredRecord, StoreError, type StoreFault } from './event-store.js';
import { afterInterruption, OpenEnds } from './open-ends.js';
import { decodeRecord, type EventKind, encodeRecord, type OutboxRecord, recordKey } from './outbox-record.js';

export type { EventDropReason, EventItem } from './event-queue.js';
export type { EventKind, OutboxRecord } from './outbox-record.js';

export interface DurableOutboxOptions {
  /** State directory, of this process alone. Without it everything is in memory only. */
  directory?: string;
  /** Most messages that wait. Default 50 000. */
  maxCount?: number;
  /** Most bytes that wait, payloads and an allowance for each message. Default 64 MiB. */
  maxBytes?: number;
  /** Longest that a message waits, ms, whatever its own expiry. Default 7 days. */
  maxAgeMs?: number;
  /** Largest payload, bytes. Default 256 KiB. */
  maxMessageBytes?: number;
  /** Longest that a message waits for the disk before it is sent from memory, ms. Default 2 000. */
  maxDiskWaitMs?: number;
  /** Shortest wait between two attempts to use a disk that failed, ms; doubles up to 12 times that. Default 5 000. */
  retryMs?: number;
  /** Acknowledged messages leave the disk in batches, after at most this, ms. Default 200. */
  removeDelayMs?: number;
  /** For tests that run from source: the compiled `store-process.js`. */
  storeProcess?: string;
  /** For tests: wall clock, ms since 1970. */
  now?: () => number;
  /** For tests: a clock that is never set, ms. */
  monotonic?: () => number;
}

export type OutboxFault = StoreFault | 'slow_disk';

/**
 * `accepted + recovered = published + coalesced + sum(dropped) + kept + waiting + inFlight` at any time, each over all kinds.
 */
export interface EventCounters {
  /** Offered since the start, also those dropped as they came. */
  accepted: Record<EventKind, number>;
  /** Read from disk at the start. */
  recovered: number;
  /** Acknowledged by the broker. */
  published: Record<EventKind, number>;
  /** Updates that a newer update or the end made superfluous. */
  coalesced: number;
  dropped: Record<EventDropReason, number>;
  /** Left on disk at the stop, for the next start. */
  kept: number;
  waiting: number;
  waitingBytes: number;
  inFlight: number;
  /** Events set aside because the broker refuses their topic, or their size. */
  held: number;
  store: {
    /** `memory`: no directory configured; `degraded`: there is one, but it cannot be used now. */
    mode: 'disk' | 'memory' | 'degraded';
    fault?: OutboxFault;
    /** `new` and `end` that were offered to the network without being on disk, because of a fault. */
    memoryOnly: number;
    commits: number;
    /** Messages written. */
    written: number;
    /** Commits and openings that failed. */
    failures: number;
    /** Time of the newest commit, ms. */
    lastCommitMs: number;
    /** Records that were found but could not be read. */
    skipped: { corrupt: number; unknown_version: number };
    /** Damaged files, or of another version, that were moved aside. */
    movedAside: number;
    /** Commits that took the long way, since the log ahead of the file could not be opened or written. */
    unlogged: number;
    /** Times that the store's process was started. */
    starts: number;
  };
}

export interface DurableOutboxEvents {
  /** There is something to take. */
  sendable: [];
  /** For the log; each kind at most once until it changes. */
  problem: [error: EdgeError];
  /** The disk takes messages again. */
  recovered: [];
}

const MAX_BATCH = 512;
const MAX_BATCH_BYTES = 1024 * 1024;
/** While the disk is full, small steps find the space that removals free. */
const SMALL_BATCH = 8;
const SWEEP_MS = 5_000;
const MAX_REMOVES_WAITING = 256;

/**
 * Where events wait for the broker. `new` and `end` are on disk, synced, before `take` gives them out, and are removed from it
 * after `done`; `update`s are in memory only. Everything is in memory too: the disk is read once, at the start. Where the disk
 * fails or hangs, events are sent from memory, counted and told, and written again as soon as it works.
 *
 * At least once: a crash between the broker's acknowledgement and the removal sends a message twice, with the same id and kind.
 */
export class DurableOutbox extends EventEmitter<DurableOutboxEvents> {
  readonly #options: Required<Omit<DurableOutboxOptions, 'directory' | 'storeProcess'>>;
  readonly #queue: EventQueue;
  readonly #store: EventStore | undefined;

  #state: 'idle' | 'running' | 'stopping' | 'stopped' = 'idle';
  #online = false;
  /** What the file held before this process is known. */
  #loaded = false;
  #opening = false;
  #fault: OutboxFault | undefined;
  #reported: string | undefined;
  #retryWait: number;
  #retryTimer: NodeJS.Timeout | undefined;
  #sweepTimer: NodeJS.Timeout | undefined;
  #waitTimer: NodeJS.Timeout | undefined;
  #removeTimer: NodeJS.Timeout | undefined;
  #removesDue = false;
  #scheduled = false;
  #batch = MAX_BATCH;

  /** To be written, oldest first, with the time since when they wait. */
  readonly #toPut = new Map<EventItem, number>();
  readonly #toRemove = new Set<string>();
  readonly #ends = new OpenEnds();
  #committing: EventItem[] | undefined;
  #committingSince = 0;
  #sendableDue = false;
  readonly #idle = new EventEmitter<{ idle: [] }>();

  readonly #accepted: Record<EventKind, number> = { new: 0, update: 0, end: 0 };
  readonly #published: Record<EventKind, number> = { new: 0, update: 0, end: 0 };
  readonly #dropped = Object.fromEntries(EVENT_DROP_REASONS.map((r) => [r, 0])) as Record<EventDropReason, number>;
  #recovered = 0;
  #coalesced = 0;
  #kept = 0;
  readonly #counts = { memoryOnly: 0, commits: 0, written: 0, failures: 0, lastCommitMs: 0 };
  readonly #skipped = { corrupt: 0, unknown_version: 0 };

  constructor(options: DurableOutboxOptions = {}) {
    super();
    this.#options = {
      maxCount: options.maxCount ?? 50_000,
      maxBytes: options.maxBytes ?? 64 * 1024 * 1024,
      maxAgeMs: options.maxAgeMs ?? 7 * 24 * 3_600_000,
      maxMessageBytes: options.maxMessageBytes ?? 256 * 1024,
      maxDiskWaitMs: options.maxDiskWaitMs ?? 2_000,
      retryMs: options.retryMs ?? 5_000,
      removeDelayMs: options.removeDelayMs ?? 200,
      now: options.now ?? Date.now,
      monotonic: options.monotonic ?? (() => performance.now()),
    };
    this.#retryWait = this.#options.retryMs;
    this.#queue = new EventQueue(this.#options, (item, why) => this.#gone(item, why));
    this.#store =
      options.directory === undefined
        ? undefined
        : new EventStore({
            directory: options.directory,
            ...(options.storeProcess === undefined ? {} : { process: options.storeProcess }),
          });
  }

  get waiting(): number {
    return this.#queue.waiting;
  }

  get inFlight(): number {
    return this.#queue.inFlight;
  }

  get inFlightBytes(): number {
    return this.#queue.inFlightBytes;
  }

  /**
   * Reads what an earlier run left. Resolves also where the disk cannot be used: `problem` and the counters say so, and it is
   * tried again. Events may be offered before.
   *
   * Throws `EdgeError` `STATE_IN_USE` where another process has the directory.
   */
  async start(): Promise<void> {
    if (this.#state !== 'idle') return;
    this.#state = 'running';
    this.#sweepTimer = setInterval(() => this.#queue.expire(this.#options.monotonic()), SWEEP_MS).unref();
    if (this.#store === undefined) return;
    try {
      await this.#open();
    } catch (error) {
      clearInterval(this.#sweepTimer);
      this.#state = 'idle';
      throw error;
    }
  }

  /**
   * Accepts a message; never waits, never throws for the disk's sake.
   *
   * @param interrupted makes the `end` of the event should this program end before it does: it is on disk with the `new`, until the real one
   *   takes its place, and sent at the next start; asked for where it would say something else than the one there is
   * @returns false when it was dropped at once; it is counted all the same
   */
  offer(record: OutboxRecord, interrupted?: () => OutboxRecord): boolean {
    this.#accepted[record.kind] += 1;
    // What is on disk for an event that is open stays there, for the next start.
    if (this.#state === 'stopping' || this.#state === 'stopped') return this.#refuse('shutdown');
    if (record.kind === 'end') this.#ends.close(record.id);
    const taken = this.#admit(record, interrupted);
    // Of an event whose end is given up none is said later either; a second one leaves the first where it is.
    if (!taken && record.kind === 'end' && !this.#queue.hasKind(record.id, 'end')) this.#forgetEnd(record.id);
    return taken;
  }

  #admit(record: OutboxRecord, interrupted: (() => OutboxRecord) | undefined): boolean {
    if (record.payload.length > this.#options.maxMessageBytes) {
      if (record.kind === 'new') this.#queue.refuseLater(record.id, 'oversized');
      return this.#refuse('oversized');
    }
    const deadline = this.#deadline(record);
    if (deadline <= this.#options.monotonic()) {
      if (record.kind === 'new') this.#queue.refuseLater(record.id, 'expired');
      return this.#refuse('expired');
    }
    const durable = this.#store !== undefined && record.kind !== 'update';
    const ready = !durable || this.#fault !== undefined;
    const item = this.#queue.add(record, { ready, live: this.#online, deadline });
    if (typeof item === 'string') return this.#refuse(item);
    if (!this.#queue.has(item)) return false;
    if (interrupted !== undefined && this.#store !== undefined) this.#ends.keep(record, interrupted);
    if (durable) {
      if (ready) this.#counts.memoryOnly += 1;
      this.#toPut.set(item, this.#options.monotonic());
      this.#watchWait();
      // At once: the rest of this turn is the publishing of other messages, a millisecond. What comes with it is written next, together.
      void this.#commit();
    } else if (this.#ends.due > 0) this.#schedule();
    if (ready) this.#sendable();
    return true;
  }

  /** The link is up: what is offered from now on goes before what waits. */
  online(): void {
    this.#online = true;
    this.#queue.releaseHeld();
  }

  /** The link is gone: what was in flight waits again. */
  offline(): void {
    this.#online = false;
    this.#queue.demote();
  }

  /** Whether there is something to take, and whether it came while the link was up. */
  next(): 'live' | 'backlog' | undefined {
    return this.#queue.next();
  }

  /** The next message, now in flight: it must end in `done`, `drop`, `hold`, `holdTopic` or `offline`. */
  take(): EventItem | undefined {
    return this.#queue.take(this.#options.monotonic());
  }

  /** Time that a message has left, s, at least 1: for `messageExpiryInterval`. */
  secondsLeft(item: EventItem): number {
    const left = Math.ceil((item.deadline - this.#options.monotonic()) / 1_000);
    return Math.max(1, Math.min(left, 0xffff_ffff));
  }

  /** Acknowledged. False when it is no longer in flight: an answer from an earlier connection. */
  done(item: EventItem): boolean {
    return this.#queue.sent(item);
  }

  /** Given up. False when it is no longer in flight. */
  drop(item: EventItem, reason: EventDropReason): boolean {
    return this.#queue.drop(item, reason);
  }

  /** Sets its event aside until the next connection. */
  hold(item: EventItem): void {
    this.#queue.hold(item);
  }

  /** Puts a message back, and sends nothing on its topic until `releaseTopic`. */
  holdTopic(item: EventItem): void {
    this.#queue.holdTopic(item.record.topic);
    this.#queue.putBack(item);
  }

  releaseTopic(topic: string): void {
    this.#queue.releaseTopic(topic);
    this.#sendable();
  }

  sole(): EventItem | undefined {
    return this.#queue.sole();
  }

  counters(): EventCounters {
    const store = this.#store;
    return {
      accepted: { ...this.#accepted },
      recovered: this.#recovered,
      published: { ...this.#published },
      coalesced: this.#coalesced,
      dropped: { ...this.#dropped },
      kept: this.#kept,
      waiting: this.#queue.waiting,
      waitingBytes: this.#queue.bytes,
      inFlight: this.#queue.inFlight,
      held: this.#queue.held,
      store: {
        mode: store === undefined ? 'memory' : this.#fault === undefined ? 'disk' : 'degraded',
        ...(this.#fault === undefined ? {} : { fault: this.#fault }),
        ...this.#counts,
        skipped: { ...this.#skipped },
        movedAside: store?.movedAside ?? 0,
        unlogged: store?.unlogged ?? 0,
        starts: store?.starts ?? 0,
      },
    };
  }

  /** Resolves when everything accepted so far is on disk, or after `timeoutMs`: then false. */
  async flush(timeoutMs: number): Promise<boolean> {
    this.#removesDue = true;
    this.#schedule();
    const deadline = performance.now() + timeoutMs;
    while (this.#toPut.size + this.#toRemove.size + this.#ends.due > 0 || this.#committing !== undefined) {
      const left = deadline - performance.now();
      if (this.#store === undefined || left <= 0) return false;
      await new Promise<void>((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          this.#idle.off('idle', finish);
          resolve();
        };
        const timer = setTimeout(finish, left);
        this.#idle.once('idle', finish);
      });
      this.#removesDue = true;
      this.#schedule();
    }
    return true;
  }

  /** Writes what is left to write, within `timeoutMs`. What is on disk is kept for the next start. Never rejects. */
  async stop(timeoutMs = 1_000): Promise<void> {
    if (this.#state === 'stopping' || this.#state === 'stopped') return;
    const started = this.#state === 'running';
    this.#state = 'stopping';
    this.offline();
    clearInterval(this.#sweepTimer);
    if (started && this.#store?.isOpen === true) {
      if (this.#fault === undefined) await this.flush(timeoutMs * 0.75);
      else await this.#lastTry(timeoutMs * 0.5);
    }
    for (const timer of [this.#retryTimer, this.#waitTimer, this.#removeTimer]) clearTimeout(timer);
    this.#state = 'stopped';
    await this.#store?.close(Math.max(100, timeoutMs * 0.25));
    for (const item of [...this.#queue.all()]) {
      if (item.stored === 'yes') this.#kept += 1;
      else this.#dropped.shutdown += 1;
    }
    this.#queue.clear();
  }

  /** At a stop with a disk that failed: what was sent from memory should leave it all the same. */
  async #lastTry(timeoutMs: number): Promise<void> {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#removesDue = true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    // As many as the disk takes at once, as long as it takes any.
    for (let before = Number.POSITIVE_INFINITY; this.#toRemove.size > 0 && this.#toRemove.size < before; ) {
      before = this.#toRemove.size;
      await Promise.race([this.#commit(), late]);
    }
    clearTimeout(timer);
  }

  #refuse(reason: EventDropReason): false {
    this.#dropped[reason] += 1;
    return false;
  }

  /** On the clock that is never set, so that a wall clock set by years at the first NTP answer ends nothing. */
  #deadline(record: OutboxRecord): number {
    const { now, monotonic, maxAgeMs } = this.#options;
    const lifetime = Math.min(record.expiresAtMs - record.createdAtMs, maxAgeMs);
    // Read back after a power cut, a record from before the clock was set would be decades old: better late than lost. Not every time
    // service says that it has not set the clock, but a date says it too.
    const undated = record.undated === true || record.createdAtMs < EARLIEST_MS;
    const left = undated ? lifetime : Math.min(record.createdAtMs + lifetime - now(), lifetime);
    return monotonic() + left;
  }

  #gone(item: EventItem, why: EventDropReason | 'sent' | 'coalesced'): void {
    if (why === 'sent') this.#published[item.record.kind] += 1;
    else if (why === 'coalesced') this.#coalesced += 1;
    else this.#dropped[why] += 1;
    this.#toPut.delete(item);
    const { id, kind } = item.record;
    if (item.stored !== 'no') this.#removeStored(recordKey(item.record));
    // A beginning that nobody heard of needs no end.
    if (kind === 'end' || (kind === 'new' && why !== 'sent')) this.#forgetEnd(id);
  }

  #forgetEnd(id: string): void {
    if (this.#ends.mayBeStored(id)) this.#removeStored(recordKey({ id, kind: 'end' }));
    this.#ends.forget(id);
  }

  #removeStored(key: string): void {
    this.#toRemove.add(key);
    if (this.#toRemove.size >= MAX_REMOVES_WAITING) this.#removesDue = true;
    // They ride along with the next messages to be written; a sync for each would keep a fresh alert waiting.
    this.#removeTimer ??= setTimeout(() => {
      this.#removeTimer = undefined;
      this.#removesDue = true;
      this.#schedule();
    }, this.#options.removeDelayMs).unref();
    if (this.#removesDue) this.#schedule();
  }

  /** At the end of this turn, so that what comes together is written together. */
  #schedule(): void {
    if (this.#store === undefined) return;
    this.#watchWait();
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      void this.#commit();
    });
  }

  async #commit(): Promise<void> {
    const store = this.#store as EventStore;
    if (this.#committing !== undefined || this.#state === 'stopped') return;
    if (this.#retryTimer !== undefined) return;
    if (this.#toPut.size === 0 && this.#ends.due === 0 && !(this.#removesDue && this.#toRemove.size > 0)) return;
    if (!store.isOpen) {
      // Its process ended while it had nothing to do, and nobody has told.
      if (this.#loaded && this.#state === 'running') this.#reopen();
      return;
    }
    const removes: string[] = [];
    for (const key of this.#toRemove) {
      if (removes.length >= this.#batch) break;
      removes.push(key);
    }
    const items: EventItem[] = [];
    const ends: string[] = [];
    const puts: StoredRecord[] = [];
    let bytes = 0;
    const put = (record: OutboxRecord) => {
      const value = encodeRecord(record);
      bytes += value.length;
      puts.push([recordKey(record), value]);
    };
    const putEnd = (record: OutboxRecord) => {
      put(record);
      ends.push(record.id);
      this.#ends.writing(record.id);
    };
    for (const item of this.#toPut.keys()) {
      // While the disk is full, removals go alone: they free the space that writing needs.
      if (items.length >= this.#batch || bytes >= MAX_BATCH_BYTES) break;
      if (this.#fault === 'disk_full' && removes.length > 0) break;
      items.push(item);
      put(item.record);
      // In one transaction: no event is known outside whose end nobody would say.
      if (item.record.kind === 'new') for (const end of this.#ends.next(item.record.id)) putEnd(end);
    }
    for (const end of this.#ends.next()) {
      if (puts.length >= this.#batch || bytes >= MAX_BATCH_BYTES) break;
      if (this.#fault === 'disk_full' && removes.length > 0) break;
      putEnd(end);
    }
    for (const item of items) {
      this.#toPut.delete(item);
      item.stored = 'writing';
    }
    for (const key of removes) this.#toRemove.delete(key);
    this.#committing = items;
    this.#committingSince = this.#options.monotonic();
    try {
      this.#counts.lastCommitMs = await store.commit(puts, removes);
      this.#committing = undefined;
      this.#counts.commits += 1;
      this.#counts.written += items.length;
      for (const item of items) {
        item.stored = 'yes';
        if (!item.ready) this.#queue.ready(item);
      }
      this.#batch = Math.min(MAX_BATCH, this.#batch * 2);
      // Not at the first one that fits: a disk that is nearly full takes one now and then.
      if (this.#toPut.size + this.#ends.due === 0) this.#recover();
      if (this.#toRemove.size === 0) {
        this.#removesDue = false;
        // What rode along needs no commit of its own, which a fresh event would have to wait for.
        clearTimeout(this.#removeTimer);
        this.#removeTimer = undefined;
      }
      this.#sendable();
    } catch (error) {
      this.#committing = undefined;
      const now = this.#options.monotonic();
      for (const item of items) {
        item.stored = 'no';
        if (this.#queue.has(item)) this.#toPut.set(item, now);
      }
      for (const key of removes) this.#toRemove.add(key);
      for (const id of ends) this.#ends.failed(id);
      this.#batch = SMALL_BATCH;
      const fault = error instanceof StoreError ? error.fault : 'disk_error';
      // Its file or its memory may be at fault: the next attempt begins with another process.
      if (fault !== 'disk_full') store.abandon();
      this.#degrade(fault, (error as Error).message);
      this.#retryLater();
    }
    this.#idle.emit('idle');
    this.#schedule();
  }

  /** Sends from memory from now on. */
  #degrade(fault: OutboxFault, message: string): void {
    if (fault !== 'slow_disk') this.#counts.failures += 1;
    this.#fault = fault;
    if (this.#reported !== fault) {
      this.#reported = fault;
      this.emit('problem', degradedError(fault, message));
    }
    this.#release();
  }

  #release(): void {
    let any = false;
    for (const item of [...this.#toPut.keys(), ...(this.#committing ?? [])]) {
      if (item.ready || !this.#queue.has(item)) continue;
      this.#queue.ready(item);
      this.#counts.memoryOnly += 1;
      any = true;
    }
    if (any) this.#sendable();
  }

  #recover(): void {
    this.#retryWait = this.#options.retryMs;
    if (this.#fault === undefined) return;
    this.#fault = undefined;
    this.#reported = undefined;
    this.emit('recovered');
  }

  #retryLater(): void {
    if (this.#retryTimer !== undefined || this.#state !== 'running') return;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = undefined;
      if (this.#store?.isOpen === true) this.#schedule();
      else this.#reopen();
    }, this.#retryWait).unref();
    this.#retryWait = Math.min(this.#retryWait * 2, this.#options.retryMs * 12);
  }

  #reopen(): void {
    // `STATE_IN_USE` too: the other process may have ended by the next time.
    this.#open().catch((error: Error) => this.#openFailed(new StoreError('disk_error', error.message)));
  }

  async #open(): Promise<void> {
    const store = this.#store as EventStore;
    if (this.#opening) return;
    this.#opening = true;
    this.#watchWait();
    try {
      const { records, stored, damage } = await store.open();
      if (this.#state === 'stopped') return;
      if (damage !== undefined) this.emit('problem', damagedError(damage, records.length));
      if (this.#loaded) this.#reconcile(stored);
      else this.#load(records, stored);
      this.#loaded = true;
      if (this.#toPut.size + this.#ends.due === 0) this.#recover();
      this.#schedule();
      this.#sendable();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#openFailed(error);
    } finally {
      this.#opening = false;
    }
  }

  #openFailed(error: StoreError): void {
    this.#degrade(error.fault, error.message);
    // A newer program's file does not grow older: it is left as it is.
    if (error.fault !== 'too_new') this.#retryLater();
  }

  /** What an earlier run left. */
  #load(found: StoredRecord[], stored: ReadonlySet<string>): void {
    const records: OutboxRecord[] = [];
    const interrupted = new Set<string>();
    for (const [key, value] of found) {
      const decoded = decodeRecord(value);
      if ('record' in decoded && recordKey(decoded.record) === key) {
        const { record } = decoded;
        if (record.provisional) interrupted.add(record.id);
        records.push(record.provisional ? afterInterruption(record, this.#options.now()) : record);
        continue;
      }
      this.#skipped['skipped' in decoded ? decoded.skipped : 'corrupt'] += 1;
      if (stored.has(key) && key !== '') this.#removeStored(key);
    }
    // In the order in which they came: it is their age.
    records.sort((a, b) => a.createdAtMs - b.createdAtMs || a.seq - b.seq);
    const now = this.#options.monotonic();
    const tooOld = (record: OutboxRecord) => this.#deadline(record) <= now;
    // Looked for first: a clock that was set back may have put the `end` before it.
    const lost = new Set(records.filter((r) => r.kind === 'new' && tooOld(r)).map((r) => r.id));
    for (const record of records) {
      this.#recovered += 1;
      const inFile = stored.has(recordKey(record));
      const deadline = this.#deadline(record);
      const item =
        lost.has(record.id) || deadline <= now
          ? 'expired'
          : this.#queue.add(record, { ready: true, live: false, deadline, recovered: true });
      if (typeof item === 'string') {
        this.#dropped[item] += 1;
        // A duplicate has the same place as the one that waits.
        if (inFile && item !== 'duplicate') this.#removeStored(recordKey(record));
      } else if (!this.#queue.has(item)) {
        if (inFile) this.#removeStored(recordKey(record));
      } else if (!inFile || (record.kind === 'end' && interrupted.has(record.id))) {
        // From now on it is as old as it is: what the file has would be new at each start.
        if (inFile) this.#ends.writing(record.id);
        this.#toPut.set(item, this.#options.monotonic());
      } else {
        item.stored = 'yes';
      }
    }
  }

  /** The file was opened again: memory knows better. */
  #reconcile(there: Set<string>): void {
    this.#toRemove.clear();
    const now = this.#options.monotonic();
    for (const item of this.#queue.all()) {
      if (item.record.kind === 'update') continue;
      const key = recordKey(item.record);
      // What stood there while the event was open is not its end.
      const another = item.stored !== 'yes' && item.record.kind === 'end' && this.#ends.mayBeStored(item.record.id);
      if (there.delete(key) && !another) {
        item.stored = 'yes';
        this.#toPut.delete(item);
      } else {
        item.stored = 'no';
        if (!this.#toPut.has(item)) this.#toPut.set(item, now);
      }
    }
    this.#ends.reconcile((id) => there.delete(recordKey({ id, kind: 'end' })));
    for (const key of there) if (key !== '') this.#removeStored(key);
  }

  /** A disk that hangs must not keep alerts from leaving. */
  #watchWait(): void {
    if (this.#waitTimer !== undefined || this.#fault !== undefined || this.#state !== 'running') return;
    const since = this.#oldestWait();
    if (since === undefined) return;
    const { maxDiskWaitMs, monotonic } = this.#options;
    this.#waitTimer = setTimeout(
      () => {
        this.#waitTimer = undefined;
        const oldest = this.#oldestWait();
        if (oldest === undefined || this.#fault !== undefined) return;
        if (monotonic() - oldest >= maxDiskWaitMs) {
          this.#degrade('slow_disk', `nothing was written for ${maxDiskWaitMs} ms`);
        } else this.#watchWait();
      },
      Math.max(1, since + maxDiskWaitMs - monotonic()),
    ).unref();
  }

  #oldestWait(): number | undefined {
    if (this.#committing !== undefined) return this.#committingSince;
    for (const since of this.#toPut.values()) return since;
    return undefined;
  }

  /** Once a turn, however much has become sendable. */
  #sendable(): void {
    if (this.#sendableDue) return;
    this.#sendableDue = true;
    queueMicrotask(() => {
      this.#sendableDue = false;
      if (this.#queue.next() !== undefined) this.emit('sendable');
    });
  }
}

const FAULTS: Record<OutboxFault, { text: string; hint: string }> = {
  disk_full: { text: 'the disk is full', hint: 'Free some space in the state directory.' },
  disk_error: {
    text: 'the disk refuses',
    hint: 'Check the state directory: does it exist, may the service write there?',
  },
  process_ended: { text: 'the process that writes ended', hint: 'It is started again; report it if it comes again.' },
  timeout: { text: 'the disk does not answer', hint: 'Check the disk (dmesg).' },
  too_new: {
    text: 'the state is of a newer program',
    hint: 'Go back to that program, or move the outbox folder out of the state directory; the file is left as it is.',
  },
  slow_disk: { text: 'the disk is too slow', hint: 'Check the disk (dmesg), and what else writes to it.' },
};

function degradedError(fault: OutboxFault, message: string): EdgeError {
  const { text, hint } = FAULTS[fault];
  if (fault === 'too_new') {
    return new EdgeError('STATE_TOO_NEW', `events are kept in memory only: ${text} (${message})`, {
      hint,
      exitCode: EXIT.config,
    });
  }
  return new EdgeError('OUTBOX_DEGRADED', `events are kept in memory only: ${text} (${message})`, {
    hint: `${hint} It is tried again; events still go out.`,
    exitCode: EXIT.ioError,
  });
}

function damagedError(damage: string, saved: number): EdgeError {
  return new EdgeError(
    'OUTBOX_DAMAGED',
    `the store of events could not be read to its end (${damage}); it was moved aside, ${saved} records were saved`,
    {
      hint: 'Look at outbox-damaged-* in the state directory, then remove it. Check the disk.',
      exitCode: EXIT.ioError,
    },
  );
}
