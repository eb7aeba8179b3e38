import { describe, expect, it } from 'vitest';
import { gaussianTable, hash, standardise, uniform } from './random.js';

describe('hash', () => {
  it('is the same everywhere', () => {
    expect([hash(1), hash(1, 2), hash(1, 2, 3), hash(-5, 2 ** 40, 3, 4)]).toMatchInlineSnapshot(`
      [
        381424031,
        2943749067,
        474122638,
        3647854001,
      ]
    `);
  });

  it('differs for neighbours and for swapped arguments', () => {
    const seen = new Set<number>();
    for (let a = 0; a < 60; a++) for (let b = 0; b < 60; b++) seen.add(hash(a, b));
    expect(seen.size).toBe(3600);
  });
});

describe('uniform', () => {
  it('fills [0, 1) evenly and repeats for a seed', () => {
    const random = uniform(7);
    const bins = new Array<number>(10).fill(0);
    for (let i = 0; i < 20_000; i++) bins[Math.floor(random() * 10)]!++;
    for (const count of bins) expect(Math.abs(count - 2000)).toBeLessThan(200);
    expect(Array.from({ length: 3 }, uniform(7))).toEqual(Array.from({ length: 3 }, uniform(7)));
    expect(uniform(7)()).not.toBe(uniform(8)());
  });
});

describe('gaussianTable', () => {
  it('has mean 0, variance 1 and the tails of a normal distribution', () => {
    const table = gaussianTable(65_536, 3);
    const moment = (power: number): number => table.reduce((sum, value) => sum + value ** power, 0) / table.length;
    expect(moment(1)).toBeCloseTo(0, 5);
    expect(moment(2)).toBeCloseTo(1, 5);
    expect(Math.abs(moment(3))).toBeLessThan(0.05);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.15);
    const beyond2 = table.filter((value) => Math.abs(value) > 2).length / table.length;
    expect(Math.abs(beyond2 - 0.0455)).toBeLessThan(0.005);
  });

  it('takes odd counts', () => {
    expect(gaussianTable(7, 1).every(Number.isFinite)).toBe(true);
  });
});

describe('standardise', () => {
  it('leaves a constant at 0', () => {
    expect([...standardise(new Float64Array(5).fill(3))]).toEqual([0, 0, 0, 0, 0]);
  });
});
