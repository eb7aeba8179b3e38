import { Detector } from '../detect/detector.js';
import { BUNDLED_MANIFEST } from '../detect/manifest.js';
import { type PlainError, toPlainError } from '../types/errors.js';
import type { ProviderTrial, TryProviders } from './checks/providers.js';

const SIZE = { width: 256, height: 256 };
const RUNS = 5;

/** The CPU, on a frame with one target; and why the GPU's providers are not there. */
export const tryCpu: TryProviders = async ({ config }) => {
  const { threads } = config.detector;
  const trial: ProviderTrial = { provider: 'cpu' };
  try {
    const detector = await Detector.create(
      { manifest: config.detector.model ?? BUNDLED_MANIFEST, precision: 'fp32', threads },
      SIZE,
    );
    try {
      trial.library = detector.library;
      trial.latencyMs = await latency(detector);
    } finally {
      await detector.close();
    }
  } catch (cause) {
    const { code, message, hint }: PlainError = toPlainError(cause);
    trial.refusal = { code, message, ...(hint !== undefined && { hint }) };
  }
  return [trial];
};

/** Median of some runs, ms. @throws Error when the heat map has no peak where the target is */
async function latency(detector: Detector): Promise<number> {
  const data = new Uint16Array(SIZE.width * SIZE.height);
  // A ramp with some structure, and a target of 2 px in its middle.
  for (let i = 0; i < data.length; i++) data[i] = 5000 + ((i * 2_654_435_761) >>> 27);
  const centre = { x: SIZE.width >> 1, y: SIZE.height >> 1 };
  for (let y = -3; y <= 3; y++) {
    for (let x = -3; x <= 3; x++) {
      data[(centre.y + y) * SIZE.width + centre.x + x]! += Math.round(600 * Math.exp(-(x * x + y * y) / 2));
    }
  }
  const frame = { sequence: 0, captureMonotonicNs: 0n, capturedAtMs: 0, ...SIZE, bits: 16, data };
  const timings = { normalise: 0, infer: 0 };
  const times: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const { heat, cols } = await detector.run(frame, timings);
    times.push(timings.infer);
    const peak = heat.indexOf(Math.max(...heat));
    const [x, y] = [2 * (peak % cols), 2 * Math.floor(peak / cols)];
    if (Math.hypot(x - centre.x, y - centre.y) > 4)
      throw new Error(`it finds a target at ${x},${y} instead of the middle`);
  }
  return times.sort((a, b) => a - b)[RUNS >> 1]!;
}
