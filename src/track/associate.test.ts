import fc from 'fast-check';
import { expect, test } from 'vitest';
import { associate, type Candidate } from './associate.js';

const pairs = (found: Candidate[]) => found.map((c) => [c.track, c.detection]).sort((a, b) => a[0]! - b[0]!);

test('least total cost, not greedy, within a group; and a lone pair only below the cost of a miss', () => {
  const candidates = [
    { track: 0, detection: 0, cost: 1 },
    { track: 0, detection: 1, cost: 2 },
    { track: 1, detection: 0, cost: 2 },
    { track: 1, detection: 1, cost: 9 },
    { track: 2, detection: 5, cost: 19 },
    { track: 3, detection: 6, cost: 21 },
  ];
  expect(pairs(associate(candidates, 20))).toEqual([
    [0, 1],
    [1, 0],
    [2, 5],
  ]);
});

test('a second pair is not worth any price: a good pair is kept when splitting it costs more than a miss', () => {
  const candidates = [
    { track: 0, detection: 0, cost: 0.1 },
    { track: 0, detection: 1, cost: 9 },
    { track: 1, detection: 0, cost: 8 },
  ];
  expect(pairs(associate(candidates, 10))).toEqual([[0, 0]]);
  expect(pairs(associate(candidates, 20))).toEqual([
    [0, 1],
    [1, 0],
  ]);
});

test('the same as trying everything', () => {
  const MISS = 10;
  const best = (rows: number[][], used: Set<number>, i: number): number => {
    if (i === rows.length) return 0;
    let least = MISS + best(rows, used, i + 1);
    rows[i]!.forEach((cost, j) => {
      if (!Number.isFinite(cost) || used.has(j)) return;
      used.add(j);
      least = Math.min(least, cost + best(rows, used, i + 1));
      used.delete(j);
    });
    return least;
  };
  const cost = fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.double({ min: -5, max: 15, noNaN: true }));
  fc.assert(
    fc.property(fc.array(fc.array(cost, { minLength: 4, maxLength: 4 }), { minLength: 1, maxLength: 5 }), (rows) => {
      const candidates = rows.flatMap((row, track) =>
        row.flatMap((c, detection) => (Number.isFinite(c) ? [{ track, detection, cost: c }] : [])),
      );
      const chosen = associate(candidates, MISS);
      expect(new Set(chosen.map((c) => c.track)).size).toBe(chosen.length);
      expect(new Set(chosen.map((c) => c.detection)).size).toBe(chosen.length);
      const total = chosen.reduce((s, c) => s + c.cost, 0) + MISS * (rows.length - chosen.length);
      expect(total).toBeCloseTo(best(rows, new Set(), 0), 9);
    }),
    { seed: 9 },
  );
});
