import {
  type CameraStateMessage,
  type CommandAnswer,
  cameraStateMessage,
  commandAnswer,
  type DetectionsMessage,
  detectionsMessage,
  type EventMessage,
  type StatsMessage,
  type StatusMessage,
  statsMessage,
  statusMessage,
} from './schema.js';

// One example of each message for docs/asyncapi.json. Tests check them against the schemas.

const DEVICE = 'edge-1';
const CAMERA = 'north';
const AT_MS = Date.UTC(2026, 0, 31, 12, 0, 0, 250);
const SOFTWARE = '0.1.0';
const MODEL = { name: 'irst-small', sha256: '5f'.repeat(32), precision: 'fp32' as const };
const FRAMES = { captured: 9000, processed: 8998, dropped: { stale: 2 } };
const TRACKS = {
  confirmed: 5,
  reported: 3,
  held: { zone: 1 },
  suppressed: { stationary: 1 },
  opened: 3,
  closed: 2,
  open: 1,
};

const event: EventMessage = {
  schema: 'irst-edge/event/1',
  type: 'new',
  id: '01KG9Q8PRANBQ5ZV4H6E7C2T0X',
  seq: 0,
  device: DEVICE,
  camera: CAMERA,
  severity: 'warning',
  capturedAt: '2026-01-31T12:00:00.250Z',
  captureMonotonicNs: '123456789012345',
  clock: { synchronised: true, offsetMs: 0.4 },
  firstSeenAt: '2026-01-31T12:00:00.150Z',
  lastSeenAt: '2026-01-31T12:00:00.250Z',
  frame: { sequence: 8997, dropped: 2 },
  image: { width: 640, height: 512 },
  track: { number: 5, hits: 4, misses: 0, ageMs: 100 },
  pixel: { x: 401.27, y: 118.64, sigmaX: 0.09, sigmaY: 0.11 },
  velocity: { x: 12.5, y: -3.1, sigmaX: 2.2, sigmaY: 2.4 },
  score: 0.91,
  topScore: 0.94,
  snr: 7.8,
  extent: 0.9,
  stationary: false,
  zones: ['approach'],
  bearing: {
    azimuthDeg: 31.482,
    elevationDeg: 6.207,
    sigmaAzimuthDeg: 0.052,
    sigmaElevationDeg: 0.051,
    datum: 'true',
  },
  latencyMs: { normalise: 0.4, infer: 11.2, decode: 0.6, track: 0.1, total: 14.8 },
  model: MODEL,
  provider: 'tensorrt',
  software: SOFTWARE,
};

const detections: DetectionsMessage = detectionsMessage({
  device: DEVICE,
  camera: CAMERA,
  frame: { sequence: 8997, captureMonotonicNs: 123_456_789_012_345n, capturedAtMs: AT_MS, width: 640, height: 512 },
  detections: [{ x: 401.31, y: 118.6, sigmaX: 0.12, sigmaY: 0.14, score: 0.91, snr: 7.8, extent: 0.9 }],
  model: MODEL,
  provider: 'tensorrt',
  software: SOFTWARE,
  latencyMs: { normalise: 0.4, infer: 11.2, decode: 0.6, track: 0.2, total: 14.9 },
});

const cameraState: CameraStateMessage = cameraStateMessage({
  device: DEVICE,
  camera: CAMERA,
  atMs: AT_MS,
  software: SOFTWARE,
  state: 'running',
  source: 'v4l2 /dev/video0 (640x512, 14 bit)',
  fps: 30,
  provider: 'tensorrt',
  model: MODEL,
  frames: FRAMES,
  enabled: true,
  threshold: 0.5,
  profile: 'default',
  cameraProfile: 'flir-boson-640-telemetry',
  capture: {
    state: 'streaming',
    since: '2026-01-01T11:58:00.000Z',
    reason: 'camera Boson: FLIR Video at /dev/video0 (640x512, 16 bit, profile flir-boson-640-telemetry)',
  },
  sensor: { ffc: 'idle', health: 'ok', temperatureC: 31.2 },
  sensorWatch: {
    issues: ['deadPixels'],
    deadPixels: 2,
    saturatedShare: 0,
    corrections: 3,
    held: { ffc: 216, frozen: 0 },
  },
  tracks: TRACKS,
});

const status: StatusMessage = statusMessage({
  device: DEVICE,
  state: 'online',
  atMs: AT_MS,
  software: SOFTWARE,
  cameras: [{ id: CAMERA, state: 'running', fps: 30, provider: 'tensorrt', model: MODEL, frames: FRAMES }],
});

const stats: StatsMessage = statsMessage({
  device: DEVICE,
  atMs: AT_MS,
  software: SOFTWARE,
  uptimeSeconds: 300.2,
  memory: { rssBytes: 181_403_648, heapUsedBytes: 24_117_248 },
  alerts: { accepted: 42, published: 40, dropped: {}, queued: 1, inFlight: 1 },
  forms: { accepted: 41, published: 41, dropped: { queue_full: 0 }, queued: 0, inFlight: 0 },
  commands: { received: 4, done: 2, refused: 1, dropped: { rate: 0, unknown: 1 }, pending: 0 },
  outputs: {
    cbor: { made: 41, skipped: {} },
    cot: { made: 41, skipped: {}, sink: { accepted: 41, sent: 40, dropped: { disconnected: 1 }, queued: 0 } },
  },
  outbox: {
    accepted: { new: 3, update: 36, end: 2 },
    recovered: 1,
    published: { new: 3, update: 30, end: 2 },
    coalesced: 4,
    dropped: { overflow: 0, expired: 1 },
    waiting: 1,
    waitingBytes: 3120,
    inFlight: 1,
    held: 0,
    store: {
      mode: 'disk',
      memoryOnly: 0,
      failures: 0,
      skipped: { corrupt: 0, unknown_version: 0 },
      movedAside: 0,
      unlogged: 0,
    },
  },
  cameras: [
    {
      camera: CAMERA,
      fps: 30,
      frames: FRAMES,
      tracks: TRACKS,
      updates: { sent: 36, withheld: { interval: 1044 } },
      latencyMs: { total: { count: 8998, mean: 15.1, p50: 14.8, p95: 17.2, p99: 19.9, max: 31.4 } },
    },
  ],
});

const answer: CommandAnswer = commandAnswer({
  device: DEVICE,
  camera: CAMERA,
  command: 'threshold',
  atMs: AT_MS,
  value: 0.5,
  error: { code: 'COMMAND_VALUE', message: 'threshold takes a number from 0 to 1, or null' },
  id: 'c-17',
});

export const EXAMPLES = {
  event,
  detections,
  'camera-state': cameraState,
  status,
  stats,
  command: { value: 0.4, id: 'c-16' },
  'command-answer': answer,
  available: 'online',
} as const;
