import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drawHeat, gaussian, seeded } from '../../test/fakes/heat-map.js';
import type { Peak } from '../types/detection.js';
import { type FrameView, measureSnr, QUANTISATION_NOISE } from './background.js';
import { Decoder } from './decoder.js';
import { reportable, toDetections } from './detections.js';

const WIDTH = 64;
const HEIGHT = 48;

function peakAt(u: number, v: number, more: Partial<Peak> = {}): Peak {
  return { u, v, sigmaU: 0.05, sigmaV: 0.07, score: 0.8, width: 1.25, ...more };
}

/** Counts with a Gaussian target on a noisy level. */
function scene(x: number, y: number, contrast: number, noise: number, level = 8000, sigma = 1, seed = 1): FrameView {
  const random = seeded(seed);
  const data = new Uint16Array(WIDTH * HEIGHT);
  for (let i = 0; i < data.length; i++) {
    const d = ((i % WIDTH) - x) ** 2 + (Math.floor(i / WIDTH) - y) ** 2;
    const value = level + contrast * Math.exp(-d / (2 * sigma * sigma)) + noise * gaussian(random);
    data[i] = Math.max(0, Math.min(65535, Math.round(value)));
  }
  return { data, width: WIDTH, height: HEIGHT };
}

const blank: FrameView = { data: new Uint16Array(WIDTH * HEIGHT).fill(1000), width: WIDTH, height: HEIGHT };

describe('toDetections', () => {
  test('a cell is two pixels: the first has its centre at 0.5', () => {
    expect(toDetections([peakAt(0, 0)], blank)[0]).toMatchObject({ x: 0.5, y: 0.5, score: 0.8 });
  });

  test('coordinates are exact and never rounded', () => {
    const place = (max: number) => fc.double({ min: 0, max, noNaN: true });
    fc.assert(
      fc.property(place(31), place(23), place(0.4), (u, v, bias) => {
        const [d] = toDetections([peakAt(u, v)], blank, { biasX: bias, biasY: -bias / 2 });
        expect(d!.x).toBe(2 * (u + 0.5) - 0.5 - bias);
        expect(d!.y).toBe(2 * (v + 0.5) - 0.5 + bias / 2);
      }),
      { seed: 31, numRuns: 300 },
    );
  });

  test('peaks outside the true frame are left out; its very edge is inside; order is kept', () => {
    const edgeU = WIDTH / 2 - 0.5;
    const edgeV = HEIGHT / 2 - 0.5;
    const peaks = [
      peakAt(edgeU, 3, { score: 0.9 }),
      peakAt(edgeU + 0.01, 3),
      peakAt(3, edgeV, { score: 0.7 }),
      peakAt(3, edgeV + 0.01),
      peakAt(-0.5, -0.5, { score: 0.6 }),
      peakAt(-0.51, 3),
      peakAt(3, -0.51),
      peakAt(Number.NaN, 3),
    ];
    const found = toDetections(peaks, blank);
    expect(found.map((d) => d.score)).toEqual([0.9, 0.7, 0.6]);
    expect(found[0]!.x).toBe(WIDTH - 0.5);
    expect(found[2]).toMatchObject({ x: -0.5, y: -0.5 });
  });

  test('the extent inverts the rule of the labels', () => {
    for (const sigma of [1.5, 2, 3, 4.5]) {
      const width = 0.5 * Math.sqrt(sigma * sigma + 1.5 * 1.5);
      expect(toDetections([peakAt(10, 10, { width })], blank)[0]!.extent).toBeCloseTo(sigma, 10);
    }
    expect(toDetections([peakAt(10, 10, { width: 0.6 })], blank)[0]!.extent).toBe(0.5);
  });

  test('the position error is the fit and the limit of the pixels together', () => {
    const frame = scene(20.3, 17.7, 200, 20);
    const [d] = toDetections([peakAt(9.9, 8.6)], frame);
    const bound = Math.sqrt(2 / Math.PI) / d!.snr;
    expect(d!.sigmaX).toBeCloseTo(Math.hypot(0.1, bound), 12);
    expect(d!.sigmaY).toBeCloseTo(Math.hypot(0.14, bound), 12);
  });

  test('where the pixels show nothing the error is the size of the heat peak, and finite', () => {
    const [d] = toDetections([peakAt(10, 10, { sigmaU: 0 })], blank);
    expect(d).toMatchObject({ snr: 0, sigmaX: 2.5 });
  });

  test('a frame with too few counts is refused', () => {
    const frame = { data: new Uint16Array(10), width: 4, height: 3 };
    expect(() => toDetections([], frame)).toThrow(expect.objectContaining({ code: 'FRAME_SIZE', exitCode: 65 }));
  });
});

describe('measureSnr', () => {
  test.each([
    [5, 20],
    [10, 20],
    [10, 4],
    [40, 3],
  ])('a target of snr %d over noise %d', (snr, noise) => {
    const ratios: number[] = [];
    for (let seed = 0; seed < 60; seed++) {
      ratios.push(measureSnr(scene(20, 17, snr * noise, noise, 8000, 1.5, seed), 20, 17, 1.5) / snr);
    }
    ratios.sort((a, b) => a - b);
    // The brightest of nine noisy pixels lies a little above the target's own top.
    expect(ratios[30]).toBeGreaterThan(0.9);
    expect(ratios[30]).toBeLessThan(1.3);
  });

  test('a dark target counts as a bright one', () => {
    const snr = measureSnr(scene(20, 17, -300, 20), 20, 17, 1);
    expect(snr).toBeGreaterThan(12);
    expect(snr).toBeLessThan(20);
  });

  test('a dead pixel beside a bright target is not what stands out', () => {
    const alone = scene(20, 17, 300, 20);
    const data = alone.data.slice();
    data[17 * WIDTH + 21] = 0;
    const beside = measureSnr({ ...alone, data }, 20, 17, 1);
    expect(beside / measureSnr(alone, 20, 17, 1)).toBeCloseTo(1, 1);
  });

  test('another bright target in the ring does not hide this one', () => {
    const alone = scene(20, 17, 300, 10);
    const data = alone.data.slice();
    for (let v = 15; v < 19; v++) for (let u = 24; u < 28; u++) data[v * WIDTH + u] = 60000;
    const beside = measureSnr({ ...alone, data }, 20, 17, 1);
    expect(beside / measureSnr(alone, 20, 17, 1)).toBeGreaterThan(0.8);
  });

  test('a flat background has the noise of its quantisation, a saturated one shows nothing', () => {
    const data = blank.data.slice();
    data[17 * WIDTH + 20] = 1003;
    expect(measureSnr({ ...blank, data }, 20, 17, 1)).toBeCloseTo(3 / QUANTISATION_NOISE, 10);
    const saturated = { data: new Uint16Array(WIDTH * HEIGHT).fill(65535), width: WIDTH, height: HEIGHT };
    expect(measureSnr(saturated, 20, 17, 1)).toBe(0);
  });

  test('noise of one count, whose median deviation is zero, is still seen', () => {
    const random = seeded(9);
    const data = new Uint8Array(WIDTH * HEIGHT).map(() => 100 + (random() < 0.4 ? (random() < 0.5 ? 1 : -1) : 0));
    data[17 * WIDTH + 20] = 110;
    const snr = measureSnr({ data, width: WIDTH, height: HEIGHT }, 20, 17, 1);
    expect(snr).toBeGreaterThan(10 / 0.8);
    expect(snr).toBeLessThan(10 / 0.5);
  });

  test('any place in any frame gives a finite number', () => {
    const frames = fc
      .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }))
      .chain(([width, height]) =>
        fc
          .uint8Array({ minLength: width * height, maxLength: width * height })
          .map((bytes): FrameView => ({ data: bytes, width, height })),
      );
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(frames, share, share, fc.double({ min: 0.5, max: 10, noNaN: true }), (frame, sx, sy, extent) => {
        const snr = measureSnr(frame, sx * frame.width - 0.5, sy * frame.height - 0.5, extent);
        expect(Number.isFinite(snr)).toBe(true);
        expect(snr).toBeGreaterThanOrEqual(0);
      }),
      { seed: 32, numRuns: 500 },
    );
    expect(measureSnr({ data: Uint8Array.of(7), width: 1, height: 1 }, 0, 0, 1)).toBe(0);
  });
});

describe('Decoder', () => {
  test('a map to detections of the frame', () => {
    const heat = drawHeat(HEIGHT / 2, WIDTH / 2, [{ u: 9.9, v: 8.6, sigma: 1.25, height: 0.9 }]);
    heat[0] = Number.NaN;
    const decoder = new Decoder({ threshold: 0.3, biasX: 0.1, refine: false });
    const logsig = new Float32Array(heat.length).fill(Math.log(1.25));
    const maps = { heat, logsig, rows: HEIGHT / 2, cols: WIDTH / 2 };
    const result = decoder.run(maps, scene(20.2, 17.7, 300, 10));
    expect(result).toMatchObject({ invalidCells: 1, dropped: { capped: 0, merged: 0, outside: 0 } });
    expect(result.detections).toHaveLength(1);
    expect(result.detections[0]!.x).toBeCloseTo(20.2, 3);
    expect(result.detections[0]!.y).toBeCloseTo(17.7, 3);
    expect(result.detections[0]!.snr).toBeGreaterThan(15);
    expect(decoder.run(maps, scene(20.2, 17.7, 300, 10))).toEqual(result);
  });

  test('mirrored padding neither adds, moves nor swallows a target', () => {
    const rows = HEIGHT / 2 + 4;
    const cols = WIDTH / 2 + 4;
    const u = WIDTH / 2 - 1.6;
    const v = HEIGHT / 2 - 1.8;
    const copies = [
      { u, v, sigma: 2, height: 0.9 },
      { u: WIDTH - 1 - u, v, sigma: 2, height: 0.92 },
      { u, v: HEIGHT - 1 - v, sigma: 2, height: 0.92 },
      { u: WIDTH - 1 - u, v: HEIGHT - 1 - v, sigma: 2, height: 0.94 },
    ];
    const heat = drawHeat(rows, cols, copies);
    heat[cols - 1] = Number.NaN;
    const logsig = new Float32Array(heat.length).fill(Number.NaN);
    for (let row = 0; row < HEIGHT / 2; row++) logsig.fill(Math.log(2), row * cols, row * cols + WIDTH / 2);
    for (const given of [logsig, null]) {
      const result = new Decoder({ threshold: 0.3 }).run({ heat, logsig: given, rows, cols }, blank);
      expect(result.invalidCells).toBe(0);
      expect(result.detections).toHaveLength(1);
      expect(Math.abs(result.detections[0]!.x - (2 * (u + 0.5) - 0.5))).toBeLessThan(0.1);
      expect(Math.abs(result.detections[0]!.y - (2 * (v + 0.5) - 0.5))).toBeLessThan(0.1);
      expect(result.detections[0]!.extent).toBeCloseTo(Math.sqrt(16 - 2.25), 0);
    }
  });

  test('a target whose centre is outside the frame is dropped and counted', () => {
    const heat = drawHeat(HEIGHT / 2, WIDTH / 2, [{ u: -0.8, v: 8, sigma: 1.5 }]);
    const maps = { heat, logsig: null, rows: HEIGHT / 2, cols: WIDTH / 2 };
    expect(new Decoder({ threshold: 0.3 }).run(maps, blank)).toMatchObject({ detections: [], dropped: { outside: 1 } });
  });

  test('a map of another size than it says is refused, cropped or not', () => {
    const decoder = new Decoder({ threshold: 0.3 });
    for (const [rows, cols] of [
      [24, 32],
      [28, 36],
    ] as const) {
      const maps = { heat: new Float32Array(rows * cols - 1), logsig: null, rows, cols };
      expect(() => decoder.run(maps, blank)).toThrow(expect.objectContaining({ code: 'HEAT_SHAPE' }));
    }
  });

  test('the threshold and the cap are kept', () => {
    const heat = drawHeat(24, 32, [
      { u: 6, v: 6, sigma: 1, height: 0.9 },
      { u: 16, v: 12, sigma: 1, height: 0.5 },
      { u: 26, v: 18, sigma: 1, height: 0.3 },
    ]);
    const maps = { heat, logsig: null, rows: 24, cols: 32 };
    expect(new Decoder({ threshold: 0.4 }).run(maps, blank).detections.map((d) => d.score)).toHaveLength(2);
    const capped = new Decoder({ threshold: 0.2, maxPeaks: 1 }).run(maps, blank);
    expect(capped.detections.map((d) => d.score)).toEqual([Math.fround(0.9)]);
    expect(capped.dropped.capped).toBe(2);
  });
});

describe('reportable', () => {
  const scored = (...scores: number[]) =>
    toDetections(
      scores.map((score, i) => peakAt(3 + 2 * i, 5, { score })),
      blank,
    );
  const scores = (found: readonly { score: number }[]) => found.map(({ score }) => score);

  test('the threshold decides where nothing is plain, the strongest where something is', () => {
    expect(scores(reportable(scored(0.6, 0.55, 0.4), 0.5, 0.7))).toEqual([0.6, 0.55]);
    expect(scores(reportable(scored(0.9, 0.63, 0.62, 0.5), 0.5, 0.7))).toEqual([0.9, 0.63]);
    expect(scores(reportable(scored(0.4, 0.39), 0.5, 0.7))).toEqual([]);
    expect(reportable([], 0.5, 0.7)).toEqual([]);
  });

  test('0: the threshold alone; 1: the strongest alone', () => {
    expect(scores(reportable(scored(0.99, 0.5, 0.1), 0.5, 0))).toEqual([0.99, 0.5]);
    expect(scores(reportable(scored(0.8, 0.79), 0.5, 1))).toEqual([0.8]);
  });
});
