import { expect, test } from 'vitest';
import { Percentiles } from './percentiles.js';

test('nearest-rank percentiles of 1..100', () => {
  const p = new Percentiles();
  for (let i = 100; i >= 1; i--) p.add(i);
  expect(p.summary()).toEqual({ count: 100, mean: 50.5, p50: 50, p95: 95, p99: 99, max: 100 });
});

test('keeps the newest samples only', () => {
  const p = new Percentiles(3);
  for (const v of [100, 1, 2, 3]) p.add(v);
  expect(p.summary()).toMatchObject({ count: 3, p50: 2, max: 3 });
});

test('one sample is every percentile; none is NaN', () => {
  const p = new Percentiles();
  expect(p.summary().p50).toBeNaN();
  p.add(7);
  expect(p.summary()).toMatchObject({ p50: 7, p95: 7, p99: 7, max: 7 });
});
