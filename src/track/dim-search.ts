import type { Detection } from '../types/detection.js';

/**
 * Targets too faint for single frames: sequences of weak detections that move as one body would are found by adding up their
 * log-likelihood ratios (track before detect on detections; S. S. Blackman, "Multiple hypothesis tracking for multiple target
 * tracking", IEEE AES Magazine 19(1), 2004). What false alarms are is learnt where they are: how many of which score this scene has, and
 * this part of it. Pure; no clock.
 */

export interface DimSearchOptions {
  width: number;
  height: number;
  /** Sequences of so many frames at most are looked at. */
  frames: number;
  /** Least number of detections in one. */
  hits: number;
  /** Standard deviation of the speed per axis that a target is expected to have, px/s. */
  startSpeed: number;
  /** Spectral density of its acceleration, px^2/s^3. */
  processNoise: number;
  /** Least speed, px/s, beyond the uncertainty of it, that counts as moving. */
  leastSpeed: number;
}

/** A weak detection, with the variance of its position along an axis, px^2. */
export interface DimDetection {
  detection: Detection;
  variance: number;
}

/** A sequence that is a target by its score. */
export interface DimTrack {
  x: number;
  y: number;
  /** px/s */
  vx: number;
  vy: number;
  /** Variances and covariance per axis: position px^2, position and speed px^2/s, speed px^2/s^2. */
  pp: number;
  pv: number;
  vv: number;
  /** Nats. */
  score: number;
  hits: number;
  age: number;
  topScore: number;
  detection: Detection;
}

interface Hypothesis extends DimTrack {
  /** Number of its newest detection in this frame, or -1. */
  newest: number;
  misses: number;
}

/** Lower ends of the classes of scores. A detection of a faint target falls into them with these probabilities, else it is missed. */
const CLASSES = [0, 0.1, 0.2, 0.35] as const;
const SHARES = [0.3, 0.28, 0.15, 0.07] as const;
const MISS = Math.log(1 - SHARES.reduce((a, b) => a + b, 0));
/** Target against false alarms before anything is seen: how many of the former appear for one of the latter. */
const PRIOR = -2;
/**
 * Score that makes it a target. With 500 false detections a second some two million sequences begin in an hour; of false ones a share of
 * exp(-score) reaches it at any time (Ville's inequality).
 */
export const DIM_CONFIRM = 14;
const REJECT = -6;
/** 99 % of the detections of a target are nearer. */
const GATE = 9.21;
/** Frames over which false alarms are counted; before, as if these had been seen in each class, per pixel. */
const MEMORY_FRAMES = 150;
const PRIOR_DENSITY = [2e-4, 2e-5, 2e-6, 1e-6] as const;
const LEAST_DENSITY = [2e-5, 4e-6, 1e-6, 5e-7] as const;
/** Side of the parts of the picture in which they are counted apart, px. */
const CELL = 16;
const MOST = 256;

export class DimSearch {
  private live: Hypothesis[] = [];
  private readonly columns: number;
  private readonly rows: number;
  /** Per class and frame: of the whole picture, and of each cell those of all classes. */
  private readonly rates = new Float64Array(CLASSES.length);
  private readonly cells: Float32Array;
  /** Frame in which a cell's rate was last brought up to date. */
  private readonly cellFrame: Uint32Array;
  private frame = 0;

  constructor(private readonly options: DimSearchOptions) {
    const { width, height } = options;
    this.columns = Math.ceil(width / CELL);
    this.rows = Math.ceil(height / CELL);
    this.cells = new Float32Array(this.columns * this.rows);
    this.cellFrame = new Uint32Array(this.columns * this.rows);
    for (let c = 0; c < CLASSES.length; c++) this.rates[c] = PRIOR_DENSITY[c]! * width * height;
  }

  /** Sequences now under way. */
  get size(): number {
    return this.live.length;
  }

  clear(): void {
    this.live = [];
  }

  /** The scene moved, px. */
  translate(dx: number, dy: number): void {
    for (const h of this.live) {
      h.x += dx;
      h.y += dy;
    }
  }

  /**
   * Takes in the weak detections of a frame that belong to no track, and returns the sequences that are targets now; they are
   * forgotten here.
   * @param dt since the previous frame, s
   */
  update(found: readonly DimDetection[], dt: number): DimTrack[] {
    this.frame++;
    const classes = found.map(({ detection }) => classOf(detection.score));
    const densities = found.map(({ detection }, i) => this.density(detection.x, detection.y, classes[i]!));
    this.count(found, classes);
    const explained = new Uint8Array(found.length);
    const next: Hypothesis[] = [];
    for (const h of this.live) this.extend(h, found, classes, densities, dt, next, explained);
    found.forEach(({ detection, variance }, i) => {
      if (explained[i] === 1) return;
      const { x, y, score } = detection;
      next.push({
        ...{ x, y, vx: 0, vy: 0, pp: variance, pv: 0, vv: this.options.startSpeed ** 2 },
        // How much likelier a target has this score, and stands here, than a false alarm.
        score: PRIOR + Math.log(SHARES[classes[i]!]! / shareOf(densities[i]!, this.total())),
        ...{ hits: 1, age: 1, topScore: score, detection, newest: i, misses: 0 },
      });
    });
    const done: Hypothesis[] = [];
    this.live = [];
    const taken = new Set<number>();
    next.sort((a, b) => b.score - a.score);
    for (const h of next) {
      // Of those that share their newest detection and their past, the best one stays; first ones keep their place for others' sake.
      if (h.hits > 2 && h.newest >= 0) {
        if (taken.has(h.newest)) continue;
        taken.add(h.newest);
      }
      if (h.newest >= 0 && h.hits >= this.options.hits && h.score >= DIM_CONFIRM && this.moves(h)) done.push(h);
      else if (this.live.length < MOST) this.live.push(h);
    }
    return done;
  }

  /** What becomes of a sequence in this frame: goes on with a detection, or without; a beginning goes on in every way. */
  private extend(
    h: Hypothesis,
    found: readonly DimDetection[],
    classes: readonly number[],
    densities: readonly number[],
    dt: number,
    next: Hypothesis[],
    explained: Uint8Array,
  ): void {
    const q = this.options.processNoise;
    h.x += h.vx * dt;
    h.y += h.vy * dt;
    h.pp += 2 * dt * h.pv + dt * dt * h.vv + (q * dt ** 3) / 3;
    h.pv += dt * h.vv + (q * dt * dt) / 2;
    h.vv += q * dt;
    h.age++;
    let best = -1;
    let gain = Number.NEGATIVE_INFINITY;
    if (h.age <= this.options.frames) {
      for (let i = 0; i < found.length; i++) {
        const { detection, variance } = found[i]!;
        const s = h.pp + variance;
        const dx = detection.x - h.x;
        if (dx * dx > GATE * s) continue;
        const dy = detection.y - h.y;
        const d2 = (dx * dx + dy * dy) / s;
        if (d2 > GATE) continue;
        const added = Math.log(SHARES[classes[i]!]! / (densities[i]! * 2 * Math.PI * s)) - d2 / 2;
        if (h.hits === 1) next.push(this.with(h, found[i]!, i, added));
        else if (added > gain) {
          best = i;
          gain = added;
        }
      }
      if (best >= 0) {
        const longer = this.with(h, found[best]!, best, gain);
        if (longer.hits > 2 && longer.score > 4) explained[best] = 1;
        next.push(longer);
      }
    }
    h.misses++;
    h.newest = -1;
    h.score += MISS;
    if (best < 0 && h.age < this.options.frames && h.score > REJECT && h.misses <= this.options.frames / 2)
      next.push(h);
  }

  private with(h: Hypothesis, { detection, variance }: DimDetection, newest: number, added: number): Hypothesis {
    const s = h.pp + variance;
    const k = h.pp / s;
    const kv = h.pv / s;
    const dx = detection.x - h.x;
    const dy = detection.y - h.y;
    return {
      x: h.x + k * dx,
      y: h.y + k * dy,
      vx: h.vx + kv * dx,
      vy: h.vy + kv * dy,
      pp: (1 - k) * h.pp,
      pv: (1 - k) * h.pv,
      vv: h.vv - kv * h.pv,
      score: h.score + added,
      hits: h.hits + 1,
      age: h.age,
      topScore: Math.max(h.topScore, detection.score),
      detection,
      newest,
      misses: 0,
    };
  }

  /** False alarms that repeat in their place are no targets, however surely they repeat. */
  private moves(h: Hypothesis): boolean {
    return Math.hypot(h.vx, h.vy) > this.options.leastSpeed + 2.5 * Math.sqrt(h.vv);
  }

  private total(): number {
    let sum = 0;
    for (const rate of this.rates) sum += rate;
    return sum / (this.options.width * this.options.height);
  }

  /** False alarms of a class, 1/px^2, there. */
  private density(x: number, y: number, scoreClass: number): number {
    const { width, height } = this.options;
    const area = width * height;
    const global = this.rates[scoreClass]! / area;
    const cell = this.cellOf(x, y);
    const share = global / this.total();
    const local = (this.cellRate(cell) / (CELL * CELL)) * share;
    return Math.max(global, local, LEAST_DENSITY[scoreClass]!);
  }

  private count(found: readonly DimDetection[], classes: readonly number[]): void {
    const weight = 1 / MEMORY_FRAMES;
    for (let c = 0; c < this.rates.length; c++) this.rates[c]! *= 1 - weight;
    found.forEach(({ detection }, i) => {
      this.rates[classes[i]!]! += weight;
      const cell = this.cellOf(detection.x, detection.y);
      this.cells[cell] = this.cellRate(cell) + weight;
      this.cellFrame[cell] = this.frame;
    });
  }

  /** Detections a frame; decays without being looked at. */
  private cellRate(cell: number): number {
    return this.cells[cell]! * Math.exp((this.cellFrame[cell]! - this.frame) / MEMORY_FRAMES);
  }

  private cellOf(x: number, y: number): number {
    const column = Math.min(this.columns - 1, Math.max(0, Math.floor(x / CELL)));
    const row = Math.min(this.rows - 1, Math.max(0, Math.floor(y / CELL)));
    return row * this.columns + column;
  }
}

function classOf(score: number): number {
  let c = CLASSES.length - 1;
  while (c > 0 && score < CLASSES[c]!) c--;
  return c;
}

/** Share of a class among the false alarms. */
function shareOf(density: number, total: number): number {
  return Math.max(density, 1e-9) / Math.max(total, 1e-9);
}
