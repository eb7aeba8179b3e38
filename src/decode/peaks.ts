import type { Peak } from '../types/detection.js';
import { EdgeError } from '../types/errors.js';
import { fitPeak, MAX_WIDTH, MIN_WIDTH, type PeakFit } from './fit.js';

export interface PeakOptions {
  /** Lowest height of a peak, 0..1; heights below 1e-4 are never peaks, their logarithms say nothing. */
  low: number;
  /** Most peaks looked at in one map; the strongest stay. Default 256. */
  maxPeaks?: number;
}

export interface PeakResult {
  /** Strongest first; equal ones in reading order. */
  peaks: Peak[];
  /** Cells that held NaN or an infinity; they were read as 0. */
  invalidCells: number;
  /** Local maxima dropped because `maxPeaks` stronger ones exist. */
  capped: number;
  /** Local maxima dropped as part of a stronger peak. */
  merged: number;
}

export const DEFAULT_MAX_PEAKS = 256;
const MIN_HEIGHT = 1e-4;

/** A weaker peak is a part of a stronger one if the valley between them is above this share of the weaker. */
const MERGE_VALLEY = 0.85;
/** Reach of that rule: twice the stronger peak's width, within these limits, cells. */
const MERGE_NEAREST = 1.5;
const MERGE_FARTHEST = 5;

/** One plateau: its middle and the spread of its cells. */
interface Plateau {
  cell: number;
  u: number;
  v: number;
  sigmaU: number;
  sigmaV: number;
}

/**
 * Finds peaks in heat maps and keeps its scratch memory between calls. Not shared between threads; a result owns its peaks.
 *
 * A peak is a cell, or a connected flat of equal cells, with no higher neighbour (of 8) and at least one lower: a map that is one
 * flat has none. Scale-adaptive: fit window and suppression radius follow each peak's own width.
 */
export class PeakFinder {
  /** Cells at or above `low`. */
  private candidates = new Int32Array(0);
  /** Copy of a map that held invalid cells. */
  private clean = new Float32Array(0);
  /** 1 where a flat was already walked; only the cells in `stack` are ever set, and cleared again. */
  private visited = new Uint8Array(0);
  private stack = new Int32Array(0);
  /** Min-heap of the strongest candidates' cells. */
  private strongest = new Int32Array(0);
  private readonly fit: PeakFit = { du: 0, dv: 0, sigmaU: 0, sigmaV: 0, width: 0, method: 'none' };

  /**
   * @param heat `rows * cols` heights 0..1, row by row; never written to
   * @param logsig natural logarithm of the target's sigma in cells, same shape, or null
   * @throws EdgeError `HEAT_SHAPE` if a map has another size, `DECODE_OPTIONS` if an option is out of range
   */
  find(heat: Float32Array, logsig: Float32Array | null, rows: number, cols: number, options: PeakOptions): PeakResult {
    const { maxPeaks = DEFAULT_MAX_PEAKS } = options;
    checkArguments(heat, logsig, rows, cols, options.low, maxPeaks);
    const low = Math.max(MIN_HEIGHT, options.low);
    const total = rows * cols;
    if (this.candidates.length < total) this.candidates = new Int32Array(total);
    if (this.strongest.length < maxPeaks) this.strongest = new Int32Array(maxPeaks);

    const candidates = this.candidates;
    let count = 0;
    let invalidCells = 0;
    for (let i = 0; i < total; i++) {
      const h = heat[i]!;
      // Most cells end here; NaN and -Infinity fail it too.
      if (h < low && h !== Number.NEGATIVE_INFINITY) continue;
      if (h < Number.POSITIVE_INFINITY && h !== Number.NEGATIVE_INFINITY) candidates[count++] = i;
      else invalidCells++;
    }
    const map = invalidCells === 0 ? heat : this.cleaned(heat);

    const plateaus = new Map<number, Plateau>();
    const kept = this.strongestMaxima(map, rows, cols, count, maxPeaks, plateaus);
    const result: PeakResult = { peaks: [], invalidCells, capped: kept.maxima - kept.count, merged: 0 };
    const cells: number[] = [];
    for (let k = 0; k < kept.count; k++) {
      const cell = this.strongest[k]!;
      if (isPartOfStronger(map, cols, cell, cells, result.peaks)) {
        result.merged++;
        continue;
      }
      cells.push(cell);
      result.peaks.push(this.describe(map, logsig, rows, cols, cell, plateaus.get(cell)));
    }
    return result;
  }

  private cleaned(heat: Float32Array): Float32Array {
    if (this.clean.length !== heat.length) this.clean = new Float32Array(heat.length);
    for (let i = 0; i < heat.length; i++) {
      const h = heat[i]!;
      this.clean[i] = Number.isFinite(h) ? h : 0;
    }
    return this.clean;
  }

  /** Puts the cells of the strongest local maxima into `strongest`, best first. */
  private strongestMaxima(
    map: Float32Array,
    rows: number,
    cols: number,
    candidates: number,
    maxPeaks: number,
    plateaus: Map<number, Plateau>,
  ): { count: number; maxima: number } {
    const heap = this.strongest;
    let count = 0;
    let maxima = 0;
    let walked = 0;
    for (let k = 0; k < candidates; k++) {
      let cell = this.candidates[k]!;
      const kind = compareWithNeighbours(map, rows, cols, cell);
      if (kind === LOWER) continue;
      if (kind === FLAT) {
        if (this.visited.length < map.length) {
          this.visited = new Uint8Array(map.length);
          this.stack = new Int32Array(map.length);
        }
        if (this.visited[cell] === 1) continue;
        const end = this.walkPlateau(map, rows, cols, cell, walked);
        const plateau = end.isPeak ? plateauOf(this.stack, walked, end.end, cols) : null;
        walked = end.end;
        if (plateau === null) continue;
        cell = plateau.cell;
        plateaus.set(cell, plateau);
      }
      maxima++;
      if (count < maxPeaks) {
        heap[count] = cell;
        siftUp(heap, count++, map);
      } else if (isWeaker(map, heap[0]!, cell)) {
        heap[0] = cell;
        siftDown(heap, 0, count, map);
      }
    }
    for (let k = 0; k < walked; k++) this.visited[this.stack[k]!] = 0;
    // Heap sort: the weakest goes to the end each time, so the array ends strongest first.
    for (let last = count - 1; last > 0; last--) {
      const weakest = heap[0]!;
      heap[0] = heap[last]!;
      heap[last] = weakest;
      siftDown(heap, 0, last, map);
    }
    return { count, maxima };
  }

  /** Lists the flat that `cell` belongs to in `stack` from `start`; it is a peak if nothing beside it is higher and something lower. */
  private walkPlateau(
    map: Float32Array,
    rows: number,
    cols: number,
    cell: number,
    start: number,
  ): { end: number; isPeak: boolean } {
    const { visited, stack } = this;
    const height = map[cell]!;
    let end = start;
    let higher = false;
    let lower = false;
    stack[end++] = cell;
    visited[cell] = 1;
    for (let next = start; next < end; next++) {
      const at = stack[next]!;
      const row = Math.floor(at / cols);
      const col = at - row * cols;
      const lastRow = row < rows - 1 ? row + 1 : row;
      const firstCol = col > 0 ? col - 1 : col;
      const lastCol = col < cols - 1 ? col + 1 : col;
      for (let y = row > 0 ? row - 1 : row; y <= lastRow; y++) {
        for (let other = y * cols + firstCol; other <= y * cols + lastCol; other++) {
          const h = map[other]!;
          if (h > height) higher = true;
          else if (h < height) lower = true;
          else if (visited[other] === 0) {
            visited[other] = 1;
            stack[end++] = other;
          }
        }
      }
    }
    return { end, isPeak: lower && !higher };
  }

  private describe(
    map: Float32Array,
    logsig: Float32Array | null,
    rows: number,
    cols: number,
    cell: number,
    plateau: Plateau | undefined,
  ): Peak {
    const row = Math.floor(cell / cols);
    const col = cell - row * cols;
    const stated = logsig === null ? Number.NaN : clampWidth(Math.exp(logsig[cell]!));
    const fit = this.fit;
    fitPeak(map, rows, cols, row, col, stated, fit);
    const peak: Peak = {
      u: col + fit.du,
      v: row + fit.dv,
      sigmaU: fit.sigmaU,
      sigmaV: fit.sigmaV,
      score: Math.min(1, map[cell]!),
      // Geometric mean: widths are ratios, and the net states a logarithm.
      width: clampWidth(stated > 0 ? Math.sqrt(fit.width * stated) : fit.width),
    };
    // A flat without a shape to fit: its middle, and as error the spread of a target that may lie anywhere on it.
    if (plateau !== undefined && fit.method !== 'gauss') {
      peak.u = plateau.u;
      peak.v = plateau.v;
      peak.sigmaU = plateau.sigmaU;
      peak.sigmaV = plateau.sigmaV;
    }
    return peak;
  }
}

/** `PeakFinder.find` for one map, with scratch memory of its own. */
export function findPeaks(
  heat: Float32Array,
  logsig: Float32Array | null,
  rows: number,
  cols: number,
  options: PeakOptions,
): PeakResult {
  return new PeakFinder().find(heat, logsig, rows, cols, options);
}

function checkArguments(
  heat: Float32Array,
  logsig: Float32Array | null,
  rows: number,
  cols: number,
  low: number,
  maxPeaks: number,
): void {
  const valid = Number.isInteger(rows) && Number.isInteger(cols) && rows >= 0 && cols >= 0;
  if (!valid || heat.length !== rows * cols || (logsig !== null && logsig.length !== rows * cols)) {
    const sizes = logsig === null ? `${heat.length}` : `${heat.length} and ${logsig.length}`;
    throw new EdgeError('HEAT_SHAPE', `heat map of ${sizes} cells where ${rows} x ${cols} were expected`);
  }
  if (!(low >= 0 && low <= 1)) {
    throw new EdgeError('DECODE_OPTIONS', `lowest peak height is ${low}; expected 0 to 1`);
  }
  if (!(Number.isInteger(maxPeaks) && maxPeaks >= 1)) {
    throw new EdgeError('DECODE_OPTIONS', `largest number of peaks is ${maxPeaks}; expected a whole number from 1`);
  }
}

const LOWER = 0;
const FLAT = 1;
const HIGHEST = 2;

/** LOWER if a neighbour is higher, FLAT if one is equal and none higher, HIGHEST otherwise. */
function compareWithNeighbours(map: Float32Array, rows: number, cols: number, cell: number): number {
  const h = map[cell]!;
  const row = Math.floor(cell / cols);
  const col = cell - row * cols;
  const firstRow = row > 0 ? row - 1 : row;
  const lastRow = row < rows - 1 ? row + 1 : row;
  const firstCol = col > 0 ? col - 1 : col;
  const lastCol = col < cols - 1 ? col + 1 : col;
  let equals = 0;
  for (let y = firstRow; y <= lastRow; y++) {
    for (let i = y * cols + firstCol; i <= y * cols + lastCol; i++) {
      const other = map[i]!;
      if (other > h) return LOWER;
      if (other === h) equals++;
    }
  }
  // The cell equals itself; a map of one cell is a flat without an edge.
  return equals > 1 || map.length === 1 ? FLAT : HIGHEST;
}

/** Middle and spread of the flat listed in `stack[start..end)`; its cell is the one nearest to the middle. */
function plateauOf(stack: Int32Array, start: number, end: number, cols: number): Plateau {
  const cells = end - start;
  let sumU = 0;
  let sumV = 0;
  let squareU = 0;
  let squareV = 0;
  for (let k = start; k < end; k++) {
    const v = Math.floor(stack[k]! / cols);
    const u = stack[k]! - v * cols;
    sumU += u;
    sumV += v;
    squareU += u * u;
    squareV += v * v;
  }
  const u = sumU / cells;
  const v = sumV / cells;
  let nearest = stack[start]!;
  let best = Number.POSITIVE_INFINITY;
  for (let k = start; k < end; k++) {
    const row = Math.floor(stack[k]! / cols);
    const distance = (stack[k]! - row * cols - u) ** 2 + (row - v) ** 2;
    if (distance < best || (distance === best && stack[k]! < nearest)) {
      best = distance;
      nearest = stack[k]!;
    }
  }
  // 1/12: a cell is itself a flat of width one.
  const sigmaU = Math.sqrt(Math.max(0, squareU / cells - u * u) + 1 / 12);
  const sigmaV = Math.sqrt(Math.max(0, squareV / cells - v * v) + 1 / 12);
  return { cell: nearest, u, v, sigmaU, sigmaV };
}

/** Whether a stronger kept peak is near and the heat between the two hardly dips. */
function isPartOfStronger(map: Float32Array, cols: number, cell: number, keptCells: number[], kept: Peak[]): boolean {
  const row = Math.floor(cell / cols);
  const col = cell - row * cols;
  const limit = MERGE_VALLEY * map[cell]!;
  for (let k = 0; k < kept.length; k++) {
    const other = kept[k]!;
    const reach = Math.max(MERGE_NEAREST, Math.min(MERGE_FARTHEST, 2 * other.width));
    const otherRow = Math.floor(keptCells[k]! / cols);
    const otherCol = keptCells[k]! - otherRow * cols;
    // From cell to cell: two places of the same kind, and the ends of the valley are the peaks' own heights.
    if ((otherCol - col) ** 2 + (otherRow - row) ** 2 > reach * reach) continue;
    if (isValleyAbove(map, cols, row, col, otherRow, otherCol, limit)) return true;
  }
  return false;
}

/** Whether the heat, sampled bilinearly each half cell on the segment between two cells, stays above `limit`. */
function isValleyAbove(
  map: Float32Array,
  cols: number,
  row: number,
  col: number,
  toRow: number,
  toCol: number,
  limit: number,
): boolean {
  const steps = 2 * Math.max(Math.abs(toRow - row), Math.abs(toCol - col));
  const last = map.length - 1;
  for (let k = 1; k < steps; k++) {
    const y = row + ((toRow - row) * k) / steps;
    const x = col + ((toCol - col) * k) / steps;
    const top = Math.floor(y);
    const left = Math.floor(x);
    const fy = y - top;
    const fx = x - left;
    const at = top * cols + left;
    // On the last row or column the far cells have no share; `last` only keeps the index inside.
    const upper = map[at]! * (1 - fx) + map[Math.min(last, at + 1)]! * fx;
    const lower = map[Math.min(last, at + cols)]! * (1 - fx) + map[Math.min(last, at + cols + 1)]! * fx;
    if (upper * (1 - fy) + lower * fy <= limit) return false;
  }
  return true;
}

/** Order of strength: height, then reading order. */
function isWeaker(map: Float32Array, a: number, b: number): boolean {
  const ha = map[a]!;
  const hb = map[b]!;
  return ha < hb || (ha === hb && a > b);
}

function siftUp(heap: Int32Array, index: number, map: Float32Array): void {
  let at = index;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isWeaker(map, heap[at]!, heap[parent]!)) return;
    const cell = heap[at]!;
    heap[at] = heap[parent]!;
    heap[parent] = cell;
    at = parent;
  }
}

function siftDown(heap: Int32Array, index: number, count: number, map: Float32Array): void {
  let at = index;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= count) return;
    if (child + 1 < count && isWeaker(map, heap[child + 1]!, heap[child]!)) child++;
    if (!isWeaker(map, heap[child]!, heap[at]!)) return;
    const cell = heap[at]!;
    heap[at] = heap[child]!;
    heap[child] = cell;
    at = child;
  }
}

/** NaN stays NaN. */
function clampWidth(width: number): number {
  return Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, width));
}
