import { describe, expect, test } from 'vitest';
import { match } from './matching.js';
import { bootstrapF1, scoreImage, total } from './score.js';

describe('matching', () => {
  test('assignment, not greedy: two hits where the nearest first would make one', () => {
    const found = [
      { x: 0, y: 0 },
      { x: 4, y: 0 },
    ];
    const truth = [
      { x: 3, y: 0 },
      { x: 8.5, y: 0 },
    ];
    expect(match(found, truth, 5).map((h) => [h.found, h.truth])).toEqual([
      [0, 0],
      [1, 1],
    ]);
  });
  test('the radius is inclusive, and one detection hits one target only', () => {
    expect(match([{ x: 3, y: 4 }], [{ x: 0, y: 0 }], 5)).toEqual([{ found: 0, truth: 0, distance: 5 }]);
    expect(match([{ x: 3, y: 4.01 }], [{ x: 0, y: 0 }], 5)).toEqual([]);
    const twice = [
      { x: 0, y: 0 },
      { x: 1, y: 0 },
    ];
    expect(match(twice, [{ x: 0, y: 0 }], 5)).toEqual([{ found: 0, truth: 0, distance: 0 }]);
  });
});

test('totals of a set', () => {
  const a = scoreImage(
    'a',
    [
      { x: 1, y: 0 },
      { x: 50, y: 50 },
    ],
    [{ x: 0, y: 0 }],
    5,
    1e6,
  );
  const b = scoreImage('b', [], [{ x: 9, y: 9 }], 5, 1e6);
  expect(total([a, b])).toEqual({
    images: 2,
    targets: 2,
    tp: 1,
    fp: 1,
    fn: 1,
    precision: 0.5,
    recall: 0.5,
    f1: 0.5,
    falseAlarmsPerImage: 0.5,
    falseAlarmsPerMpx: 0.5,
    rmsPositionError: 1,
    meanPositionError: { x: 1, y: 0 },
  });
  expect(total([]).f1).toBe(0);
  expect(total([]).meanPositionError).toBeNull();
});

test('the mean error is detection less truth, over all hits', () => {
  const at = (x: number, y: number) => ({ x, y });
  const scores = [
    scoreImage('a', [at(10.5, 20), at(31, 39)], [at(10, 20), at(30, 40)], 5, 1),
    scoreImage('b', [at(4.5, 5), at(90, 90)], [at(6, 5)], 5, 1),
  ];
  expect(total(scores).meanPositionError).toEqual({ x: 0, y: -1 / 3 });
});

test('the bootstrap interval holds the value, is repeatable and is empty-proof', () => {
  const images = Array.from({ length: 50 }, (_, i) => ({
    name: `${i}`,
    tp: 1,
    fp: i % 5 === 0 ? 1 : 0,
    fn: 0,
    squared: 0,
    offX: 0,
    offY: 0,
    pixels: 1,
  }));
  const [low, high] = bootstrapF1(images);
  const { f1 } = total(images);
  expect(low).toBeLessThan(f1);
  expect(high).toBeGreaterThan(f1);
  expect(bootstrapF1(images)).toEqual([low, high]);
  expect(bootstrapF1([])).toEqual([0, 0]);
});
