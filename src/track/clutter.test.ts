import { describe, expect, test } from 'vitest';
import { dice } from '../../test/fakes/detections.js';
import { CLUTTER_DEFAULTS, ClutterMap } from './clutter.js';

const FPS = 30;
const map = (over = {}, follows = false) => new ClutterMap({ ...CLUTTER_DEFAULTS, ...over }, follows);

describe('learning', () => {
  test('a place is marked after learnSeconds of detections, not before', () => {
    const m = map({ learnSeconds: 10 });
    for (let k = 0; k < 10 * FPS - 1; k++) m.observe([{ x: 5, y: 6 }], 1 / FPS);
    expect(m.marked(5, 6)).toBe(false);
    m.observe([{ x: 5, y: 6 }], 1 / FPS);
    expect(m.marked(5, 6)).toBe(true);
    expect(m.marked(6.9, 6)).toBe(true);
    expect(m.marked(7.1, 6)).toBe(false);
    expect(m.markedCount()).toBe(1);
  });

  test('a flickering source is learnt later; one in every fourth frame never', () => {
    const r = dice(1);
    const half = map();
    const rare = map();
    for (let k = 0; k < 120 * FPS; k++) {
      half.observe(r.uniform() < 0.6 ? [{ x: 50 + 0.2 * r.normal(), y: 50 }] : [], 1 / FPS);
      rare.observe(k % 4 === 0 ? [{ x: 50, y: 50 }] : [], 1 / FPS);
    }
    expect(half.marked(50, 50)).toBe(true);
    expect(rare.marked(50, 50)).toBe(false);
  });

  test('what moves is not learnt: half a pixel a second, noise and all', () => {
    const r = dice(2);
    const m = map();
    for (let k = 0; k < 60 * FPS; k++) {
      m.observe([{ x: 10 + (0.5 * k) / FPS + 0.2 * r.normal(), y: 50 + 0.2 * r.normal() }], 1 / FPS);
      expect(m.markedCount()).toBe(0);
    }
  });

  test('a long gap between frames proves no standing', () => {
    const m = map({ learnSeconds: 10 });
    m.observe([{ x: 1, y: 1 }], 0);
    for (let k = 0; k < 10; k++) m.observe([{ x: 1, y: 1 }], 60);
    expect(m.marked(1, 1)).toBe(false);
  });
});

describe('forgetting', () => {
  test('a marked place lasts forgetSeconds without detections, and one detection renews it', () => {
    const m = map({ learnSeconds: 1, forgetSeconds: 20 });
    for (let k = 0; k < 2 * FPS; k++) m.observe([{ x: 5, y: 5 }], 1 / FPS);
    for (let k = 0; k < 19 * FPS; k++) m.observe([], 1 / FPS);
    expect(m.marked(5, 5)).toBe(true);
    m.observe([{ x: 5, y: 5 }], 1 / FPS);
    for (let k = 0; k < 19 * FPS; k++) m.observe([], 1 / FPS);
    expect(m.marked(5, 5)).toBe(true);
    for (let k = 0; k < 2 * FPS; k++) m.observe([], 1 / FPS);
    expect(m.marked(5, 5)).toBe(false);
  });

  test('a place out of view is not forgotten', () => {
    const m = map({ learnSeconds: 1, forgetSeconds: 2 });
    for (let k = 0; k < 2 * FPS; k++) m.observe([{ x: 5, y: 5 }], 1 / FPS);
    for (let k = 0; k < 10 * FPS; k++) m.observe([], 1 / FPS, () => false);
    expect(m.marked(5, 5)).toBe(true);
  });
});

test('a map that follows makes up for slow drift, the other does not', () => {
  for (const follows of [true, false]) {
    const m = map({ learnSeconds: 2 }, follows);
    for (let k = 0; k < 3 * FPS; k++) m.observe([{ x: 5, y: 5 }], 1 / FPS);
    for (let k = 0; k < 60 * FPS; k++) m.observe([{ x: 5 + (0.2 * k) / FPS, y: 5 }], 1 / FPS);
    expect(m.markedCells()[0]!.x).toBeCloseTo(follows ? 17 : 5, 0);
  }
});

test('the number of cells is bounded; the marked ones stay', () => {
  const r = dice(4);
  const m = map({ learnSeconds: 1, maxCells: 10 });
  for (let k = 0; k < 2 * FPS; k++) m.observe([{ x: 5, y: 5 }], 1 / FPS);
  for (let k = 0; k < 100; k++)
    m.observe(
      Array.from({ length: 50 }, () => ({ x: 20 + 600 * r.uniform(), y: 500 * r.uniform() })),
      1 / FPS,
    );
  expect(m.displaced).toBeGreaterThan(0);
  expect(m.marked(5, 5)).toBe(true);
  expect(m.size).toBeLessThanOrEqual(10);
});

test('what stays while the other origin moves away is proven; drift of that is no proof', () => {
  const m = map({ learnSeconds: 2 });
  const observe = (points: { x: number; y: number }[], x: number) => m.observe(points, 1 / FPS, undefined, { x, y: 0 });
  const [lamp, pixel] = [
    { x: 50, y: 50 },
    { x: 80, y: 20 },
  ];
  // 2 px a minute.
  for (let k = 0; k < 240 * FPS; k++) observe([lamp, pixel], k / (30 * FPS));
  for (let k = 0; k < 2 * FPS; k++) observe([pixel], 20);
  expect(m.markedCount()).toBe(2);
  m.keepProven();
  expect(m.markedCells()).toEqual([pixel]);
});
