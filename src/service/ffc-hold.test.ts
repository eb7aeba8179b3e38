import { expect, test } from 'vitest';
import { type LeptonRow, leptonRow, rawFrame, writeWords } from '../../test/fakes/raw-frames.js';
import { Outputs } from '../alerts/outputs.js';
import type { MqttPublisher } from '../alerts/publisher.js';
import {
  type CameraStateMessage,
  cameraStateSchema,
  type EventMessage,
  eventSchema,
  topics,
} from '../alerts/schema.js';
import { FrameDecoder } from '../capture/frame-decoder.js';
import { loadProfiles, profileNamed } from '../capture/profile-store.js';
import { gaussianTable } from '../capture/random.js';
import type { SensorOptions } from '../capture/sensor-monitor.js';
import { Tally } from '../capture/tally.js';
import { validate } from '../config/validate.js';
import { BUNDLED_MANIFEST, readManifest } from '../detect/manifest.js';
import type { CameraJob, FrameCounters, FrameResult, WorkerEvent } from '../pipeline/messages.js';
import { Pipeline, type PipelineParts } from '../pipeline/pipeline.js';
import type { Frame, FrameSource, SourceInfo } from '../types/frame.js';
import { CameraReporter } from './camera-reporter.js';
import type { CameraSupervisor } from './supervisor.js';

// A flat-field correction from the camera's bytes to the messages: decoder, sensor monitor, tracker, events, camera state. Only the
// camera, the model and the broker are replaced.

const WIDTH = 160;
const HEIGHT = 120;
const FPS = 9;
const SETTLE = 2 * FPS;
const profiles = await loadProfiles();
const manifest = await readManifest(BUNDLED_MANIFEST);
const checked = validate({ cameras: [{ id: 'cam0', source: { kind: 'synthetic' } }] });
if ('issues' in checked) throw new Error('the configuration of this test is wrong');
const { config } = checked;

/** What the camera does in one frame. */
interface Shot {
  /** The shutter is closed: no target, hot spots of the correction instead. */
  shutter?: boolean;
  /** Bit for bit the frame before. */
  repeat?: boolean;
  level?: number;
  row?: LeptonRow;
  /** The driver delivers it cut short. */
  short?: boolean;
  /** Telemetry is switched off: its rows are empty. */
  silent?: boolean;
}

/** A Lepton on PureThermal that looks at a target which crosses the picture. */
class Camera implements FrameSource {
  private readonly tally = new Tally();
  private readonly decoder: FrameDecoder;
  private readonly noise = gaussianTable(65_536, 3);
  // Its time is its own, from the boot on: it plays faster than it is.
  private readonly began = 0n;
  private picture = new Uint16Array(WIDTH * HEIGHT);
  private at = 0;

  constructor(
    private readonly profile: string,
    private readonly shots: readonly Shot[],
  ) {
    this.decoder = new FrameDecoder(profileNamed(profile, profiles).profile);
  }

  async start(): Promise<SourceInfo> {
    const { width, height, bits } = this.decoder;
    const { ffc } = profileNamed(this.profile, profiles).profile;
    return { description: 'a Lepton', width, height, bits, fps: FPS, profile: this.profile, ffc };
  }

  async next(): Promise<Frame | null> {
    for (;;) {
      const sequence = this.at++;
      const shot = this.shots[sequence];
      if (shot === undefined) return null;
      const bytes = this.bytes(sequence, shot);
      try {
        const pixels = this.decoder.decode(shot.short ? bytes.subarray(0, 1000) : bytes);
        this.tally.deliver();
        const captureMonotonicNs = this.began + BigInt(Math.round((sequence * 1e9) / FPS));
        return { sequence, captureMonotonicNs, capturedAtMs: 1.7e12 + (sequence * 1e3) / FPS, ...pixels };
      } catch {
        this.tally.drop('short');
      }
    }
  }

  private bytes(sequence: number, { shutter, repeat, level = 3000, row, silent }: Shot): Uint8Array {
    const { picture, noise } = this;
    const start = (sequence * 7919) % 40_000;
    if (!repeat) {
      for (let i = 0; i < picture.length; i++) picture[i] = level + (i % WIDTH) + Math.round(4 * noise[start + i]!);
      if (shutter) picture[90 * WIDTH + 40]! += 900;
      else picture[30 * WIDTH + Math.round(20 + sequence / 2)]! += 800;
    }
    const rows = this.profile.endsWith('-telemetry') ? HEIGHT + 2 : HEIGHT;
    const form = { width: WIDTH, rows, bytesPerLine: 2 * WIDTH, top: 0, step: 2, offset: 0 };
    const bytes = rawFrame({ ...form, wide: true, big: false, shift: 0 }, picture, 0);
    if (rows > HEIGHT && !silent)
      writeWords(bytes, HEIGHT * 2 * WIDTH, leptonRow({ frameCounter: 500 + 3 * sequence, ...row }));
    return bytes;
  }

  counters() {
    return this.tally.counters();
  }

  async stop(): Promise<void> {}
}

/** Sees the brightest pixel, wherever it is. */
const detector = {
  manifest,
  identity: { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' as const },
  provider: 'cpu',
  library: 'none',
  async run(frame: Frame) {
    const { data, width, height } = frame;
    let best = 0;
    for (let i = 1; i < data.length; i++) if (data[i]! > data[best]!) best = i;
    const cols = width / 2;
    const rows = height / 2;
    const heat = new Float32Array(rows * cols);
    const u = ((best % width) + 0.5) / 2 - 0.5;
    const v = (Math.floor(best / width) + 0.5) / 2 - 0.5;
    for (let y = Math.max(0, Math.floor(v) - 3); y < Math.min(rows, v + 4); y++)
      for (let x = Math.max(0, Math.floor(u) - 3); x < Math.min(cols, u + 4); x++)
        heat[y * cols + x] = 0.95 * Math.exp(-((x - u) ** 2 + (y - v) ** 2) / 2);
    return { heat, logsig: new Float32Array(rows * cols), rows, cols };
  },
  async close() {},
} as unknown as Awaited<ReturnType<PipelineParts['createDetector']>>;

function expectIdentity(c: FrameCounters): void {
  expect(c.processed + Object.values(c.dropped).reduce((a, b) => a + b, 0)).toBe(c.captured);
}

interface Played {
  frames: FrameResult[];
  events: { frame: number; message: EventMessage }[];
  states: { frame: number; message: CameraStateMessage }[];
  counters: FrameCounters;
}

/** The camera's frames through the real pipeline and the real reporter. */
async function play(profile: string, shots: readonly Shot[], sensor: SensorOptions = {}): Promise<Played> {
  const job: CameraJob = {
    camera: 'cam0',
    source: { kind: 'synthetic', rate: 'fast' },
    detector: { manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 1 },
    threshold: 0.5,
    sensor,
  };
  const camera = new Camera(profile, shots);
  const played: Played = { frames: [], events: [], states: [], counters: undefined as unknown as FrameCounters };
  const parts: PipelineParts = { createSource: () => camera, createDetector: async () => detector };
  const pipeline = new Pipeline(job, hear, parts);
  const model = detector.identity;
  const supervisor = {
    model: { model, provider: 'cpu', library: 'none', source: 'a Lepton', profile },
    threshold: 0.5,
    running: true,
    counters: () => pipeline.counters(),
    status: () => {
      const { captured, processed, dropped } = pipeline.counters();
      return { id: 'cam0', state: 'running', fps: FPS, frames: { captured, processed, dropped } };
    },
  } as unknown as CameraSupervisor;
  let at = -1;
  const publisher = {
    publishEvent: ({ payload }: { payload: Buffer }) =>
      played.events.push({ frame: at, message: eventSchema.parse(JSON.parse(payload.toString())) }),
    publishState: (_: string, text: string) =>
      played.states.push({ frame: at, message: cameraStateSchema.parse(JSON.parse(text)) }),
    publishDetections: () => true,
    publishForm: () => true,
  } as unknown as MqttPublisher;
  const outputs = new Outputs({
    device: config.device.id,
    prefix: 'irst',
    cameras: ['cam0'],
    software: '0',
    outputs: config.outputs,
  });
  let ids = 0;
  const reporter = new CameraReporter(
    config,
    config.cameras[0]!,
    supervisor,
    publisher,
    outputs,
    topics('irst', config.device.id),
    () => `01ARZ3NDEKTSV4RRFFQ69G5${String(ids++).padStart(3, '0')}`,
    { state: { synchronised: null } },
  );
  function hear(event: WorkerEvent): void {
    if (event.type === 'failed') throw new Error(event.error.message);
    if (event.type !== 'frame') return;
    at = event.sequence;
    played.frames.push(event);
    // No frame is under way: the sum holds at every frame, held ones included.
    expectIdentity(pipeline.counters());
    reporter.frame(event);
  }
  await pipeline.run(new AbortController().signal);
  reporter.state();
  played.counters = pipeline.counters();
  expectIdentity(played.counters);
  return played;
}

const many = (count: number, shot: Shot = {}) => Array.from({ length: count }, () => ({ ...shot }));
const held = (frames: readonly FrameResult[]) => frames.filter(({ sensor }) => sensor?.held !== undefined);
const opened = ({ events }: Played) => events.filter(({ message }) => message.type === 'new');

/** Told by the telemetry rows: 12 frames of shutter, in which one is short, then hot spots of wrong offsets for a second. */
const BEFORE = 40;
const told: Shot[] = [
  ...many(BEFORE),
  ...many(3, { row: { ffc: 1, ffcDesired: true } }),
  ...many(12, { shutter: true, level: 3300, row: { ffc: 2, ffcDesired: true } }),
  ...many(FPS, { shutter: true, row: { lastFfcMs: 77_000 } }),
  ...many(60, { row: { lastFfcMs: 77_000 } }),
];
told[BEFORE + 5] = { ...told[BEFORE + 5], short: true };

test('an event told by telemetry: tracks coast, nothing new is alerted, it is counted and seen in the camera state', async () => {
  const played = await play('lepton-3-purethermal-telemetry', told);
  const { frames, states, counters, events } = played;
  // Imminent is no hold; the shutter, less the frame that came short, and the settling time are.
  const first = BEFORE + 3;
  const last = first + 12 + SETTLE - 1;
  expect(held(frames).map(({ sequence }) => sequence)).toEqual(
    Array.from({ length: last - first }, (_, i) => (i < 2 ? first + i : first + i + 1)),
  );
  for (const { detections, tracks } of held(frames)) {
    expect(detections).toEqual([]);
    expect([tracks.started, tracks.ended]).toEqual([[], []]);
    expect(tracks.updated).toMatchObject([{ state: 'coasting', detection: null }]);
  }
  // One target, one event, before and after.
  expect(opened(played)).toHaveLength(1);
  expect(opened(played)[0]!.frame).toBeLessThan(BEFORE);
  expect(events.filter(({ frame }) => frame >= first && frame <= last)).toEqual([]);
  const after = events.filter(({ frame }) => frame > last);
  expect(after.length).toBeGreaterThan(0);
  expect(after.every(({ message }) => message.id === opened(played)[0]!.message.id)).toBe(true);
  const id = (frame: FrameResult) => frame.tracks.updated[0]?.id;
  expect(id(frames.at(-1)!)).toBe(id(frames[BEFORE - 1]!));
  expect(frames.at(-1)!.tracks.updated[0]!.x).toBeCloseTo(20 + (told.length - 1) / 2, 0);

  expect(counters).toMatchObject({
    captured: told.length,
    processed: told.length - 1,
    dropped: { short: 1 },
    sensor: { corrections: 1, held: { ffc: 11 + SETTLE, frozen: 0 } },
  });
  const course = states.map(({ frame, message: { sensor } }) => [frame, sensor?.ffc, sensor?.health]);
  expect(course.slice(0, -1)).toEqual([
    [0, 'idle', 'ok'],
    [BEFORE, 'imminent', 'ok'],
    [first, 'running', 'ok'],
    [first + 12, 'settling', 'ok'],
    [last + 1, 'idle', 'ok'],
  ]);
  expect(states.at(-1)!.message).toMatchObject({
    cameraProfile: 'lepton-3-purethermal-telemetry',
    sensor: { ffc: 'idle', health: 'ok', temperatureC: 32 },
    sensorWatch: { issues: [], corrections: 1, held: { ffc: 11 + SETTLE, frozen: 0 } },
  });
});

/** Without telemetry: the level jumps, the same picture comes again and again, the level jumps back. */
const CLOSED = 9;
const seen: Shot[] = [
  ...many(BEFORE),
  { shutter: true, level: 3300 },
  ...many(CLOSED - 1, { repeat: true }),
  ...many(FPS, { shutter: true, level: 3010 }),
  ...many(60, { level: 3010 }),
];

test.each([
  ['lepton-3-purethermal', seen],
  ['lepton-3-purethermal-telemetry', seen.map((shot) => ({ ...shot, silent: true }))],
] as const)(
  '%s, an event without telemetry, by step and freeze: held from its first frame on',
  async (profile, shots) => {
    const played = await play(profile, shots);
    const { frames, states, counters } = played;
    const numbers = held(frames).map(({ sequence }) => sequence);
    expect(numbers[0]).toBe(BEFORE);
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => BEFORE + i));
    expect(numbers.length).toBe(CLOSED + SETTLE);
    expect(opened(played)).toHaveLength(1);
    expect(opened(played)[0]!.frame).toBeLessThan(BEFORE);
    expect(counters.sensor).toEqual({ corrections: 1, held: { ffc: numbers.length, frozen: 0 } });
    expect(states.map(({ message }) => message.sensor?.ffc)).toEqual([
      'idle',
      'settling',
      'running',
      'settling',
      'idle',
      'idle',
    ]);
    expect(states.at(-1)!.message.sensorWatch).toMatchObject({ issues: [], corrections: 1 });
  },
);

test.each([
  ['lepton-3-purethermal-telemetry', told],
  ['lepton-3-purethermal', seen],
] as const)('%s unwatched: the same event raises a false alert', async (profile, shots) => {
  const played = await play(profile, shots, { watch: 'off' });
  expect(held(played.frames)).toEqual([]);
  expect(opened(played).length).toBeGreaterThan(1);
  expect(played.states.at(-1)!.message).not.toHaveProperty('sensorWatch');
});

test('a correction that does not end: after 15 s alerts go on, and the state says what is wrong', async () => {
  const stuck = many(40 * FPS, { row: { ffc: 2 } });
  // The target is there all the time.
  const played = await play('lepton-3-purethermal-telemetry', stuck.slice(0, 25 * FPS));
  const { frames, states } = played;
  const numbers = held(frames).map(({ sequence }) => sequence);
  expect(numbers.at(-1)! / FPS).toBeCloseTo(15, 0);
  expect(opened(played)).toHaveLength(1);
  expect(opened(played)[0]).toMatchObject({ message: { sensor: { health: 'fault' } } });
  expect(opened(played)[0]!.frame).toBeGreaterThan(numbers.at(-1)!);
  const told = states.find(({ frame }) => frame === numbers.at(-1)! + 1);
  expect(told!.message).toMatchObject({ sensor: { health: 'fault' }, sensorWatch: { issues: ['ffcStuck'] } });
});

test('a level that steps every ten frames holds alerts once, then is reported instead', async () => {
  const shots = Array.from({ length: 30 * FPS }, (_, i) => ({ level: 5000 - 120 * Math.floor(i / 10) }));
  const { frames, states } = await play('lepton-3-purethermal', shots);
  expect(held(frames).length).toBeLessThan(5 * FPS);
  expect(held(frames.slice(6 * FPS))).toEqual([]);
  expect(states.at(-1)!.message).toMatchObject({
    sensor: { health: 'degraded' },
    sensorWatch: { issues: ['levelSteps'], corrections: 1 },
  });
});
