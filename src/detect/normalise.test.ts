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
    const out = new Float32Array(c.width * c.height);
    normaliser.run(counts(c), c.width, c.height, out, c.width, c.height);
    c.z.forEach((z, i) => {
      expect(Math.abs(out[i]! - z)).toBeLessThanOrEqual(2e-6 * Math.max(1, Math.abs(z)));
    });
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

test('padding is the median of the frame, whatever was there', () => {
  const out = new Float32Array(5 * 4).fill(7);
  new Normaliser({ ...options, minScale: 1000, zMin: -1e6, zMax: 1e6 }).run(
    Uint8Array.of(0, 1, 2, 10, 11, 12),
    3,
    2,
    out,
    5,
    4,
  );
  const rows = [0, 1, 2, 3].map((y) => [...out.subarray(5 * y, 5 * y + 5)].map((z) => Math.round(z * 1000)));
  expect(rows).toEqual([
    [-2, -1, 0, 0, 0],
    [8, 9, 10, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
  ]);
});
