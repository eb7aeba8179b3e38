import type { Clock } from './clocks.js';
import type { JetsonModule } from './modules.js';

/** What an inference needs. */
export interface InferenceCost {
  flops: number;
  bytes: { fused: number; unfused: number };
  launches: { fused: number; unfused: number };
}

/** How long the GPU must take at the least, and what holds it up. ms. */
export interface Roofline {
  module: string;
  /** Clock that was reckoned with, MHz: what the power mode allows. */
  gpuMhz: number;
  /** FP16, dense. */
  peakTeraFlops: number;
  memoryGBps: number;
  cost: InferenceCost;
  computeMs: number;
  memoryMs: { fused: number; unfused: number };
  launchMs: { fused: number; unfused: number };
  /** Everything fused and launched fast, to nothing fused and launched slowly. */
  estimateMs: { best: number; worst: number };
  boundBy: 'compute' | 'memory' | 'launches';
  source: string;
}

/** From the start of one kernel to the next on a Jetson, fast and slow, ms. */
const LAUNCH_MS = { best: 0.005, worst: 0.01 };

/**
 * The roofline (Williams, Waterman, Patterson 2009, doi 10.1145/1498765.1498785) of one inference in FP16 on a Jetson's GPU, with the
 * time that starting its kernels takes, which is what counts in a small network. Copies to and from the GPU are not in it.
 *
 * @param gpu for the clock that the power mode allows; absent: the module's highest
 */
export function roofline(module: JetsonModule, gpu: Clock | undefined, cost: InferenceCost): Roofline {
  const gpuMhz = gpu?.maxHz === undefined ? module.gpuMhz : gpu.maxHz / 1e6;
  const peak = module.multiprocessors * module.fp16PerClock * gpuMhz * 1e6;
  const ms = (bytes: number) => (1000 * bytes) / (module.memoryGBps * 1e9);
  const computeMs = (1000 * cost.flops) / peak;
  const memoryMs = { fused: ms(cost.bytes.fused), unfused: ms(cost.bytes.unfused) };
  const launchMs = {
    fused: cost.launches.fused * LAUNCH_MS.best,
    unfused: cost.launches.unfused * LAUNCH_MS.worst,
  };
  // A kernel that is being launched hides behind the one that runs: the longer of the two counts.
  const best = Math.max(computeMs, memoryMs.fused, launchMs.fused);
  const worst = Math.max(computeMs, memoryMs.unfused) + launchMs.unfused;
  return {
    module: module.name,
    gpuMhz,
    peakTeraFlops: peak / 1e12,
    memoryGBps: module.memoryGBps,
    cost,
    computeMs,
    memoryMs,
    launchMs,
    estimateMs: { best, worst },
    boundBy: best === computeMs ? 'compute' : best === memoryMs.fused ? 'memory' : 'launches',
    source: module.source,
  };
}
