import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AlertCounters, Outbox, type OutboxEntry } from './outbox.js';

const payload = (bytes = 1) => Buffer.alloc(bytes);
const sumDropped = (c: AlertCounters) => Object.values(c.dropped).reduce((a, b) => a + b, 0);

describe('Outbox', () => {
  it('gives back what came, oldest first', () => {
    const box = new Outbox({ maxQueued: 10, maxQueuedBytes: 100 });
    for (const topic of ['a', 'b', 'c']) box.offer(topic, payload());
    expect([box.take()?.topic, box.take()?.topic, box.take()?.topic, box.take()]).toEqual(['a', 'b', 'c', undefined]);
  });

  it('drops the oldest when full, by number', () => {
    const box = new Outbox({ maxQueued: 2, maxQueuedBytes: 100 });
    for (const topic of ['a', 'b', 'c']) box.offer(topic, payload());
    expect(box.counters()).toEqual({
      accepted: 3,
      published: 0,
      dropped: { queue_full: 1, oversized: 0, refused: 0, shutdown: 0 },
      queued: 2,
      inFlight: 0,
    });
    expect(box.take()?.topic).toBe('b');
  });

  it('drops the oldest when full, by bytes, but lets a single one in', () => {
    const box = new Outbox({ maxQueued: 10, maxQueuedBytes: 10 });
    box.offer('a', payload(6));
    box.offer('b', payload(6));
    expect(box.counters().dropped.queue_full).toBe(1);
    box.offer('huge', payload(50));
    expect(box.queued).toBe(1);
    expect(box.take()?.topic).toBe('huge');
    // The bytes are given back: both fit again.
    box.offer('c', payload(5));
    box.offer('d', payload(5));
    expect(box.queued).toBe(2);
  });

  it('has room for forms of events though detections fill theirs, and sends both in turns', () => {
    const box = new Outbox({ maxQueued: 2, maxQueuedBytes: 100 });
    for (const topic of ['f1', 'f2', 'f3']) box.offer(topic, payload(), 'application/cbor', 'forms');
    for (const topic of ['a', 'b', 'c', 'd']) box.offer(topic, payload());
    expect(box.counters('forms')).toMatchObject({ accepted: 3, dropped: { queue_full: 1 }, queued: 2 });
    expect(box.counters()).toMatchObject({ accepted: 4, dropped: { queue_full: 2 }, queued: 2 });
    expect([box.take()?.topic, box.take()?.topic]).toEqual(['f2', 'c']);
    expect(box.inFlight).toBe(2);
    box.requeue();
    expect([1, 2, 3, 4].map(() => box.take()?.topic).sort()).toEqual(['c', 'd', 'f2', 'f3']);
    box.offer('e', payload());
    box.clear('shutdown');
    expect(box.counters('forms')).toMatchObject({ dropped: { shutdown: 2 }, queued: 0, inFlight: 0 });
    expect(box.counters()).toMatchObject({ accepted: 5, dropped: { shutdown: 3 }, queued: 0, inFlight: 0 });
  });

  it('puts what was in flight back in front, in order, still bounded', () => {
    const box = new Outbox({ maxQueued: 3, maxQueuedBytes: 100 });
    for (const topic of ['a', 'b', 'c']) box.offer(topic, payload());
    box.take();
    box.take();
    box.offer('d', payload());
    box.requeue();
    expect(box.counters()).toMatchObject({ dropped: { queue_full: 1 }, queued: 3, inFlight: 0 });
    expect([box.take()?.topic, box.take()?.topic, box.take()?.topic]).toEqual(['b', 'c', 'd']);
  });

  it('ignores answers of an earlier connection', () => {
    const box = new Outbox({ maxQueued: 3, maxQueuedBytes: 100 });
    box.offer('a', payload());
    const entry = box.take() as OutboxEntry;
    box.requeue();
    expect(box.done(entry)).toBe(false);
    expect(box.drop(entry, 'refused')).toBe(false);
    expect(box.counters()).toMatchObject({ published: 0, queued: 1 });
  });

  it('knows the only one in flight', () => {
    const box = new Outbox({ maxQueued: 3, maxQueuedBytes: 100 });
    box.offer('a', payload());
    box.offer('b', payload());
    expect(box.sole()).toBeUndefined();
    const first = box.take();
    expect(box.sole()).toBe(first);
    box.take();
    expect(box.sole()).toBeUndefined();
  });

  it('accounts for every alert after any history', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('offer' as const), bytes: fc.integer({ min: 0, max: 40 }) }),
      fc.record({ kind: fc.constantFrom('take' as const, 'requeue' as const, 'clear' as const, 'reject' as const) }),
      fc.record({ kind: fc.constant('done' as const), pick: fc.nat(5) }),
      fc.record({ kind: fc.constant('drop' as const), pick: fc.nat(5) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 1, max: 6 }), (steps, maxQueued) => {
        const box = new Outbox({ maxQueued, maxQueuedBytes: 64 });
        const taken: OutboxEntry[] = [];
        let accepted = 0;
        for (const s of steps) {
          if ('bytes' in s) {
            box.offer('t', payload(s.bytes));
            accepted += 1;
          } else if ('pick' in s) {
            // Among them, on purpose, entries long settled.
            const entry = taken[s.pick];
            if (entry !== undefined && s.kind === 'done') box.done(entry);
            if (entry !== undefined && s.kind === 'drop') box.drop(entry, 'refused');
          } else if (s.kind === 'take') {
            const entry = box.take();
            if (entry !== undefined) taken.push(entry);
          } else if (s.kind === 'reject') {
            box.reject('oversized');
            accepted += 1;
          } else if (s.kind === 'requeue') {
            box.requeue();
          } else {
            box.clear('shutdown');
          }
          const c = box.counters();
          expect(c.accepted).toBe(accepted);
          expect(c.published + sumDropped(c) + c.queued + c.inFlight).toBe(accepted);
          expect(c.queued).toBeLessThanOrEqual(maxQueued);
        }
      }),
      { numRuns: 200 },
    );
  });
});
