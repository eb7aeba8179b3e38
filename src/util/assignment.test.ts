import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assign } from './assignment.js';

/** Best (pairs, cost) by trying everything. */
function bruteForce(table: number[][], row = 0, taken = 0): [number, number] {
  if (row === table.length) return [0, 0];
  let best = bruteForce(table, row + 1, taken);
  table[row]?.forEach((cost, col) => {
    if ((taken & (1 << col)) !== 0 || !Number.isFinite(cost)) return;
    const [pairs, sum] = bruteForce(table, row + 1, taken | (1 << col));
    if (pairs + 1 > best[0] || (pairs + 1 === best[0] && sum + cost < best[1])) best = [pairs + 1, sum + cost];
  });
  return best;
}

test('as many pairs as possible, at the least cost, one to one', () => {
  const cell = fc.oneof(fc.integer({ min: 0, max: 50 }), fc.constant(Number.POSITIVE_INFINITY));
  const tables = fc
    .tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 5 }))
    .chain(([r, c]) => fc.array(fc.array(cell, { minLength: c, maxLength: c }), { minLength: r, maxLength: r }));
  fc.assert(
    fc.property(tables, (table) => {
      const cols = table[0]?.length ?? 0;
      const got = assign(table.length, cols, (i, j) => table[i]![j]!);
      const pairs = [...got].flatMap((j, i) => (j >= 0 ? [table[i]![j]!] : []));
      expect(new Set([...got].filter((j) => j >= 0)).size).toBe(pairs.length);
      expect([pairs.length, pairs.reduce((a, b) => a + b, 0)]).toEqual(bruteForce(table));
    }),
    { seed: 7, numRuns: 400 },
  );
});
