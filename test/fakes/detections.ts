import { uniform } from '../../src/capture/random.js';
import type { Detection } from '../../src/types/detection.js';
import type { Track, TrackMoment } from '../../src/types/track.js';

/** Seeded deviates for simulated detections. */
export function dice(seed: number) {
  const random = uniform(seed);
  return {
    uniform: random,
    normal: () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
    poisson: (mean: number) => {
      const limit = Math.exp(-mean);
      let count = 0;
      for (let product = random(); product > limit; product *= random()) count++;
      return count;
    },
  };
}

export function detection(x: number, y: number, over: Partial<Detection> = {}): Detection {
  return { x, y, sigmaX: 0.2, sigmaY: 0.2, score: 0.8, snr: 5, extent: 0.8, ...over };
}

/** A confirmed track that stands where `found` is, seen in three frames, all at `moment`. */
export function confirmedTrack(id: number, found: Detection, moment: TrackMoment, over: Partial<Track> = {}): Track {
  return {
    ...found,
    id,
    state: 'confirmed',
    vx: 0,
    vy: 0,
    covarianceXY: 0,
    sigmaVx: 1,
    sigmaVy: 1,
    topScore: found.score,
    detection: found,
    hits: 3,
    misses: 0,
    firstSeen: moment,
    confirmedAt: moment,
    lastSeen: moment,
    stationary: false,
    sensorFixed: false,
    ...over,
  };
}

/** Capture time of frame `k` at `fps`, ns. */
export function frameTime(k: number, fps = 30): bigint {
  return BigInt(Math.round((k * 1e9) / fps));
}
