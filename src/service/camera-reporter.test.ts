import { describe, expect, it, vi } from 'vitest';
import { confirmedTrack } from '../../test/fakes/detections.js';
import { eventIds } from '../alerts/events.js';
import type { OutboxRecord } from '../alerts/outbox-record.js';
import { Outputs } from '../alerts/outputs.js';
import type { MqttPublisher } from '../alerts/publisher.js';
import { type DetectionsMessage, type EventMessage, topics } from '../alerts/schema.js';
import { configSchema, type EdgeConfigInput } from '../config/schema.js';
import type { FrameResult } from '../pipeline/messages.js';
import { CameraReporter } from './camera-reporter.js';
import { CameraSupervisor } from './supervisor.js';

const camera = { id: 'cam0', source: { kind: 'synthetic' } } as const;

/** A reporter with a publisher that only takes down what it is given, of a camera that runs. */
function reporter(input: Partial<EdgeConfigInput> = {}, synchronised = true) {
  const config = configSchema.parse({ cameras: [camera], ...input });
  const records: OutboxRecord[] = [];
  const detections: DetectionsMessage[] = [];
  const states: Record<string, unknown>[] = [];
  const forms: string[] = [];
  const asked: (number | null)[] = [];
  /** How the worker answers: dead, it does not. */
  const worker = { dead: false, hold: Promise.resolve() };
  const publisher = {
    publishEvent: (record: OutboxRecord) => records.push(record),
    publishDetections: (message: DetectionsMessage) => detections.push(message),
    publishForm: (topic: string) => forms.push(topic),
    publishState: (_: string, text: string) => states.push(JSON.parse(text)),
  } as unknown as MqttPublisher;
  class Running extends CameraSupervisor {
    override get model() {
      const model = { name: 'm', sha256: '0'.repeat(64), precision: 'fp32' as const };
      return { model, provider: 'cpu', library: 'none', source: 'nothing' };
    }
    override get running() {
      return true;
    }
    override async setThreshold(value: number | null) {
      asked.push(value);
      await worker.hold;
      return worker.dead ? undefined : (value ?? 0.5);
    }
    override holdThreshold(value: number | null) {
      asked.push(value);
    }
  }
  const supervisor = new Running({
    camera: 'cam0',
    source: { kind: 'synthetic', rate: 'fast' },
    detector: { manifest: '', precision: 'fp32', threads: 1 },
  });
  const { device, outputs } = config;
  const made = new CameraReporter(
    config,
    config.cameras[0]!,
    supervisor,
    publisher,
    new Outputs({ device: device.id, prefix: 'irst', cameras: ['cam0'], software: '0', outputs, onProblem: () => {} }),
    topics('irst', device.id),
    eventIds(),
    { state: { synchronised } },
  );
  const events = () => records.map((r) => JSON.parse(Buffer.from(r.payload).toString()) as EventMessage);
  /** What a reload asks the worker for, and the profile after it. */
  const reload = (alerts: EdgeConfigInput['alerts']) => {
    asked.length = 0;
    const next = configSchema.parse({ cameras: [camera], alerts });
    return { profile: made.reconfigure(next, next.cameras[0]!), asked: [...asked] };
  };
  return { made, records, detections, events, states, forms, reload, worker, asked };
}

function frame(sequence: number, x: number, y: number): FrameResult {
  const moment = { sequence, monotonicNs: BigInt(sequence + 1) * 2_000_000_000n };
  const found = { x, y, sigmaX: 0.1, sigmaY: 0.1, score: 0.8, snr: 8, extent: 0.8 };
  const track = confirmedTrack(1, found, moment, { vx: 1 });
  return {
    type: 'frame',
    sequence,
    capturedAtMs: Date.now(),
    captureMonotonicNs: moment.monotonicNs,
    width: 640,
    height: 512,
    detections: [found],
    tracks: {
      moment,
      started: sequence === 0 ? [track] : [],
      updated: sequence === 0 ? [] : [track],
      ended: [],
    },
    timings: { normalise: 1, infer: 1, decode: 1, track: 1, total: 4 },
  };
}

describe('CameraReporter', () => {
  it('publishes the detections of each frame, unless they are switched off', () => {
    for (const [alerts, count] of [
      [{}, 3],
      [{ detectionsTopic: false }, 0],
    ] as const) {
      const { made, detections, records } = reporter({ alerts });
      for (let n = 0; n < 3; n++) made.frame(frame(n, 100, 100));
      expect(detections).toHaveLength(count);
      // Each stage that the total holds: the rest is waiting.
      for (const { latencyMs } of detections)
        expect(latencyMs).toEqual({ normalise: 1, infer: 1, decode: 1, track: 1, total: 4 });
      expect(records.map((r) => r.kind)).toEqual(['new', 'update', 'update']);
    }
  });

  it('takes another configuration between two frames: zones, lives, topics; open events go on', () => {
    const { made, records, detections } = reporter();
    made.frame(frame(0, 100, 100));
    const everywhere: [number, number][] = [
      [0, 0],
      [640, 0],
      [640, 512],
      [0, 512],
    ];
    const zones = [{ name: 'all', kind: 'ignore' as const, polygon: everywhere }];
    const next = configSchema.parse({
      cameras: [{ ...camera, zones }],
      alerts: { detectionsTopic: false },
      outbox: { updateLifeSeconds: 9 },
    });
    made.reconfigure(next, next.cameras[0]!);
    made.frame(frame(1, 100, 100));
    made.setEnabled(false);
    made.setEnabled(true);
    made.frame(frame(2, 100, 100));
    // The open one went on with the new life; ended, none begins in what is ignored now.
    expect(records.map((r) => [r.kind, (r.expiresAtMs - r.createdAtMs) / 1000])).toEqual([
      ['new', 86_400],
      ['update', 9],
      ['end', 86_400],
    ]);
    expect(detections).toHaveLength(1);
  });

  it('gives the broker events in other forms, apart from detections', () => {
    const { made, forms, detections } = reporter({ outputs: { cbor: { enabled: true } } });
    for (let n = 0; n < 2; n++) made.frame(frame(n, 100, 100));
    expect(forms).toEqual(['irst/irst-edge/cam0/events/cbor', 'irst/irst-edge/cam0/events/cbor']);
    expect(detections).toHaveLength(2);
  });

  it('gives events the lives of the configuration', () => {
    const { made, records } = reporter({ outbox: { eventLifeSeconds: 100, updateLifeSeconds: 7 } });
    for (let n = 0; n < 2; n++) made.frame(frame(n, 100, 100));
    made.close('stopped');
    expect(records.map((r) => [r.kind, (r.expiresAtMs - r.createdAtMs) / 1000, r.topic])).toEqual([
      ['new', 100, 'irst/irst-edge/cam0/events'],
      ['update', 7, 'irst/irst-edge/cam0/events'],
      ['end', 100, 'irst/irst-edge/cam0/events'],
    ]);
  });

  it('takes zones, intrinsics and mount from the configuration', () => {
    const square = (from: number, to: number): [number, number][] => [
      [from, from],
      [to, from],
      [to, to],
      [from, to],
    ];
    const { made, events } = reporter({
      cameras: [
        {
          ...camera,
          zones: [
            { name: 'sky', kind: 'include', polygon: square(0, 300) },
            { name: 'chimney', kind: 'ignore', polygon: square(50, 150) },
          ],
          intrinsics: { fx: 1000, fy: 1000, cx: 319.5, cy: 255.5 },
          mount: { yawDeg: 350, pitchDeg: 5, datum: 'magnetic', sigmaDeg: 0.5 },
        },
      ],
    });
    const places = [400, 100, 200, 100];
    const seen = places.map((at, n) => {
      const before = events().length;
      made.frame(frame(n, at, at));
      return events()
        .slice(before)
        .map((e) => e.type);
    });
    // Outside of what is included; in what is ignored; where events begin; and an open one is followed anywhere.
    expect(seen).toEqual([[], [], ['new'], ['update']]);
    const [first] = events();
    expect(first).toMatchObject({ zones: ['sky'], bearing: { datum: 'magnetic' } });
    // 119.5 px left of the axis and 55.5 px above it, at 1000 px focal length.
    expect(first?.bearing?.azimuthDeg).toBeCloseTo(350 - 6.85, 0);
    expect(first?.bearing?.elevationDeg).toBeCloseTo(5 + 3.17, 0);
    expect(first?.bearing?.sigmaAzimuthDeg).toBeGreaterThan(0.5);
  });

  it('says of a record whether the wall clock was set', () => {
    for (const synchronised of [true, false]) {
      const { made, records } = reporter({}, synchronised);
      made.frame(frame(0, 100, 100));
      expect(records[0]?.undated).toBe(synchronised ? undefined : true);
    }
  });

  const NIGHT = { profiles: [{ name: 'night', threshold: 0.7 }] };

  it('a threshold that a command set survives a reload, with a profile in force too, until the command takes it back', async () => {
    const { made, reload } = reporter({ alerts: NIGHT });
    await made.setProfile('night');
    expect(reload(NIGHT)).toEqual({ profile: 'night', asked: [0.7] });
    await made.setThreshold(0.6);
    expect(reload(NIGHT)).toEqual({ profile: 'night', asked: [0.6] });
    await made.setThreshold(null);
    expect(reload(NIGHT)).toEqual({ profile: 'night', asked: [0.7] });
  });

  it('a profile that came into force later wins over the threshold of a command; one that is gone is left, and said', async () => {
    const { made, reload, states } = reporter({ alerts: NIGHT });
    await made.setThreshold(0.6);
    await made.setProfile('night');
    expect(reload({})).toEqual({ profile: 'default', asked: [null] });
    expect(states.at(-1)).toMatchObject({ profile: 'default' });
    // The configuration itself is in force: its threshold is the worker's to know.
    expect(reload({})).toEqual({ profile: 'default', asked: [] });
  });

  it('what the worker does not live to answer changes nothing', async () => {
    const { made, reload, states, worker } = reporter({ alerts: NIGHT });
    await made.setProfile('night');
    await made.setThreshold(0.6);
    worker.dead = true;
    expect(await made.setThreshold(0.8)).toBeUndefined();
    expect(await made.setThreshold(null)).toBeUndefined();
    expect(await made.setProfile('default')).toEqual({ ok: false, error: 'the camera is not running' });
    made.state();
    expect(states.at(-1)).toMatchObject({ profile: 'night' });
    expect(reload(NIGHT)).toEqual({ profile: 'night', asked: [0.6] });
  });

  it('commands that come while one waits for the worker go by what that one brings into force', async () => {
    const { made, asked, worker } = reporter({ alerts: NIGHT });
    let answer = () => {};
    worker.hold = new Promise((resolve) => (answer = resolve));
    const both = [made.setProfile('night'), made.setThreshold(null)];
    answer();
    expect(await Promise.all(both)).toEqual([{ ok: true, value: 'night' }, 0.7]);
    expect(asked).toEqual([0.7, 0.7]);
  });

  it.each([
    ['another threshold of it', { profiles: [{ name: 'night', threshold: 0.8 }] }, true, 'night', [0.7, 0.8]],
    ['no profile of that name', {}, false, 'default', [0.7, null]],
  ])('a reload while a profile waits for the worker, to %s, counts', async (_, alerts, ok, profile, expected) => {
    const { made, asked, states, reload, worker } = reporter({ alerts: NIGHT });
    let answer = () => {};
    worker.hold = new Promise((resolve) => (answer = resolve));
    const set = made.setProfile('night');
    await vi.waitFor(() => expect(asked).toEqual([0.7]));
    const early = asked.splice(0);
    reload(alerts);
    answer();
    expect((await set).ok).toBe(ok);
    made.state();
    expect(states.at(-1)).toMatchObject({ profile });
    expect([...early, ...asked]).toEqual(expected);
  });

  it('ends what is open when the camera is away for longer than a loose plug', () => {
    vi.useFakeTimers();
    try {
      const { made, records } = reporter();
      const kinds = () => records.map(({ kind }) => kind);
      made.frame(frame(0, 100, 100));
      for (const to of ['opening', 'streaming', 'lost', 'back-off', 'opening'] as const) made.captured(to);
      vi.advanceTimersByTime(4_000);
      made.captured('streaming');
      vi.advanceTimersByTime(60_000);
      expect(kinds()).toEqual(['new']);
      for (const to of ['stalled', 'lost', 'back-off'] as const) made.captured(to);
      vi.advanceTimersByTime(4_000);
      made.captured('opening');
      vi.advanceTimersByTime(60_000);
      expect(kinds()).toEqual(['new', 'end']);
    } finally {
      vi.useRealTimers();
    }
  });
});
