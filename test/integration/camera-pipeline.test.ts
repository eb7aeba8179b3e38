import { expect, test } from 'vitest';
import { createSource } from '../../src/capture/create-source.js';
import { SyntheticScene } from '../../src/capture/synthetic.js';
import { Detector } from '../../src/detect/detector.js';
import { BUNDLED_MANIFEST } from '../../src/detect/manifest.js';
import { loadNative } from '../../src/native.js';
import type { CameraJob, FrameResult, WorkerEvent } from '../../src/pipeline/messages.js';
import { Pipeline } from '../../src/pipeline/pipeline.js';

const SIZE = { width: 96, height: 80 };
const FRAMES = 12;

test('a camera plays Y16 frames with a target: it is detected where it is, through addon, profile, detector and decoder', async () => {
  const scene = new SyntheticScene({
    kind: 'synthetic',
    rate: 'fast',
    ...SIZE,
    seed: 5,
    snr: 15,
    targets: [{ x: 40.3, y: 33.6, vx: 0.5, vy: 0.25 }],
  });
  const { FakeDevice, NativeCamera } = loadNative();
  const fake = new FakeDevice({ card: 'Scene', formats: [{ fourcc: 'Y16 ', sizes: [SIZE] }] });
  let pushed = 0;
  const push = () => {
    const counts = new Uint16Array(SIZE.width * SIZE.height);
    scene.render(pushed++, counts);
    fake.push({ data: new Uint8Array(counts.buffer) });
  };
  const job: CameraJob = {
    camera: 'cam0',
    // Loading the model takes longer than a camera may be silent.
    source: { kind: 'v4l2', device: '/dev/video0', rate: 'realtime', stallTimeoutMs: 60_000 },
    detector: { manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 1 },
    threshold: 0.5,
  };
  const stop = new AbortController();
  const events: WorkerEvent[] = [];
  const emit = (event: WorkerEvent) => {
    events.push(event);
    if (event.type === 'ready') push();
    if (event.type !== 'frame') return;
    if (pushed < FRAMES) push();
    else stop.abort();
  };
  await new Pipeline(job, emit, {
    createSource: ({ source }, onFault, onTransition) =>
      createSource(source, { onFault, onTransition, open: (node) => new NativeCamera(node, fake) }),
    createDetector: ({ detector }, info) => Detector.create(detector, info),
  }).run(stop.signal);

  const steps = events.flatMap((event) => (event.type === 'capture' ? [event.transition.to] : []));
  expect(steps).toEqual(['opening', 'streaming', 'closed']);
  expect(events.find(({ type }) => type === 'ready')).toMatchObject({
    source: { ...SIZE, bits: 16, profile: 'generic-y16' },
  });
  const frames = events.filter((event): event is FrameResult => event.type === 'frame');
  expect(frames.map(({ sequence }) => sequence)).toEqual(Array.from({ length: FRAMES }, (_, i) => i));
  expect(frames[0]!.sensor).toMatchObject({ ffc: 'idle' });
  for (const { sequence, detections } of frames) {
    const [truth] = scene.truthAt(sequence);
    const best = detections[0];
    expect(best, `frame ${sequence}`).toBeDefined();
    expect(Math.hypot(best!.x - truth!.x, best!.y - truth!.y), `frame ${sequence}`).toBeLessThan(0.5);
  }
  expect(events.at(-1)).toMatchObject({
    type: 'ended',
    counters: { captured: FRAMES, processed: FRAMES, dropped: {} },
  });
  expect(fake.state()).toMatchObject({ open: 0, buffers: 0, mappings: 0 });
});
