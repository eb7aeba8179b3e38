import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inPolygon, mayOpen, type Point, type Zone, zonesAt } from './zones.js';

const SQUARE: Point[] = [
  [0, 0],
  [10, 0],
  [10, 10],
  [0, 10],
];
/** A "U", open above. */
const CONCAVE: Point[] = [
  [0, 0],
  [4, 0],
  [4, 6],
  [8, 6],
  [8, 0],
  [12, 0],
  [12, 10],
  [0, 10],
];

describe('inPolygon', () => {
  it.each([
    [5, 5, true],
    [0, 0, true],
    [10, 10, true],
    [10, 0, true],
    [0, 10, true],
    [5, 0, true],
    [0, 5, true],
    [10, 5, true],
    [5, 10, true],
    [-0.001, 5, false],
    [10.001, 5, false],
    [5, 10.001, false],
    [-5, 0, false],
    [15, 10, false],
    [Number.NaN, 5, false],
  ])('square: (%d, %d) is %s', (x, y, expected) => {
    expect(inPolygon(SQUARE, x, y)).toBe(expected);
    expect(inPolygon([...SQUARE].reverse(), x, y)).toBe(expected);
  });

  it.each([
    [2, 3, true],
    [6, 3, false],
    [6, 6, true],
    [6, 5.999, false],
    [10, 3, true],
    [6, 8, true],
    [4, 0, true],
    [6, 0, false],
    [-1, 6, false],
    [13, 6, false],
  ])('concave: (%d, %d) is %s', (x, y, expected) => {
    expect(inPolygon(CONCAVE, x, y)).toBe(expected);
  });

  it('holds corners, points on edges and weighted means of the corners of any convex polygon, and nothing far away', () => {
    const whole = fc.integer({ min: -500, max: 500 });
    const triangle = fc.tuple(whole, whole, whole, whole, whole, whole);
    fc.assert(
      fc.property(triangle, fc.integer({ min: 1, max: 9 }), ([ax, ay, bx, by, cx, cy], w) => {
        const polygon: Point[] = [
          [ax, ay],
          [bx, by],
          [cx, cy],
        ];
        for (const [x, y] of polygon) expect(inPolygon(polygon, x, y)).toBe(true);
        // Exact in floating point: halves of integers.
        expect(inPolygon(polygon, (ax + bx) / 2, (ay + by) / 2)).toBe(true);
        expect(inPolygon(polygon, 501 + w, 0)).toBe(false);
        const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
        fc.pre(area !== 0);
        const [u, v] = [w / 20, (10 - w) / 20];
        const inside: Point = [ax + u * (bx - ax) + v * (cx - ax), ay + u * (by - ay) + v * (cy - ay)];
        expect(inPolygon(polygon, ...inside)).toBe(true);
        // Mirrored at the middle of the edge b-c.
        expect(inPolygon(polygon, bx + cx - inside[0], by + cy - inside[1])).toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});

describe('mayOpen', () => {
  const zone = (name: string, kind: Zone['kind'], x: number): Zone => ({
    name,
    kind,
    polygon: [
      [x, 0],
      [x + 10, 0],
      [x + 10, 10],
      [x, 10],
    ],
  });
  const allowed = (zones: Zone[], x: number): boolean => mayOpen(zones, zonesAt(zones, x, 5));

  it('everywhere without zones, and with marks only', () => {
    expect(allowed([], 3)).toBe(true);
    expect(allowed([zone('m', 'mark', 0)], 3)).toBe(true);
    expect(allowed([zone('m', 'mark', 0)], 30)).toBe(true);
  });

  it('only inside of include zones where there are some', () => {
    const zones = [zone('a', 'include', 0), zone('b', 'include', 100), zone('m', 'mark', 50)];
    expect([3, 103, 30, 53].map((x) => allowed(zones, x))).toEqual([true, true, false, false]);
  });

  it('never inside of an ignore zone, even within an include zone', () => {
    const zones = [zone('a', 'include', 0), zone('i', 'ignore', 5)];
    expect([3, 7, 12].map((x) => allowed(zones, x))).toEqual([true, false, false]);
    expect(allowed([zone('i', 'ignore', 5)], 3)).toBe(true);
  });

  it('zonesAt names them in their order', () => {
    const zones = [zone('b', 'mark', 0), zone('a', 'ignore', 5)];
    expect(zonesAt(zones, 7, 5).map((z) => z.name)).toEqual(['b', 'a']);
  });
});
