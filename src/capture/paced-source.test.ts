import { setMaxListeners } from 'node:events';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.js';
import { FakeReader } from '../../test/fakes/fake-reader.js';
import { EXIT } from '../types/errors.js';
import type { DropReason, FrameSource } from '../types/frame.js';
import { ReadAhead } from './frame-reader.js';
import { type PacedOptions, PacedSource } from './paced-source.js';

const never = new AbortController().signal;
setMaxListeners(0, never);

function make(reader: FakeReader, options: PacedOptions, clock = new FakeClock()): PacedSource {
  return new PacedSource(async () => reader, options, { clock });
}

function expectBalance(source: FrameSource): void {
  const { captured, delivered, dropped } = source.counters();
  expect(captured).toBe(delivered + Object.values(dropped).reduce((a, b) => a + b, 0));
}

async function drain(source: FrameSource, most = 1000): Promise<number[]> {
  const seen: number[] = [];
  while (seen.length < most) {
    const frame = await source.next();
    if (frame === null) break;
    seen.push(frame.sequence);
  }
  return seen;
}

describe('PacedSource as fast as possible', () => {
  it('delivers every frame once, then null for ever', async () => {
    const source = make(new FakeReader(4), { rate: 'fast', fps: 9 });
    expect(await source.start(never)).toEqual({
      description: 'fake',
      width: 2,
      height: 2,
      bits: 16,
      fps: 9,
      frames: 4,
    });
    expect(await drain(source)).toEqual([0, 1, 2, 3]);
    expect(await source.next()).toBeNull();
    expect(source.counters()).toEqual({ captured: 4, delivered: 4, dropped: {} });
  });

  it('plays so many times with running numbers', async () => {
    const source = make(new FakeReader(3), { rate: 'fast', loop: 3 });
    expect((await source.start(never)).frames).toBe(9);
    const data: number[] = [];
    for (let frame = await source.next(); frame; frame = await source.next()) data.push(frame.data[0]!);
    expect(data).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2]);
    expect(source.counters().captured).toBe(9);
  });

  it('plays for ever', async () => {
    const source = make(new FakeReader(2), { rate: 'fast', loop: true });
    expect(await source.start(never)).not.toHaveProperty('frames');
    expect(await drain(source, 7)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    await source.stop();
    expect(await source.next()).toBeNull();
    expectBalance(source);
  });

  it('counts what is missing after each pass', async () => {
    const source = make(new FakeReader(3, 2), { rate: 'fast', loop: 2 });
    await source.start(never);
    await drain(source);
    expect(source.counters()).toEqual({ captured: 10, delivered: 6, dropped: { short: 4 } });
  });

  it('goes on after frames that cannot be read, and says which', async () => {
    const reader = new FakeReader(5);
    reader.bad.set(1, 'corrupt').set(2, 'size').set(4, 'short');
    const told: string[] = [];
    const onFault = (reason: DropReason, error: Error): unknown => told.push(`${reason}: ${error.message}`);
    const source = new PacedSource(async () => reader, { rate: 'fast' }, { clock: new FakeClock(), onFault });
    await source.start(never);
    expect(await drain(source)).toEqual([0, 3]);
    expect(source.counters()).toEqual({ captured: 5, delivered: 2, dropped: { corrupt: 1, size: 1, short: 1 } });
    expect(told).toEqual(['corrupt: frame 1 is bad', 'size: frame 2 is bad', 'short: frame 4 is bad']);
  });

  it.each([false, true])('fails when no frame can be read (loop %s)', async (loop) => {
    const reader = new FakeReader(3);
    for (let i = 0; i < 3; i++) reader.bad.set(i, 'corrupt');
    const source = make(reader, { rate: 'fast', loop });
    await source.start(never);
    await expect(source.next()).rejects.toMatchObject({ code: 'RECORDING_UNREADABLE', exitCode: EXIT.dataError });
    expect(source.counters()).toEqual({ captured: 3, delivered: 0, dropped: { corrupt: 3 } });
    await expect(source.next()).rejects.toMatchObject({ code: 'RECORDING_UNREADABLE' });
    await source.stop();
  });

  it('captures nothing that was only read ahead', async () => {
    const reader = new FakeReader(10);
    const source = new PacedSource(async () => new ReadAhead(reader, 2, false), { rate: 'fast' });
    await source.start(never);
    await source.next();
    await source.stop();
    expect(reader.reads.length).toBeGreaterThan(1);
    expect(source.counters()).toEqual({ captured: 1, delivered: 1, dropped: {} });
  });
});

describe('PacedSource in real time', () => {
  it('leaves out what a late consumer missed', async () => {
    const clock = new FakeClock();
    const reader = new FakeReader(100);
    const source = make(reader, { rate: 'realtime', fps: 100 }, clock);
    expect((await source.start(never)).fps).toBe(100);
    await source.next();
    clock.advance(55);
    const frame = await source.next();
    expect(frame?.sequence).toBe(5);
    expect(clock.monotonicNs() - frame!.captureMonotonicNs).toBe(5_000_000n);
    expect(clock.wallMs() - frame!.capturedAtMs).toBeCloseTo(5, 3);
    expect(source.counters()).toEqual({ captured: 6, delivered: 2, dropped: { stale: 4 } });
    expect(reader.reads).toEqual([0, 5]);
  });

  it('does not start its clock before the first frame is asked for', async () => {
    const clock = new FakeClock();
    const source = make(new FakeReader(10), { rate: 'realtime', fps: 10 }, clock);
    await source.start(never);
    clock.advance(30_000);
    expect((await source.next())?.sequence).toBe(0);
    expectBalance(source);
  });

  it('uses 25 Hz for what has no rate, and gives the last frame to whom comes after the end', async () => {
    const clock = new FakeClock();
    const source = make(new FakeReader(10), { rate: 'realtime' }, clock);
    expect((await source.start(never)).fps).toBe(25);
    await source.next();
    clock.advance(1e6);
    expect(await drain(source)).toEqual([9]);
    expect(source.counters()).toEqual({ captured: 10, delivered: 2, dropped: { stale: 8 } });
  });

  it('counts what was due when it was stopped: the newest as shutdown, those before as stale', async () => {
    const clock = new FakeClock();
    const source = make(new FakeReader(1000), { rate: 'realtime', fps: 10 }, clock);
    await source.start(never);
    await source.next();
    clock.advance(420);
    await source.stop();
    await source.stop();
    expect(source.counters()).toEqual({ captured: 5, delivered: 1, dropped: { stale: 3, shutdown: 1 } });
    clock.advance(1000);
    expect(await source.next()).toBeNull();
    expect(source.counters().captured).toBe(5);
  });

  it('ends a pending next() at once when the signal aborts, with nothing captured', async () => {
    const clock = new FakeClock();
    const source = make(new FakeReader(10), { rate: 'realtime', fps: 0.01 }, clock);
    const stop = new AbortController();
    await source.start(stop.signal);
    await source.next();
    clock.frozen = true;
    const pending = source.next();
    setTimeout(() => stop.abort(), 1);
    expect(await pending).toBeNull();
    expect(source.counters()).toEqual({ captured: 1, delivered: 1, dropped: {} });
    await source.stop();
    expect(source.counters().captured).toBe(1);
  });

  it('counts as shutdown the frame that was being read when it was stopped', async () => {
    const reader = new FakeReader(10);
    const source = make(reader, { rate: 'realtime', fps: 10 });
    await source.start(never);
    await source.next();
    reader.during = () => source.stop();
    expect(await source.next()).toBeNull();
    expect(source.counters()).toEqual({ captured: 2, delivered: 1, dropped: { shutdown: 1 } });
  });

  it('keeps captured = delivered + dropped whatever the consumer does', async () => {
    const reasons: DropReason[] = ['corrupt', 'size', 'short'];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 30 }),
        fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2, maxLength: 12 }),
        fc.constantFrom<boolean | number>(false, true, 3),
        async (waits, faults, loop) => {
          const clock = new FakeClock();
          const reader = new FakeReader(faults.length, faults.length % 2);
          faults.forEach((fault, i) => {
            if (fault > 0 && i > 0) reader.bad.set(i, reasons[fault - 1]!);
          });
          const source = make(reader, { rate: 'realtime', fps: 30, loop }, clock);
          await source.start(never);
          let newest = -1;
          for (const wait of waits) {
            const frame = await source.next();
            if (frame !== null) {
              expect(frame.sequence).toBeGreaterThan(newest);
              newest = frame.sequence;
            }
            expectBalance(source);
            clock.advance(wait);
          }
          await source.stop();
          expectBalance(source);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('PacedSource', () => {
  it.each([0, -1, 1.5, Number.NaN])('refuses loop %s', async (loop) => {
    const source = make(new FakeReader(1), { rate: 'fast', loop });
    await expect(source.start(never)).rejects.toMatchObject({ code: 'SOURCE_OPTIONS_INVALID', exitCode: EXIT.config });
  });

  it.each([0, -5, Number.NaN, Number.POSITIVE_INFINITY])('refuses fps %s', async (fps) => {
    const source = make(new FakeReader(1), { rate: 'fast', fps });
    await expect(source.start(never)).rejects.toMatchObject({ code: 'SOURCE_OPTIONS_INVALID', exitCode: EXIT.config });
  });

  it('closes its reader once, also when it is stopped while opening', async () => {
    const reader = new FakeReader(3);
    const source = make(reader, { rate: 'fast' });
    await source.start(never);
    await Promise.all([source.stop(), source.stop()]);
    expect(reader.closed).toBe(1);

    const late = new FakeReader(3);
    const opening = new PacedSource(
      async () => {
        await opening.stop();
        return late;
      },
      { rate: 'fast' },
    );
    await expect(opening.start(never)).rejects.toMatchObject({ code: 'SOURCE_STOPPED' });
    expect(late.closed).toBe(1);
  });

  it('gives no frame before start, and refuses to start once aborted', async () => {
    const source = make(new FakeReader(3), { rate: 'fast' });
    expect(await source.next()).toBeNull();
    await expect(source.start(AbortSignal.abort())).rejects.toMatchObject({ code: 'SOURCE_STOPPED' });
    await source.stop();
  });
});

describe('ReadAhead', () => {
  it('reads a few frames ahead, never more, each once', async () => {
    const reader = new FakeReader(20);
    reader.during = () => new Promise((resolve) => setImmediate(resolve));
    const ahead = new ReadAhead(reader, 2, false);
    for (let i = 0; i < 20; i++) {
      const result = await ahead.read(i);
      expect(result.ok && result.pixels.data[0]).toBe(i);
      expect(reader.reads.length).toBeLessThanOrEqual(i + 3);
    }
    expect(reader.reads).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(reader.mostUnderWay).toBeLessThanOrEqual(3);
  });

  it('lets go of what was jumped over', async () => {
    const reader = new FakeReader(20);
    const ahead = new ReadAhead(reader, 2, false);
    await ahead.read(0);
    const result = await ahead.read(10);
    expect(result.ok && result.pixels.data[0]).toBe(10);
    await ahead.read(11);
    expect(reader.reads).toEqual([0, 1, 2, 10, 11, 12, 13]);
  });

  it.each([1, 2, 3, 5])('goes on at the front of a looped recording of %d frames', async (frames) => {
    const reader = new FakeReader(frames);
    const ahead = new ReadAhead(reader, 2, true);
    for (let k = 0; k < 3 * frames; k++) {
      const result = await ahead.read(k % frames);
      expect(result.ok && result.pixels.data[0]).toBe(k % frames);
    }
    expect(reader.reads.length).toBeLessThanOrEqual(3 * frames + 2);
  });

  it('closes after its reads have ended, though one fails', async () => {
    const reader = new FakeReader(5);
    let ended = 0;
    reader.during = async (index) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      ended++;
      if (index === 2) throw new Error('disk gone');
    };
    const ahead = new ReadAhead(reader, 2, false);
    await ahead.read(0);
    await ahead.close();
    expect(ended).toBe(3);
    expect(reader.closed).toBe(1);
  });
});
