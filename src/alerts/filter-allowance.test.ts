import { describe, expect, it } from 'vitest';
import { FilterAllowance } from './filter-allowance.js';

function allowance() {
  let now = 0;
  const a = new FilterAllowance({ maxFilters: 3, perSecond: 2, maxBytes: 8 }, () => now);
  return { a, wait: (ms: number) => (now += ms) };
}

describe('FilterAllowance', () => {
  it('bounds what is held, and gives back what is released', () => {
    const { a, wait } = allowance();
    expect(['a', 'b', 'c'].map((f) => a.take(f))).toEqual([undefined, undefined, undefined]);
    wait(10_000);
    expect(a.take('d')).toBe('more than 3 subscriptions');
    expect(a.take('a')).toBeUndefined();
    a.release(['b', 'never there']);
    expect(a.take('d')).toBeUndefined();
  });

  it('bounds how often, the same one over and over too', () => {
    const { a, wait } = allowance();
    expect([1, 2, 3, 4].map(() => a.take('a'))).toEqual([undefined, undefined, undefined, expect.any(String)]);
    wait(1_000);
    expect([1, 2, 3].map(() => a.take('a'))).toEqual([undefined, undefined, 'more than 2 subscriptions a second']);
  });

  it('bounds the length, in bytes', () => {
    const { a } = allowance();
    expect(a.take('12345678')).toBeUndefined();
    expect(a.take('ääääa')).toBe('a filter over 8 bytes');
  });
});
