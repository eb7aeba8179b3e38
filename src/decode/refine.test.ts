import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gaussian, seeded } from '../../test/fakes/heat-map.js';
import { pixelShare } from '../capture/scene.js';
import { cramerRao, fluxOf } from '../eval/cramer-rao.js';
import type { Detection } from '../types/detection.js';
import { measureSnr } from './background.js';
import { emptyRefined, type RefineFrame, refine, refineDetections } from './refine.js';

interface Spot {
  x: number;
  y: number;
  sigma: number;
  contrast: number;
}

interface Patch {
  spots: Spot[];
  noise: number;
  random: () => number;
  size?: number;
  level?: number;
  slopeX?: number;
  slopeY?: number;
  bits?: number;
}

function draw({
  spots,
  noise,
  random,
  size = 41,
  level = 5000,
  slopeX = 0,
  slopeY = 0,
  bits = 16,
}: Patch): RefineFrame {
  const clean = new Float64Array(size * size);
  for (let i = 0; i < clean.length; i++) clean[i] = level + slopeX * (i % size) + slopeY * Math.floor(i / size);
  for (const s of spots) {
    const flux = fluxOf(s.contrast, s.sigma);
    for (let i = 0; i < clean.length; i++) {
      clean[i]! += flux * pixelShare(i % size, s.x, s.sigma) * pixelShare(Math.floor(i / size), s.y, s.sigma);
    }
  }
  const full = 2 ** bits - 1;
  const data = Uint16Array.from(clean, (v) => Math.max(0, Math.min(full, Math.round(v + noise * gaussian(random)))));
  return { data, width: size, height: size, bits };
}

const alone = (frame: RefineFrame, x: number, y: number, extent: number, out = emptyRefined()) => {
  refine(frame, { x, y, extent, snr: measureSnr(frame, x, y, extent) }, [], {}, out);
  return out;
};

function detection(x: number, y: number, extent = 1): Detection {
  return { x, y, sigmaX: 0.5, sigmaY: 0.6, score: 0.9, snr: 10, extent };
}

describe('exact data', () => {
  test.each([0.5, 0.7, 1, 1.5, 3])('sigma %f px: centre and sigma come back from a start that is off', (sigma) => {
    const random = seeded(3);
    for (let k = 0; k < 10; k++) {
      const x = 20 + random() - 0.5;
      const y = 20 + random() - 0.5;
      const frame = draw({ spots: [{ x, y, sigma, contrast: 20_000 }], noise: 0, random, slopeX: 9, slopeY: -7 });
      const found = alone(frame, x + 0.5 * (random() - 0.5), y + 0.5 * (random() - 0.5), sigma * 1.25);
      expect(found.outcome).toBe('ok');
      expect(found.x).toBeCloseTo(x, 3);
      expect(found.y).toBeCloseTo(y, 3);
      expect(found.extent / sigma).toBeCloseTo(1, 2);
    }
  });

  test('a target darker than its background', () => {
    const frame = draw({ spots: [{ x: 20.3, y: 19.8, sigma: 1, contrast: -3000 }], noise: 0, random: seeded(1) });
    const found = alone(frame, 20, 20, 1);
    expect(found).toMatchObject({ outcome: 'ok', x: expect.closeTo(20.3, 3), y: expect.closeTo(19.8, 3) });
    expect(found.snr).toBeLessThan(-10);
  });
});

describe('noise', () => {
  // Start and sigma as wrong as a heat map's: 0.25 px rms and 20 %.
  function trials(sigma: number, snr: number, count: number, seed: number) {
    const random = seeded(seed);
    const noise = 40;
    let accepted = 0;
    let sumX = 0;
    let sumY = 0;
    let squares = 0;
    let bound = 0;
    let covered = 0;
    for (let k = 0; k < count; k++) {
      const x = 20 + random() - 0.5;
      const y = 20 + random() - 0.5;
      const frame = draw({ spots: [{ x, y, sigma, contrast: snr * noise }], noise, random });
      const found = alone(
        frame,
        x + 0.25 * gaussian(random),
        y + 0.25 * gaussian(random),
        sigma * (0.8 + 0.4 * random()),
      );
      if (found.outcome !== 'ok') continue;
      accepted++;
      sumX += found.x - x;
      sumY += found.y - y;
      squares += (found.x - x) ** 2 + (found.y - y) ** 2;
      bound += cramerRao(snr, sigma, x - 20, y - 20) ** 2;
      covered += Number(Math.abs(found.x - x) <= found.sigmaX) + Number(Math.abs(found.y - y) <= found.sigmaY);
    }
    return {
      accepted: accepted / count,
      biasX: sumX / accepted,
      biasY: sumY / accepted,
      rms: Math.sqrt(squares / (2 * accepted)),
      bound: Math.sqrt(bound / accepted),
      coverage: covered / (2 * accepted),
    };
  }

  test.each([
    [0.5, 8, 0.97],
    [0.7, 5, 0.97],
    [1, 5, 0.97],
    [1.5, 5, 0.97],
    [0.7, 10, 0.99],
    [1, 10, 0.99],
    [1.5, 10, 0.99],
    [1, 20, 0.99],
  ])('sigma %f px at snr %i: near the bound, unbiased, errors as stated', (sigma, snr, share) => {
    const result = trials(sigma, snr, 500, 17);
    expect(result.accepted).toBeGreaterThan(share);
    expect(result.rms / result.bound).toBeLessThan(1.2);
    expect(result.rms / result.bound).toBeGreaterThan(0.85);
    // Four standard errors of the mean itself.
    const slack = (4 * result.bound) / Math.sqrt(500);
    expect(Math.abs(result.biasX)).toBeLessThan(slack);
    expect(Math.abs(result.biasY)).toBeLessThan(slack);
    expect(result.coverage).toBeGreaterThan(0.63);
    expect(result.coverage).toBeLessThan(0.73);
  });
});

describe('what surrounds the target', () => {
  const bright = { x: 20.35, y: 19.6, sigma: 1, contrast: 3000 };

  test('a saturated core is left out, not fitted', () => {
    const frame = draw({ spots: [{ ...bright, contrast: 1500 }], noise: 2, random: seeded(5), level: 300, bits: 10 });
    expect(Math.max(...frame.data)).toBe(1023);
    const found = alone(frame, 20, 20, 1);
    expect(found.outcome).toBe('ok');
    expect(Math.hypot(found.x - bright.x, found.y - bright.y)).toBeLessThan(0.03);
    // With the full scale unknown the flat top is taken for the target's shape.
    const unknown = alone({ data: frame.data, width: frame.width, height: frame.height }, 20, 20, 1);
    expect(unknown.extent).toBeGreaterThan(found.extent + 0.05);
  });

  test('a neighbour 6 px away does not pull, once it is known', () => {
    const other = { x: 26.2, y: 20.1, sigma: 1.2, contrast: 6000 };
    const frame = draw({ spots: [bright, other], noise: 20, random: seeded(6) });
    const detections = [detection(20, 20), detection(26, 20, 1.2)];
    expect(refineDetections(detections, frame)).toBe(2);
    const known = Math.hypot(detections[0]!.x - bright.x, detections[0]!.y - bright.y);
    expect(known).toBeLessThan(0.015);
    expect(Math.hypot(detections[1]!.x - other.x, detections[1]!.y - other.y)).toBeLessThan(0.015);
    const ignorant = alone(frame, 20, 20, 1);
    const error = ignorant.outcome === 'ok' ? Math.hypot(ignorant.x - bright.x, ignorant.y - bright.y) : 1;
    expect(error).toBeGreaterThan(2 * known);
  });

  test('structure around widens the stated error; the noise alone does not', () => {
    const waves = (amplitude: number) => {
      const frame = draw({ spots: [bright], noise: 60, random: seeded(7) });
      const data = frame.data as Uint16Array;
      for (let i = 0; i < data.length; i++) {
        data[i]! += Math.round(amplitude * Math.sin((i % 41) / 1.9) * Math.sin(Math.floor(i / 41) / 1.9));
      }
      return alone(frame, 20, 20, 1);
    };
    const calm = waves(0);
    const rough = waves(250);
    expect(calm).toMatchObject({ outcome: 'ok' });
    expect(rough).toMatchObject({ outcome: 'ok' });
    const bound = cramerRao(50, 1);
    expect(calm.sigmaX / bound).toBeGreaterThan(0.75);
    expect(calm.sigmaX / bound).toBeLessThan(1.35);
    expect(rough.sigmaX).toBeGreaterThan(2 * calm.sigmaX);
  });
});

describe('declined', () => {
  test('nothing there: a flat frame, and one of noise alone', () => {
    const flat = { data: new Uint8Array(900).fill(40), width: 30, height: 30, bits: 8 };
    expect(alone(flat, 15, 15, 1).outcome).not.toBe('ok');
    const random = seeded(8);
    let accepted = 0;
    for (let k = 0; k < 50; k++) {
      accepted += Number(alone(draw({ spots: [], noise: 40, random }), 20.2, 19.7, 1).outcome === 'ok');
    }
    // What passes are noise peaks of the least contrast, near where the heat map said.
    expect(accepted).toBeLessThan(35);
    const strict = emptyRefined();
    for (let k = 0; k < 50; k++) {
      const frame = draw({ spots: [], noise: 40, random });
      expect(refine(frame, detection(20.2, 19.7), [], { minSnr: 5 }, strict)).toBe(false);
    }
  });

  test('a target elsewhere', () => {
    const frame = draw({ spots: [{ x: 23, y: 20, sigma: 1, contrast: 4000 }], noise: 10, random: seeded(9) });
    const found = alone(frame, 20.4, 20, 1);
    expect(['shift', 'diverged', 'shape', 'faint']).toContain(found.outcome);
  });

  test('a target with a shape of its own: a flat block of 7x5 px', () => {
    const spots = Array.from({ length: 35 }, (_, i) => ({
      x: 17 + (i % 7),
      y: 18 + Math.floor(i / 7),
      sigma: 0.5,
      contrast: 2000,
    }));
    const frame = draw({ spots, noise: 10, random: seeded(13) });
    expect(alone(frame, 20.1, 20.1, 2.2).outcome).toBe('shape');
  });

  test('up to the last pixel of the frame, with the errors that it states; not beyond', () => {
    let inside = 0;
    const misses: number[] = [];
    for (let k = 0; k < 150; k++) {
      const random = seeded(100 + k);
      const [x, y] = [3 * random(), 12 + 16 * random()];
      const frame = draw({ spots: [{ x, y, sigma: 1, contrast: 400 }], noise: 40, random });
      const found = alone(frame, x + 0.4 * (random() - 0.5), y + 0.4 * (random() - 0.5), 1.2);
      if (found.outcome !== 'ok') continue;
      misses.push(found.x - x, found.y - y);
      inside += Number(Math.abs(found.x - x) <= found.sigmaX) + Number(Math.abs(found.y - y) <= found.sigmaY);
    }
    expect(misses.length).toBeGreaterThan(2 * 135);
    expect(Math.hypot(...misses) / Math.sqrt(misses.length)).toBeLessThan(0.14);
    expect(inside / misses.length).toBeGreaterThan(0.6);
    expect(inside / misses.length).toBeLessThan(0.77);
    const corner = draw({ spots: [{ x: 0.3, y: 0.4, sigma: 1, contrast: 4000 }], noise: 10, random: seeded(10) });
    const found = alone(corner, 0.5, 0.6, 1);
    expect(Math.hypot(found.x - 0.3, found.y - 0.4)).toBeLessThan(0.03);
    const outside = draw({ spots: [{ x: -1, y: 20, sigma: 1, contrast: 4000 }], noise: 10, random: seeded(10) });
    expect(alone(outside, -0.7, 20, 1).outcome).toBe('border');
  });

  test.each([8, 20])('of targets outside the frame, SNR %d, hardly one is placed in it', (snr) => {
    let placed = 0;
    for (let k = 0; k < 200; k++) {
      const random = seeded(500 + k);
      const spot = { x: -0.5 - random(), y: 20, sigma: 1, contrast: 40 * snr };
      const frame = draw({ spots: [spot], noise: 40, random });
      if (alone(frame, 0.2 * (random() - 0.5), 20, 1).outcome === 'ok') placed++;
    }
    expect(placed).toBeLessThan(200 * 0.1);
  });

  test('a declined detection stays as it was, a refined one keeps score and snr', () => {
    const frame = draw({ spots: [{ x: 20.3, y: 20, sigma: 1, contrast: 4000 }], noise: 10, random: seeded(11) });
    const edge = detection(0.7, 30);
    const good = detection(20, 20.2, 1.3);
    expect(refineDetections([edge, good], frame)).toBe(1);
    expect(edge).toEqual(detection(0.7, 30));
    expect(good).toMatchObject({ x: expect.closeTo(20.3, 1), score: 0.9, snr: 10, extent: expect.closeTo(1, 1) });
    expect(good.sigmaX).toBeLessThan(0.05);
  });

  test('any frame, place and size: finite numbers or a refusal', () => {
    const number = (min: number, max: number) => fc.double({ min, max, noNaN: true });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 24 }),
        fc.integer({ min: 1, max: 24 }),
        fc.integer(),
        number(-3, 27),
        number(-3, 27),
        number(0, 20),
        fc.boolean(),
        (width, height, seed, x, y, extent, flat) => {
          const random = seeded(seed);
          const data = Uint8Array.from({ length: width * height }, () => (flat ? 255 : 256 * random()));
          const out = emptyRefined();
          const others = [detection(x, y, extent), detection(24 * random(), 24 * random(), 1)];
          if (!refine({ data, width, height, bits: 8 }, others[0]!, others, {}, out)) return;
          for (const v of [out.x, out.y, out.sigmaX, out.sigmaY, out.extent, out.snr])
            expect(v).toSatisfy(Number.isFinite);
          expect(Math.min(out.sigmaX, out.sigmaY, out.extent)).toBeGreaterThan(0);
        },
      ),
      { seed: 12, numRuns: 400 },
    );
  });
});
