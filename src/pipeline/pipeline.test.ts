import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.js';
import type { RecordingOptions } from '../capture/options.js';
import { RecordingSource } from '../capture/recording.js';
import type { Detector } from '../detect/detector.js';
import { BUNDLED_MANIFEST, readManifest } from '../detect/manifest.js';
import { EdgeError, EXIT } from '../types/errors.js';
import type { Frame, FrameSource, SourceCounters, SourceInfo } from '../types/frame.js';
import type { ProviderChange } from '../types/provider.js';
import type { CameraJob, FrameCounters, FrameResult, WorkerEvent } from './messages.js';
import { Pipeline, type PipelineParts } from './pipeline.js';

const SIZE = 16;
const job: CameraJob = {
  camera: 'cam0',
  source: { kind: 'synthetic', rate: 'fast' },
  detector: { manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 1 },
  threshold: 0.5,
};

/** Hands out `count` equal frames; then ends, or throws `failure`. */
class ScriptedSource implements FrameSource {
  stops = 0;
  private given = 0;
  constructor(
    private readonly count: number,
    private readonly failure?: Error,
    private readonly startFailure?: Error,
  ) {}
  async start(): Promise<SourceInfo> {
    if (this.startFailure) throw this.startFailure;
    return { description: 'scripted', width: SIZE, height: SIZE, bits: 8 };
  }
  async next(): Promise<Frame | null> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.given === this.count) {
      if (this.failure) throw this.failure;
      return null;
    }
    return {
      sequence: this.given++,
      captureMonotonicNs: process.hrtime.bigint(),
      capturedAtMs: Date.now(),
      width: SIZE,
      height: SIZE,
      bits: 8,
      data: new Uint8Array(SIZE * SIZE).fill(50),
    };
  }
  counters(): SourceCounters {
    return { captured: this.given + 2, delivered: this.given, dropped: { stale: 2 } };
  }
  async stop(): Promise<void> {
    this.stops++;
  }
}

type FakeDetector = Awaited<ReturnType<PipelineParts['createDetector']>>;
const manifest = await readManifest(BUNDLED_MANIFEST);

/** A heat map with one peak at cell (3, 4), through `each` before every run. */
function fakeDetector(each: (heat: Float32Array, run: number) => void = () => {}): FakeDetector & { closed: number } {
  let runs = 0;
  const detector = {
    manifest,
    identity: { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' as const },
    provider: 'cpu',
    library: 'none',
    runsApart: false,
    closed: 0,
    run: (async () => {
      const heat = new Float32Array(64);
      for (let v = 0; v < 8; v++)
        for (let u = 0; u < 8; u++) heat[8 * v + u] = 0.9 * Math.exp(-((u - 3) ** 2 + (v - 4) ** 2) / 2);
      each(heat, runs++);
      return { heat, logsig: new Float32Array(64), rows: 8, cols: 8 };
    }) as Detector['run'],
    async close() {
      this.closed++;
    },
  };
  return detector;
}

async function play(source: FrameSource, detector: FakeDetector, signal = new AbortController().signal, more = {}) {
  const events: WorkerEvent[] = [];
  const parts: PipelineParts = { createSource: () => source, createDetector: async () => detector };
  await new Pipeline({ ...job, ...more }, (event) => events.push(event), parts).run(signal);
  const frames = events.filter((e): e is FrameResult => e.type === 'frame');
  const last = events.at(-1) as Extract<WorkerEvent, { type: 'ended' | 'failed' }>;
  return { events, frames, last };
}

function expectIdentity(c: FrameCounters): void {
  expect(c.processed + Object.values(c.dropped).reduce((a, b) => a + b, 0)).toBe(c.captured);
}

describe('what runs the network', () => {
  test('is told before the camera is ready and while it runs, then with the model', async () => {
    const events: WorkerEvent[] = [];
    const detector = fakeDetector((_, run) => {
      if (run === 1) step('serving', 'tensorrt');
    });
    let step: (kind: ProviderChange['kind'], provider: 'tensorrt' | 'cpu') => void = () => {};
    const parts: PipelineParts = {
      createSource: () => new ScriptedSource(3),
      createDetector: async (_job, _info, { onChange }) => {
        step = (kind, provider) =>
          onChange!(
            { kind, provider, message: kind },
            { provider, library: 'x', wanted: [], refused: [], demotions: 0 },
          );
        step('refused', 'tensorrt');
        return detector;
      },
    };
    await new Pipeline(job, (event) => events.push(event), parts).run(new AbortController().signal);
    const told = events.flatMap((e, i) => (e.type === 'provider' ? [{ ...e, i }] : []));
    expect(told).toMatchObject([
      { i: 0, change: { kind: 'refused' }, status: { wanted: [] } },
      { change: { kind: 'serving', provider: 'tensorrt' }, model: { name: 'fake' } },
    ]);
    expect(told[0]).not.toHaveProperty('model');
  });

  test('a stop ends the wait for an engine in good order', async () => {
    const events: WorkerEvent[] = [];
    const stop = new AbortController();
    const parts: PipelineParts = {
      createSource: () => new ScriptedSource(3),
      createDetector: (_job, _info, { signal }) =>
        new Promise((_, reject) => signal!.addEventListener('abort', () => reject(new Error('stopped')))),
    };
    const run = new Pipeline(job, (event) => events.push(event), parts).run(stop.signal);
    setTimeout(() => stop.abort(), 5);
    await run;
    expect(events.map((e) => e.type)).toEqual(['ended']);
  });
});

describe('pipeline', () => {
  test('far below the strongest is no detection of the frame, but a track all the same', async () => {
    const second = (heat: Float32Array) => {
      heat[7] = 0.6;
    };
    const live = new AbortController().signal;
    const run = (own: Pick<CameraJob, 'relativeThreshold'>) =>
      play(new ScriptedSource(12), fakeDetector(second), live, own);
    const [all, plain] = [await run({ relativeThreshold: 0 }), await run({ relativeThreshold: 0.7 })];
    // The model has one of its own, which holds where none is configured.
    expect((await run({})).frames.map((f) => f.detections.length)).toEqual(Array(12).fill(1));
    expect(all.frames.map((f) => f.detections.length)).toEqual(Array(12).fill(2));
    expect(plain.frames.map((f) => f.detections.length)).toEqual(Array(12).fill(1));
    expect(plain.frames.flatMap((f) => f.tracks.started)).toHaveLength(2);
  });

  test('ready, a result for every frame, ended; and every frame is accounted for', async () => {
    const source = new ScriptedSource(5);
    const detector = fakeDetector();
    const { events, frames, last } = await play(source, detector);
    expect(events[0]).toMatchObject({ type: 'ready', provider: 'cpu', threshold: 0.5, model: { name: 'fake' } });
    expect(frames.map((f) => f.sequence)).toEqual([0, 1, 2, 3, 4]);
    for (const { detections, timings } of frames) {
      expect(detections).toHaveLength(1);
      expect(detections[0]!.x).toBeCloseTo(6.5, 1);
      expect(detections[0]!.y).toBeCloseTo(8.5, 1);
      expect(timings.total).toBeGreaterThanOrEqual(timings.decode + timings.track);
    }
    expect(last).toMatchObject({ type: 'ended', counters: { captured: 7, processed: 5, dropped: { stale: 2 } } });
    expectIdentity(last.counters);
    expect([source.stops, detector.closed]).toEqual([1, 1]);
  });

  test('a recording says the same of its targets, played fast or at its own rate', async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'irst-recording-'));
    const frames = 60;
    const fps = 30;
    const [width, height] = [96, 16];
    try {
      const file = path.join(dir, 'clip.y16');
      await writeFile(file, Buffer.alloc(2 * width * height * frames, 20));
      await writeFile(path.join(dir, 'clip.json'), JSON.stringify({ width, height, fps }));
      const [fast, slow] = await Promise.all(
        (['fast', 'realtime'] as const).map(async (rate) => {
          const source: RecordingOptions = { kind: 'recording', path: file, rate };
          const detector = fakeDetector();
          // A target that goes 1 px a frame: half a cell.
          detector.run = (async ({ sequence }: Frame) => {
            const [rows, cols] = [height / 2, width / 2];
            const heat = new Float32Array(rows * cols);
            for (let v = 0; v < rows; v++)
              for (let u = 0; u < cols; u++)
                heat[v * cols + u] = 0.9 * Math.exp(-((u - 4 - sequence / 2) ** 2 + (v - 4) ** 2) / 2);
            return { heat, logsig: new Float32Array(rows * cols), rows, cols };
          }) as unknown as Detector['run'];
          const played = await play(new RecordingSource(source, { clock: new FakeClock() }), detector, undefined, {
            source,
          });
          const { moment, updated } = played.frames.at(-1)!.tracks;
          expect(updated).toHaveLength(1);
          const ageMs = Number(moment.monotonicNs - updated[0]!.firstSeen.monotonicNs) / 1e6;
          return { frames: played.frames.length, vx: updated[0]!.vx, sigmaVx: updated[0]!.sigmaVx, ageMs };
        }),
      );
      expect(slow!.vx / fps).toBeCloseTo(1, 1);
      expect(fast).toEqual({
        frames,
        vx: expect.closeTo(slow!.vx, 3),
        sigmaVx: expect.closeTo(slow!.sigmaVx, 3),
        ageMs: expect.closeTo(slow!.ageMs, 3),
      });
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  test('NaN in the heat map is counted and found nowhere', async () => {
    const { frames, last } = await play(
      new ScriptedSource(2),
      fakeDetector((heat) => heat.fill(Number.NaN)),
    );
    expect(frames.every((f) => f.detections.length === 0)).toBe(true);
    expect(last.counters.invalidCells).toBe(128);
  });

  test('a failed inference costs its frame, with a reason, and no more', async () => {
    const detector = fakeDetector((_, run) => {
      if (run === 1) throw new Error('device lost');
    });
    const { frames, last, events } = await play(new ScriptedSource(4), detector);
    expect(events.filter((e) => e.type === 'fault')).toMatchObject([
      { reason: 'inference', error: { code: 'INFERENCE_FAILED', message: 'an inference failed: device lost' } },
    ]);
    expect(frames.map((f) => f.sequence)).toEqual([0, 2, 3]);
    expect(last).toMatchObject({ type: 'ended', counters: { processed: 3, dropped: { stale: 2, inference: 1 } } });
    expectIdentity(last.counters);
  });

  test('ten failed inferences in a row end the worker with a clear error', async () => {
    const detector = fakeDetector(() => {
      throw new Error('device lost');
    });
    const { last } = await play(new ScriptedSource(50), detector);
    expect(last).toMatchObject({
      type: 'failed',
      error: { code: 'INFERENCE_FAILED' },
      counters: { dropped: { inference: 10 } },
    });
    expectIdentity(last.counters);
    expect(detector.closed).toBe(1);
  });

  test('a source that fails keeps its code and hint across the thread, and is stopped', async () => {
    const failure = new EdgeError('SOURCE_STALLED', 'no frame for 10 s', {
      hint: 'check the cable',
      exitCode: EXIT.unavailable,
    });
    const source = new ScriptedSource(2, failure);
    const { last } = await play(source, fakeDetector());
    expect(last).toMatchObject({
      type: 'failed',
      error: { code: 'SOURCE_STALLED', hint: 'check the cable', exitCode: 69 },
    });
    expect(source.stops).toBe(1);
    const refused = new ScriptedSource(0, undefined, failure);
    expect((await play(refused, fakeDetector())).last.type).toBe('failed');
    expect(refused.stops).toBe(1);
  });

  test('stopped in the middle: the frame under way is dropped as shutdown, and the sum still holds', async () => {
    const stop = new AbortController();
    const source = new ScriptedSource(1000);
    const detector = fakeDetector((_, run) => {
      if (run === 5) stop.abort();
    });
    const { frames, last } = await play(source, detector, stop.signal);
    expect(frames.length).toBe(6);
    expect(last.type).toBe('ended');
    expectIdentity(last.counters);
  });

  test('counts what is dropped while no frame comes, but not in the midst of one', async () => {
    const stop = new AbortController();
    const source = new ScriptedSource(1);
    let given = 0;
    let damaged = 0;
    const next = source.next.bind(source);
    let waiting = () => {};
    const waits = new Promise<void>((resolve) => {
      waiting = resolve;
    });
    // One frame, then only damaged ones.
    source.next = async () => {
      if (given++ === 0) return next();
      waiting();
      return new Promise((resolve) => stop.signal.addEventListener('abort', () => resolve(null)));
    };
    source.counters = () => ({ captured: 1 + damaged, delivered: 1, dropped: { corrupt: damaged } });
    const events: WorkerEvent[] = [];
    const detector = fakeDetector(() => pipeline.pulse());
    const parts: PipelineParts = { createSource: () => source, createDetector: async () => detector };
    const pipeline = new Pipeline(job, (event) => events.push(event), parts);
    const run = pipeline.run(stop.signal);
    await waits;
    expect(events.map((e) => e.type)).toEqual(['ready', 'alive', 'frame']);
    for (damaged of [30, 119]) pipeline.pulse();
    const told = events.flatMap((e) => (e.type === 'counters' ? [e.counters] : []));
    expect(told).toMatchObject([
      { captured: 31, processed: 1, dropped: { corrupt: 30 } },
      { captured: 120, processed: 1, dropped: { corrupt: 119 } },
    ]);
    for (const counters of told) expectIdentity(counters);
    stop.abort();
    await run;
  });

  test('a changed configuration holds from the next frame on; what a command asked for goes over it', async () => {
    const events: WorkerEvent[] = [];
    let pipeline: Pipeline;
    const detector = fakeDetector((_, run) => {
      if (run === 1) pipeline.configure({ threshold: 0.95, chipSide: null });
      if (run === 3) pipeline.setThreshold(0.3, 7);
      if (run === 5) pipeline.configure({ threshold: 0.97, chipSide: 8 });
      if (run === 7) pipeline.setThreshold(null, 8);
      if (run === 9) pipeline.configure({ threshold: null, chipSide: null });
    });
    const parts: PipelineParts = { createSource: () => new ScriptedSource(11), createDetector: async () => detector };
    pipeline = new Pipeline(job, (event) => events.push(event), parts);
    await pipeline.run(new AbortController().signal);
    expect(events.flatMap((e) => (e.type === 'threshold' ? [[e.request, e.value]] : []))).toEqual([
      [0, 0.95],
      [7, 0.3],
      [0, 0.3],
      [8, 0.97],
      [0, manifest.decode.threshold],
    ]);
    const found = events.flatMap((e) => (e.type === 'frame' ? [e.detections.length] : []));
    expect([found[0], found[2], found[4], found[6], found[8], found[10]]).toEqual([1, 0, 1, 1, 0, 1]);
  });

  test('the model is proven before a camera is waited for, and a broken one is told without it', async () => {
    const waiting: CameraJob = { ...job, source: { kind: 'v4l2', rate: 'realtime', device: '/dev/none' } };
    const order: string[] = [];
    const run = async (proveModel: NonNullable<PipelineParts['proveModel']>) => {
      const events: WorkerEvent[] = [];
      const source = new ScriptedSource(1);
      const start = source.start.bind(source);
      source.start = () => {
        order.push('source');
        return start();
      };
      const parts: PipelineParts = {
        createSource: () => source,
        createDetector: async () => fakeDetector(),
        proveModel,
      };
      await new Pipeline(waiting, (event) => events.push(event), parts).run(new AbortController().signal);
      return events.map((e) => e.type);
    };
    const model = { name: 'm', sha256: '0'.repeat(64), precision: 'fp32' } as const;
    const types = await run(async () => {
      order.push('model');
      return model;
    });
    expect(order).toEqual(['model', 'source']);
    expect(types.slice(0, 2)).toEqual(['model', 'ready']);
    order.length = 0;
    expect(
      await run(async () => {
        throw new EdgeError('MODEL_NOT_FOUND', 'gone', { exitCode: EXIT.noInput });
      }),
    ).toEqual(['failed']);
    expect(order).toEqual([]);
  });
});
