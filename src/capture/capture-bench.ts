import { loadNative } from '../native.js';
import type { SourceCounters } from '../types/frame.js';
import { Percentiles, type Summary } from '../util/percentiles.js';
import { V4l2Source } from './v4l2.js';

const SIZE = { width: 640, height: 512 };
/** How long the slow consumer blocks its thread after each frame, ms. */
const BLOCK_MS = 25;
const SAMPLES = 200_000;
/** The first frames pay for compilation. */
const WARM_UP = 30;

/** Times in ms. */
export interface CapturePhase {
  seconds: number;
  frames: SourceCounters;
  /** From the end of the copy in the addon's thread to the frame being decoded in JavaScript. */
  readyToJs: Summary;
  /** From the capture to the same moment. */
  age: Summary;
  /** Of one core, 0 to 1, by the whole process: addon, decoder, fake device. */
  cpuShare: number;
  heapGrowthBytes: number;
}

export interface CaptureBenchReport {
  width: number;
  height: number;
  fourcc: string;
  fps: number;
  blockMs: number;
  /** A consumer that takes each frame as soon as it is there. */
  prompt: CapturePhase;
  /** One that blocks its thread for `blockMs` after each frame. */
  blocked: CapturePhase;
}

/**
 * Measures the capture of a camera in memory, addon and source together; `seconds` for each of the two phases.
 * @param fps Hz
 */
export async function runCaptureBench(seconds: number, fps: number, signal: AbortSignal): Promise<CaptureBenchReport> {
  const prompt = await measure(seconds, fps, signal, () => {});
  const blocked = await measure(seconds, fps, signal, () => {
    const until = performance.now() + BLOCK_MS;
    while (performance.now() < until);
  });
  return { ...SIZE, fourcc: 'Y16 ', fps, blockMs: BLOCK_MS, prompt, blocked };
}

async function measure(seconds: number, fps: number, signal: AbortSignal, work: () => void): Promise<CapturePhase> {
  const { FakeDevice, NativeCamera } = loadNative();
  const fake = new FakeDevice({
    formats: [
      { fourcc: 'Y16 ', sizes: [{ ...SIZE, intervals: [{ numerator: 1000, denominator: Math.round(fps * 1000) }] }] },
    ],
    fps,
    stampOnly: true,
  });
  const source = new V4l2Source(
    { kind: 'v4l2', device: '/dev/video0', rate: 'realtime' },
    { open: (path) => new NativeCamera(path, fake) },
  );
  const readyToJs = new Percentiles(SAMPLES);
  const age = new Percentiles(SAMPLES);
  await source.start(signal);
  try {
    for (let i = 0; i < WARM_UP; i++) {
      if ((await source.next()) === null) break;
      work();
    }
    const cpu = process.cpuUsage();
    const before = performance.now();
    const heap = process.memoryUsage().heapUsed;
    const first = source.counters();
    while (performance.now() - before < seconds * 1000) {
      const frame = await source.next();
      if (frame === null) break;
      const now = process.hrtime.bigint();
      readyToJs.add(Number(now - source.readyNs) / 1e6);
      age.add(Number(now - frame.captureMonotonicNs) / 1e6);
      work();
    }
    const took = performance.now() - before;
    const { user, system } = process.cpuUsage(cpu);
    return {
      seconds: took / 1000,
      frames: since(source.counters(), first),
      readyToJs: readyToJs.summary(),
      age: age.summary(),
      cpuShare: (user + system) / 1000 / took,
      heapGrowthBytes: process.memoryUsage().heapUsed - heap,
    };
  } finally {
    await source.stop();
  }
}

function since(now: SourceCounters, before: SourceCounters): SourceCounters {
  const dropped = Object.entries(now.dropped) as [keyof SourceCounters['dropped'], number][];
  return {
    captured: now.captured - before.captured,
    delivered: now.delivered - before.delivered,
    dropped: Object.fromEntries(dropped.map(([reason, n]) => [reason, n - (before.dropped[reason] ?? 0)])),
  };
}
