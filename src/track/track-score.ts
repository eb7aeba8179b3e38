/**
 * The log-likelihood ratio of a track: target against false alarms, in nats. After S. S. Blackman, "Multiple hypothesis tracking for
 * multiple target tracking", IEEE AES Magazine 19(1), 2004, section "Track scoring": a pairing adds
 * `ln(Pd / (b 2 pi sqrt|S|)) - d^2 / 2` and the ratio of the likelihoods of the signal, a miss adds `ln(1 - Pd)`.
 *
 * Two departures, because false alarms of a detector are not independent from frame to frame: what a pairing proves is bounded (a
 * false alarm that repeats in its place is paired as well as a target), and so is what a signal proves.
 */

/** Probability that a faint target is detected in a frame, at any score that is looked at. */
const PD = 0.8;
/** Log ratio of the densities of new targets and of false alarms. */
const NEW_TARGET = -2;
/** Most that a pairing adds. Not reached where false alarms are dense, or the gate is wide. */
const MAX_PAIRING = 6;
/**
 * The log ratio of the likelihoods of a detection's score under target and false alarm, over the score less the threshold: a line
 * fitted to detections on and off the targets of real recordings, bounded.
 */
const SIGNAL_SLOPE = 12;
const SIGNAL_ZERO = -0.08;
const MAX_SIGNAL = 3;
/** Below the line: a low score says little against a faint target, whose scores are low. */
const MIN_SIGNAL = -1;
/** Least density of false alarms, 1/px^2: none seen for a while does not mean that there are none. */
const LEAST_DENSITY = 1e-6;
/** Frames over which the density is averaged. */
const DENSITY_FRAMES = 30;

/** How much likelier a target is to have this score than a false alarm, nats. `threshold`: from which a detection counts as strong. */
export function signalScore(score: number, threshold: number): number {
  const ratio = SIGNAL_SLOPE * (score - threshold - SIGNAL_ZERO);
  return Math.min(MAX_SIGNAL, Math.max(MIN_SIGNAL, ratio));
}

/** Score of a track that begins with this detection. */
export function startScore(score: number, threshold: number): number {
  return NEW_TARGET + signalScore(score, threshold);
}

/**
 * What a detection adds to its track.
 *
 * @param d2 squared Mahalanobis distance from the prediction
 * @param determinant of the covariance of that difference, px^4
 * @param density of false alarms, 1/px^2
 */
export function hitScore(d2: number, determinant: number, density: number, score: number, threshold: number): number {
  const expected = Math.max(density, LEAST_DENSITY) * 2 * Math.PI * Math.sqrt(determinant);
  return Math.min(MAX_PAIRING, Math.log(PD / expected) - d2 / 2) + signalScore(score, threshold);
}

/** What a frame without a detection adds. */
export const MISS_SCORE = Math.log(1 - PD);

/**
 * Score from which a sequential test calls it a target (Wald): `falseShare` of the false alarms and all but `missedShare` of the
 * targets pass.
 */
export function confirmScore(falseShare: number, missedShare: number): number {
  return Math.log((1 - missedShare) / falseShare);
}

/** Score below which it calls it a false alarm. */
export function rejectScore(falseShare: number, missedShare: number): number {
  return Math.log(missedShare / (1 - falseShare));
}

/** Density of false alarms in the frame, 1/px^2: detections that continue no confirmed track, averaged over the newest frames. */
export class ClutterDensity {
  private mean = 0;
  private frames = 0;

  constructor(private readonly area: number) {}

  observe(count: number): void {
    this.frames = Math.min(this.frames + 1, DENSITY_FRAMES);
    this.mean += (count - this.mean) / this.frames;
  }

  get value(): number {
    return this.mean / this.area;
  }
}
