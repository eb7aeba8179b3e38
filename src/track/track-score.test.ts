import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ClutterDensity,
  confirmScore,
  hitScore,
  MISS_SCORE,
  rejectScore,
  signalScore,
  startScore,
} from './track-score.js';

describe('the score of a track', () => {
  test("a pairing adds ln(Pd / (b 2 pi sqrt|S|)) - d^2 / 2 and the signal's ratio, up to a bound", () => {
    // At the zero of the signal's line only the pairing counts.
    const zero = 0.46;
    expect(signalScore(zero, 0.54)).toBeCloseTo(0, 9);
    expect(hitScore(1, 100, 1e-3, zero, 0.54)).toBeCloseTo(Math.log(0.8 / (1e-3 * 2 * Math.PI * 10)) - 0.5, 9);
    expect(hitScore(0, 1e-4, 1e-5, zero, 0.54)).toBe(6);
    // A low score says little against a faint target.
    expect(signalScore(0.05, 0.54)).toBe(-1);
    expect(hitScore(1, 100, 1e-3, 0.56, 0.54)).toBeCloseTo(hitScore(1, 100, 1e-3, zero, 0.54) + 1.2, 9);
  });

  test('rises with the score; falls with distance, a wider gate and denser false alarms; always finite', () => {
    const unit = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(unit, unit, unit, unit, unit, (score, other, d, det, density) => {
        const [low, high] = score < other ? [score, other] : [other, score];
        const at = (s: number, more = 1) => hitScore(9 * d, 1e-6 + 1e4 * det * more, density * 1e-2 * more, s, 0.54);
        expect(at(high)).toBeGreaterThanOrEqual(at(low));
        expect(at(low, 2)).toBeLessThanOrEqual(at(low) + 1e-12);
        expect(Number.isFinite(at(low))).toBe(true);
        expect(Math.abs(signalScore(score, 0.54))).toBeLessThanOrEqual(3);
      }),
      { seed: 4 },
    );
    expect(MISS_SCORE).toBeCloseTo(Math.log(0.2), 12);
    expect(startScore(0.9, 0.54)).toBe(1);
  });

  test("the limits are those of Wald's sequential test", () => {
    const high = confirmScore(0.05, 0.1);
    const low = rejectScore(0.05, 0.1);
    expect([high, low].map((v) => Math.exp(v))).toEqual([expect.closeTo(18, 9), expect.closeTo(0.1 / 0.95, 9)]);
  });
});

test('the density of false alarms follows what is seen', () => {
  const density = new ClutterDensity(1000);
  expect(density.value).toBe(0);
  for (let k = 0; k < 10; k++) density.observe(2);
  expect(density.value).toBeCloseTo(2e-3, 12);
  for (let k = 0; k < 200; k++) density.observe(5);
  expect(density.value).toBeCloseTo(5e-3, 4);
});
