import { expect, test } from 'vitest';
import { isTaken } from './activation-range.js';

test.each([
  [1, 8, [0]],
  [5, 8, [0, 1, 2, 3, 4]],
  [9, 2, [0, 5]],
  [10, 1, [0]],
  [15, 8, [0, 2, 4, 6, 8, 10, 12, 14]],
  [100, 4, [0, 25, 50, 75]],
])('of %i frames, %i evenly spread', (all, count, taken) => {
  expect(Array.from({ length: all }, (_, k) => k).filter((k) => isTaken(k, all, count))).toEqual(taken);
});
