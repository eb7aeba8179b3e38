import { FaintFilter, type FaintPoint, type SearchedFrame } from './faint-filter.js';
import type { FaintKernel } from './faint-kernel.js';
import { ClutterDensity } from './track-score.js';
import type { SureDetection } from './tracker.js';

export interface FaintSearchOptions {
  /** Least height of a maximum over the noise of the filtered frame. */
  least: number;
  /** Most maxima of a frame, and most hypotheses, the best first. */
  mostPoints: number;
  mostHypotheses: number;
  /** Probability that a target gives a maximum in a frame. */
  pd: number;
  /** Log-likelihood ratio, nats, from which a hypothesis is a target. */
  confirm: number;
  /** ... which has so many maxima, ... */
  hits: number;
  /** ... and moves: squared speed over its variance. */
  motion: number;
  /** Standard deviation per axis of the speeds that are expected, px/s. */
  speed: number;
  /** px^2/s^3 */
  processNoise: number;
  /** A hypothesis that is not confirmed within so many frames is given up; a confirmed one after so many misses in a row. */
  frames: number;
  misses: number;
}

export const FAINT_DEFAULTS: Readonly<FaintSearchOptions> = {
  least: 3.3,
  mostPoints: 120,
  mostHypotheses: 500,
  pd: 0.85,
  confirm: 17,
  hits: 5,
  motion: 4,
  speed: 24,
  processNoise: 10,
  frames: 30,
  misses: 12,
};

/** A possible target. Both axes have the same covariance. */
interface Hypothesis {
  x: number;
  y: number;
  vx: number;
  vy: number;
  pp: number;
  pv: number;
  vv: number;
  llr: number;
  best: number;
  hits: number;
  age: number;
  misses: number;
  confirmed: boolean;
  point: FaintPoint | null;
}

/** Squared Mahalanobis distance of a maximum from its prediction: 99 %. */
const GATE = 9.21;
/** Standard error of a maximum's position: this over its amplitude, and a floor, px. */
const POSITION = 1.4;
const POSITION_FLOOR = 0.12;
/** Amplitudes of targets are spread over so much above the least one. */
const SPREAD = 6;
const MOST_AMPLITUDE_SCORE = 4;
/** A hypothesis so far below its best, nats, has lost what it followed. */
const DROP = 8;
const LEAST_SCORE = -3;
/** Maxima of noise alone, 1/px^2: none seen while the search paused does not mean that there are none. */
const LEAST_DENSITY = 2e-4;
/** s */
const LONGEST_GAP = 1;
/** The matched filter's signal-to-noise ratio over that of the brightest pixel, of a point target (profile of sigma 0.9 px). */
const FILTER_GAIN = 1.68;

/**
 * Moving points that are too faint for one frame, found over many: track before detect. Maxima of each frame (`FaintFilter`) are linked to
 * hypotheses of constant velocity, whose log-likelihood ratio grows with each maximum that fits (as of `track-score.ts`, with the height of the
 * maximum as the signal). One instance a camera; no clock and no I/O. The constants were chosen on computed scenes: docs/tracking.md.
 */
export class FaintSearch {
  private readonly options: FaintSearchOptions;
  private readonly filter: FaintFilter;
  private live: Hypothesis[] = [];
  private readonly density: ClutterDensity;
  private last: bigint | undefined;

  constructor(
    private readonly width: number,
    private readonly height: number,
    options: Partial<FaintSearchOptions> = {},
    kernel?: FaintKernel,
  ) {
    this.options = { ...FAINT_DEFAULTS, ...options };
    this.filter = new FaintFilter(width, height, kernel);
    this.density = new ClutterDensity(width * height);
  }

  /** The targets that it is sure of, where they are seen in this frame. Every frame that is searched, in order, all of the size given. */
  update(frame: SearchedFrame & { readonly captureMonotonicNs: bigint }): SureDetection[] {
    const { options } = this;
    const dt = this.last === undefined ? 0 : Number(frame.captureMonotonicNs - this.last) / 1e9;
    this.last = frame.captureMonotonicNs;
    // What was followed is lost in a gap; the still picture, if it changed, is learnt anew by itself.
    if (dt < 0 || dt > LONGEST_GAP) this.live = [];
    const points = this.filter.run(frame, options.least, options.mostPoints);
    this.density.observe(points.length);
    this.predict(dt);
    const free = this.pair(points);
    this.settle();
    for (const point of free) this.begin(point);
    if (this.live.length > options.mostHypotheses) {
      this.live.sort(bestFirst);
      this.live.length = options.mostHypotheses;
    }
    const found: SureDetection[] = [];
    for (const h of this.live) if (h.confirmed && h.point !== null) found.push(detection(h, h.point));
    return found;
  }

  private predict(dt: number): void {
    const q = this.options.processNoise;
    for (const h of this.live) {
      h.x += h.vx * dt;
      h.y += h.vy * dt;
      h.pp += dt * (2 * h.pv + dt * h.vv) + (q * dt ** 3) / 3;
      h.pv += dt * h.vv + (q * dt * dt) / 2;
      h.vv += q * dt;
      h.point = null;
      h.age++;
    }
  }

  /** Best hypotheses first, each takes the maximum that raises it most. Returns the maxima that are left. */
  private pair(points: FaintPoint[]): FaintPoint[] {
    const { pd, least } = this.options;
    const density = Math.max(this.density.value, LEAST_DENSITY);
    const taken = new Set<FaintPoint>();
    const rows = new Map<number, FaintPoint[]>();
    for (const p of points) {
      const key = Math.round(p.y) >> 3;
      const row = rows.get(key);
      if (row === undefined) rows.set(key, [p]);
      else row.push(p);
    }
    this.live.sort(bestFirst);
    for (const h of this.live) {
      const reach = Math.sqrt(GATE * (h.pp + (POSITION / least) ** 2 + POSITION_FLOOR ** 2));
      let best: FaintPoint | null = null;
      let most = Number.NEGATIVE_INFINITY;
      for (let key = Math.floor((h.y - reach) / 8); key <= Math.floor((h.y + reach + 1) / 8); key++) {
        for (const p of rows.get(key) ?? []) {
          if (Math.abs(p.x - h.x) > reach || taken.has(p)) continue;
          const s = h.pp + error2(p);
          const d2 = ((p.x - h.x) ** 2 + (p.y - h.y) ** 2) / s;
          if (d2 > GATE) continue;
          const gain = Math.log(pd / (density * 2 * Math.PI * s)) - d2 / 2 + amplitudeScore(p.amplitude, least);
          if (gain > most) {
            most = gain;
            best = p;
          }
        }
      }
      if (best === null) continue;
      taken.add(best);
      h.llr += most;
      h.best = Math.max(h.best, h.llr);
      correct(h, best);
    }
    return points.filter((p) => !taken.has(p));
  }

  private settle(): void {
    const { pd, confirm, hits, motion, frames, misses } = this.options;
    const miss = Math.log(1 - pd);
    const { width, height } = this;
    this.live = this.live.filter((h) => {
      if (h.x < 0 || h.y < 0 || h.x > width || h.y > height) return false;
      if (h.point === null) {
        h.misses++;
        if (h.confirmed) return h.misses <= misses;
        h.llr += miss;
      } else h.misses = 0;
      if (h.confirmed) return true;
      if (h.llr < LEAST_SCORE || h.llr < h.best - DROP || h.age > frames) return false;
      const moves = h.vx ** 2 + h.vy ** 2 >= motion * h.vv;
      if (h.point !== null && h.hits >= hits && h.llr >= confirm && moves) h.confirmed = true;
      return true;
    });
  }

  private begin(point: FaintPoint): void {
    const llr = amplitudeScore(point.amplitude, this.options.least);
    this.live.push({
      x: point.x,
      y: point.y,
      vx: 0,
      vy: 0,
      pp: error2(point),
      pv: 0,
      vv: this.options.speed ** 2,
      llr,
      best: llr,
      hits: 1,
      age: 1,
      misses: 0,
      confirmed: false,
      point,
    });
  }
}

function bestFirst(a: Hypothesis, b: Hypothesis): number {
  return Number(b.confirmed) - Number(a.confirmed) || b.llr - a.llr;
}

function correct(h: Hypothesis, p: FaintPoint): void {
  const s = h.pp + error2(p);
  const k = h.pp / s;
  const kv = h.pv / s;
  const ux = p.x - h.x;
  const uy = p.y - h.y;
  h.x += k * ux;
  h.y += k * uy;
  h.vx += kv * ux;
  h.vy += kv * uy;
  h.vv -= kv * h.pv;
  h.pv *= 1 - k;
  h.pp *= 1 - k;
  h.hits++;
  h.point = p;
}

function error2({ amplitude }: FaintPoint): number {
  return (POSITION / amplitude) ** 2 + POSITION_FLOOR ** 2;
}

/** How much likelier a target is to be so high than noise is, nats: amplitudes of targets are spread evenly, maxima of noise fall as `a exp(-a^2/2)`. */
function amplitudeScore(amplitude: number, least: number): number {
  const noise = Math.log(least) - (amplitude * amplitude - least * least) / 2;
  return Math.min(MOST_AMPLITUDE_SCORE, -Math.log(SPREAD) - noise);
}

function detection({ vx, vy, vv }: Hypothesis, p: FaintPoint): SureDetection {
  const sigma = Math.sqrt(error2(p));
  return {
    x: p.x,
    y: p.y,
    sigmaX: sigma,
    sigmaY: sigma,
    score: 0,
    snr: p.amplitude / FILTER_GAIN,
    extent: 1,
    vx,
    vy,
    sigmaV: Math.sqrt(vv),
  };
}
