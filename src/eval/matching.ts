import { assign } from '../util/assignment.js';

export interface Point {
  x: number;
  y: number;
}

/** Hits of one image: pairs of indices and their distance, px. */
export interface Hit {
  found: number;
  truth: number;
  distance: number;
}

/** px. */
export function distance(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

/** One-to-one matching: the most hits at a distance <= `radius` px, then the least sum of distances. */
export function match(found: readonly Point[], truth: readonly Point[], radius: number): Hit[] {
  const pairs = assign(found.length, truth.length, (i, j) => {
    const d = distance(found[i]!, truth[j]!);
    return d <= radius ? d : Number.POSITIVE_INFINITY;
  });
  const hits: Hit[] = [];
  pairs.forEach((j, i) => {
    if (j >= 0) hits.push({ found: i, truth: j, distance: distance(found[i]!, truth[j]!) });
  });
  return hits;
}
