import { uniform } from '../../src/capture/random.js';
import type { Detection } from '../../src/types/detection.js';

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

/** Capture time of frame `k` at `fps`, ns. */
export function frameTime(k: number, fps = 30): bigint {
  return BigInt(Math.round((k * 1e9) / fps));
}
