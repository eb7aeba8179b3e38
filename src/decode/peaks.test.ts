import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addNoise, type Blob, drawHeat, seeded } from '../../test/fakes/heat-map.js';
import type { Peak } from '../types/detection.js';
import { findPeaks, PeakFinder } from './peaks.js';

const ROWS = 24;
const COLS = 28;
const within = (min: number, max: number) => fc.double({ min, max, noNaN: true, noDefaultInfinity: true });

function only(peaks: Peak[]): Peak {
  expect(peaks).toHaveLength(1);
  return peaks[0]!;
}

function expectFinite(peaks: Peak[]): void {
  for (const peak of peaks) for (const value of Object.values(peak)) expect(Number.isFinite(value)).toBe(true);
}

describe('one peak', () => {
  test('comes back within its stated error at any sub-pixel place and width', () => {
    const blobs = fc.record({
      u: within(4, COLS - 5),
      v: within(4, ROWS - 5),
      sigma: within(1, 2.5),
      integrated: fc.boolean(),
    });
    fc.assert(
      fc.property(blobs, within(0.3, 1), (blob, height) => {
        const heat = drawHeat(ROWS, COLS, [{ ...blob, height }]);
        const peak = only(findPeaks(heat, null, ROWS, COLS, { low: 0.15 }).peaks);
        const du = Math.abs(peak.u - blob.u);
        const dv = Math.abs(peak.v - blob.v);
        expect(du).toBeLessThanOrEqual(Math.min(0.03, 3 * peak.sigmaU));
        expect(dv).toBeLessThanOrEqual(Math.min(0.03, 3 * peak.sigmaV));
        // Even a perfect Gaussian is no proof of a perfect net.
        expect(Math.min(peak.sigmaU, peak.sigmaV)).toBeGreaterThanOrEqual(0.01);
        // Averaging over a cell widens by 1/12 in the square.
        expect(peak.width).toBeCloseTo(Math.sqrt(blob.sigma ** 2 + (blob.integrated ? 1 / 12 : 0)), 1);
        expect(peak.score).toBe(Math.max(...heat));
      }),
      { seed: 21, numRuns: 400 },
    );
  });

  test.each([
    [0.01, 1],
    [0.01, 2.5],
    [0.02, 1.5],
    [0.03, 1],
    [0.03, 1.75],
    [0.03, 2.5],
  ])('the stated error is honest with noise %d and width %d', (noise, sigma) => {
    const random = seeded(1000 * noise + sigma);
    const trials = 600;
    let covered = 0;
    let squares = 0;
    let stated = 0;
    for (let k = 0; k < trials; k++) {
      const blob: Blob = { u: 12 + random(), v: 11 + random(), sigma };
      const heat = addNoise(drawHeat(ROWS, COLS, [blob]), noise, random);
      const peak = findPeaks(heat, null, ROWS, COLS, { low: 0.3 }).peaks[0]!;
      const du = peak.u - blob.u;
      const dv = peak.v - blob.v;
      if (Math.abs(du) <= 3 * peak.sigmaU) covered++;
      if (Math.abs(dv) <= 3 * peak.sigmaV) covered++;
      squares += du * du + dv * dv;
      stated += peak.sigmaU + peak.sigmaV;
    }
    const rms = Math.sqrt(squares / (2 * trials));
    const mean = stated / (2 * trials);
    expect(covered / (2 * trials)).toBeGreaterThanOrEqual(0.97);
    // Neither boasting nor hiding behind a huge error bar.
    expect(rms).toBeGreaterThan(0.3 * mean);
    expect(rms).toBeLessThan(1.3 * mean);
    // The bound of a Gaussian in white noise is sqrt(2/pi) * noise.
    expect(rms).toBeLessThan(1.25 * Math.sqrt(2 / Math.PI) * noise);
  });

  test('noise in the tails does not widen a peak', () => {
    const random = seeded(8);
    let sum = 0;
    for (let k = 0; k < 400; k++) {
      const heat = addNoise(drawHeat(ROWS, COLS, [{ u: 12 + random(), v: 11 + random(), sigma: 1 }]), 0.03, random);
      sum += findPeaks(heat, null, ROWS, COLS, { low: 0.3 }).peaks[0]!.width;
    }
    expect(sum / 400).toBeCloseTo(1, 2);
  });

  test('the noisier of two maps states the larger error', () => {
    const clean = drawHeat(ROWS, COLS, [{ u: 12.3, v: 11.6, sigma: 1.5 }]);
    const errorAt = (noise: number) =>
      findPeaks(addNoise(clean, noise, seeded(5)), null, ROWS, COLS, { low: 0.3 }).peaks[0]!.sigmaU;
    expect(errorAt(0.05)).toBeGreaterThan(2 * errorAt(0.01));
  });

  test('at the border, in the corner and half a cell beyond them', () => {
    const edge = (last: number) => fc.oneof(within(-0.499, 1), within(last - 1, last + 0.499));
    fc.assert(
      fc.property(edge(COLS - 1), fc.oneof(edge(ROWS - 1), within(5, 12)), within(1, 2.5), (u, v, sigma) => {
        const heat = drawHeat(ROWS, COLS, [{ u, v, sigma }]);
        const peak = only(findPeaks(heat, null, ROWS, COLS, { low: 0.15 }).peaks);
        expect(Math.abs(peak.u - u)).toBeLessThanOrEqual(Math.min(0.03, 3 * peak.sigmaU));
        expect(Math.abs(peak.v - v)).toBeLessThanOrEqual(Math.min(0.03, 3 * peak.sigmaV));
      }),
      { seed: 22, numRuns: 300 },
    );
  });

  test('a peak seen from one side only states a larger error across the border than along it', () => {
    const heat = drawHeat(ROWS, COLS, [{ u: -0.4, v: 10.2, sigma: 1.25 }]);
    const peak = only(findPeaks(heat, null, ROWS, COLS, { low: 0.15 }).peaks);
    expect(peak.sigmaU).toBeGreaterThan(1.5 * peak.sigmaV);
  });

  test('an elongated peak is not pulled aside by the round-peak prior', () => {
    const heat = new Float32Array(ROWS * COLS);
    for (let i = 0; i < heat.length; i++) {
      const du = (i % COLS) - 12.3;
      const dv = Math.floor(i / COLS) - 10.6;
      heat[i] = Math.exp(-(du * du) / 2 - (dv * dv) / 8);
    }
    const peak = only(findPeaks(heat, null, ROWS, COLS, { low: 0.15 }).peaks);
    expect(Math.abs(peak.u - 12.3)).toBeLessThan(0.03);
    expect(Math.abs(peak.v - 10.6)).toBeLessThan(0.03);
  });

  test('the stated log sigma takes half the say in the width; a broken one none', () => {
    const heat = drawHeat(ROWS, COLS, [{ u: 12.3, v: 10.6, sigma: 1.5 }]);
    const widthWith = (logsig: number) =>
      only(findPeaks(heat, new Float32Array(heat.length).fill(logsig), ROWS, COLS, { low: 0.2 }).peaks).width;
    expect(widthWith(Math.log(2))).toBeCloseTo(Math.sqrt(1.5 * 2), 2);
    expect(widthWith(Number.NaN)).toBeCloseTo(1.5, 2);
    for (const wild of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 80, -80]) {
      expect(widthWith(wild)).toBeGreaterThanOrEqual(0.5);
      expect(widthWith(wild)).toBeLessThanOrEqual(5);
    }
  });

  test('a single hot cell stays on its cell with an error of half a cell at most', () => {
    const heat = new Float32Array(ROWS * COLS);
    heat[10 * COLS + 12] = 0.9;
    const peak = only(findPeaks(heat, null, ROWS, COLS, { low: 0.2 }).peaks);
    expect(peak).toMatchObject({ u: 12, v: 10, width: 0.5 });
    expect(peak.sigmaU).toBeGreaterThan(0.05);
    expect(peak.sigmaU).toBeLessThanOrEqual(0.5);
  });

  test('a peak with a shape along one axis only is fitted along that axis', () => {
    const heat = drawHeat(1, COLS, [{ u: 12.3, v: 0, sigma: 1.5 }]);
    const peak = only(findPeaks(heat, null, 1, COLS, { low: 0.2 }).peaks);
    expect(peak.u).toBeCloseTo(12.3, 4);
    expect(peak.v).toBe(0);
    expect(peak.sigmaV).toBe(0.5);
  });
});

describe('several peaks', () => {
  test('two of equal height four cells apart stay two, each near its place', () => {
    const turns = within(0, 2 * Math.PI);
    fc.assert(
      fc.property(within(11, 13), within(10, 12), turns, within(1, 1.25), (u, v, turn, sigma) => {
        const a: Blob = { u, v, sigma };
        const b: Blob = { u: u + 4 * Math.cos(turn), v: v + 4 * Math.sin(turn), sigma };
        const { peaks } = findPeaks(drawHeat(ROWS, COLS, [a, b]), null, ROWS, COLS, { low: 0.3 });
        expect(peaks).toHaveLength(2);
        for (const blob of [a, b]) {
          const miss = Math.min(...peaks.map((p) => Math.hypot(p.u - blob.u, p.v - blob.v)));
          expect(miss).toBeLessThan(0.16);
        }
      }),
      { seed: 23, numRuns: 400 },
    );
  });

  test('two that add up, and noise over both, stay two', () => {
    const random = seeded(3);
    for (let k = 0; k < 200; k++) {
      const turn = 2 * Math.PI * random();
      const u = 12 + random();
      const v = 11 + random();
      const a = drawHeat(ROWS, COLS, [{ u, v, sigma: 1.25, height: 0.7 }]);
      const b = drawHeat(ROWS, COLS, [
        { u: u + 4 * Math.cos(turn), v: v + 4 * Math.sin(turn), sigma: 1.25, height: 0.7 },
      ]);
      const heat = addNoise(
        a.map((h, i) => h + b[i]!),
        0.01,
        random,
      );
      expect(findPeaks(heat, null, ROWS, COLS, { low: 0.3 }).peaks).toHaveLength(2);
    }
  });

  test('a ragged blob is one peak, at its middle', () => {
    const random = seeded(4);
    let merged = 0;
    for (let k = 0; k < 200; k++) {
      const blob: Blob = { u: 13 + random(), v: 11 + random(), sigma: 2.5, height: 0.9 };
      const heat = drawHeat(ROWS, COLS, [blob]).map((h) => h * (0.94 + 0.12 * random()));
      const result = findPeaks(heat, null, ROWS, COLS, { low: 0.15 });
      merged += result.merged;
      const peak = only(result.peaks);
      expect(Math.hypot(peak.u - blob.u, peak.v - blob.v)).toBeLessThan(0.35);
    }
    expect(merged).toBeGreaterThan(0);
  });

  test('the reach of merging follows the width of the stronger peak', () => {
    // A shallow double top, three cells apart: part of a wide blob, but two narrow peaks if the net says that they are narrow.
    const heat = new Float32Array(ROWS * COLS);
    const row = 10 * COLS;
    heat.set([0.2, 0.6, 0.9, 0.86, 0.86, 0.89, 0.6, 0.2], row + 8);
    for (const beside of [-COLS, COLS]) heat.set([0.1, 0.4, 0.6, 0.6, 0.6, 0.6, 0.4, 0.1], row + beside + 8);
    const withWidth = (sigma: number) =>
      findPeaks(heat, new Float32Array(heat.length).fill(Math.log(sigma)), ROWS, COLS, { low: 0.7 });
    expect(withWidth(2.5)).toMatchObject({ peaks: [{ score: Math.fround(0.9) }], merged: 1 });
    expect(withWidth(0.5)).toMatchObject({ peaks: [{}, {}], merged: 0 });
  });

  test('two wide targets with a dip of a fifth between them are two', () => {
    const heat = drawHeat(ROWS, COLS, [
      { u: 10.6, v: 10, sigma: 2, height: 0.9 },
      { u: 13.4, v: 10, sigma: 2, height: 0.92 },
    ]);
    expect(findPeaks(heat, null, ROWS, COLS, { low: 0.3 }).peaks).toHaveLength(2);
  });

  test('a weak target beside a strong one survives a clear valley', () => {
    const heat = drawHeat(ROWS, COLS, [
      { u: 10.2, v: 10, sigma: 1.5 },
      { u: 14.8, v: 10.4, sigma: 1, height: 0.4 },
    ]);
    expect(findPeaks(heat, null, ROWS, COLS, { low: 0.2 }).peaks.map((p) => Math.round(p.u))).toEqual([10, 15]);
  });

  test('are sorted by score; equal ones in reading order', () => {
    const heat = new Float32Array(ROWS * COLS);
    for (const [cell, h] of [
      [300, 0.5],
      [100, 0.5],
      [200, 0.9],
      [400, 0.4],
    ] as const) {
      heat[cell] = h;
    }
    const { peaks } = findPeaks(heat, null, ROWS, COLS, { low: 0.3 });
    expect(peaks.map((p) => Math.round(p.v) * COLS + Math.round(p.u))).toEqual([200, 100, 300, 400]);
  });

  test('ten thousand noise peaks: the strongest 256 stay, the others are counted', () => {
    const random = seeded(6);
    const rows = 200;
    const cols = 200;
    const heat = new Float32Array(rows * cols);
    const heights: number[] = [];
    for (let row = 0; row < rows; row += 2) {
      for (let col = 0; col < cols; col += 2) {
        heat[row * cols + col] = 0.2 + 0.8 * random();
        heights.push(heat[row * cols + col]!);
      }
    }
    heights.sort((a, b) => b - a);
    expect(heights).toHaveLength(10_000);
    const result = findPeaks(heat, null, rows, cols, { low: 0.1 });
    expect(result.peaks.map((p) => p.score)).toEqual(heights.slice(0, 256));
    expect(result.capped).toBe(10_000 - 256);
    expect(findPeaks(heat, null, rows, cols, { low: 0.1, maxPeaks: 3 }).peaks).toHaveLength(3);
  });
});

describe('plateaus', () => {
  function withFlat(cells: readonly (readonly [row: number, col: number])[], height = 1, around = 0.3): Float32Array {
    const heat = new Float32Array(ROWS * COLS).fill(around);
    for (const [row, col] of cells) heat[row * COLS + col] = height;
    return heat;
  }

  test('a saturated top is one peak at the middle of the target', () => {
    fc.assert(
      fc.property(within(10, 15), within(10, 13), within(1, 2.5), within(1.2, 3), (u, v, sigma, height) => {
        const heat = drawHeat(ROWS, COLS, [{ u, v, sigma, height }]).map((h) => Math.min(1, h));
        const peak = only(findPeaks(heat, null, ROWS, COLS, { low: 0.2 }).peaks);
        expect(peak.score).toBe(Math.max(...heat));
        expect(Math.abs(peak.u - u)).toBeLessThanOrEqual(Math.min(0.35, 3 * peak.sigmaU));
        expect(Math.abs(peak.v - v)).toBeLessThanOrEqual(Math.min(0.35, 3 * peak.sigmaV));
      }),
      { seed: 24, numRuns: 300 },
    );
  });

  test.each([
    [
      'two cells',
      [
        [5, 5],
        [5, 6],
      ],
      5.5,
      5,
    ],
    [
      'a diagonal pair',
      [
        [5, 6],
        [6, 5],
      ],
      5.5,
      5.5,
    ],
    [
      'a square',
      [
        [5, 5],
        [5, 6],
        [6, 5],
        [6, 6],
      ],
      5.5,
      5.5,
    ],
  ] as const)('%s of equal height: one peak between them', (_name, cells, u, v) => {
    const peak = only(findPeaks(withFlat(cells, 0.8, 0.1), null, ROWS, COLS, { low: 0.5 }).peaks);
    expect(Math.abs(peak.u - u)).toBeLessThan(0.1);
    expect(Math.abs(peak.v - v)).toBeLessThan(0.1);
  });

  test('a flat with two arms that rise towards the first row is still one peak', () => {
    const arms = [0, 1, 2, 3, 4].flatMap(
      (k) =>
        [
          [5 + k, 5 + k],
          [5 + k, 14 - k],
        ] as const,
    );
    const result = findPeaks(withFlat(arms), null, ROWS, COLS, { low: 0.5 });
    expect(result.peaks).toHaveLength(1);
    expect(result.merged).toBe(0);
  });

  test('a wide flat gives its middle and an error of its own spread', () => {
    const cells = Array.from({ length: 9 * 11 }, (_, k) => [6 + Math.floor(k / 11), 8 + (k % 11)] as const);
    const peak = only(findPeaks(withFlat(cells), null, ROWS, COLS, { low: 0.5 }).peaks);
    expect(peak).toMatchObject({ u: 13, v: 10, score: 1 });
    // A uniform distribution over n cells has a standard deviation of n / sqrt(12).
    expect(peak.sigmaU).toBeCloseTo(11 / Math.sqrt(12), 10);
    expect(peak.sigmaV).toBeCloseTo(9 / Math.sqrt(12), 10);
  });

  test('a shoulder below a higher cell is no peak', () => {
    const heat = withFlat(
      [
        [5, 5],
        [5, 6],
        [5, 7],
        [5, 8],
      ],
      0.8,
      0.1,
    );
    heat[5 * COLS + 9] = 0.9;
    const { peaks } = findPeaks(heat, null, ROWS, COLS, { low: 0.5 });
    expect(peaks.map((p) => p.score)).toEqual([Math.fround(0.9)]);
  });

  test('a map that is one flat has no peak', () => {
    for (const height of [0.05, 0.5, 1]) {
      const flat = new Float32Array(ROWS * COLS).fill(height);
      expect(findPeaks(flat, null, ROWS, COLS, { low: 0.05 }).peaks).toEqual([]);
    }
  });

  test('flats of an earlier map leave no trace in the next', () => {
    const finder = new PeakFinder();
    const heat = withFlat(
      [
        [5, 5],
        [5, 6],
        [9, 20],
        [10, 20],
      ],
      0.8,
      0.1,
    );
    const first = finder.find(heat, null, ROWS, COLS, { low: 0.5 });
    expect(first.peaks).toHaveLength(2);
    expect(finder.find(heat, null, ROWS, COLS, { low: 0.5 })).toEqual(first);
    const small = Float32Array.from([0, 0, 0.7, 0.7, 0, 0]);
    expect(only(finder.find(small, null, 1, 6, { low: 0.5 }).peaks).u).toBeCloseTo(2.5, 6);
    expect(finder.find(heat, null, ROWS, COLS, { low: 0.5 })).toEqual(first);
  });
});

describe('odd maps', () => {
  test('empty, one cell, all zero', () => {
    const nothing = { peaks: [], invalidCells: 0, capped: 0, merged: 0 };
    expect(findPeaks(new Float32Array(0), new Float32Array(0), 0, 0, { low: 0.5 })).toEqual(nothing);
    expect(findPeaks(new Float32Array(0), null, 0, 40, { low: 0.5 })).toEqual(nothing);
    expect(findPeaks(Float32Array.of(0.9), null, 1, 1, { low: 0.5 })).toEqual(nothing);
    expect(findPeaks(Float32Array.of(Number.NaN), null, 1, 1, { low: 0.5 })).toEqual({ ...nothing, invalidCells: 1 });
    expect(findPeaks(new Float32Array(ROWS * COLS), null, ROWS, COLS, { low: 0 })).toEqual(nothing);
  });

  test('NaN and infinities are read as 0 and counted; a peak beside them is still found', () => {
    const heat = drawHeat(ROWS, COLS, [{ u: 12.3, v: 10.6, sigma: 1.5 }]);
    heat[3] = Number.NaN;
    heat[4 * COLS] = Number.POSITIVE_INFINITY;
    heat[5 * COLS + 1] = Number.NEGATIVE_INFINITY;
    heat[9 * COLS + 12] = Number.NaN;
    const copy = heat.slice();
    const result = findPeaks(heat, null, ROWS, COLS, { low: 0.3 });
    expect(result.invalidCells).toBe(4);
    const peak = only(result.peaks);
    expect(Math.hypot(peak.u - 12.3, peak.v - 10.6)).toBeLessThan(0.6);
    expect(heat).toEqual(copy);
    expect(findPeaks(heat.fill(Number.NaN), null, ROWS, COLS, { low: 0.3 })).toMatchObject({
      peaks: [],
      invalidCells: ROWS * COLS,
    });
  });

  test('any content of any size: finite peaks inside the map, at most as many as asked for, the same each time', () => {
    const value = fc.oneof(
      { weight: 6, arbitrary: within(0, 1) },
      { weight: 2, arbitrary: fc.constantFrom(0, 0.5, 1) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -3, 1e-30, 1e30),
      },
    );
    const maps = fc
      .tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 9 }))
      .chain(([rows, cols]) =>
        fc.tuple(
          fc.constant(rows),
          fc.constant(cols),
          fc.array(value, { minLength: rows * cols, maxLength: rows * cols }),
        ),
      );
    const finder = new PeakFinder();
    fc.assert(
      fc.property(maps, within(0, 1), fc.integer({ min: 1, max: 6 }), ([rows, cols, values], low, maxPeaks) => {
        const heat = Float32Array.from(values);
        const result = finder.find(heat, heat, rows, cols, { low, maxPeaks });
        expect(result).toEqual(findPeaks(heat, heat, rows, cols, { low, maxPeaks }));
        expect(result.invalidCells).toBe(heat.filter((h) => !Number.isFinite(h)).length);
        expect(result.peaks.length).toBeLessThanOrEqual(maxPeaks);
        expectFinite(result.peaks);
        for (const peak of result.peaks) {
          expect(peak.u).toBeGreaterThanOrEqual(-1.5);
          expect(peak.u).toBeLessThanOrEqual(cols + 0.5);
          expect(peak.score).toBeGreaterThanOrEqual(Math.min(low, 1));
          expect(peak.score).toBeLessThanOrEqual(1);
          expect(peak.sigmaU).toBeGreaterThan(0);
          expect(peak.sigmaV).toBeGreaterThan(0);
        }
      }),
      { seed: 25, numRuns: 1500 },
    );
  });

  test.each([
    ['HEAT_SHAPE', () => findPeaks(new Float32Array(11), null, 3, 4, { low: 0.5 })],
    ['HEAT_SHAPE', () => findPeaks(new Float32Array(12), new Float32Array(11), 3, 4, { low: 0.5 })],
    ['HEAT_SHAPE', () => findPeaks(new Float32Array(12), null, 2.4, 5, { low: 0.5 })],
    ['DECODE_OPTIONS', () => findPeaks(new Float32Array(12), null, 3, 4, { low: Number.NaN })],
    ['DECODE_OPTIONS', () => findPeaks(new Float32Array(12), null, 3, 4, { low: 1.5 })],
    ['DECODE_OPTIONS', () => findPeaks(new Float32Array(12), null, 3, 4, { low: 0.5, maxPeaks: 0 })],
  ])('%s for arguments that cannot be', (code, call) => {
    expect(call).toThrow(expect.objectContaining({ code }));
  });
});
