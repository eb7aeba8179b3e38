import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVENT_DROP_REASONS, type EventItem, EventQueue } from './event-queue.js';
import { IndexedHeap } from './heap.js';
import { EVENT_KINDS, type EventKind, type OutboxRecord } from './outbox-record.js';

let seq = 0;
function record(id: string, kind: EventKind = 'new', severity = 1, more: Partial<OutboxRecord> = {}): OutboxRecord {
  seq += 1;
  return {
    id,
    seq,
    kind,
    severity,
    topic: 't',
    payload: Buffer.from(`${id} ${kind}`),
    createdAtMs: 0,
    expiresAtMs: 1e15,
    ...more,
  };
}

function queue(limits: { maxCount?: number; maxBytes?: number } = {}) {
  const gone: [string, string][] = [];
  const q = new EventQueue({ maxCount: 1_000, maxBytes: 1e9, ...limits }, (item, why) =>
    gone.push([`${item.record.id} ${item.record.kind}`, why]),
  );
  const add = (r: OutboxRecord, options: { ready?: boolean; live?: boolean; deadline?: number } = {}) =>
    q.add(r, { ready: true, live: false, deadline: 1e15, ...options });
  /** Takes and acknowledges everything, one by one. */
  const drain = () => {
    const out: string[] = [];
    for (let item = q.take(0); item !== undefined; item = q.take(0)) {
      out.push(`${item.record.id} ${item.record.kind}`);
      q.sent(item);
    }
    return out;
  };
  return { q, add, gone, drain };
}

describe('EventQueue', () => {
  it('gives live ones first, then the most severe, then the newest', () => {
    const { add, drain } = queue();
    add(record('a', 'new', 1));
    add(record('b', 'new', 2));
    add(record('c', 'new', 1));
    add(record('d', 'new', 0), { live: true });
    add(record('e', 'new', 2));
    expect(drain()).toEqual(['d new', 'e new', 'b new', 'c new', 'a new']);
  });

  it('sends the messages of an event in order, one at a time, however they come', () => {
    const { q, add } = queue();
    add(record('a', 'end'));
    add(record('a', 'new'));
    const first = q.take(0) as EventItem;
    expect(first.record.kind).toBe('new');
    expect(q.take(0)).toBeUndefined();
    q.putBack(first);
    expect(q.take(0)?.record.kind).toBe('new');
    q.sent(first);
    expect(q.take(0)?.record.kind).toBe('end');
  });

  it('keeps only the newest update, none beside the end, none after it', () => {
    const { q, add, gone, drain } = queue();
    add(record('a', 'new'));
    add(record('a', 'update'));
    add(record('a', 'update'));
    expect(gone).toEqual([['a update', 'coalesced']]);
    add(record('a', 'end'));
    expect(add(record('a', 'update'))).toBe('after_end');
    expect(add(record('a', 'end'))).toBe('duplicate');
    expect(add(record('a', 'new'))).toBe('duplicate');
    expect(q.waiting).toBe(2);
    expect(drain()).toEqual(['a new', 'a end']);
    expect(add(record('a', 'update'))).toBe('after_end');
  });

  it('drops an update that was in flight when the link broke and a newer one waits', () => {
    const { q, add, gone, drain } = queue();
    add(record('a', 'update'));
    q.take(0);
    const newer = add(record('a', 'update')) as EventItem;
    q.demote();
    expect(gone).toEqual([['a update', 'coalesced']]);
    expect(q.has(newer)).toBe(true);
    expect(drain()).toEqual(['a update']);
  });

  it('gives nothing that is not ready', () => {
    const { q, add } = queue();
    const item = add(record('a'), { ready: false }) as EventItem;
    add(record('a', 'update'));
    expect(q.next()).toBeUndefined();
    q.ready(item);
    expect(q.take(0)).toBe(item);
  });

  it('makes room: updates first, then the least severe, then the oldest, an event as a whole', () => {
    const { q, add, gone, drain } = queue({ maxCount: 3 });
    add(record('a', 'new', 1));
    add(record('a', 'end', 1));
    add(record('b', 'update', 2));
    add(record('c', 'new', 2));
    expect(gone).toEqual([['b update', 'overflow']]);
    const least = record('d', 'new', 0);
    const item = add(least) as EventItem;
    expect(q.has(item)).toBe(false);
    add(record('e', 'new', 1));
    expect(gone.slice(1)).toEqual([
      ['d new', 'overflow'],
      ['a new', 'overflow'],
      ['a end', 'overflow'],
    ]);
    expect(drain()).toEqual(['c new', 'e new']);
  });

  it('lets nothing in of an event whose beginning was given up, but of one whose beginning was sent', () => {
    const { q, add, drain } = queue({ maxCount: 2 });
    add(record('sent', 'new', 0));
    expect(drain()).toEqual(['sent new']);
    for (const id of ['a', 'b', 'c']) add(record(id, 'new', 1));
    expect([add(record('a', 'update', 1)), add(record('a', 'end', 1))]).toEqual(['overflow', 'overflow']);
    q.refuseLater('d', 'oversized');
    expect(add(record('d', 'end', 2))).toBe('oversized');
    expect(typeof add(record('sent', 'end', 2))).toBe('object');
    expect(drain()).toEqual(['sent end', 'c new']);
  });

  it('drops what waits behind a beginning that is given up, for the same reason', () => {
    const { q, add, gone, drain } = queue();
    add(record('old', 'new'), { deadline: 10 });
    add(record('old', 'update'), { deadline: 10 });
    add(record('old', 'end'), { deadline: 30 });
    add(record('bad', 'new', 2));
    add(record('bad', 'update', 2));
    const bad = q.take(0) as EventItem;
    add(record('bad', 'end', 2));
    q.drop(bad, 'refused');
    q.expire(10);
    expect(gone).toEqual([
      ['old update', 'coalesced'],
      ['bad update', 'coalesced'],
      ['bad new', 'refused'],
      ['bad end', 'refused'],
      ['old new', 'expired'],
      ['old end', 'expired'],
    ]);
    expect([add(record('bad', 'update')), add(record('old', 'end'))]).toEqual(['refused', 'expired']);
    expect([drain(), q.waiting, q.bytes]).toEqual([[], 0, 0]);
  });

  it('is bounded in bytes, and never drops what is in flight', () => {
    const { q, add, gone } = queue({ maxBytes: 2_600 });
    add(record('a', 'new', 0, { payload: Buffer.alloc(1_000) }));
    q.take(0);
    add(record('b', 'new', 1, { payload: Buffer.alloc(1_000) }));
    add(record('c', 'new', 2, { payload: Buffer.alloc(1_000) }));
    expect(gone).toEqual([['b new', 'overflow']]);
    expect(q.inFlight).toBe(1);
    expect(q.bytes).toBeLessThanOrEqual(2_600);
  });

  it('drops what expired, at the moment of taking and at a sweep', () => {
    const { q, add, gone } = queue();
    add(record('a'), { deadline: 10 });
    add(record('b'), { deadline: 30 });
    add(record('c'), { deadline: 10, ready: false });
    expect(q.take(10)?.record.id).toBe('b');
    q.expire(20);
    expect(gone).toEqual([
      ['a new', 'expired'],
      ['c new', 'expired'],
    ]);
  });

  it('sets topics and events aside', () => {
    const { q, add, drain } = queue();
    const a = add(record('a', 'new', 2, { topic: 'bad' })) as EventItem;
    add(record('b', 'new', 1));
    add(record('c', 'new', 2, { topic: 'bad' }));
    q.holdTopic('bad');
    expect(q.held).toBe(2);
    expect(q.take(0)?.record.id).toBe('b');
    q.releaseTopic('bad');
    expect(q.take(0)?.record.id).toBe('c');
    expect(q.take(0)).toBe(a);
    q.hold(a);
    expect(q.next()).toBeUndefined();
    q.releaseHeld();
    expect(drain()).toEqual(['a new']);
  });

  it('accounts for every message, and keeps each event in order, after any history', () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant('add' as const),
          id: fc.nat(5),
          kind: fc.nat(2),
          severity: fc.nat(2),
          live: fc.boolean(),
          ready: fc.boolean(),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constantFrom(
            'take' as const,
            'demote' as const,
            'ready' as const,
            'expire' as const,
            'releaseHeld' as const,
          ),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constantFrom(
            'sent' as const,
            'drop' as const,
            'putBack' as const,
            'hold' as const,
            'holdTopic' as const,
          ),
          pick: fc.nat(4),
        }),
      },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 8 }), (steps, maxCount) => {
        const sent: OutboxRecord[] = [];
        let gone = 0;
        let refused = 0;
        let offered = 0;
        const q = new EventQueue({ maxCount, maxBytes: 1e9 }, (item, why) => {
          gone += 1;
          if (why === 'sent') sent.push(item.record);
        });
        const flying: EventItem[] = [];
        const waiting: EventItem[] = [];
        for (const s of steps) {
          if (s.do === 'add') {
            offered += 1;
            const kind = EVENT_KINDS[s.kind] as EventKind;
            const r = record(`e${s.id}`, kind, s.severity, { topic: `t${s.id % 2}` });
            const item = q.add(r, { ready: s.ready, live: s.live, deadline: 1_000 + offered });
            if (typeof item === 'string') {
              refused += 1;
              expect(EVENT_DROP_REASONS).toContain(item);
            } else waiting.push(item);
          } else if (s.do === 'take') {
            const item = q.take(0);
            if (item !== undefined) {
              expect(item.ready).toBe(true);
              flying.push(item);
            }
          } else if (s.do === 'demote') q.demote();
          else if (s.do === 'releaseHeld') {
            q.releaseHeld();
            q.releaseTopic('t0');
            q.releaseTopic('t1');
          } else if (s.do === 'expire') q.expire(1_000 + offered / 2);
          else if (s.do === 'ready') for (const item of waiting) q.ready(item);
          else {
            // Among them, on purpose, items long settled.
            const item = 'pick' in s ? flying[s.pick] : undefined;
            if (item === undefined) continue;
            if (s.do === 'sent') q.sent(item);
            else if (s.do === 'drop') q.drop(item, 'refused');
            else if (s.do === 'putBack') q.putBack(item);
            else if (s.do === 'hold') q.hold(item);
            else q.holdTopic(item.record.topic);
          }
          expect(gone + refused + q.waiting + q.inFlight).toBe(offered);
          expect([...q.all()].length).toBe(q.waiting + q.inFlight);
          expect(q.waiting).toBeLessThanOrEqual(maxCount);
          const ids = [...q.all()].filter((i) => q.has(i) && flying.includes(i)).map((i) => i.record.id);
          expect(ids.length).toBeLessThanOrEqual(200);
        }
        // Nothing but a new event of the same id comes after an end.
        const ended = new Set<string>();
        for (const r of sent) {
          if (r.kind === 'update') expect(ended.has(r.id)).toBe(false);
          if (r.kind === 'end') ended.add(r.id);
        }
        // And everything can still leave.
        q.demote();
        q.releaseHeld();
        q.releaseTopic('t0');
        q.releaseTopic('t1');
        for (const item of waiting) if (q.has(item)) q.ready(item);
        for (let item = q.take(0); item !== undefined; item = q.take(0)) q.sent(item);
        expect([q.waiting, q.inFlight, q.bytes]).toEqual([0, 0, 0]);
      }),
      { numRuns: 300 },
    );
  });
});

describe('IndexedHeap', () => {
  it('sorts, whatever is moved or taken out between', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(20), fc.nat(100)), { maxLength: 100 }), (steps) => {
        const items = Array.from({ length: 21 }, (_, id) => ({ id, value: id }));
        const heap = new IndexedHeap<(typeof items)[number]>((a, b) => a.value < b.value);
        const inside = new Set<(typeof items)[number]>();
        for (const [id, value] of steps) {
          const item = items[id] as (typeof items)[number];
          if (value > 80) expect(heap.delete(item)).toBe(inside.delete(item));
          else {
            item.value = value;
            heap.set(item);
            inside.add(item);
          }
          expect(heap.size).toBe(inside.size);
          expect(heap.peek()?.value).toBe(inside.size === 0 ? undefined : Math.min(...[...inside].map((i) => i.value)));
        }
      }),
    );
  });
});
