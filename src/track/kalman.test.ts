import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dice } from '../../test/fakes/detections.js';
import { ConstantVelocityFilter } from './kalman.js';

/** Symmetric positive definite, by Cholesky. */
function positive(p: Float64Array): boolean {
  const l = new Float64Array(16);
  for (let i = 0; i < 4; i++) {
    for (let j = 0; j <= i; j++) {
      if (p[i * 4 + j] !== p[j * 4 + i] && Math.abs(p[i * 4 + j]! - p[j * 4 + i]!) > 1e-9 * Math.abs(p[i * 4 + j]!))
        return false;
      let sum = p[i * 4 + j]!;
      for (let k = 0; k < j; k++) sum -= l[i * 4 + k]! * l[j * 4 + k]!;
      if (i === j) {
        if (!(sum > 0)) return false;
        l[i * 4 + i] = Math.sqrt(sum);
      } else l[i * 4 + j] = sum / l[j * 4 + j]!;
    }
  }
  return true;
}

describe('prediction', () => {
  test('moves the position by the velocity', () => {
    const f = new ConstantVelocityFilter(10, 20, 1, 1, 1);
    f.state.set([10, 20, 3, -4]);
    f.predict(0.5, 0);
    expect([...f.state]).toEqual([11.5, 18, 3, -4]);
  });

  test('grows from a known state as the integral of white acceleration: q t^3/3, q t^2/2, q t', () => {
    const f = new ConstantVelocityFilter(0, 0, 0, 0, 0);
    f.predict(2, 3);
    expect([0, 2, 10, 5, 7, 15].map((k) => f.covariance[k])).toEqual([8, 6, 6, 8, 6, 6]);
  });

  test('two steps are one long step, whatever the parts', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.001, max: 2, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (t, share) => {
          const once = new ConstantVelocityFilter(1, 2, 0.3, 0.5, 50);
          const twice = new ConstantVelocityFilter(1, 2, 0.3, 0.5, 50);
          for (const f of [once, twice]) f.state.set([1, 2, 30, -7]);
          once.predict(t, 50);
          twice.predict(t * share, 50);
          twice.predict(t * (1 - share), 50);
          once.state.forEach((v, k) => {
            expect(twice.state[k]).toBeCloseTo(v, 9);
          });
          once.covariance.forEach((v, k) => {
            expect(twice.covariance[k]).toBeCloseTo(v, 8);
          });
        },
      ),
    );
  });
});

test('without process noise it is the straight line of least squares', () => {
  const r = dice(1);
  const sigma = 0.3;
  const times = [0, 0.03, 0.1, 0.14, 0.3, 0.31, 0.5];
  const xs = times.map((t) => 5 + 40 * t + sigma * r.normal());
  // A velocity that is free: the first point is all that is known.
  const f = new ConstantVelocityFilter(xs[0]!, 0, sigma ** 2, sigma ** 2, 1e8);
  times.forEach((t, k) => {
    if (k === 0) return;
    f.predict(t - times[k - 1]!, 0);
    f.update(xs[k]!, 0, sigma ** 2, sigma ** 2);
  });
  const n = times.length;
  const mt = times.reduce((a, b) => a + b) / n;
  const mx = xs.reduce((a, b) => a + b) / n;
  const stt = times.reduce((a, t) => a + (t - mt) ** 2, 0);
  const slope = times.reduce((a, t, k) => a + (t - mt) * (xs[k]! - mx), 0) / stt;
  const end = times.at(-1)!;
  expect(f.state[2]).toBeCloseTo(slope, 3);
  expect(f.state[0]).toBeCloseTo(mx + slope * (end - mt), 4);
  expect(Math.sqrt(f.covariance[10]!)).toBeCloseTo(sigma / Math.sqrt(stt), 3);
  expect(Math.sqrt(f.covariance[0]!)).toBeCloseTo(sigma * Math.sqrt(1 / n + (end - mt) ** 2 / stt), 4);
});

test.each([
  [1 / 30, 50, 0.2],
  [1 / 9, 200, 0.1],
  [1 / 60, 5, 0.5],
])('steady state at T=%f s, q=%f, sigma=%f px obeys the closed form of the alpha-beta filter', (T, q, sigma) => {
  const f = new ConstantVelocityFilter(0, 0, 1, 1, 100);
  for (let k = 0; k < 3000; k++) {
    f.predict(T, q);
    f.update(0, 0, sigma ** 2, sigma ** 2);
  }
  // Updated covariance: p_xx = alpha R, p_xv = beta R / T. For continuous white acceleration the Riccati equation gives
  // beta^2 / (1 - alpha) = q T^3 / R and alpha^2 + alpha beta + beta^2 / 6 = 2 beta (Bar-Shalom et al., 6.5).
  for (const [xx, xv] of [
    [0, 2],
    [5, 7],
  ] as const) {
    const alpha = f.covariance[xx]! / sigma ** 2;
    const beta = (f.covariance[xv]! * T) / sigma ** 2;
    expect(beta ** 2 / (1 - alpha) / ((q * T ** 3) / sigma ** 2)).toBeCloseTo(1, 8);
    expect((alpha ** 2 + alpha * beta + beta ** 2 / 6) / (2 * beta)).toBeCloseTo(1, 8);
  }
});

test('a measured position with as much noise as the prediction is met half way, per axis', () => {
  const f = new ConstantVelocityFilter(0, 0, 1, 4, 0);
  expect(f.distance2(1, 2, 1, 4)).toBeCloseTo(0.5 + 0.5, 12);
  f.update(1, 2, 1, 4);
  expect([...f.state]).toEqual([0.5, 1, 0, 0]);
  expect(f.covariance[0]).toBeCloseTo(0.5, 12);
  expect(f.covariance[5]).toBeCloseTo(2, 12);
});

test('a shift of the scene moves the position and adds its doubt', () => {
  const f = new ConstantVelocityFilter(1, 2, 0.5, 0.5, 9);
  f.translate(-3, 4, 0.25);
  expect([f.state[0], f.state[1], f.covariance[0], f.covariance[5], f.covariance[10]]).toEqual([-2, 6, 0.75, 0.75, 9]);
});

test('the covariance stays symmetric and positive over long runs and extreme noise', () => {
  const step = fc.record({
    dt: fc.oneof(fc.constant(0), fc.double({ min: 1e-6, max: 5, noNaN: true })),
    rx: fc.constantFrom(1e-8, 1e-2, 1, 1e4),
    ry: fc.constantFrom(1e-8, 1e-2, 1, 1e4),
    update: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 200 }), fc.constantFrom(0.01, 50, 1e4), (steps, q) => {
      const f = new ConstantVelocityFilter(0, 0, 0.04, 0.04, 3600);
      for (const s of steps) {
        f.predict(s.dt, q);
        if (s.update) f.update(1, -1, s.rx, s.ry);
        expect(positive(f.covariance)).toBe(true);
      }
    }),
    { numRuns: 50, seed: 5 },
  );
});

test('errors are what the covariance says: normalised error squared averages to 2 per axis, innovations to 1', () => {
  const r = dice(3);
  const T = 1 / 30;
  const q = 50;
  const sigma = 0.2;
  let nees = 0;
  let innovations = 0;
  let count = 0;
  for (let run = 0; run < 200; run++) {
    const truth = { x: 0, v: 0 };
    const f = new ConstantVelocityFilter(sigma * r.normal(), 0, sigma ** 2, sigma ** 2, 3600);
    truth.v = 60 * r.normal();
    for (let k = 0; k < 60; k++) {
      // Exact discrete noise of white acceleration, by its Cholesky factors.
      const a = r.normal();
      const b = r.normal();
      truth.x += truth.v * T + Math.sqrt((q * T ** 3) / 3) * a;
      truth.v += Math.sqrt(q * T) * ((Math.sqrt(3) / 2) * a + b / 2);
      f.predict(T, q);
      const z = truth.x + sigma * r.normal();
      const zy = sigma * r.normal() + f.state[1]!;
      innovations += (z - f.state[0]!) ** 2 / (f.covariance[0]! + sigma ** 2);
      f.update(z, zy, sigma ** 2, sigma ** 2);
      const ex = truth.x - f.state[0]!;
      const ev = truth.v - f.state[2]!;
      const p = f.covariance;
      nees += (p[10]! * ex * ex - 2 * p[2]! * ex * ev + p[0]! * ev * ev) / (p[0]! * p[10]! - p[2]! ** 2);
      count++;
    }
  }
  expect(nees / count).toBeGreaterThan(1.85);
  expect(nees / count).toBeLessThan(2.15);
  expect(innovations / count).toBeGreaterThan(0.95);
  expect(innovations / count).toBeLessThan(1.05);
});
