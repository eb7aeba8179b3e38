import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.js';
import { Pacer, stampOf, systemClock } from './pacing.js';

const never = new AbortController().signal;

describe('Pacer in real time', () => {
  it('waits until each frame is due, t0 being the first turn', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('realtime', 25, clock);
    const started = clock.nowMs;
    for (let k = 0; k < 4; k++) {
      expect(await pacer.turn(k, 100, never)).toBe(k);
      expect(clock.nowMs - started).toBe(40 * k);
    }
  });

  it('gives the newest due frame to a late caller, but none beyond the end', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('realtime', 10, clock);
    await pacer.turn(0, 8, never);
    clock.advance(349);
    expect(await pacer.turn(1, 8, never)).toBe(3);
    clock.advance(60_000);
    expect(await pacer.turn(4, 8, never)).toBe(7);
  });

  it('never gives a frame before it is due, whatever the rounding', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('realtime', 29.97, clock);
    await pacer.turn(0, 1e6, never);
    for (const k of [1, 7, 1000, 123_457, 999_999]) {
      await pacer.turn(k, 1e6, never);
      expect(pacer.dueCount(1e6)).toBe(k + 1);
      expect(clock.monotonicNs() >= pacer.stamp(k).captureMonotonicNs).toBe(true);
    }
  });

  it('counts a frame from exactly its due time on', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('realtime', 1000 / 3, clock);
    expect(pacer.dueCount(10)).toBe(0);
    await pacer.turn(0, 10, never);
    expect(pacer.dueCount(10)).toBe(1);
    clock.advance(2.999);
    expect(pacer.dueCount(10)).toBe(1);
    clock.advance(0.001);
    expect(pacer.dueCount(10)).toBe(2);
    clock.advance(1000);
    expect(pacer.dueCount(10)).toBe(10);
  });

  it('stamps with the due time on both clocks, although it is asked later', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('realtime', 50, clock);
    await pacer.turn(0, 10, never);
    const [mono, wall] = [clock.monotonicNs(), clock.wallMs()];
    clock.advance(73);
    expect(pacer.stamp(2)).toEqual({ captureMonotonicNs: mono + 40_000_000n, capturedAtMs: wall + 40 });
  });

  it('ends a pending wait when told to stop', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('realtime', 1, clock);
    const stop = new AbortController();
    await pacer.turn(0, 10, stop.signal);
    clock.frozen = true;
    const pending = pacer.turn(1, 10, stop.signal);
    setTimeout(() => stop.abort(), 1);
    expect(await pending).toBeNull();
    expect(await pacer.turn(1, 10, stop.signal)).toBeNull();
  });

  it('waits in parts for a frame that is weeks away', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('realtime', 1e-7, clock);
    await pacer.turn(0, 2, never);
    await pacer.turn(1, 2, never);
    expect(Math.max(...clock.slept)).toBeLessThan(2 ** 31);
    expect(clock.slept.reduce((a, b) => a + b)).toBe(1e10);
  });
});

describe('Pacer as fast as possible', () => {
  it('gives every frame at once, stamped when handed over', async () => {
    const clock = new FakeClock();
    const pacer = new Pacer('fast', 25, clock);
    clock.advance(10_000);
    for (let k = 0; k < 5; k++) expect(await pacer.turn(k, 100, never)).toBe(k);
    expect(clock.slept).toEqual([]);
    expect(pacer.dueCount(100)).toBe(0);
    expect(pacer.stamp(7)).toEqual({
      captureMonotonicNs: clock.monotonicNs(),
      capturedAtMs: clock.wallMs(),
      recordedNs: 280_000_000n,
    });
  });

  it('lets timers run between frames', async () => {
    const pacer = new Pacer('fast', 25, systemClock);
    let fired = false;
    setTimeout(() => {
      fired = true;
    }, 1);
    const end = Date.now() + 20_000;
    for (let k = 0; !fired && Date.now() < end; k++) await pacer.turn(k, 1e9, never);
    expect(fired).toBe(true);
  });
});

describe('systemClock', () => {
  it('sleeps about as long as asked, and wakes without error when told to stop', async () => {
    const start = systemClock.monotonicNs();
    await systemClock.sleep(20, never);
    expect(Number(systemClock.monotonicNs() - start) / 1e6).toBeGreaterThan(15);
    const stop = new AbortController();
    const pending = systemClock.sleep(1e6, stop.signal);
    stop.abort();
    await pending;
    await systemClock.sleep(1e6, stop.signal);
  });

  it('relates its two clocks', () => {
    const stamp = stampOf(systemClock, systemClock.monotonicNs() - 1_000_000_000n);
    expect(Math.abs(Date.now() - 1000 - stamp.capturedAtMs)).toBeLessThan(500);
  });
});
