import { assign } from '../util/assignment.js';

/** A track that may have caused a detection, and what taking them as a pair costs. */
export interface Candidate {
  track: number;
  detection: number;
  cost: number;
}

/**
 * One-to-one pairs of least total cost, where leaving a track without a detection costs `missCost`. Only the candidates given
 * may pair. Returns the chosen candidates.
 *
 * Tracks that compete for no detection with others are settled on their own: the assignment is solved for each connected group
 * of candidates, which changes nothing in the result and makes the usual frame, where targets are apart, cost next to nothing.
 */
export function associate(candidates: readonly Candidate[], missCost: number): Candidate[] {
  const chosen: Candidate[] = [];
  for (const group of groups(candidates)) {
    if (group.length === 1) {
      if (group[0]!.cost < missCost) chosen.push(group[0]!);
      continue;
    }
    const rows = new Map<number, number>();
    const cols = new Map<number, number>();
    for (const c of group) {
      if (!rows.has(c.track)) rows.set(c.track, rows.size);
      if (!cols.has(c.detection)) cols.set(c.detection, cols.size);
    }
    const width = cols.size + rows.size;
    const table: (Candidate | undefined)[] = new Array(rows.size * width);
    for (const c of group) table[rows.get(c.track)! * width + cols.get(c.detection)!] = c;
    // The last columns stand for "no detection", one for each track: as many pairs as possible is not the aim, least cost is.
    const pairs = assign(rows.size, width, (i, j) =>
      j >= cols.size
        ? j - cols.size === i
          ? missCost
          : Number.POSITIVE_INFINITY
        : (table[i * width + j]?.cost ?? Number.POSITIVE_INFINITY),
    );
    pairs.forEach((j, i) => {
      const c = j < 0 ? undefined : table[i * width + j];
      if (c !== undefined) chosen.push(c);
    });
  }
  return chosen;
}

/** Candidates that share tracks or detections, directly or through others. */
function groups(candidates: readonly Candidate[]): Candidate[][] {
  const byTrack = new Map<number, number>();
  const byDetection = new Map<number, number>();
  const parent = Int32Array.from(candidates.keys());
  const root = (i: number): number => {
    let k = i;
    while (parent[k] !== k) {
      parent[k] = parent[parent[k]!]!;
      k = parent[k]!;
    }
    return k;
  };
  candidates.forEach((c, i) => {
    for (const [seen, key] of [
      [byTrack, c.track],
      [byDetection, c.detection],
    ] as const) {
      const other = seen.get(key);
      if (other === undefined) seen.set(key, i);
      else parent[root(i)] = root(other);
    }
  });
  const found = new Map<number, Candidate[]>();
  candidates.forEach((c, i) => {
    const r = root(i);
    const group = found.get(r);
    if (group === undefined) found.set(r, [c]);
    else group.push(c);
  });
  return [...found.values()];
}
