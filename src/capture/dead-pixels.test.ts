import { describe, expect, test } from 'vitest';
import { DeadPixels } from './dead-pixels.js';
import { gaussianTable, uniform } from './random.js';

const WIDTH = 320;
const HEIGHT = 256;
const FPS = 30;
/** Rows that one look reads, and those above and below that it compares them with. */
const ROWS = 26;
const MARGIN = 2;

interface Scene {
  bits?: number;
  /** Standard deviation of white noise, counts. */
  noise: (x: number, y: number) => number;
  level?: (x: number, y: number) => number;
  /** What is wrong with the sensor. */
  change?: (data: Uint8Array | Uint16Array, frame: number) => void;
}

/** A scene that stands still, for some seconds; of each frame only what is looked at is drawn. */
function watch(seconds: number, { bits = 8, noise, level = (x, y) => 100 + 0.137 * x + 0.0931 * y, change }: Scene) {
  const dead = new DeadPixels(WIDTH, HEIGHT, bits);
  const data = bits > 8 ? new Uint16Array(WIDTH * HEIGHT) : new Uint8Array(WIDTH * HEIGHT);
  const table = gaussianTable(1 << 18, 1);
  const random = uniform(11);
  let row = 0;
  let most = 0;
  for (let frame = 0; frame < seconds * FPS; frame++) {
    for (let y = Math.max(0, row - MARGIN); y < Math.min(HEIGHT, row + ROWS + MARGIN); y++) {
      let at = 0;
      for (let x = 0; x < WIDTH; x++) {
        // Entered anew every few pixels: long pieces of a table would make neighbours depend on each other.
        if (x % 32 === 0) at = Math.floor(random() * (table.length - 32));
        data[y * WIDTH + x] = Math.round(level(x, y) + noise(x, y) * table[at + (x % 32)]!);
      }
    }
    change?.(data, frame);
    dead.look(data, BigInt(Math.round((frame * 1e9) / FPS)));
    row = row + ROWS >= HEIGHT ? 0 : row + ROWS;
    most = Math.max(most, dead.count);
  }
  return { dead, most };
}

const all = (sigma: number) => () => sigma;
const halves = (upper: number, lower: number) => (_x: number, y: number) => (y < HEIGHT / 2 ? upper : lower);
const at = (x: number, y: number) => y * WIDTH + x;

describe('live pixels', () => {
  test.each([0.2, 0.25, 0.3, 0.4])('none is called stuck in noise of %d counts', (sigma) => {
    expect(watch(60, { noise: all(sigma) }).most).toBe(0);
  });

  test.each([
    [8, 0.2, 1],
    [8, 0.3, 1],
    [8, 0.35, 2],
    [14, 0.4, 3],
    [14, 0.5, 5],
  ])('nor in %d bits with noise of %d counts above and %d below', (bits, upper, lower) => {
    expect(watch(60, { bits, noise: halves(upper, lower) }).most).toBe(0);
  });

  test.each([0.2, 0.3])('nor where each has a level of its own, in noise of %d counts', (sigma) => {
    const random = uniform(5);
    const levels = Float32Array.from({ length: WIDTH * HEIGHT }, () => 100 + random());
    expect(watch(60, { noise: all(sigma), level: (x, y) => levels[at(x, y)]! }).most).toBe(0);
  });
});

describe('stuck pixels', () => {
  const places = [
    [40, 30],
    [41, 31],
    [200, 100],
    [100, 200],
    [101, 200],
    [319, 250],
    [0, 0],
  ] as const;

  test.each([1, 2])('are found in noise of %d counts, however close to the level around them', (sigma) => {
    const { dead } = watch(30, {
      noise: all(sigma),
      change: (data) => {
        for (const [x, y] of places) data[at(x, y)] = Math.round(100 + 0.137 * x + 0.0931 * y);
      },
    });
    expect(new Set(dead.places().map(({ x, y }) => `${x},${y}`))).toEqual(new Set(places.map((xy) => xy.join())));
  });

  test('are found in the half whose noise tells them', () => {
    const { dead } = watch(30, {
      noise: halves(0.2, 1),
      change: (data) => {
        data[at(100, 50)] = 118;
        data[at(100, 200)] = 132;
      },
    });
    expect(dead.places()).toEqual([{ x: 100, y: 200 }]);
  });

  test('a dead column is found, at the edge too', () => {
    for (const x of [0, 77]) {
      const { dead } = watch(30, {
        noise: all(1.5),
        change: (data) => {
          for (let y = 0; y < HEIGHT; y++) data[at(x, y)] = 110;
        },
      });
      expect([x, dead.count]).toEqual([x, HEIGHT]);
    }
  });

  test('one that moves by a count once in sixty looks stays one', () => {
    const width = 64;
    const height = 48;
    const dead = new DeadPixels(width, height, 14);
    const data = new Uint16Array(width * height);
    const random = uniform(3);
    const counts = new Set<number>();
    for (let frame = 0; frame < 60 * 40; frame++) {
      for (let i = 0; i < data.length; i++) data[i] = 1000 + Math.floor(random() * 20);
      data[20 * width + 20] = 1010 + (Math.floor(frame / 60) % 2);
      dead.look(data, BigInt(frame) * 330_000_000n);
      if (frame > 100) counts.add(dead.count);
    }
    expect([...counts]).toEqual([1]);
  });

  test('one that works again is given back', () => {
    const { dead, most } = watch(60, {
      noise: all(1),
      change: (data, frame) => {
        if (frame < 30 * FPS) data[at(100, 100)] = 123;
      },
    });
    expect([dead.count, most]).toEqual([0, 1]);
  });
});
