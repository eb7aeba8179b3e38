/**
 * Minimum-cost one-to-one assignment (Hungarian method with potentials, O(n^2 m); see
 * https://en.wikipedia.org/wiki/Hungarian_algorithm#The_algorithm_in_terms_of_bipartite_graphs).
 *
 * `cost(i, j)` for `rows` x `cols`; `Infinity` forbids a pair. As many pairs as possible are made, then the sum is least.
 * Returns for each row its column, or -1.
 */
export function assign(rows: number, cols: number, cost: (row: number, col: number) => number): Int32Array {
  const result = new Int32Array(rows).fill(-1);
  if (rows === 0 || cols === 0) return result;
  if (rows > cols) {
    const swapped = assign(cols, rows, (i, j) => cost(j, i));
    for (let j = 0; j < cols; j++) if (swapped[j]! >= 0) result[swapped[j]!] = j;
    return result;
  }
  // A forbidden pair costs more than all allowed ones together, so it is only taken where nothing else is left.
  const table = new Float64Array(rows * cols);
  let sum = 1;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      const c = cost(i, j);
      table[i * cols + j] = c;
      if (Number.isFinite(c)) sum += Math.abs(c);
    }
  }
  for (let k = 0; k < table.length; k++) if (!Number.isFinite(table[k]!)) table[k] = sum;

  const u = new Float64Array(rows + 1);
  const v = new Float64Array(cols + 1);
  // owner[j]: row (1-based) that has column j; column 0 stands for "the row being placed".
  const owner = new Int32Array(cols + 1);
  const way = new Int32Array(cols + 1);
  const least = new Float64Array(cols + 1);
  const used = new Uint8Array(cols + 1);
  for (let i = 1; i <= rows; i++) {
    owner[0] = i;
    least.fill(Number.POSITIVE_INFINITY);
    used.fill(0);
    let j0 = 0;
    do {
      used[j0] = 1;
      const i0 = owner[j0]!;
      let delta = Number.POSITIVE_INFINITY;
      let j1 = 0;
      for (let j = 1; j <= cols; j++) {
        if (used[j]) continue;
        const reduced = table[(i0 - 1) * cols + j - 1]! - u[i0]! - v[j]!;
        if (reduced < least[j]!) {
          least[j] = reduced;
          way[j] = j0;
        }
        if (least[j]! < delta) {
          delta = least[j]!;
          j1 = j;
        }
      }
      for (let j = 0; j <= cols; j++) {
        if (used[j]) {
          u[owner[j]!]! += delta;
          v[j]! -= delta;
        } else least[j]! -= delta;
      }
      j0 = j1;
    } while (owner[j0] !== 0);
    do {
      const j1 = way[j0]!;
      owner[j0] = owner[j1]!;
      j0 = j1;
    } while (j0 !== 0);
  }
  for (let j = 1; j <= cols; j++) {
    const i = owner[j]! - 1;
    if (i >= 0 && table[i * cols + j - 1]! < sum) result[i] = j - 1;
  }
  return result;
}
