import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { detection, dice, frameTime } from '../../test/fakes/detections.js';
import type { Detection } from '../types/detection.js';
import type { SceneShift, Track, TrackUpdate } from '../types/track.js';
import { Tracker, type TrackerOptions } from './tracker.js';

const FPS = 30;
const WIDTH = 640;
const HEIGHT = 512;

function make(options: Partial<TrackerOptions> = {}) {
  const tracker = new Tracker({ width: WIDTH, height: HEIGHT, ...options });
  let k = 0;
  return {
    tracker,
    /** The next frame, after `skipped` frames that were never seen. */
    next(detections: Detection[], skipped = 0, shift?: SceneShift): TrackUpdate {
      k += skipped;
      const update = tracker.update({
        sequence: k,
        captureMonotonicNs: frameTime(k, FPS),
        detections,
        ...(shift === undefined ? {} : { shift }),
      });
      k++;
      return update;
    },
    /** The next frame, not searched, after `skipped` frames that were never seen. */
    hold(skipped = 0): TrackUpdate {
      k += skipped;
      const sequence = k++;
      return tracker.update({ sequence, captureMonotonicNs: frameTime(sequence, FPS), detections: [], held: true });
    },
    /** The next frame with what a search over many frames is sure of. */
    update(detections: Detection[], found: Detection[] = []): TrackUpdate {
      const sequence = k++;
      const sure = found.map((d) => ({ ...d, vx: 30, vy: 0, sigmaV: 5 }));
      return tracker.update({ sequence, captureMonotonicNs: frameTime(sequence, FPS), detections, sure });
    },
  };
}
const shown = (u: TrackUpdate): Track[] => [...u.started, ...u.updated];
const only = (u: TrackUpdate): Track => {
  expect(shown(u)).toHaveLength(1);
  return shown(u)[0]!;
};
const shift = (dx: number, dy: number, over: Partial<SceneShift> = {}): SceneShift => ({
  dx,
  dy,
  sigma: 0.05,
  confidence: 1,
  reliable: true,
  ...over,
});

describe('confirmation', () => {
  test('3 of 5: started once, then updated; velocity in px/s, times from the frames', () => {
    const { next } = make();
    expect(shown(next([detection(100, 50)]))).toEqual([]);
    expect(shown(next([detection(101, 50)]))).toEqual([]);
    const third = next([detection(102, 50)]);
    expect(third.started).toHaveLength(1);
    expect(third.started[0]).toMatchObject({
      id: 1,
      state: 'confirmed',
      hits: 3,
      misses: 0,
      firstSeen: { sequence: 0, monotonicNs: 0n },
      confirmedAt: { sequence: 2, monotonicNs: frameTime(2) },
      lastSeen: { sequence: 2 },
    });
    let track: Track | undefined;
    for (let x = 103; x < 130; x++) {
      const u = next([detection(x, 50, { score: x === 110 ? 0.95 : 0.8 })]);
      expect(u.started).toEqual([]);
      track = only(u);
    }
    expect(track).toMatchObject({ id: 1, score: 0.8, topScore: 0.95, stationary: false });
    expect(track!.vx).toBeCloseTo(30, 0);
    expect(track!.vy).toBeCloseTo(0, 6);
    expect(Math.abs(track!.x - 129)).toBeLessThan(0.1);
  });

  // For every pattern of hits that begins with one: confirmed in the frame of the third hit if that is among the first five.
  test.each(Array.from({ length: 16 }, (_, bits) => [1, ...[0, 1, 2, 3].map((b) => (bits >> b) & 1)]))(
    'pattern %i%i%i%i%i',
    (...pattern) => {
      const { next, tracker } = make({ faintScore: null });
      let confirmedAt = -1;
      pattern.forEach((hit, k) => {
        // Gates are wide after misses; the same place always matches.
        if (next(hit ? [detection(50, 50)] : []).started.length > 0) confirmedAt = k;
      });
      const third = pattern.findIndex((hit, k) => hit === 1 && pattern.slice(0, k).filter((h) => h === 1).length === 2);
      expect(confirmedAt).toBe(third);
      if (third < 0) {
        expect(tracker.counters().unconfirmed).toBe(1);
        expect(tracker.counters().tentative).toBeLessThanOrEqual(1);
      }
    },
  );

  test('a target that jumps out of the gate is not one track', () => {
    const { next } = make();
    next([detection(100, 100)]);
    next([detection(140, 100)]);
    expect(shown(next([detection(180, 100)]))).toEqual([]);
  });

  test.each([0, 45, 90, 200])('the gate is the 99 %% quantile of chi-squared, towards %i degrees', (degrees) => {
    for (const [factor, matched] of [
      [0.99, 1],
      [1.01, 0],
    ] as const) {
      const { next, tracker } = make({ processNoise: 0, startSpeed: 30 });
      next([detection(100, 100)]);
      // Prediction after 1/30 s: variance 0.2^2 + 1^2; the measurement's: 0.2^2.
      const reach = factor * Math.sqrt(9.21 * (0.04 + 1 + 0.04));
      const angle = (degrees * Math.PI) / 180;
      next([detection(100 + reach * Math.cos(angle), 100 + reach * Math.sin(angle))]);
      expect(tracker.counters().strongMatched).toBe(matched);
    }
  });
});

describe('weak detections', () => {
  test('without a score for faint ones, never start a track, whatever they do', () => {
    const list = fc.array(
      fc.record({
        x: fc.integer({ min: 0, max: 40 }),
        y: fc.integer({ min: 0, max: 40 }),
        score: fc.double({ min: 0, max: 0.4999, noNaN: true }),
      }),
      { maxLength: 10 },
    );
    fc.assert(
      fc.property(fc.array(list, { maxLength: 30 }), (frames) => {
        const { next, tracker } = make({ faintScore: null });
        for (const frame of frames) {
          expect(shown(next(frame.map((d) => detection(d.x, d.y, { score: d.score }))))).toEqual([]);
          expect(tracker.tracks()).toEqual([]);
        }
      }),
      { numRuns: 50, seed: 2 },
    );
  });

  test('continue a track; alone with one strong detection they do not confirm it', () => {
    const { next, tracker } = make({ faintScore: null });
    for (let k = 0; k < 3; k++) next([detection(100, 100)]);
    for (let k = 0; k < 100; k++) expect(only(next([detection(100, 100, { score: 0.25 })])).state).toBe('confirmed');
    expect(tracker.counters().weakMatched).toBe(100);
    next([detection(300, 300), detection(100, 100)]);
    for (let k = 0; k < 4; k++) {
      const u = next([detection(300, 300, { score: 0.3 }), detection(100, 100)]);
      expect(u.started).toEqual([]);
    }
    expect(tracker.counters().unconfirmed).toBe(1);
  });

  test('a strong detection is preferred to a nearer weak one', () => {
    const { next } = make();
    for (let k = 0; k < 5; k++) next([detection(100, 100)]);
    expect(only(next([detection(100, 100, { score: 0.3 }), detection(100.3, 100)])).detection).toMatchObject({
      x: 100.3,
    });
  });
});

describe('coasting', () => {
  test('goes on with its velocity, grows unsure, and is the same track after it', () => {
    const { next } = make();
    for (let k = 0; k < 30; k++) next([detection(100 + 2 * k, 200 - k)]);
    let before = 0;
    for (let k = 30; k < 42; k++) {
      const t = only(next([]));
      expect(t).toMatchObject({ id: 1, state: 'coasting', misses: k - 29, detection: null });
      expect(t.sigmaX).toBeGreaterThan(before);
      expect(Math.hypot(t.x - 100 - 2 * k, t.y - 200 + k)).toBeLessThan(3 * t.sigmaX);
      before = t.sigmaX;
    }
    expect(only(next([detection(184, 158)]))).toMatchObject({ id: 1, state: 'confirmed', misses: 0 });
  });

  test('ends after maxCoastFrames frames without a detection, once', () => {
    const { next, tracker } = make({ maxCoastFrames: 4 });
    for (let k = 0; k < 3; k++) next([detection(100, 100)]);
    for (let k = 0; k < 4; k++) expect(only(next([])).state).toBe('coasting');
    const end = next([]);
    expect(shown(end)).toEqual([]);
    expect(end.ended).toMatchObject([{ id: 1, state: 'lost', endReason: 'lost', misses: 5 }]);
    expect(next([]).ended).toEqual([]);
    expect(tracker.counters().ended).toEqual({ lost: 1, left: 0, displaced: 0, reset: 0 });
  });

  test('frames never seen are time, not misses; too much time ends it before it can take a detection', () => {
    const { next } = make({ maxCoastFrames: 4, maxCoastSeconds: 1 });
    for (let k = 0; k < 10; k++) next([detection(100, 100)]);
    expect(only(next([], 20))).toMatchObject({ misses: 1, state: 'coasting' });
    expect(only(next([detection(100, 100)]))).toMatchObject({ id: 1, misses: 0 });
    const late = next([detection(100, 100)], 31);
    expect(late.ended).toMatchObject([{ id: 1, endReason: 'lost' }]);
    expect(shown(late)).toEqual([]);
  });

  test('ends when it leaves the frame', () => {
    const { next } = make();
    for (let k = 0; k < 10; k++) next([detection(600 + 4 * k, 100)]);
    const ended = [next([]), next([])].flatMap((u) => u.ended);
    expect(ended).toMatchObject([{ endReason: 'left' }]);
  });
});

describe('time', () => {
  test('where frames come seconds apart a target is confirmed all the same, one frame later; a single gap still ends a track', () => {
    for (const seconds of [2, 3]) {
      const { next } = make();
      const started = Array.from({ length: 6 }, (_, i) =>
        next([detection(100 + i, 50)], i === 0 ? 0 : seconds * FPS - 1),
      );
      expect(started.map((u) => u.started.length)).toEqual([0, 0, 0, 1, 0, 0]);
    }
    const { next } = make();
    for (let i = 0; i < 5; i++) next([detection(100, 50)]);
    expect(next([detection(100, 50)], 2 * FPS).ended).toHaveLength(1);
  });

  test('irregular frames: the velocity is that of the capture times', () => {
    const r = dice(5);
    const tracker = new Tracker({ width: WIDTH, height: HEIGHT });
    let t = 0;
    let track: Track | undefined;
    for (let k = 0; k < 80; k++) {
      t += 0.01 + 0.09 * r.uniform() ** 2;
      const d = detection(50 + 60 * t + 0.2 * r.normal(), 400 - 30 * t + 0.2 * r.normal());
      track = shown(
        tracker.update({ sequence: k, captureMonotonicNs: BigInt(Math.round(t * 1e9)), detections: [d] }),
      )[0];
      if (k >= 2) expect(track?.id).toBe(1);
    }
    expect(Math.abs(track!.vx - 60)).toBeLessThan(3 * track!.sigmaVx);
    expect(Math.abs(track!.vy + 30)).toBeLessThan(3 * track!.sigmaVy);
    expect(track!.sigmaVx).toBeLessThan(6);
  });

  test('a frame that is not newer is refused and counted', () => {
    const tracker = new Tracker({ width: WIDTH, height: HEIGHT });
    const at = (sequence: number, ns: bigint) =>
      tracker.update({ sequence, captureMonotonicNs: ns, detections: [detection(5, 5)] });
    at(5, 1000n);
    at(5, 2000n);
    at(4, 2000n);
    at(6, 999n);
    expect(tracker.counters()).toMatchObject({ frames: 1, outOfOrder: 3, strongMatched: 0 });
    at(6, 1000n);
    expect(tracker.counters()).toMatchObject({ frames: 2, outOfOrder: 3, strongMatched: 1 });
  });

  test.each([
    ['a correction of 2 s', 0, 60, 0],
    ['8 s without a frame, then the correction of a camera that was switched on', 8 * FPS, 20, 1],
    ['1 s without a frame, then a correction', FPS, 20, 0],
  ])('%s: a track outlives what was held, not what was never seen', (_name, skipped, held, lost) => {
    const { next, hold } = make();
    for (let k = 0; k < 30; k++) next([detection(100 + 0.3 * k, 100)]);
    const updates = [hold(skipped), ...Array.from({ length: held }, () => hold())];
    updates.push(next([detection(230, 140)]));
    expect(updates.flatMap((u) => u.ended.map((t) => t.endReason))).toEqual(Array(lost).fill('lost'));
    expect(shown(updates[held]!).map((t) => [t.id, t.state])).toEqual(lost > 0 ? [] : [[1, 'coasting']]);
  });

  test('where frames come seconds apart, a held one counts in full', () => {
    const { next, hold } = make();
    let before = next([]);
    for (let k = 0; k < 6; k++) before = next([detection(100, 100)], 2 * FPS - 1);
    const updates = [0, 1, 2].map(() => hold(2 * FPS - 1));
    updates.push(next([detection(100, 100)], 2 * FPS - 1));
    expect(updates.flatMap((u) => u.ended)).toEqual([]);
    expect(only(updates.at(-1)!)).toMatchObject({ id: only(before).id, misses: 0 });
  });

  test('reset ends what was confirmed and lets the sequence start anew with new numbers', () => {
    const { next, tracker } = make();
    for (let k = 0; k < 5; k++) next([detection(100, 100)]);
    const end = tracker.reset({ sequence: 4, monotonicNs: frameTime(4) });
    expect(end.ended).toMatchObject([{ id: 1, endReason: 'reset' }]);
    for (let k = 0; k < 3; k++) {
      const u = tracker.update({ sequence: k, captureMonotonicNs: frameTime(k), detections: [detection(100, 100)] });
      if (k === 2) expect(u.started).toMatchObject([{ id: 2 }]);
    }
  });
});

test('crossing targets keep their numbers, in all of 100 noisy crossings', () => {
  let kept = 0;
  for (let run = 0; run < 100; run++) {
    const r = dice(run);
    const { next } = make();
    const ids: (number | undefined)[][] = [];
    for (let k = 0; k < 60; k++) {
      const a = { x: 200 + 2 * k, y: 200 + k };
      const b = { x: 200 + 2 * k, y: 260 - k };
      const seen = [a, b]
        .filter(() => r.uniform() < 0.9)
        .map((p) => detection(p.x + 0.2 * r.normal(), p.y + 0.2 * r.normal()));
      const tracks = shown(next(seen));
      const nearest = (p: { x: number; y: number }) =>
        tracks.find(
          (t) => Math.hypot(t.x - p.x, t.y - p.y) === Math.min(...tracks.map((s) => Math.hypot(s.x - p.x, s.y - p.y))),
        )?.id;
      if (k === 15 || k === 50) ids.push([nearest(a), nearest(b)]);
    }
    if (ids[0]![0] === ids[1]![0] && ids[0]![1] === ids[1]![1] && ids[0]![0] !== ids[0]![1]) kept++;
  }
  expect(kept).toBeGreaterThanOrEqual(97);
});

describe('bounds', () => {
  test('tracks: full of confirmed ones it refuses new ones; tentative ones give way to better ones', () => {
    const { next, tracker } = make({ maxTracks: 3 });
    const three = [50, 150, 250].map((x) => detection(x, 100));
    for (let k = 0; k < 3; k++) next(three);
    next([...three, detection(400, 100, { score: 0.99 })]);
    expect(tracker.counters()).toMatchObject({ following: 3, tentative: 0, refused: 1, displaced: 0 });

    const other = make({ maxTracks: 2 });
    other.next([detection(50, 100, { score: 0.6 }), detection(150, 100, { score: 0.7 })]);
    other.next([detection(300, 100, { score: 0.65 }), detection(400, 100, { score: 0.55 })]);
    expect(
      other.tracker
        .tracks()
        .map((t) => t.topScore)
        .sort(),
    ).toEqual([0.65, 0.7]);
    expect(other.tracker.counters()).toMatchObject({ refused: 1, displaced: 1 });
  });

  test('whatever comes in: bounded, finite, each track in one list, and the counts add up', () => {
    const number = fc.oneof(
      { weight: 20, arbitrary: fc.double({ min: -20, max: 120, noNaN: true }) },
      { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, 1e308) },
    );
    const one = fc.record({
      x: number,
      y: number,
      sigmaX: fc.constantFrom(0, 0.1, 1, -1, Number.NaN),
      sigmaY: fc.constantFrom(0, 0.3, 5),
      score: fc.double({ min: 0, max: 1 }),
      snr: fc.constant(4),
      extent: fc.constant(1),
    });
    fc.assert(
      fc.property(fc.array(fc.array(one, { maxLength: 30 }), { maxLength: 30 }), (frames) => {
        const { next, tracker } = make({ width: 100, height: 100, maxTracks: 8, maxDetections: 20, startSpeed: 300 });
        const alive = new Set<number>();
        for (const frame of frames) {
          const u = next(frame);
          expect(tracker.tracks().length).toBeLessThanOrEqual(8);
          for (const t of u.ended) expect(alive.delete(t.id)).toBe(true);
          for (const t of u.updated) expect(alive.has(t.id)).toBe(true);
          for (const t of u.started) {
            expect(alive.has(t.id)).toBe(false);
            alive.add(t.id);
          }
          expect(new Set(shown(u).map((t) => t.id))).toEqual(alive);
          for (const t of shown(u)) {
            for (const v of [t.x, t.y, t.vx, t.vy, t.sigmaX, t.sigmaY]) expect(Number.isFinite(v)).toBe(true);
          }
        }
        const c = tracker.counters();
        const inputs = frames.reduce((n, f) => n + f.length, 0);
        expect(
          c.strongMatched +
            c.weakMatched +
            c.tentativeStarted +
            c.weakUnmatched +
            c.belowLow +
            c.invalid +
            c.overflow +
            c.tooClose +
            c.refused,
        ).toBe(inputs);
        expect(c.tentativeStarted).toBe(
          c.tentative + c.following + c.unconfirmed + Object.values(c.ended).reduce((a, b) => a + b, 0),
        );
      }),
      { numRuns: 100, seed: 3 },
    );
  });

  test('a second peak of the same target starts no second track', () => {
    const { next, tracker } = make();
    for (let k = 0; k < 20; k++) next([detection(100, 100), detection(101.5, 100, { score: 0.6 })]);
    expect(tracker.counters()).toMatchObject({ following: 1, tentative: 0, tentativeStarted: 1, tooClose: 20 });
  });
});

describe('an extended target, of which now this part is the brightest, now that', () => {
  const flicker = (options: Partial<TrackerOptions>): { tracks: number; confirmed: number } => {
    const r = dice(11);
    const { tracker, next } = make(options);
    const ids = new Set<number>();
    for (let k = 0; k < 300; k++) {
      const part = { x: 1.2 * r.normal(), y: 0.8 * r.normal() };
      const found = detection(100 + k / 3 + part.x, 200 + part.y, { sigmaX: 0.08, sigmaY: 0.08, extent: 4 });
      for (const t of shown(next([found]))) ids.add(t.id);
    }
    return { tracks: ids.size, confirmed: tracker.counters().confirmed };
  };

  test('is one track', () => {
    // As points, with the error bars of the peaks, the parts make a track each.
    expect(flicker({ extentNoise: 0, separationExtents: 0 }).tracks).toBeGreaterThan(5);
    expect(flicker({})).toEqual({ tracks: 1, confirmed: 1 });
  });

  test('two of its parts at once are one track, and two points as far apart are two', () => {
    for (const [extent, tracks] of [
      [4, 1],
      [0.8, 2],
    ] as const) {
      const { next } = make();
      let last: Track[] = [];
      for (let k = 0; k < 6; k++) last = shown(next([100, 106].map((x) => detection(x, 50, { extent }))));
      expect(last).toHaveLength(tracks);
    }
  });
});

describe('SNR 3 to 5: position noise 0.8 / SNR px, seen in 80 % of the frames, one clutter point a frame', () => {
  test.each([3, 4, 5])(
    'SNR %i: confirmed within ten frames in 95 % of the runs, smoother than the detections',
    (snr) => {
      const runs = 200;
      let inTime = 0;
      let smoothed = 0;
      let raw = 0;
      const sigma = 0.8 / snr;
      for (let run = 0; run < runs; run++) {
        const r = dice(1000 * snr + run);
        const { next } = make();
        const speed = (5 + 85 * r.uniform()) / FPS;
        const angle = 2 * Math.PI * r.uniform();
        let first = 99;
        for (let k = 0; k < 40; k++) {
          const x = 320 + speed * Math.cos(angle) * k;
          const y = 256 + speed * Math.sin(angle) * k;
          const seen: Detection[] = [];
          if (r.uniform() < 0.8)
            seen.push(detection(x + sigma * r.normal(), y + sigma * r.normal(), { sigmaX: sigma, sigmaY: sigma }));
          for (let n = r.poisson(1); n > 0; n--)
            seen.push(detection(WIDTH * r.uniform(), HEIGHT * r.uniform(), { score: 0.6 }));
          const track = shown(next(seen)).find((t) => Math.hypot(t.x - x, t.y - y) < 3);
          if (track === undefined) continue;
          first = Math.min(first, k + 1);
          if (track.detection !== null) {
            smoothed += (track.x - x) ** 2 + (track.y - y) ** 2;
            raw += (track.detection.x - x) ** 2 + (track.detection.y - y) ** 2;
          }
        }
        if (first <= 10) inTime++;
      }
      expect(inTime / runs).toBeGreaterThanOrEqual(0.95);
      expect(Math.sqrt(smoothed / raw)).toBeLessThan(0.85);
    },
  );
});

describe('faint targets: threshold 0.54, scores about it or below, seen in 80 % of the frames', () => {
  const threshold = { highScore: 0.54, lowScore: 0.2 };
  /** Of low score: 0.2 and more, exponentially rarer. */
  const low = (r: ReturnType<typeof dice>): Detection =>
    detection(WIDTH * r.uniform(), HEIGHT * r.uniform(), {
      sigmaX: 0.3,
      sigmaY: 0.3,
      score: 0.2 + Math.min(0.5, -0.07 * Math.log(1 - r.uniform())),
    });
  const share = (mean: number, clutter: number, options: Partial<TrackerOptions>): number => {
    const runs = 200;
    let inTime = 0;
    for (let run = 0; run < runs; run++) {
      const r = dice(7 * run + 1);
      const { next } = make({ ...threshold, ...options });
      const speed = (10 + 80 * r.uniform()) / FPS;
      const angle = 2 * Math.PI * r.uniform();
      for (let k = 0; k < 10; k++) {
        const x = 320 + speed * Math.cos(angle) * k;
        const y = 256 + speed * Math.sin(angle) * k;
        const seen = Array.from({ length: r.poisson(clutter) }, () => low(r));
        const score = Math.max(0, mean + 0.1 * r.normal());
        if (r.uniform() < 0.8) seen.push(detection(x + 0.2 * r.normal(), y + 0.2 * r.normal(), { score }));
        if (shown(next(seen)).some((t) => Math.hypot(t.x - x, t.y - y) < 3)) {
          inTime++;
          break;
        }
      }
    }
    return inTime / runs;
  };

  test.each([
    [0.45, 1],
    [0.45, 5],
    [0.5, 1],
    [0.5, 5],
  ])('mean score %d among %i points of low score a frame: confirmed within ten frames in 95 %%', (mean, clutter) => {
    expect(share(mean, clutter, {})).toBeGreaterThanOrEqual(0.95);
    expect(share(mean, clutter, { faintScore: null })).toBeLessThan(0.8);
  });

  describe('what a search over many frames is sure of', () => {
    test('begins a confirmed track at once, and continues it, whatever its score', () => {
      const { tracker, update } = make(threshold);
      const at = (k: number) => update([], [detection(100 + k, 100, { score: 0.02 })]);
      expect(at(0).started).toMatchObject([{ state: 'confirmed', x: 100 }]);
      for (let k = 1; k < 20; k++) expect(at(k).updated).toHaveLength(1);
      expect(tracker.counters()).toMatchObject({ confirmed: 1, confirmedFaint: 1, sureMatched: 19 });
    });

    test('confirms the tentative track that it falls on', () => {
      const { tracker, update } = make(threshold);
      update([detection(100, 100, { score: 0.4 })]);
      expect(update([], [detection(100.5, 100, { score: 0.1 })]).started).toHaveLength(1);
      expect(tracker.counters()).toMatchObject({ tentativeStarted: 1, confirmed: 1 });
    });

    test('takes the place of a tentative track where there is no other, whatever its score', () => {
      const { tracker, update } = make({ ...threshold, maxTracks: 2 });
      const noise = (k: number) => [detection(100, 100, { score: 0.4 }), detection(300 + k, 300, { score: 0.4 })];
      update(noise(0));
      expect(update(noise(1), [detection(500, 400, { score: 0.02 })]).started).toMatchObject([
        { state: 'confirmed', x: 500 },
      ]);
      expect(tracker.counters()).toMatchObject({ displaced: 1, refused: 0 });
    });

    test('below `sureScore` continues tracks, and neither begins nor confirms one', () => {
      const { tracker, update } = make({ ...threshold, sureScore: 0.5 });
      const at = (k: number, score: number) => update([], [detection(100 + k, 100, { score })]);
      update([detection(100, 100, { score: 0.4 })]);
      expect(shown(at(1, 0.49))).toEqual([]);
      expect(shown(update([], [detection(300, 300, { score: 0.49 })]))).toEqual([]);
      expect(tracker.counters()).toMatchObject({ tentative: 1, sureMatched: 1, weakUnmatched: 1 });
      expect(at(3, 0.5).started).toHaveLength(1);
      for (let k = 4; k < 30; k++) expect(only(at(k, 0.02)).state).toBe('confirmed');
    });

    test('is no second track beside the one that has a detection', () => {
      const { tracker, update } = make(threshold);
      for (let k = 0; k < 10; k++) update([detection(100 + k, 100)], [detection(100.4 + k, 100.3, { score: 0.9 })]);
      expect(tracker.counters()).toMatchObject({ confirmed: 1, following: 1 });
    });
  });

  test('points of low score alone are never confirmed, however many', () => {
    for (const [rate, seconds] of [
      [1, 120],
      [10, 30],
    ] as const) {
      const r = dice(5);
      const { next, tracker } = make(threshold);
      for (let k = 0; k < seconds * FPS; k++) next(Array.from({ length: r.poisson(rate) }, () => low(r)));
      expect(tracker.counters().tentativeStarted).toBeGreaterThan(500);
      expect(tracker.counters().confirmed).toBe(0);
      expect(tracker.counters().tentative).toBeLessThanOrEqual(64);
    }
  });

  test.each([0.25, 0.3, 0.35, 0.4])('clutter of score %d that stands still is not confirmed', (mean) => {
    const r = dice(9);
    const { next, tracker } = make({ ...threshold, clutter: null });
    for (let k = 0; k < 30 * FPS; k++) {
      const score = Math.min(0.53, mean + 0.06 * r.normal());
      next([detection(100 + 0.2 * r.normal(), 100 + 0.2 * r.normal(), { score })]);
    }
    expect(tracker.counters().tentativeStarted).toBeGreaterThan(10);
    expect(tracker.counters().confirmed).toBeLessThanOrEqual(mean < 0.4 ? 0 : 1);
  });

  test('in the scene of a camera that moves, standing clutter of low score is not confirmed either', () => {
    const r = dice(10);
    const { next, tracker } = make(threshold);
    for (let k = 0; k < 10 * FPS; k++) {
      const dx = k === 0 ? 0 : 2;
      const x = 100 + ((k * 2) % 400);
      next(
        [detection(x + 0.2 * r.normal(), 100 + 0.2 * r.normal(), { score: 0.35 })],
        0,
        shift(k % 200 === 0 && k > 0 ? -398 : dx, 0),
      );
    }
    expect(tracker.counters().confirmed).toBe(0);
  });

  test('which path confirmed a track is counted', () => {
    const { next, tracker } = make(threshold);
    for (let k = 0; k < 10; k++) next([detection(100 + 2 * k, 100, { score: 0.5 }), detection(300 + 2 * k, 300)]);
    expect(tracker.counters()).toMatchObject({ confirmed: 2, confirmedFaint: 1 });
  });
});

test('independent clutter alone: no track in ten minutes at one point a frame', () => {
  const r = dice(11);
  const { next, tracker } = make();
  for (let k = 0; k < 600 * FPS; k++)
    next(
      Array.from({ length: r.poisson(1) }, () => detection(WIDTH * r.uniform(), HEIGHT * r.uniform(), { score: 0.6 })),
    );
  expect(tracker.counters().tentativeStarted).toBeGreaterThan(10_000);
  expect(tracker.counters().confirmed).toBe(0);
});

describe('motion of the camera', () => {
  test('with the shift, a shaking camera loses nothing, and the velocity is that against the scene', () => {
    for (const compensate of [true, false]) {
      const r = dice(6);
      const { next } = make();
      let cameraX = 0;
      let cameraY = 0;
      const ids = new Set<number>();
      let last: Track | undefined;
      for (let k = 0; k < 90; k++) {
        const dx = k === 0 ? 0 : 8 * r.normal();
        const dy = k === 0 ? 0 : 8 * r.normal();
        cameraX += dx;
        cameraY += dy;
        const d = detection(320 + 0.5 * k + cameraX + 0.2 * r.normal(), 256 + cameraY + 0.2 * r.normal());
        for (const t of shown(next([d], 0, compensate ? shift(dx, dy) : undefined))) {
          ids.add(t.id);
          last = t;
        }
      }
      if (compensate) {
        expect([...ids]).toEqual([1]);
        expect(Math.abs(last!.vx - 15)).toBeLessThan(4 * last!.sigmaVx);
        expect(Math.abs(last!.vy)).toBeLessThan(4 * last!.sigmaVy);
      } else expect(ids.size).not.toBe(1);
    }
  });

  test('a shift that could not be measured widens the gate instead', () => {
    for (const sigma of [0, 6]) {
      const { next } = make();
      for (let k = 0; k < 20; k++) next([detection(100, 100)], 0, shift(0, 0));
      const t = only(next([detection(106, 100)], 0, shift(0, 0, { sigma, reliable: false, confidence: 0 })));
      expect(t.state).toBe(sigma === 0 ? 'coasting' : 'confirmed');
    }
  });
});

describe('stationary clutter', () => {
  const clutter = { learnSeconds: 2, forgetSeconds: 60, radius: 2, maxCells: 64 };
  const noisy = (r: ReturnType<typeof dice>, x: number, y: number) =>
    detection(x + 0.15 * r.normal(), y + 0.15 * r.normal());

  test('a lamp is marked, its track says so and is counted; a target that crosses it is not', () => {
    const r = dice(1);
    const { next, tracker } = make({ clutter });
    let u = next([]);
    for (let k = 0; k < 3 * FPS; k++) {
      u = next([noisy(r, 300, 100)]);
      if (k < FPS) for (const t of shown(u)) expect(t.stationary).toBe(false);
    }
    expect(only(u).stationary).toBe(true);
    expect(tracker.counters()).toMatchObject({ stationary: 1, sensorCells: 1, following: 1 });
    expect(tracker.clutter()).toMatchObject([{ fixedTo: 'sensor' }]);
    // The target passes right over the lamp.
    for (let k = 0; k < 60; k++) {
      u = next([noisy(r, 300, 100), noisy(r, 270 + k, 100.5)]);
      for (const t of shown(u)) if (t.id !== 1) expect(t.stationary).toBe(false);
    }
    expect(shown(u)).toHaveLength(2);
    expect(tracker.counters().onClutter).toBeGreaterThan(FPS);
  });

  test('a new track in a marked place is stationary from its first report; one that leaves it is not any more', () => {
    const r = dice(2);
    const { next, tracker } = make({ clutter });
    for (let k = 0; k < 3 * FPS; k++) next([noisy(r, 300, 100)]);
    for (let k = 0; k < 3 * FPS; k++) next([]);
    let started: Track[] = [];
    for (let k = 0; k < 10; k++) started = [...started, ...next([noisy(r, 300, 100)]).started];
    expect(started).toMatchObject([{ id: 2, stationary: true }]);
    expect(tracker.counters().confirmedStationary).toBe(1);
    let last: Track | undefined;
    for (let k = 0; k < 30; k++) last = only(next([noisy(r, 300 + 0.5 * k, 100)]));
    expect(last).toMatchObject({ id: 2, stationary: false });
  });

  test('full of stationary tracks, a new target gets the place of one', () => {
    const r = dice(3);
    const { next, tracker } = make({ clutter, maxTracks: 2 });
    const lamps = () => [noisy(r, 100, 100), noisy(r, 200, 100)];
    for (let k = 0; k < 3 * FPS; k++) next(lamps());
    const updates = Array.from({ length: 5 }, (_, k) => next([...lamps(), noisy(r, 300 + k, 300)]));
    expect(updates.flatMap((u) => u.ended)).toMatchObject([{ endReason: 'displaced', stationary: true }]);
    expect(updates.flatMap((u) => u.started)).toMatchObject([{ stationary: false }]);
    expect(tracker.counters().ended.displaced).toBe(1);
  });

  test('camera at work: lamps keep their place in the scene, hot pixels on the sensor, and either is known when the camera moves', () => {
    const r = dice(4);
    const { next, tracker } = make({ clutter });
    let cx = 0;
    let cy = 0;
    const frame = (dx: number, dy: number) => {
      cx += dx;
      cy += dy;
      // Drift of the estimate: 0.03 px a frame.
      const measured = shift(dx + 0.03 * r.normal(), dy + 0.03 * r.normal());
      return next([noisy(r, 300 + cx, 100 + cy), noisy(r, 500, 400)], 0, measured);
    };
    for (let k = 0; k < 10 * FPS; k++) frame(k === 0 ? 0 : 4 * Math.cos(k / 20), 3 * Math.sin(k / 15));
    const places = tracker.clutter();
    const lamp = places.filter((p) => p.fixedTo === 'scene' && Math.hypot(p.x - 300 - cx, p.y - 100 - cy) < 1.5);
    const pixel = places.filter((p) => p.fixedTo === 'sensor' && Math.hypot(p.x - 500, p.y - 400) < 1);
    expect([lamp.length, pixel.length]).toEqual([1, 1]);
    for (let k = 0; k < 3 * FPS; k++) {
      const tracks = shown(frame(4 * Math.cos(k / 20), 3 * Math.sin(k / 15)));
      if (k < FPS) continue;
      const ofLamp = tracks.filter((t) => Math.hypot(t.x - 300 - cx, t.y - 100 - cy) < 3);
      const ofPixel = tracks.filter((t) => Math.hypot(t.x - 500, t.y - 400) < 3);
      expect(ofLamp).toMatchObject([{ stationary: true, sensorFixed: false }]);
      expect(ofPixel).toMatchObject([{ stationary: true, sensorFixed: true }]);
      expect(tracks).toHaveLength(2);
    }
  });

  test('the map of the scene is thrown away when the motion of the scene is lost, that of the sensor stays', () => {
    const r = dice(5);
    const { next, tracker } = make({ clutter });
    for (let k = 0; k < 3 * FPS; k++) next([noisy(r, 300, 100)], 0, shift(0, 0));
    expect(tracker.counters()).toMatchObject({ sensorCells: 1, sceneCells: 1, sceneLost: 0 });
    next([], 0, shift(0, 0, { sigma: 10, reliable: false }));
    expect(tracker.counters()).toMatchObject({ sensorCells: 1, sceneCells: 0, sceneLost: 1 });
  });

  test('another scene: what stood on the sensor goes too, but for what stayed there while the camera moved', () => {
    const r = dice(6);
    const { next, tracker } = make({ clutter });
    const frame = (dx: number, x: number, over: Partial<SceneShift> = {}) =>
      next([noisy(r, x, 100), noisy(r, 500, 400)], 0, shift(dx, 0, over));
    for (let k = 0; k < 3 * FPS; k++) frame(0, 300);
    for (let k = 0; k < 3 * FPS; k++) frame(1, 301 + k);
    for (let k = 0; k < 3 * FPS; k++) frame(0, 300 + 3 * FPS);
    expect(tracker.counters()).toMatchObject({ sensorCells: 3, sceneLost: 0 });
    frame(0, 300, { lost: true });
    expect(tracker.clutter()).toMatchObject([{ fixedTo: 'sensor' }]);
    expect(tracker.clutter()[0]!.x).toBeCloseTo(500, 0);
    expect(tracker.counters()).toMatchObject({ sensorCells: 1, sceneCells: 0, sceneLost: 1 });
  });

  test('the map of the scene goes along with motion that is known only afterwards', () => {
    const r = dice(7);
    const { next, tracker } = make({ clutter });
    for (let k = 0; k < 3 * FPS; k++) next([noisy(r, 300, 100)], 0, shift(0, 0));
    next([], 0, shift(0, 0, { sigma: 0, reliable: false }));
    next([], 0, shift(1, 0, { missed: { dx: 9, dy: -5 } }));
    const lamp = tracker.clutter().find((p) => p.fixedTo === 'scene');
    expect(lamp!.x).toBeCloseTo(310, 0);
    expect(lamp!.y).toBeCloseTo(95, 0);
  });

  test('a track goes along with motion that is known only afterwards, unless it was seen meanwhile', () => {
    const follow = (seen: boolean) => {
      const { next, tracker } = make();
      for (let k = 0; k < 10; k++) next([detection(300, 100)], 0, shift(0, 0));
      const blind = shift(0, 0, { sigma: 0, reliable: false });
      next([], 0, blind);
      next(seen ? [detection(300.4, 99.8)] : [], 0, blind);
      const update = next(
        [detection(seen ? 300.6 : 324, seen ? 99.6 : 88)],
        0,
        shift(0, 0, { missed: { dx: 24, dy: -12 } }),
      );
      return { update, tracks: tracker.tracks() };
    };
    for (const seen of [false, true]) {
      const { update, tracks } = follow(seen);
      expect(update.updated).toMatchObject([{ state: 'confirmed', misses: 0 }]);
      expect(tracks).toHaveLength(1);
    }
  });

  test('can be switched off', () => {
    const { next, tracker } = make({ clutter: null });
    let u = next([]);
    for (let k = 0; k < 20 * FPS; k++) u = next([detection(300, 100)]);
    expect(only(u).stationary).toBe(false);
    expect(tracker.clutter()).toEqual([]);
  });
});
