import { describe, expect, test } from 'vitest';
import { dice } from '../../test/fakes/detections.js';
import { Fft2 } from './fft.js';

describe('two-dimensional transform', () => {
  test('is the sum that defines it', () => {
    const n = 8;
    const r = dice(1);
    const re = Float64Array.from({ length: n * n }, r.normal);
    const im = Float64Array.from({ length: n * n }, r.normal);
    const a = re.slice();
    const b = im.slice();
    new Fft2(n).forward(a, b);
    for (let v = 0; v < n; v++) {
      for (let u = 0; u < n; u++) {
        let x = 0;
        let y = 0;
        for (let k = 0; k < n * n; k++) {
          const phase = (-2 * Math.PI * (u * (k % n) + v * Math.floor(k / n))) / n;
          x += re[k]! * Math.cos(phase) - im[k]! * Math.sin(phase);
          y += re[k]! * Math.sin(phase) + im[k]! * Math.cos(phase);
        }
        expect(a[v * n + u]).toBeCloseTo(x, 10);
        expect(b[v * n + u]).toBeCloseTo(y, 10);
      }
    }
  });

  test.each([2, 16, 128])('of size %i: there and back again', (n) => {
    const r = dice(n);
    const re = Float64Array.from({ length: n * n }, r.normal);
    const im = Float64Array.from({ length: n * n }, r.normal);
    const a = re.slice();
    const b = im.slice();
    const fft = new Fft2(n);
    fft.forward(a, b);
    fft.inverse(a, b);
    let worst = 0;
    for (let k = 0; k < n * n; k++)
      worst = Math.max(worst, Math.abs(a[k]! / n ** 2 - re[k]!), Math.abs(b[k]! / n ** 2 - im[k]!));
    expect(worst).toBeLessThan(1e-12);
  });

  test.each([0, 1, 12, -4])('refuses size %i', (n) => {
    expect(() => new Fft2(n)).toThrow(RangeError);
  });
});
