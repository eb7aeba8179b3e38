import { describe, expect, test } from 'vitest';
import type { SyntheticOptions } from '../capture/options.js';
import { SyntheticScene } from '../capture/synthetic.js';
import { FaintSearch } from './faint-search.js';
import type { SureDetection } from './tracker.js';

const SIZE = { width: 192, height: 160 };
const FPS = 30;
const EMPTY = 60;

function scene(seed: number, options: Omit<SyntheticOptions, 'kind' | 'rate' | 'seed'>) {
  const made = new SyntheticScene({ kind: 'synthetic', rate: 'fast', ...SIZE, seed, emptyFrames: EMPTY, ...options });
  const data = new Uint16Array(SIZE.width * SIZE.height);
  const search = new FaintSearch(SIZE.width, SIZE.height);
  return {
    truth: (k: number) => made.truthAt(k),
    /** Frame k, `late` seconds later than its turn. */
    step(k: number, late = 0): SureDetection[] {
      made.render(k, data);
      const captureMonotonicNs = BigInt(Math.round((k / FPS + late) * 1e9));
      return search.update({ ...SIZE, data, captureMonotonicNs });
    },
  };
}

describe('a search of faint targets over many frames', () => {
  test.each([3, 4, 5])(
    'SNR %i: nine of ten moving targets within ten frames of their first, and nothing else',
    (snr) => {
      let targets = 0;
      let inTime = 0;
      let others = 0;
      for (let seed = 501; seed <= 508; seed++) {
        const { truth, step } = scene(seed, { snr, targets: 3 });
        const found = new Set<number>();
        for (let k = 0; k < EMPTY + 10; k++) {
          const there = truth(k);
          for (const d of step(k)) {
            const hit = there.find((t) => Math.hypot(t.x - d.x, t.y - d.y) < 3);
            if (hit === undefined) others++;
            else found.add(hit.id);
          }
        }
        targets += truth(EMPTY).length;
        inTime += found.size;
      }
      expect(targets).toBe(24);
      expect(inTime).toBeGreaterThanOrEqual(22);
      expect(others).toBe(0);
    },
  );

  test('what it says of a target is true: place, speed, their errors', () => {
    const { truth, step } = scene(7, { snr: 5, targets: [{ x: 60, y: 60, vx: 0.6, vy: -0.3 }] });
    for (let k = 0; k < EMPTY + 15; k++) step(k);
    const errors: number[] = [];
    for (let k = EMPTY + 15; k < EMPTY + 65; k++) {
      const [found] = step(k);
      if (found === undefined) continue;
      const { x, y } = truth(k)[0]!;
      errors.push(((found.x - x) / found.sigmaX) ** 2, ((found.y - y) / found.sigmaY) ** 2);
      expect(Math.hypot(found.vx - 18, found.vy + 9)).toBeLessThan(5 * found.sigmaV + 2);
      expect(found.snr).toBeGreaterThan(2.5);
    }
    expect(errors.length).toBeGreaterThan(80);
    const mean = errors.reduce((a, b) => a + b) / errors.length;
    expect(mean).toBeGreaterThan(0.3);
    expect(mean).toBeLessThan(1.6);
  });

  test('noise and scene alone: nothing in a minute', () => {
    const { step } = scene(21, { targets: 0 });
    for (let k = 0; k < 60 * FPS; k++) expect(step(k)).toEqual([]);
  }, 60_000);

  test('a new light that stands still is none of its targets', () => {
    const { step } = scene(22, { snr: 5, targets: [{ x: 90, y: 70 }] });
    let frames = 0;
    for (let k = 0; k < EMPTY + 40; k++) frames += step(k).length;
    expect(frames).toBe(0);
  });

  test('after a gap it begins anew', () => {
    const { step } = scene(23, { snr: 5, targets: [{ x: 40, y: 60, vx: 0.7 }] });
    for (let k = 0; k < EMPTY + 12; k++) step(k);
    expect(step(EMPTY + 12)).toHaveLength(1);
    expect(step(EMPTY + 13, 5)).toEqual([]);
  });
});
