/** Times in seconds, distances in px. */
export interface ClutterOptions {
  /** Detections must have stood in a cell for this long, s. */
  learnSeconds: number;
  /** A marked cell without detections is forgotten after this long in view, s. */
  forgetSeconds: number;
  /** Radius of a cell, px. What moves faster than about `radius / learnSeconds` is never learnt. */
  radius: number;
  /** Largest number of cells; when full, the one with the least evidence gives way. */
  maxCells: number;
}

export const CLUTTER_DEFAULTS: Readonly<ClutterOptions> = {
  learnSeconds: 10,
  forgetSeconds: 300,
  radius: 2,
  maxCells: 256,
};

export interface ClutterCell {
  x: number;
  y: number;
}

interface Cell extends ClutterCell {
  /** Hits that its place was averaged over. */
  settled: number;
  /** Net time with a detection, s. */
  dwell: number;
  /** 0 while it is being learnt; 1 when marked, falling while nothing is seen in it. */
  strength: number;
  hit: boolean;
  /** Where the other origin was (`observe`) about the last minute, and for how long the cell had detections while that was elsewhere, s. */
  home: ClutterCell;
  apart: number;
}

/** Hits that the place of a new cell is averaged over; then it is fixed, or a slow target would drag it along. */
const SETTLE_HITS = 8;
/** A frame without a detection takes back this part of its time, so that a source seen in more than a third of the frames is learnt. */
const MISS_SHARE = 0.5;
/** Longer intervals count as this much, s: nothing is known of what stood there between two frames far apart. */
const LONGEST_STEP = 0.5;
/** In a map that is carried along with the scene, how far a marked cell follows each hit: makes up for the drift of the sum of shifts. */
const FOLLOW = 0.05;
/** The other origin drifts, as a sum of shifts: how slowly it may move and still count as at rest, s. */
const HOME_SECONDS = 60;

/**
 * Places where detections stand still for long. Cells are discs placed where detections are, not a grid, so that no source sits
 * on a border. Coordinates are whatever the caller uses throughout: sensor pixels, or pixels of the scene.
 */
export class ClutterMap {
  private readonly options: ClutterOptions;
  private readonly follows: boolean;
  private cells: Cell[] = [];
  /** Cells given up because there were too many. */
  displaced = 0;

  /** `follows`: marked cells creep after their detections, for coordinates that drift. */
  constructor(options: Readonly<ClutterOptions>, follows = false) {
    this.options = options;
    this.follows = follows;
  }

  /**
   * One frame: `dt` seconds after the last, with detections at `points`. `inView` tells which places the frame shows; `origin`, where
   * that is now which the points might be fixed to instead: the scene, in a map of the sensor.
   */
  observe(
    points: readonly ClutterCell[],
    dt: number,
    inView: (x: number, y: number) => boolean = () => true,
    origin: ClutterCell = { x: 0, y: 0 },
  ): void {
    const { learnSeconds, forgetSeconds, maxCells, radius } = this.options;
    const step = Math.min(Math.max(dt, 0), LONGEST_STEP);
    const fresh: ClutterCell[] = [];
    for (const p of points) {
      const cell = this.nearest(p.x, p.y);
      if (cell === undefined) {
        fresh.push(p);
        continue;
      }
      const share = cell.settled < SETTLE_HITS ? 1 / ++cell.settled : this.follows && cell.strength > 0 ? FOLLOW : 0;
      cell.x += share * (p.x - cell.x);
      cell.y += share * (p.y - cell.y);
      cell.hit = true;
    }
    for (const cell of this.cells) {
      cell.home.x += (step / HOME_SECONDS) * (origin.x - cell.home.x);
      cell.home.y += (step / HOME_SECONDS) * (origin.y - cell.home.y);
      if (cell.hit) {
        cell.hit = false;
        cell.dwell = Math.min(cell.dwell + step, learnSeconds);
        // What is fixed to the other origin would have left the cell.
        if (Math.hypot(origin.x - cell.home.x, origin.y - cell.home.y) > 2 * radius) cell.apart += step;
        // A hair of tolerance: the sum of many intervals must not miss the mark by rounding.
        if (cell.strength > 0 || cell.dwell > learnSeconds - 1e-9) cell.strength = 1;
      } else if (inView(cell.x, cell.y)) {
        if (cell.strength > 0) {
          cell.strength -= step / forgetSeconds;
          if (cell.strength <= 0) cell.dwell = 0;
        } else cell.dwell -= MISS_SHARE * step;
      }
    }
    this.cells = this.cells.filter((c) => c.strength > 0 || c.dwell > 0);
    for (const p of fresh) {
      if (this.cells.length >= maxCells && !this.makeRoom()) break;
      this.cells.push({
        x: p.x,
        y: p.y,
        settled: 1,
        dwell: Math.max(step, 1e-3),
        strength: 0,
        hit: false,
        home: { ...origin },
        apart: 0,
      });
    }
  }

  /** Is the place in a marked cell? */
  marked(x: number, y: number): boolean {
    const r2 = this.options.radius ** 2;
    return this.cells.some((c) => c.strength > 0 && (c.x - x) ** 2 + (c.y - y) ** 2 <= r2);
  }

  /** Centres of the marked cells. */
  markedCells(): ClutterCell[] {
    return this.cells.filter((c) => c.strength > 0).map(({ x, y }) => ({ x, y }));
  }

  /** Number of cells, those still being learnt too; never more than `maxCells`. */
  get size(): number {
    return this.cells.length;
  }

  markedCount(): number {
    let count = 0;
    for (const c of this.cells) if (c.strength > 0) count++;
    return count;
  }

  /** Forgets what may be fixed to the other origin: all cells that had no detections for `learnSeconds` while that was elsewhere. */
  keepProven(): void {
    this.cells = this.cells.filter((c) => c.apart > this.options.learnSeconds - 1e-9);
  }

  clear(): void {
    this.cells = [];
  }

  private nearest(x: number, y: number): Cell | undefined {
    let best: Cell | undefined;
    let least = this.options.radius ** 2;
    for (const cell of this.cells) {
      const d = (cell.x - x) ** 2 + (cell.y - y) ** 2;
      if (d <= least) {
        least = d;
        best = cell;
      }
    }
    return best;
  }

  /** Drops the unmarked cell with the least evidence; marked ones stay. Returns false when all are marked. */
  private makeRoom(): boolean {
    let worst = -1;
    this.cells.forEach((c, i) => {
      if (c.strength === 0 && (worst < 0 || c.dwell < this.cells[worst]!.dwell)) worst = i;
    });
    this.displaced++;
    if (worst < 0) return false;
    this.cells.splice(worst, 1);
    return true;
  }
}
