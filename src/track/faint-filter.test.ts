import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gaussianTable } from '../capture/random.js';
import { pixelShare } from '../capture/scene.js';
import { FaintFilter, type FaintPoint } from './faint-filter.js';

const WIDTH = 96;
const HEIGHT = 80;
const NOISE = 8;
const LEAST = 3.3;
const noise = gaussianTable(1 << 20, 7);

/** Frame k: level 4000, fresh noise, whatever `add` gives. */
function frame(k: number, add: (x: number, y: number) => number = () => 0) {
  const data = new Uint16Array(WIDTH * HEIGHT);
  for (let i = 0; i < data.length; i++) {
    const value = 4000 + NOISE * noise[(k * 7919 * 64 + i) % noise.length]! + add(i % WIDTH, Math.floor(i / WIDTH));
    data[i] = Math.round(Math.max(0, value));
  }
  return { width: WIDTH, height: HEIGHT, data };
}

/** A point target of this contrast at its brightest pixel when centred on it, over the noise. */
const point = (cx: number, cy: number, snr: number) => (x: number, y: number) =>
  (snr * NOISE * pixelShare(x, cx, 0.9) * pixelShare(y, cy, 0.9)) / pixelShare(0, 0, 0.9) ** 2;
const near = (points: FaintPoint[], x: number, y: number) => points.find((p) => Math.hypot(p.x - x, p.y - y) < 1.5);

/** Empty frames, so that the still picture is known; gives the number of the next one. */
function settle(filter: FaintFilter, add?: (x: number, y: number) => number, frames = 40): number {
  for (let k = 0; k < frames; k++) filter.run(frame(k, add), LEAST, 1000);
  return frames;
}

describe('a filter for faint points', () => {
  test('nothing is found before the still picture is known', () => {
    const filter = new FaintFilter(WIDTH, HEIGHT);
    for (let k = 0; k < 19; k++) expect(filter.run(frame(k, point(40, 30, 30)), LEAST, 1000)).toEqual([]);
  });

  test.each([
    ['in the middle', 48.3, 40.7],
    ['at the border', 3.2, 40.4],
    ['in the corner', 88.6, 72.1],
  ])('a point of SNR 4 %s: seen in most frames, at its place, as high as a matched filter has it', (_, x, y) => {
    const filter = new FaintFilter(WIDTH, HEIGHT);
    const k = settle(filter);
    const seen: FaintPoint[] = [];
    for (let i = 0; i < 20; i++) {
      const found = near(filter.run(frame(k + i, point(x, y, 4)), LEAST, 1000), x, y);
      if (found) seen.push(found);
    }
    expect(seen.length).toBeGreaterThanOrEqual(18);
    const mean = (of: (p: FaintPoint) => number) => seen.reduce((sum, p) => sum + of(p), 0) / seen.length;
    expect(Math.abs(mean((p) => p.x) - x)).toBeLessThan(0.25);
    expect(Math.abs(mean((p) => p.y) - y)).toBeLessThan(0.25);
    // 4 x 1.68, less what it has become part of the still picture and what falls between pixels.
    expect(mean((p) => p.amplitude)).toBeGreaterThan(4.5);
    expect(mean((p) => p.amplitude)).toBeLessThan(7.5);
  });

  test('noise alone gives about as many maxima as theory has it', () => {
    const filter = new FaintFilter(WIDTH, HEIGHT);
    const k = settle(filter, undefined, 100);
    let count = 0;
    for (let i = 0; i < 100; i++) count += filter.run(frame(k + i), LEAST, 1000).length;
    // Maxima above T of a smooth Gaussian field: area x lambda2 (2 pi)^-1.5 T exp(-T^2 / 2), lambda2 = 0.56/px^2: 4 in this frame.
    expect(count / 100).toBeGreaterThan(0.5);
    expect(count / 100).toBeLessThan(6);
  });

  test('what stands still is taken out, however bright', () => {
    const filter = new FaintFilter(WIDTH, HEIGHT);
    const lamp = point(30, 30, 60);
    const k = settle(filter, lamp);
    for (let i = 0; i < 10; i++) expect(near(filter.run(frame(k + i, lamp), 5, 1000), 30, 30)).toBeUndefined();
  });

  test('where the scene moves nothing is found, and elsewhere it goes on', () => {
    const filter = new FaintFilter(320, HEIGHT);
    // The left is covered with bumps that drift; the right is calm.
    const wide = (k: number) => {
      const data = new Uint16Array(320 * HEIGHT);
      for (let i = 0; i < data.length; i++) {
        const [x, y] = [i % 320, Math.floor(i / 320)];
        const waves = x < 32 ? 200 * Math.sin((x + 0.4 * k) / 2) * Math.cos(y / 2) : 0;
        const target = k >= 40 ? point(150 + 0.3 * (k - 40), 40, 6)(x, y) : 0;
        data[i] = 4000 + Math.round(NOISE * noise[(k * 104729 + i) % noise.length]! + waves + target);
      }
      return { width: 320, height: HEIGHT, data };
    };
    let left = 0;
    let right = 0;
    for (let k = 0; k < 60; k++) {
      const found = filter.run(wide(k), LEAST, 1000);
      left += found.filter((p) => p.x < 32).length;
      if (near(found, 150 + 0.3 * (k - 40), 40)) right++;
    }
    expect(left).toBe(0);
    expect(right).toBeGreaterThan(15);
    expect(filter.restlessBlocks).toBeGreaterThan(5);
  });

  test('a camera that moves: nothing is found at all, until it rests again', () => {
    const filter = new FaintFilter(WIDTH, HEIGHT);
    const scene = (shift: number) => (x: number, y: number) => 150 * Math.sin((x + shift) / 3) * Math.cos(y / 3);
    let k = settle(filter, scene(0));
    for (let i = 1; i <= 40; i++) {
      const found = filter.run(frame(k++, scene(0.3 * i)), LEAST, 1000);
      if (i > 10) expect(found).toEqual([]);
    }
    for (let i = 0; i < 120; i++) filter.run(frame(k++, scene(12)), LEAST, 1000);
    const seen = Array.from({ length: 10 }, () =>
      filter.run(
        frame(k++, (x, y) => scene(12)(x, y) + point(50, 40, 6)(x, y)),
        LEAST,
        1000,
      ),
    );
    expect(seen.filter((points) => near(points, 50, 40)).length).toBeGreaterThan(7);
  });

  test('flat frames give nothing', () => {
    const filter = new FaintFilter(WIDTH, HEIGHT);
    const flat = { width: WIDTH, height: HEIGHT, data: new Uint16Array(WIDTH * HEIGHT).fill(65_535) };
    for (let k = 0; k < 60; k++) expect(filter.run(flat, LEAST, 1000)).toEqual([]);
  });

  test('no more than asked for, the highest', () => {
    const filter = new FaintFilter(WIDTH, HEIGHT);
    let k = settle(filter);
    const bright = (x: number, y: number) => point(20, 20, 10)(x, y) + point(60, 50, 20)(x, y);
    const [first, ...others] = filter.run(frame(k++, bright), 2, 1);
    expect(others).toEqual([]);
    expect(near([first!], 60, 50)).toBeDefined();
  });

  test('any size, any counts: numbers, inside the frame', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 8, max: 40 }),
        fc.integer({ min: 8, max: 40 }),
        fc.integer(),
        (width, height, seed) => {
          const filter = new FaintFilter(width, height);
          for (let k = 0; k < 30; k++) {
            const data = Uint16Array.from(
              { length: width * height },
              (_, i) => (Math.imul(seed + k * 31 + i, 2654435761) >>> 16) & 0xffff,
            );
            for (const p of filter.run({ width, height, data }, 1, 1000)) {
              expect(Number.isFinite(p.amplitude)).toBe(true);
              expect(p.x).toBeGreaterThanOrEqual(0);
              expect(p.x).toBeLessThanOrEqual(width - 1);
              expect(p.y).toBeGreaterThanOrEqual(0);
              expect(p.y).toBeLessThanOrEqual(height - 1);
            }
          }
        },
      ),
      { numRuns: 30 },
    );
  });
});
