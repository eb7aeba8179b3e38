import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Normalisation, Normaliser } from './normalise.js';

const options: Normalisation = {
  kind: 'median-mad',
  madToSigma: 1.4826,
  stdShare: 0.25,
  minScale: 1,
  zMin: -8,
  zMax: 24,
};

interface Case {
  name: string;
  dtype: 'uint8' | 'uint16';
  width: number;
  height: number;
  counts: number[];
  median: number;
  scale: number;
  z: number[];
  /** To multiples of 8. */
  padded?: { width: number; height: number; z: number[] };
}
// Written by the training package's normalise.py; its own tests read the same file.
const cases = JSON.parse(
  readFileSync(new URL('../../test/fixtures/normalisation.json', import.meta.url), 'utf8'),
) as Case[];

const counts = (c: Pick<Case, 'dtype' | 'counts'>) =>
  c.dtype === 'uint8' ? Uint8Array.from(c.counts) : Uint16Array.from(c.counts);

describe('the same numbers as in training', () => {
  test.each(cases)('$name', (c) => {
    const normaliser = new Normaliser(options);
    const { median, scale } = normaliser.statistics(counts(c));
    expect(median).toBe(c.median);
    expect(scale).toBeCloseTo(c.scale, 9);
    for (const { width, height, z } of [c, ...(c.padded === undefined ? [] : [c.padded])]) {
      const out = new Float32Array(width * height);
      normaliser.run(counts(c), c.width, c.height, out, width, height);
      z.forEach((value, i) => {
        expect(Math.abs(out[i]! - value)).toBeLessThanOrEqual(2e-6 * Math.max(1, Math.abs(value)));
      });
    }
  });
});

test('medians by sorting, for any counts, and nothing left over from the frame before', () => {
  const normaliser = new Normaliser(options);
  const lowerMedian = (v: number[]) => v.sort((a, b) => a - b)[Math.ceil(v.length / 2) - 1]!;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 65_535 }), { minLength: 1, maxLength: 80 }), (values) => {
      const median = lowerMedian([...values]);
      const mad = lowerMedian(values.map((v) => Math.abs(v - median)));
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      const std = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
      const got = normaliser.statistics(Uint16Array.from(values));
      expect(got.median).toBe(median);
      expect(got.scale).toBeCloseTo(Math.max(1.4826 * mad, 0.25 * std, 1), 6);
    }),
    { seed: 3, numRuns: 200 },
  );
});

describe('padding', () => {
  const plain = new Normaliser({ ...options, madToSigma: 0, stdShare: 0, minScale: 1, zMin: -1e6, zMax: 1e6 });
  const padded = (counts: Uint16Array, [width, height]: [number, number], [outWidth, outHeight]: [number, number]) => {
    const out = new Float32Array(outWidth * outHeight).fill(Number.NaN);
    plain.run(counts, width, height, out, outWidth, outHeight);
    const { median } = plain.statistics(counts);
    return (x: number, y: number) => out[y * outWidth + x]! + median;
  };

  test('goes on as the ground at the border is, and shows no target a second time', () => {
    // Left half 100, right half 500; the lower fifth 900; a target at the right border.
    const [w, h] = [61, 50];
    const counts = Uint16Array.from({ length: w * h }, (_, i) => {
      const [x, y] = [i % w, Math.floor(i / w)];
      if (Math.abs(x - 59) <= 1 && Math.abs(y - 12) <= 1) return 4000;
      return y >= 40 ? 900 : x < 32 ? 100 : 500;
    });
    const at = padded(counts, [w, h], [64, 56]);
    for (let y = 0; y < 32; y++) expect([61, 62, 63].map((x) => at(x, y))).toEqual([500, 500, 500]);
    for (let x = 0; x < 64; x++) for (let y = 50; y < 56; y++) expect(at(x, y)).toBe(900);
    for (let y = 48; y < 50; y++) expect(at(62, y)).toBe(900);
  });

  test('any size: a constant frame stays one, and what was there stays', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), fc.integer(), (w, h, seed) => {
        const flat = new Uint16Array(w * h).fill(77);
        const [outWidth, outHeight] = [8 * Math.ceil(w / 8), 8 * Math.ceil(h / 8)];
        const even = padded(flat, [w, h], [outWidth, outHeight]);
        const counts = Uint16Array.from(flat, (_, i) => (Math.imul(i + 1, seed) >>> 8) & 1023);
        const at = padded(counts, [w, h], [outWidth, outHeight]);
        const [least, most] = [Math.min(...counts), Math.max(...counts)];
        for (let y = 0; y < outHeight; y++) {
          for (let x = 0; x < outWidth; x++) {
            expect(even(x, y)).toBe(77);
            if (x < w && y < h) expect(at(x, y)).toBe(counts[y * w + x]);
            else expect(at(x, y) >= least && at(x, y) <= most).toBe(true);
          }
        }
      }),
      { seed: 5, numRuns: 60 },
    );
  });
});
