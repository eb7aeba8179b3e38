import { z } from 'zod';
import { AVAILABILITY, type Availability } from './schema/camera-state.js';
import { SEVERITIES, type Severity } from './schema/event.js';

// What `irst-edge watch` shows: messages of any number of devices, reduced to a table. Pure: the time is an argument.
//
// Only what is shown is read, and unknown fields are left alone, so that messages of a newer version of the program are shown too.

export const WATCH_KINDS = ['events', 'state', 'status', 'detections', 'available', 'stats', 'command'] as const;
export type WatchKind = (typeof WATCH_KINDS)[number];

export interface WatchMessage {
  kind: WatchKind;
  device: string;
  camera?: string;
  /** JSON, or the bare word of `available`. */
  body: unknown;
}

export interface CameraRow {
  device: string;
  camera: string;
  state: string;
  fps?: number;
  provider?: string;
  open?: number;
  enabled?: boolean;
  error?: string;
  /** Detections in the newest frame that had any, and when that came, ms. */
  detections?: number;
  detectionsAtMs?: number;
}

export interface TrackRow {
  id: string;
  device: string;
  camera: string;
  type: 'new' | 'update' | 'end';
  endReason?: string;
  severity: Severity;
  number: number;
  x: number;
  y: number;
  sigmaX: number;
  sigmaY: number;
  /** px/s */
  vx: number;
  vy: number;
  snr: number;
  score: number;
  bearing?: { azimuth: number; elevation: number };
  zones: readonly string[];
  ageMs: number;
  /** When the message came, ms. */
  atMs: number;
}

export interface WatchModel {
  readonly devices: ReadonlyMap<string, Availability | 'unknown'>;
  /** By `device/camera`. */
  readonly cameras: ReadonlyMap<string, CameraRow>;
  /** By event id, the newest last. */
  readonly tracks: ReadonlyMap<string, TrackRow>;
  readonly messages: number;
  /** Could not be read. */
  readonly unreadable: number;
}

export const EMPTY_MODEL: WatchModel = {
  devices: new Map(),
  cameras: new Map(),
  tracks: new Map(),
  messages: 0,
  unreadable: 0,
};

/** How long an ended track stays in the table, and one of which nothing more is heard. */
const ENDED_MS = 5_000;
const SILENT_MS = 60_000;
const DETECTIONS_MS = 2_000;
const MAX_ROWS = 256;
/** Longest payload that is read, characters. */
const MAX_PAYLOAD = 1024 * 1024;

/** Topics to subscribe to. `device`: that one only. */
export function watchFilters(prefix: string, device = '+'): string[] {
  const of = (rest: string) => `${prefix}/${device}/${rest}`;
  return ['available', 'status', '+/events', '+/state', '+/detections'].map(of);
}

/** What a topic and its payload say; undefined where they are not of ours or cannot be read. */
export function readMessage(prefix: string, topic: string, payload: Uint8Array): WatchMessage | undefined {
  if (!topic.startsWith(`${prefix}/`) || payload.length > MAX_PAYLOAD) return undefined;
  const [device = '', a = '', b, c, ...rest] = topic.slice(prefix.length + 1).split('/');
  const text = new TextDecoder().decode(payload);
  if (device === '' || rest.length > 0) return undefined;
  if (b === undefined) {
    if (a === 'available') return { kind: 'available', device, body: text };
    return a === 'status' || a === 'stats' ? parsed({ kind: a, device }, text) : undefined;
  }
  if (c !== undefined) return c === 'state' ? parsed({ kind: 'command', device, camera: a }, text) : undefined;
  return b === 'events' || b === 'state' || b === 'detections'
    ? parsed({ kind: b, device, camera: a }, text)
    : undefined;
}

function parsed(where: Omit<WatchMessage, 'body'>, text: string): WatchMessage | undefined {
  try {
    return { ...where, body: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

const figures = {
  state: z.string(),
  fps: z.number().optional(),
  provider: z.string().optional(),
  error: z.object({ code: z.string(), message: z.string() }).optional(),
};
const stateBody = z.object({
  ...figures,
  enabled: z.boolean().optional(),
  tracks: z.object({ open: z.number() }).optional(),
});
const statusBody = z.object({
  state: z.enum(AVAILABILITY),
  cameras: z.array(z.object({ id: z.string(), ...figures })).optional(),
});
const detectionsBody = z.object({ detections: z.array(z.unknown()) });
const vector = z.object({ x: z.number(), y: z.number(), sigmaX: z.number(), sigmaY: z.number() });
const eventBody = z.object({
  type: z.enum(['new', 'update', 'end']),
  id: z.string(),
  severity: z.enum(SEVERITIES),
  endReason: z.string().optional(),
  track: z.object({ number: z.number(), ageMs: z.number() }),
  pixel: vector,
  velocity: vector,
  snr: z.number(),
  score: z.number(),
  zones: z.array(z.string()),
  bearing: z.object({ azimuthDeg: z.number(), elevationDeg: z.number() }).optional(),
});

/** The model with one more message. `message` undefined: one that could not be read. */
export function applyMessage(model: WatchModel, message: WatchMessage | undefined, nowMs: number): WatchModel {
  const next = { ...model, messages: model.messages + 1 };
  const changed = message === undefined ? undefined : change(next, message, nowMs);
  return expire(changed ?? { ...next, unreadable: next.unreadable + 1 }, nowMs);
}

/** Without tracks that have ended, or of which nothing was heard for long. Gives the same model back where nothing changes. */
export function expire(model: WatchModel, nowMs: number): WatchModel {
  const kept = [...model.tracks].filter(([, row]) => nowMs - row.atMs < (row.type === 'end' ? ENDED_MS : SILENT_MS));
  return kept.length === model.tracks.size ? model : { ...model, tracks: new Map(kept) };
}

function change(model: WatchModel, message: WatchMessage, nowMs: number): WatchModel | undefined {
  const { kind, device, camera = '', body } = message;
  switch (kind) {
    case 'available': {
      const word = AVAILABILITY.find((w) => w === body);
      return word && { ...model, devices: put(model.devices, device, word) };
    }
    case 'status': {
      const status = statusBody.safeParse(body).data;
      if (status === undefined) return undefined;
      let cameras = model.cameras;
      for (const { id, ...rest } of status.cameras ?? [])
        cameras = withCamera(cameras, device, id, cameraFigures(rest));
      // `available` knows better; but not every broker or version has it.
      const devices = model.devices.has(device) ? model.devices : put(model.devices, device, status.state);
      return { ...model, devices, cameras };
    }
    case 'state': {
      const state = stateBody.safeParse(body).data;
      if (state === undefined) return undefined;
      const { enabled, tracks, ...rest } = state;
      const row = {
        ...cameraFigures(rest),
        ...(enabled !== undefined && { enabled }),
        ...(tracks && { open: tracks.open }),
      };
      return { ...known(model, device), cameras: withCamera(model.cameras, device, camera, row) };
    }
    case 'detections': {
      const found = detectionsBody.safeParse(body).data;
      if (found === undefined) return undefined;
      const row = { detections: found.detections.length, detectionsAtMs: nowMs };
      return { ...known(model, device), cameras: withCamera(model.cameras, device, camera, row) };
    }
    case 'events': {
      const event = eventBody.safeParse(body).data;
      if (event === undefined) return undefined;
      return { ...known(model, device), tracks: put(model.tracks, event.id, trackRow(event, device, camera, nowMs)) };
    }
    default:
      return model;
  }
}

function cameraFigures(f: {
  state: string;
  fps?: number | undefined;
  provider?: string | undefined;
  error?: { code: string } | undefined;
}): Omit<CameraRow, 'device' | 'camera'> {
  return {
    state: plain(f.state),
    ...(f.fps !== undefined && { fps: f.fps }),
    ...(f.provider !== undefined && { provider: plain(f.provider) }),
    ...(f.error && { error: plain(f.error.code) }),
  };
}

function trackRow(event: z.infer<typeof eventBody>, device: string, camera: string, nowMs: number): TrackRow {
  const { pixel, velocity, bearing, endReason } = event;
  return {
    id: plain(event.id),
    device: plain(device),
    camera: plain(camera),
    type: event.type,
    ...(endReason !== undefined && { endReason: plain(endReason) }),
    severity: event.severity,
    number: event.track.number,
    x: pixel.x,
    y: pixel.y,
    sigmaX: pixel.sigmaX,
    sigmaY: pixel.sigmaY,
    vx: velocity.x,
    vy: velocity.y,
    snr: event.snr,
    score: event.score,
    ...(bearing && { bearing: { azimuth: bearing.azimuthDeg, elevation: bearing.elevationDeg } }),
    zones: event.zones.map(plain),
    ageMs: event.track.ageMs,
    atMs: nowMs,
  };
}

function known(model: WatchModel, device: string): WatchModel {
  return model.devices.has(device) ? model : { ...model, devices: put(model.devices, device, 'unknown') };
}

function withCamera(
  cameras: ReadonlyMap<string, CameraRow>,
  device: string,
  camera: string,
  row: Partial<CameraRow>,
): ReadonlyMap<string, CameraRow> {
  const key = `${device}/${camera}`;
  const before = cameras.get(key) ?? { device: plain(device), camera: plain(camera), state: '?' };
  const after: CameraRow = { ...before, ...row };
  // A new state without an error takes the old one away.
  if (row.state !== undefined && row.error === undefined) delete after.error;
  return put(cameras, key, after, false);
}

/** A copy with the entry, at the end where it is `newest`, and without the oldest ones beyond the limit. */
function put<V>(map: ReadonlyMap<string, V>, key: string, value: V, newest = true): ReadonlyMap<string, V> {
  const copy = new Map(map);
  if (newest) copy.delete(key);
  copy.set(key, value);
  for (const oldest of copy.keys()) {
    if (copy.size <= MAX_ROWS) break;
    copy.delete(oldest);
  }
  return copy;
}

/** Text from outside must not steer the terminal. */
function plain(text: string): string {
  return text.replaceAll(/\p{C}/gu, '\ufffd').slice(0, 64);
}

export interface TableOptions {
  /** Columns of the terminal. */
  width: number;
  colour: boolean;
  nowMs: number;
  /** Most lines; the rest is summed up in the last one. Default: no limit. */
  height?: number;
}

type Colour = 'red' | 'yellow' | 'green' | 'dim' | 'bold';
const CODES: Record<Colour, number> = { red: 31, yellow: 33, green: 32, dim: 2, bold: 1 };

interface Row {
  cells: string[];
  colour?: Colour | undefined;
}

/** The table, a line each, none wider than `width`. */
export function renderTable(model: WatchModel, options: TableOptions): string[] {
  const { width, colour, nowMs, height = Number.POSITIVE_INFINITY } = options;
  const line = ({ text, colour: c }: { text: string; colour?: Colour | undefined }): string => {
    const cut = text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…`.slice(0, width) : text.trimEnd();
    return colour && c !== undefined && cut !== '' ? `\x1b[${CODES[c]}m${cut}\x1b[0m` : cut;
  };
  const devices = [...model.devices].map(([name, state]) => `${plain(name)} ${state}`);
  const lost = [...model.devices.values()].includes('offline');
  const lines = [
    {
      text: `${devices.join(', ') || 'no device yet'}   (${model.messages} messages${model.unreadable > 0 ? `, ${model.unreadable} unreadable` : ''})`,
      colour: lost ? ('red' as const) : ('bold' as const),
    },
    ...(model.cameras.size === 0
      ? []
      : [
          { text: '' },
          ...table(
            CAMERA_HEAD,
            sorted(model.cameras).map((row) => cameraRow(row, nowMs)),
          ),
        ]),
    { text: '' },
    ...(model.tracks.size === 0
      ? [{ text: 'no targets' }]
      : table(
          TRACK_HEAD,
          [...model.tracks.values()].reverse().map((row) => trackCells(row, nowMs)),
        )),
  ];
  const left = lines.length - height;
  const shown = left > 0 ? [...lines.slice(0, height - 1), { text: `... ${left + 1} more lines` }] : lines;
  return shown.map(line);
}

/** One message for a log: a line without control characters. */
export function messageLine(message: WatchMessage, nowMs: number): string | undefined {
  const model = applyMessage(EMPTY_MODEL, message, nowMs);
  if (model.unreadable > 0) return undefined;
  const where = plain([message.device, message.camera].filter(Boolean).join('/'));
  switch (message.kind) {
    case 'available':
      return `${where}  ${model.devices.get(message.device)}`;
    case 'events': {
      const [row] = model.tracks.values();
      if (row === undefined) return undefined;
      const { cells } = trackCells(row, nowMs);
      return `${where}  ${row.type}  ${row.id}  ${TRACK_HEAD.map((head, i) => [head, cells[i]] as const)
        .filter(([head, cell]) => !SKIPPED_IN_LINES.includes(head) && cell !== '')
        .map(([head, cell]) => `${head.toLowerCase()} ${cell}`)
        .join('  ')}`;
    }
    case 'state': {
      const [row] = model.cameras.values();
      return (
        row &&
        `${where}  ${cameraRow(row, nowMs)
          .cells.slice(1)
          .filter((cell) => cell !== '')
          .join('  ')}`
      );
    }
    default:
      return undefined;
  }
}

const CAMERA_HEAD = ['CAMERA', 'STATE', 'FPS', 'PROVIDER', 'OPEN', 'NOW', 'NOTE'];
const TRACK_HEAD = [
  'CAMERA',
  'TRACK',
  'SEVERITY',
  'X px',
  'Y px',
  'SPEED px/s',
  'SNR',
  'SCORE',
  'BEARING',
  'AGE',
  'NOTE',
];
const SKIPPED_IN_LINES = ['CAMERA'];

function cameraRow(row: CameraRow, nowMs: number): Row {
  const fresh = row.detectionsAtMs !== undefined && nowMs - row.detectionsAtMs < DETECTIONS_MS;
  const good = row.state === 'running';
  return {
    cells: [
      `${row.device}/${row.camera}`,
      row.state,
      row.fps === undefined ? '' : `${row.fps.toFixed(1)} Hz`,
      row.provider ?? '',
      row.open === undefined ? '' : `${row.open} open`,
      fresh ? `${row.detections} seen` : '',
      [row.error ?? '', row.enabled === false ? 'alerts off' : ''].filter(Boolean).join(', '),
    ],
    colour: row.state === 'failed' || row.error !== undefined ? 'red' : good ? undefined : 'yellow',
  };
}

function trackCells(row: TrackRow, nowMs: number): Row {
  const ended = row.type === 'end';
  const place = (value: number, sigma: number) => `${value.toFixed(2)} ±${sigma.toFixed(2)}`;
  const age = row.ageMs + (ended ? 0 : Math.max(0, nowMs - row.atMs));
  return {
    cells: [
      `${row.device}/${row.camera}`,
      String(row.number),
      row.severity,
      place(row.x, row.sigmaX),
      place(row.y, row.sigmaY),
      Math.hypot(row.vx, row.vy).toFixed(1),
      row.snr.toFixed(1),
      row.score.toFixed(2),
      row.bearing === undefined ? '' : `${row.bearing.azimuth.toFixed(2)}° ${row.bearing.elevation.toFixed(2)}°`,
      duration(age),
      [ended ? `ended: ${row.endReason ?? '?'}` : '', ...row.zones].filter(Boolean).join(' '),
    ],
    colour: ended ? 'dim' : row.severity === 'critical' ? 'red' : row.severity === 'warning' ? 'yellow' : undefined,
  };
}

function duration(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${(ms / 1000).toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

function sorted(cameras: ReadonlyMap<string, CameraRow>): CameraRow[] {
  return [...cameras].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}

function table(head: readonly string[], rows: readonly Row[]): { text: string; colour?: Colour | undefined }[] {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map(({ cells }) => cells[i]?.length ?? 0)));
  const text = (cells: readonly string[]) => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ');
  return [{ text: text(head), colour: 'dim' }, ...rows.map((row) => ({ text: text(row.cells), colour: row.colour }))];
}
