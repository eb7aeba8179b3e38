import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { background, bounce, erf, pixelShare, wrap } from './scene.js';

describe('erf', () => {
  it.each([
    // Abramowitz and Stegun, table 7.1.
    [0, 0],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
    [3.5, 0.9999992569016276],
    [6, 1],
  ])('of %d', (x, value) => {
    expect(Math.abs(erf(x) - value)).toBeLessThan(2e-15);
    expect(erf(-x)).toBeCloseTo(-value, 14);
  });
});

describe('pixelShare', () => {
  it('adds up to one, with its centroid where the centre is', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -1, max: 1, noNaN: true }),
        fc.double({ min: 0.3, max: 3, noNaN: true }),
        (centre, sigma) => {
          let sum = 0;
          let first = 0;
          for (let pixel = -40; pixel <= 40; pixel++) {
            sum += pixelShare(pixel, centre, sigma);
            first += pixel * pixelShare(pixel, centre, sigma);
          }
          expect(sum).toBeCloseTo(1, 12);
          // Cutting a profile into pixels moves its centroid by this much at most for narrow ones.
          expect(Math.abs(first - centre)).toBeLessThan(Math.exp(-2 * (Math.PI * sigma) ** 2) / Math.PI + 1e-9);
        },
      ),
    );
  });
});

describe('bounce and wrap', () => {
  const place = fc.double({ min: -50, max: 50, noNaN: true });
  const velocity = fc.double({ min: -3, max: 3, noNaN: true });

  it('stay inside, at any step, and move by the velocity they state', () => {
    fc.assert(
      fc.property(place, velocity, fc.nat(100_000), (start, speed, steps) => {
        for (const move of [bounce, wrap]) {
          const [at, now] = move(start, speed, steps, 2, 30);
          expect(at).toBeGreaterThanOrEqual(2);
          expect(at).toBeLessThanOrEqual(30);
          expect(Math.abs(now)).toBe(Math.abs(speed));
          if (at > 6 && at < 26) expect(move(start, speed, steps + 1, 2, 30)[0]).toBeCloseTo(at + now, 6);
        }
      }),
    );
  });

  it('are where they started at step 0', () => {
    expect(bounce(7.25, 1, 0, 0, 10)).toEqual([7.25, 1]);
    expect(wrap(7.25, 1, 0, 0, 10)).toEqual([7.25, 1]);
    expect(bounce(9, 1, 3, 0, 10)).toEqual([8, -1]);
    expect(wrap(9, 1, 3, 0, 10)).toEqual([2, 1]);
  });

  it('rest in the middle of a frame without room', () => {
    expect(bounce(9, 1, 3, 5, 3)).toEqual([4, 0]);
  });
});

describe('background', () => {
  it('has mean 0, variance 1, and power that falls with frequency', () => {
    const [width, height] = [96, 64];
    const view = background(width, height, 5);
    const mean = view.reduce((a, b) => a + b) / view.length;
    expect(mean).toBeCloseTo(0, 9);
    expect(view.reduce((a, b) => a + b * b, 0) / view.length).toBeCloseTo(1, 9);
    let steps = 0;
    for (let i = 1; i < view.length; i++) if (i % width !== 0) steps += (view[i]! - view[i - 1]!) ** 2;
    expect(Math.sqrt(steps / view.length)).toBeLessThan(0.25);
  });

  it('is the same for a seed and another for another', () => {
    expect(background(40, 30, 1)).toEqual(background(40, 30, 1));
    expect(background(40, 30, 1)).not.toEqual(background(40, 30, 2));
  });

  it('is warmer below the horizon', () => {
    const [width, height] = [80, 60];
    const view = background(width, height, 9);
    const rows = (from: number, to: number): number => view.subarray(from * width, to * width).reduce((a, b) => a + b);
    expect(rows(50, 60)).toBeGreaterThan(rows(0, 10));
  });
});
