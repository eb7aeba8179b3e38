import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { detection, dice, frameTime } from '../../test/fakes/detections.js';
import { background } from '../capture/scene.js';
import type { Detection } from '../types/detection.js';
import { EgoMotion, type Picture } from './ego-motion.js';
import { Tracker } from './tracker.js';

const WIDTH = 256;
const HEIGHT = 192;
/** Pixels of the scene to one of the picture: the sensor averages over them, so shifts of 1/OVER px are exact. */
const OVER = 3;
const MARGIN = 40;

interface View {
  /** Place of the camera in the scene, px of the picture; a multiple of 1/OVER. */
  x: number;
  y: number;
  noise?: number;
  fixed?: Float64Array;
  gain?: number;
  offset?: number;
  /** Hot spots of 3 x 3 px, places in the picture. */
  targets?: { x: number; y: number }[];
}

/** Frames a second, of the test under way, and the time of the last one. */
let rate = 9;
let clock = 0;
function see(ego: EgoMotion, picture: Picture) {
  clock += 1 / rate;
  return ego.estimate(picture, clock);
}

describe('motion of the scene', () => {
  let scene: Float64Array;
  beforeEach(() => {
    rate = 9;
  });
  const sceneWidth = (WIDTH + 2 * MARGIN) * OVER;
  let r: ReturnType<typeof dice>;

  beforeAll(() => {
    scene = background(sceneWidth, (HEIGHT + 2 * MARGIN) * OVER, 7);
  });

  /** 16-bit counts; the scene's contrast has a standard deviation of 300, noise in counts. */
  function view({ x, y, noise = 10, fixed, gain = 1, offset = 0, targets = [] }: View): Picture {
    const data = new Uint16Array(WIDTH * HEIGHT);
    const left = Math.round((x + MARGIN) * OVER);
    const top = Math.round((y + MARGIN) * OVER);
    for (let v = 0; v < HEIGHT; v++) {
      for (let u = 0; u < WIDTH; u++) {
        let sum = 0;
        for (let j = 0; j < OVER; j++)
          for (let i = 0; i < OVER; i++) sum += scene[(top + v * OVER + j) * sceneWidth + left + u * OVER + i]!;
        const count = 8000 + (300 * sum) / OVER ** 2 + noise * r.normal() + (fixed?.[v * WIDTH + u] ?? 0);
        data[v * WIDTH + u] = Math.round(gain * count + offset);
      }
    }
    for (const t of targets)
      for (let j = 0; j < 3; j++)
        for (let i = 0; i < 3; i++) data[(Math.round(t.y) + j) * WIDTH + Math.round(t.x) + i]! += 300;
    return { width: WIDTH, height: HEIGHT, data };
  }

  /** Estimates for a walk of the camera, with the true shifts: what is seen moves against the camera. */
  function walk(views: View[]) {
    const ego = new EgoMotion();
    return views.map((v, k) => {
      const found = see(ego, view(v));
      const before = views[Math.max(0, k - 1)]!;
      return { ...found, ex: found.dx - (before.x - v.x), ey: found.dy - (before.y - v.y) };
    });
  }
  const third = (value: number) => Math.round(value * OVER) / OVER;
  const path = (n: number, size: number, seed: number, over: (k: number) => Partial<View> = () => ({})): View[] => {
    const d = dice(seed);
    return Array.from({ length: n }, (_, k) => ({
      x: k === 0 ? 0 : third(size * (2 * d.uniform() - 1)),
      y: k === 0 ? 0 : third(size * (2 * d.uniform() - 1)),
      ...over(k),
    }));
  };
  const check = (steps: ReturnType<typeof walk>, bound: number, sigmas = 5) => {
    for (const s of steps.slice(1)) {
      expect(s.reliable).toBe(true);
      expect(Math.hypot(s.ex, s.ey)).toBeLessThan(bound);
      expect(Math.hypot(s.ex, s.ey)).toBeLessThan(sigmas * s.sigma);
    }
  };

  test('the first frame has nothing to compare with', () => {
    r = dice(1);
    expect(see(new EgoMotion(), view({ x: 0, y: 0 }))).toEqual({
      dx: 0,
      dy: 0,
      sigma: 0,
      confidence: 0,
      reliable: false,
    });
  });

  test('small shifts, to a tenth of a pixel', () => {
    r = dice(2);
    check(walk(path(8, 3, 20)), 0.1);
  });

  test('shifts of tens of pixels', () => {
    r = dice(3);
    check(walk(path(8, 30, 21)), 0.15);
  });

  test('another gain and offset of the counts change nothing', () => {
    r = dice(4);
    check(walk(path(6, 3, 22, (k) => ({ gain: k % 2 ? 1.15 : 1, offset: 500 * (k % 3) }))), 0.1);
  });

  test('neither do thirty hot targets, each on its own way', () => {
    r = dice(5);
    const d = dice(50);
    const starts = Array.from({ length: 30 }, () => ({
      x: 40 + 170 * d.uniform(),
      y: 40 + 110 * d.uniform(),
      vx: 10 * d.uniform() - 5,
      vy: 10 * d.uniform() - 5,
    }));
    const targets = (k: number) => starts.map((s) => ({ x: s.x + s.vx * k, y: s.y + s.vy * k }));
    check(walk(path(6, 3, 23, (k) => ({ targets: targets(k) }))), 0.1);
  });

  test('a pattern fixed to the sensor, as strong as the noise, does not hold it back', () => {
    r = dice(6);
    const fixed = Float64Array.from({ length: WIDTH * HEIGHT }, () => 10 * r.normal());
    check(walk(path(6, 3, 24, () => ({ fixed }))), 0.15, 8);
  });

  test('says so when nothing can be measured: noise, a constant, another scene, another size', () => {
    r = dice(7);
    const noise = (): Picture => ({
      width: WIDTH,
      height: HEIGHT,
      data: Uint16Array.from({ length: WIDTH * HEIGHT }, () => 8000 + 10 * r.normal()),
    });
    const constant = { width: WIDTH, height: HEIGHT, data: new Uint8Array(WIDTH * HEIGHT).fill(9) };
    const seen = view({ x: 0, y: 0 });
    const other = background(WIDTH, HEIGHT, 99);
    const elsewhere = { width: WIDTH, height: HEIGHT, data: Uint16Array.from(other, (v) => 8000 + 300 * v) };
    const small = { width: 64, height: 48, data: new Uint8Array(64 * 48) };
    for (const [a, b] of [
      [noise(), noise()],
      [constant, constant],
      [seen, noise()],
      [seen, elsewhere],
      [seen, small],
    ] as const) {
      const ego = new EgoMotion();
      see(ego, a);
      const found = see(ego, b);
      expect(found).toMatchObject({ dx: 0, dy: 0, reliable: false });
      expect(found.confidence).toBeLessThan(0.2);
    }
  });

  test('motion that cannot be measured any more is doubt of its size, which fades; reset forgets it', () => {
    r = dice(8);
    const ego = new EgoMotion();
    see(ego, view({ x: 0, y: 0 }));
    expect(see(ego, view({ x: 6, y: 0 })).dx).toBeCloseTo(-6, 0);
    const blank = { width: WIDTH, height: HEIGHT, data: new Uint8Array(WIDTH * HEIGHT) };
    const doubts = [0, 1, 2].map(() => see(ego, blank).sigma);
    expect(doubts[0]).toBeCloseTo(6, 0);
    expect(doubts[2]! / doubts[1]!).toBeCloseTo(0.8, 9);
    ego.reset();
    expect(see(ego, blank).sigma).toBe(0);
    expect(see(ego, blank).sigma).toBe(0);
  });

  describe('after frames that cannot be measured', () => {
    const blank = { width: WIDTH, height: HEIGHT, data: new Uint8Array(WIDTH * HEIGHT) };
    /** A closed shutter: a pattern fixed to the sensor, which fits itself from frame to frame. */
    const shutter = (pattern: Float64Array): Picture => ({
      width: WIDTH,
      height: HEIGHT,
      data: Uint16Array.from(pattern, (v) => 8000 + 30 * v + 3 * r.normal()),
    });
    const pattern = () => Float64Array.from({ length: WIDTH * HEIGHT }, () => r.normal());

    test.each([
      ['one blank frame', 1, 9],
      ['a shutter of 20 frames', 20, 9],
      ['a shutter of 2 s at 60 Hz', 120, 60],
    ])('%s: the same scene is recognised, and how far it moved meanwhile', (_name, frames, fps) => {
      r = dice(30);
      rate = fps;
      const ego = new EgoMotion();
      for (let k = 0; k < 3; k++) see(ego, view({ x: 0, y: 0 }));
      const fixed = pattern();
      const between = Array.from({ length: frames }, () => see(ego, frames === 1 ? blank : shutter(fixed)));
      expect(between[0]).toMatchObject({ dx: 0, sigma: expect.closeTo(0, 1), reliable: false });
      const after = [1, 2, 3].map((x) => see(ego, view({ x: 4 + x, y: -3 })));
      expect(after.map((s) => s.reliable)).toEqual([false, true, true]);
      expect(after[1]!.dx).toBeCloseTo(-1, 0);
      expect(after[1]!.missed!.dx).toBeCloseTo(-5, 0);
      expect(after[1]!.missed!.dy).toBeCloseTo(3, 0);
      expect(after[2]).not.toHaveProperty('missed');
      expect([...between, ...after].some((s) => s.lost)).toBe(false);
    });

    test('another scene is told once; nothing that stood in the old one is stationary in the new one', () => {
      r = dice(31);
      const ego = new EgoMotion();
      const tracker = new Tracker({ width: WIDTH, height: HEIGHT });
      let sequence = 0;
      // Three pictures of each scene, in turn: computing them costs most of the test.
      const here = [0, 1, 2].map(() => view({ x: 0, y: 0 }));
      const other = background(WIDTH, HEIGHT, 99);
      const there = [0, 1, 2].map(() => ({
        width: WIDTH,
        height: HEIGHT,
        data: Uint16Array.from(other, (v) => 8000 + 300 * v + 10 * r.normal()),
      }));
      const frame = (of: Picture[], detections: Detection[]) => {
        const shift = see(ego, of[sequence % 3]!);
        // 9 Hz.
        const captureMonotonicNs = frameTime(sequence, 9);
        return { shift, tracks: tracker.update({ sequence: sequence++, captureMonotonicNs, detections, shift }) };
      };
      const lamp = detection(50, 60);
      for (let k = 0; k < 95; k++) frame(here, [lamp]);
      expect(tracker.counters()).toMatchObject({ sensorCells: 1, sceneCells: 1, stationary: 1, sceneLost: 0 });
      const shifts = Array.from({ length: 40 }, () => frame(there, []).shift);
      expect(shifts[0]).toMatchObject({ dx: 0, dy: 0, reliable: false });
      expect(shifts.filter((s) => s.lost)).toHaveLength(1);
      expect(tracker.counters()).toMatchObject({ sensorCells: 0, sceneCells: 0, sceneLost: 1 });
      for (let k = 0; k < 4; k++) frame(there, [lamp]);
      expect(frame(there, [lamp]).tracks.updated).toMatchObject([{ id: 2, state: 'confirmed', stationary: false }]);
    });
  });

  test.each([
    [640, 512],
    [160, 120],
    [81, 47],
    [8, 8],
    [1, 1],
  ])('frames of %i x %i are taken', (width, height) => {
    r = dice(9);
    const data = Uint16Array.from({ length: width * height }, () => 1000 * r.uniform());
    const ego = new EgoMotion();
    see(ego, { width, height, data });
    const again = see(ego, { width, height, data });
    expect(Math.hypot(again.dx, again.dy)).toBeLessThan(1e-3);
    expect(again.reliable).toBe(width > 50);
  });
});
