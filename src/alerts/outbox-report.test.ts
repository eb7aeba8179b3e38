import { describe, expect, it } from 'vitest';
import { DurableOutbox, type EventCounters, type EventKind, type OutboxRecord } from './durable-outbox.js';
import { EXAMPLES } from './examples.js';
import { OutboxReport, outboxStats } from './outbox-report.js';
import { statsMessage, statsSchema } from './schema.js';

let clock = 0;
function outbox(maxCount: number): DurableOutbox {
  clock = 1_000;
  return new DurableOutbox({ maxCount, now: () => clock, monotonic: () => clock });
}
const record = (n: number, kind: EventKind = 'new', lifeMs = 1e6): OutboxRecord => ({
  id: `event-${n}`,
  seq: n,
  kind,
  severity: 1,
  topic: 'irst/a/b/events',
  payload: Buffer.from('{}'),
  createdAtMs: clock,
  expiresAtMs: clock + lifeMs,
});

describe('OutboxReport', () => {
  it('says nothing while nothing is lost', () => {
    const box = outbox(10);
    const report = new OutboxReport();
    for (let n = 0; n < 10; n++) box.offer(record(n));
    expect(report.look(box.counters(), 0)).toEqual([]);
  });

  it('counts by reason what was lost since the last line, and holds the next line back for a while', () => {
    const box = outbox(4);
    const report = new OutboxReport(30_000);
    for (let n = 0; n < 9; n++) box.offer(record(n));
    const [first, ...more] = report.look(box.counters(), 0);
    expect(more).toEqual([]);
    expect(first).toMatchObject({
      code: 'EVENTS_DROPPED',
      message: 'messages about events given up: overflow 5; 4 wait',
      hint: expect.stringContaining('outbox.maxEvents'),
    });
    box.offer(record(10));
    expect(report.look(box.counters(), 29_999)).toEqual([]);
    expect(report.look(box.counters(), 30_000)).toMatchObject([
      { message: 'messages about events given up: overflow 1; 4 wait' },
    ]);
    expect(report.look(box.counters(), 90_000)).toEqual([]);
  });

  it('names what expired and what was coalesced, and at the stop says all at once', async () => {
    const box = outbox(100);
    const report = new OutboxReport();
    box.offer(record(1));
    for (let k = 0; k < 4; k++) box.offer(record(1, 'update'));
    box.offer(record(2, 'new', 5));
    clock += 10;
    // Expiry shows when it is looked for something to send.
    box.online();
    for (let item = box.take(); item !== undefined; item = box.take()) box.done(item);
    expect(report.look(box.counters(), 0)).toMatchObject([
      {
        message: 'messages about events given up: expired 1, 3 updates gave way to newer ones; 0 wait',
        hint: expect.stringContaining('eventLifeSeconds'),
      },
    ]);
    box.offer(record(3));
    await box.start();
    await box.stop();
    expect(report.look(box.counters(), 1, true)).toMatchObject([
      { message: 'messages about events given up: shutdown 1; 0 wait' },
    ]);
  });

  it('tells of stored records that could not be read', () => {
    const counters = outbox(1).counters();
    counters.store.skipped.corrupt = 3;
    expect(new OutboxReport().look(counters, 0)).toMatchObject([
      { code: 'OUTBOX_SKIPPED', message: 'stored events could not be read and were left out: corrupt 3' },
    ]);
  });

  it('says once that the log ahead of the file is not used', () => {
    const counters = outbox(1).counters();
    const report = new OutboxReport();
    expect(report.look(counters, 0)).toEqual([]);
    counters.store.unlogged = 2;
    expect(report.look(counters, 40_000)).toMatchObject([{ code: 'OUTBOX_UNLOGGED' }]);
    counters.store.unlogged = 9;
    expect(report.look(counters, 80_000)).toEqual([]);
  });
});

describe('outboxStats', () => {
  const sum = (counts: object): number => Object.values(counts).reduce((a: number, b: number) => a + b, 0);

  it('is what /stats may say, and adds up', () => {
    const box = outbox(5);
    box.online();
    for (let n = 0; n < 9; n++) {
      box.offer(record(n));
      box.offer(record(n, 'update'));
      box.offer(record(n, 'update'));
      if (n % 3 === 0) box.offer(record(n, 'end'));
      const item = n % 2 === 0 ? box.take() : undefined;
      if (item !== undefined && n % 4 === 0) box.done(item);
    }
    const counters: EventCounters = box.counters();
    const { outbox: stats } = statsMessage({ ...EXAMPLES.stats, atMs: 0, outbox: outboxStats(counters) });
    expect(statsSchema.shape.outbox.parse(stats)).toEqual(stats);
    if (stats === undefined) throw new Error('no outbox');
    expect(stats.dropped.overflow).toBeGreaterThan(0);
    expect(stats.coalesced).toBeGreaterThan(0);
    expect(sum(stats.accepted) + stats.recovered).toBe(
      sum(stats.published) + stats.coalesced + sum(stats.dropped) + stats.waiting + stats.inFlight,
    );
    expect(stats.store).toMatchObject({ mode: 'memory', skipped: { corrupt: 0, unknown_version: 0 } });
  });
});
