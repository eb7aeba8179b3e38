/**
 * The candidate nearest to a mistyped word, if any is near: letter case, `_` and `-` do not count, swapped letters count once.
 * Else the first that is the beginning of the word, or the other way round: `warning` for `warn`.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const plain = simplify(word);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance(plain, simplify(candidate));
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  // Two slips, or a third of a long word; never as many slips as there are letters.
  const allowed = Math.min(Math.max(2, Math.floor(plain.length / 3)), plain.length - 1);
  if (bestDistance <= allowed) return best;
  if (plain.length < 3) return undefined;
  return candidates.find((candidate) => {
    const other = simplify(candidate);
    return other.length >= 3 && (other.startsWith(plain) || plain.startsWith(other));
  });
}

function simplify(word: string): string {
  return word.slice(0, 64).toLowerCase().replaceAll(/[_-]/g, '');
}

/** Insertions, deletions, substitutions and swaps of neighbours that lead from `a` to `b` (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, beforeLast[j - 2]! + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
