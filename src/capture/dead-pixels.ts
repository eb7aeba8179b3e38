type Counts = Uint8Array | Uint16Array;

/** Pixels looked at in each frame, about: all of them in turn. */
const SLICE = 8192;
/** Looks in which a pixel must have shown the same fault, one after the other, and over how long, ms. */
const LEAST_LOOKS = 40;
const LEAST_MS = 10_000;
/** Looks without the fault after which a pixel is well again. */
const WELL_LOOKS = 20;
/**
 * A stuck pixel keeps its count for so many times as long as the pixels around it do. How long a live one keeps its count depends on
 * its noise and on how far its level is from a rounding edge, so only its neighbours tell: for white noise of any strength so many
 * times their longest runs is what a live pixel reaches with a chance of about 1e-12.
 */
const LONGER = 12;
/** The neighbourhood in which that is asked, px to each side, and how many of it may keep their count as long: a dead column. */
const WIDE = 3;
const WIDE_STILL = 6;
/** Of the nearest ones so many may: a saturated point is seldom one pixel alone. */
const NEAR_STILL = 2;
/** A hot or cold pixel stands out by so many times the usual difference of neighbours, ... */
const OUTLIER = 12;
/** ... and its neighbours share in it by less than this. Optics spread even a point over more than one pixel. */
const SHARPNESS = 0.08;
/** Most candidates followed at a time. */
const MOST_CANDIDATES = 4096;
/** Share of the pixels beyond which they are not replaced any more: the sensor is broken, or the picture is read wrongly. */
export const MOST_DEAD_SHARE = 0.005;

const LIVE = 0;
const STUCK = 1;
const OUTSTANDING = 2;

interface Candidate {
  looks: number;
  sinceNs: bigint;
  /** The sweep in which it last stood out. */
  sweep: number;
}

/**
 * Finds the pixels of a sensor that do not follow the scene, over many frames, and replaces them by the median of their neighbours.
 *
 * Stuck (dead at zero or full scale among them): the count stays exactly the same while those around it change. How long that must go
 * on follows from how long those around it keep theirs; where the noise is below about 0.4 counts, live pixels do so for too long, and
 * none is called stuck. Hot or cold: it stands out from its neighbours in every look, and they show
 * nothing of it. A real point source, even one that never moves, is spread over several pixels by the optics, so a target is not taken
 * for a fault. A pixel that is well again for some time is given back.
 */
export class DeadPixels {
  /** Dead ones now. */
  count = 0;
  private readonly state: Uint8Array;
  private readonly last: Counts;
  /** Looks in which the count was the same as before, in a row. */
  private readonly run: Uint8Array;
  /** The longest such row of late: shrinks by one with each change. */
  private readonly longest: Uint8Array;
  /** Looks since a dead pixel last showed its fault. */
  private readonly well = new Map<number, number>();
  private readonly candidates = new Map<number, Candidate>();
  private readonly neighbours = new Float64Array(8);
  private readonly rows: number;
  private readonly most: number;
  private row = 0;
  private sweeps = 0;
  private sweepNs: bigint | undefined;
  private difference = 0;
  private differences = 0;
  /** Of the last sweep. */
  private leastRun = Number.POSITIVE_INFINITY;
  private threshold = Number.POSITIVE_INFINITY;

  constructor(
    private readonly width: number,
    private readonly height: number,
    bits: number,
  ) {
    const n = width * height;
    this.state = new Uint8Array(n);
    this.run = new Uint8Array(n);
    this.longest = new Uint8Array(n);
    this.last = bits > 8 ? new Uint16Array(n) : new Uint8Array(n);
    this.rows = Math.max(1, Math.round(SLICE / width));
    this.most = Math.max(1, Math.floor(n * MOST_DEAD_SHARE));
  }

  /** More than can be replaced: `clean` leaves the picture alone. */
  get tooMany(): boolean {
    return this.count >= this.most;
  }

  /** Places of the dead ones, px. */
  places(): { x: number; y: number }[] {
    return [...this.well.keys()].map((i) => ({ x: i % this.width, y: Math.floor(i / this.width) }));
  }

  /** Looks at the next few rows. Not for pictures that show no scene: a closed shutter, a picture seen before. */
  look(data: Counts, atNs: bigint): void {
    const { width, height } = this;
    this.sweepNs ??= atNs;
    const end = Math.min(height, this.row + this.rows);
    for (let y = this.row; y < end; y++) this.lookAtRow(data, y * width, y > 1 && y < height - 2, atNs);
    this.row = end;
    if (end === height) this.endSweep(atNs);
  }

  /**
   * Copies a picture with its dead pixels replaced.
   * @returns false: there is nothing to replace, or too much; `out` is left as it was
   */
  clean(data: Counts, out: Counts): boolean {
    if (this.count === 0 || this.tooMany) return false;
    out.set(data);
    for (const i of this.well.keys()) out[i] = this.aroundMedian(data, i);
    return true;
  }

  private lookAtRow(data: Counts, start: number, inner: boolean, atNs: bigint): void {
    const { width, last, run, longest, state, threshold, leastRun } = this;
    const end = start + width;
    let difference = 0;
    for (let i = start; i < end; i++) {
      const v = data[i]!;
      if (v === last[i]) {
        if (run[i]! < 255) run[i]!++;
        if (state[i] === LIVE ? run[i]! >= leastRun : state[i] === STUCK && run[i]! >= WELL_LOOKS) this.keeps(i);
      } else {
        last[i] = v;
        longest[i] = Math.max(run[i]!, longest[i]! - 1);
        run[i] = 0;
        if (state[i] === STUCK) this.feelsWell(i);
      }
      if (i + 1 < end) {
        const d = v - data[i + 1]!;
        difference += d < 0 ? -d : d;
      }
      if (!inner || i - start < 2 || end - i < 3) continue;
      const left = v - data[i - 1]!;
      const right = v - data[i + 1]!;
      if ((left > threshold && right > threshold) || (left < -threshold && right < -threshold)) {
        if (this.standsOut(data, i)) this.suspect(i, atNs);
        else this.clear(i);
      } else if (state[i] === OUTSTANDING) this.feelsWell(i);
    }
    this.difference += difference;
    this.differences += width - 1;
  }

  private endSweep(atNs: bigint): void {
    this.row = 0;
    this.sweeps++;
    // In the first sweep there is nothing to compare with.
    if (this.sweeps > 1) {
      const sweepMs = Number(atNs - this.sweepNs!) / 1e6 / (this.sweeps - 1);
      this.leastRun = sweepMs > 0 ? Math.min(255, Math.max(LEAST_LOOKS, Math.ceil(LEAST_MS / sweepMs))) : 255;
    } else this.sweepNs = atNs;
    const usual = this.difference / Math.max(1, this.differences);
    this.threshold = OUTLIER * Math.max(usual, 0.5);
    this.difference = 0;
    this.differences = 0;
    // What did not stand out in the sweep that ends here is no candidate any more.
    for (const [i, { sweep }] of this.candidates) if (sweep + 1 < this.sweeps) this.candidates.delete(i);
  }

  /** It has kept its count for long: that is a fault where those around it do not. */
  private keeps(i: number): void {
    if (this.state[i] === STUCK && this.well.get(i) === 0) return;
    if (!this.aroundMoves(i, 1, NEAR_STILL) || !this.aroundMoves(i, WIDE, WIDE_STILL)) return;
    if (this.state[i] === LIVE) this.kill(i, STUCK);
    else this.well.set(i, 0);
  }

  /**
   * Do the pixels around it, up to `reach` px away, change much more often? Else they are all at the end of the scale, or the noise is
   * too low to tell. `still` of them need not.
   */
  private aroundMoves(i: number, reach: number, still: number): boolean {
    const { width, height, run, longest } = this;
    const x = i % width;
    // At the edge it is not in the middle.
    const left = Math.max(0, Math.min(x - reach, width - 1 - 2 * reach));
    const top = Math.max(0, Math.min((i - x) / width - reach, height - 1 - 2 * reach));
    const right = Math.min(width - 1, left + 2 * reach);
    const bottom = Math.min(height - 1, top + 2 * reach);
    const long = run[i]! / LONGER;
    // It is itself one of those that keep their count.
    let rest = still + 1;
    for (let v = top; v <= bottom; v++) {
      for (let j = v * width + left; j <= v * width + right; j++) {
        if ((run[j]! >= long || longest[j]! >= long) && rest-- === 0) return false;
      }
    }
    return true;
  }

  /** Is it a single pixel that stands out, without a share of its neighbours? */
  private standsOut(data: Counts, i: number): boolean {
    const { width: w, threshold } = this;
    const v = data[i]!;
    const up = data[i - w]!;
    const down = data[i + w]!;
    const sides = (data[i - 1]! + data[i + 1]! + up + down) / 4;
    const ring =
      (data[i - 2]! +
        data[i + 2]! +
        data[i - 2 * w]! +
        data[i + 2 * w]! +
        data[i - 2 * w - 2]! +
        data[i - 2 * w + 2]! +
        data[i + 2 * w - 2]! +
        data[i + 2 * w + 2]!) /
      8;
    const peak = v - ring;
    if (Math.abs(v - up) <= threshold || Math.abs(v - down) <= threshold) return false;
    return Math.abs(sides - ring) < SHARPNESS * Math.abs(peak);
  }

  private suspect(i: number, atNs: bigint): void {
    if (this.state[i] !== LIVE) {
      this.well.set(i, 0);
      return;
    }
    const candidate = this.candidates.get(i);
    if (candidate === undefined) {
      if (this.candidates.size < MOST_CANDIDATES)
        this.candidates.set(i, { looks: 1, sinceNs: atNs, sweep: this.sweeps });
      return;
    }
    candidate.looks++;
    candidate.sweep = this.sweeps;
    if (candidate.looks >= LEAST_LOOKS && Number(atNs - candidate.sinceNs) / 1e6 >= LEAST_MS) this.kill(i, OUTSTANDING);
  }

  private clear(i: number): void {
    this.candidates.delete(i);
    if (this.state[i] === OUTSTANDING) this.feelsWell(i);
  }

  private kill(i: number, how: number): void {
    this.candidates.delete(i);
    if (this.tooMany) return;
    this.state[i] = how;
    this.well.set(i, 0);
    this.count++;
  }

  private feelsWell(i: number): void {
    const looks = (this.well.get(i) ?? 0) + 1;
    if (looks < WELL_LOOKS) {
      this.well.set(i, looks);
      return;
    }
    this.state[i] = LIVE;
    this.well.delete(i);
    this.count--;
  }

  /** Median of the live neighbours; of all, where none lives. */
  private aroundMedian(data: Counts, i: number): number {
    const { neighbours, state } = this;
    let n = 0;
    this.eachNeighbour(i, (j) => {
      if (state[j] === LIVE) neighbours[n++] = data[j]!;
    });
    if (n === 0) return data[i]!;
    const sorted = neighbours.subarray(0, n).sort();
    return n % 2 === 1 ? sorted[(n - 1) / 2]! : Math.round((sorted[n / 2 - 1]! + sorted[n / 2]!) / 2);
  }

  private eachNeighbour(i: number, visit: (j: number) => void): void {
    const { width, height } = this;
    const x = i % width;
    const y = (i - x) / width;
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
      for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
        if (u !== x || v !== y) visit(v * width + u);
      }
    }
  }
}
