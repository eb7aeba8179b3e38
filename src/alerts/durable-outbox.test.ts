import { describe, expect, it } from 'vitest';
import { DurableOutbox, type DurableOutboxOptions, type EventKind, type OutboxRecord } from './durable-outbox.js';

/** Of a clock that is set. */
const WALL = Date.UTC(2026, 6, 1);
let seq = 0;
function record(id: string, kind: EventKind = 'new', more: Partial<OutboxRecord> = {}): OutboxRecord {
  seq += 1;
  return {
    id,
    seq,
    kind,
    severity: 1,
    topic: 't',
    payload: Buffer.from(id),
    createdAtMs: WALL,
    expiresAtMs: WALL + 60_000,
    ...more,
  };
}

/** In memory, with clocks that the test moves. */
function outbox(options: DurableOutboxOptions = {}) {
  const clock = { wall: WALL, monotonic: 0 };
  const box = new DurableOutbox({ now: () => clock.wall, monotonic: () => clock.monotonic, ...options });
  const later = (ms: number) => {
    clock.wall += ms;
    clock.monotonic += ms;
  };
  return { box, clock, later };
}

function balanced(box: DurableOutbox) {
  const c = box.counters();
  const sum = (o: Record<string, number>) => Object.values(o).reduce((a, b) => a + b, 0);
  expect(sum(c.published) + c.coalesced + sum(c.dropped) + c.kept + c.waiting + c.inFlight).toBe(
    sum(c.accepted) + c.recovered,
  );
  return c;
}

describe('DurableOutbox in memory', () => {
  it('gives events out at once, and says that they are in memory', async () => {
    const { box } = outbox();
    await box.start();
    const told: string[] = [];
    box.on('sendable', () => told.push('sendable'));
    expect(box.offer(record('a'))).toBe(true);
    box.offer(record('b'));
    await Promise.resolve();
    // Once for what came together.
    expect(told).toEqual(['sendable']);
    expect(box.next()).toBe('backlog');
    box.online();
    box.offer(record('c', 'new', { severity: 0 }));
    expect(box.next()).toBe('live');
    const item = box.take();
    expect(item?.record.id).toBe('c');
    box.offline();
    expect(item && box.done(item)).toBe(false);
    expect(balanced(box)).toMatchObject({ waiting: 3, inFlight: 0, store: { mode: 'memory', memoryOnly: 0 } });
    await box.stop();
    expect(balanced(box)).toMatchObject({ kept: 0, dropped: { shutdown: 3 } });
    expect(box.offer(record('d'))).toBe(false);
    expect(balanced(box).dropped.shutdown).toBe(4);
  });

  it('counts down the time that is left, and ends it', () => {
    const { box, later } = outbox();
    box.offer(record('a'));
    box.offer(record('b', 'new', { expiresAtMs: WALL + 30_000 }));
    later(20_500);
    const item = box.take();
    expect(item && box.secondsLeft(item)).toBe(10);
    later(39_600);
    expect(box.take()).toBeUndefined();
    expect(balanced(box).dropped.expired).toBe(1);
    expect(box.offer(record('late', 'new', { expiresAtMs: WALL + 1_000 }))).toBe(false);
    expect(balanced(box).dropped.expired).toBe(2);
  });

  it('does not believe a wall clock that jumps', () => {
    const { box, clock, later } = outbox();
    box.offer(record('a'));
    // The first answer of a time server, at a device without a battery.
    clock.wall += 50 * 365 * 86_400_000;
    expect(box.take()?.record.id).toBe('a');
    // Set back, it does not make an event live longer than it was to.
    clock.wall = 0;
    box.offer(record('b', 'new', { createdAtMs: WALL, expiresAtMs: WALL + 60_000 }));
    later(60_001);
    expect(box.take()).toBeUndefined();
  });

  it('sends no end of an event whose beginning was given up: too old, or refused', () => {
    const hour = 3_600_000;
    const { box, clock, later } = outbox();
    const day = { expiresAtMs: WALL + 24 * hour };
    box.offer(record('old', 'new', day));
    later(2 * hour);
    box.offer(record('old', 'end', { createdAtMs: clock.wall, expiresAtMs: clock.wall + 24 * hour }));
    later(23 * hour);
    box.online();
    expect(box.take()).toBeUndefined();
    expect(balanced(box)).toMatchObject({ waiting: 0, dropped: { expired: 2 } });

    const life = { createdAtMs: clock.wall, expiresAtMs: clock.wall + hour };
    box.offer(record('bad', 'new', life));
    const item = box.take();
    box.offer(record('bad', 'end', life));
    expect(item && box.drop(item, 'refused')).toBe(true);
    expect(box.take()).toBeUndefined();
    expect(balanced(box)).toMatchObject({ waiting: 0, dropped: { refused: 2 } });

    // Too old as it comes.
    box.offer(record('late', 'new', day));
    box.offer(record('late', 'end', life));
    expect(box.take()).toBeUndefined();
    expect(balanced(box)).toMatchObject({ waiting: 0, dropped: { expired: 4 } });
  });

  it('is bounded in age, size and number', () => {
    const { box, later } = outbox({ maxAgeMs: 1_000, maxMessageBytes: 10, maxCount: 2 });
    expect(box.offer(record('large', 'new', { payload: Buffer.alloc(11) }))).toBe(false);
    for (const id of ['a', 'b', 'c']) box.offer(record(id));
    expect(box.offer(record('least', 'new', { severity: 0 }))).toBe(false);
    expect(balanced(box)).toMatchObject({ waiting: 2, dropped: { oversized: 1, overflow: 2 } });
    later(1_001);
    expect(box.take()).toBeUndefined();
    expect(balanced(box).dropped.expired).toBe(2);
  });
});
