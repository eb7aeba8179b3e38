import { describe, expect, it } from 'vitest';
import { backoffMs } from './backoff.js';

describe('backoffMs', () => {
  it('doubles up to the limit', () => {
    const longest = [0, 1, 2, 3, 4, 5, 6, 1000].map((n) => backoffMs(n, 1000, 30_000, () => 1));
    expect(longest).toEqual([2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000]);
    const shortest = [0, 1, 2, 3, 4, 5].map((n) => backoffMs(n, 1000, 30_000, () => 0));
    expect(shortest).toEqual([1000, 2000, 4000, 8000, 15_000, 15_000]);
  });

  it('is never below the minimum nor above the maximum', () => {
    expect(backoffMs(0, 1000, 1000, () => 0)).toBe(1000);
    expect(backoffMs(9, 1000, 1000, () => 0.999)).toBeLessThanOrEqual(1000);
  });
});
