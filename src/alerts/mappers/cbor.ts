import { decode, encode } from 'cborg';
import { type EVENT_END_REASONS, type EventMessage, SEVERITIES } from '../schema.js';
import { bytesToUlid, ulidToBytes } from './ulid-bytes.js';

// An event in CBOR (RFC 8949) for narrow links: a map with the integer keys below instead of names. Within a version keys, and elements
// at the end of lists, are only added; a reader ignores those that it does not know. The number of key 0 is the version.
//
// Numbers that are not whole are rounded to single precision (a pixel to 0.0001 px, a bearing to 0.00003 degrees). The chip is left
// out. Everything else comes back as it was.

/** The keys of the map. */
export const CBOR_KEYS = {
  /** 1 */
  version: 0,
  /** 0 new, 1 update, 2 end */
  type: 1,
  /** The ULID's 16 bytes. */
  id: 2,
  seq: 3,
  device: 4,
  camera: 5,
  /** 0 info, 1 warning, 2 critical */
  severity: 6,
  /** 0 lost, 1 left, 2 displaced, 3 reset, 4 disabled, 5 stopped; a later one as text. Absent but in an end. */
  endReason: 7,
  /** ms since 1970 */
  capturedAt: 8,
  /** ns */
  captureMonotonicNs: 9,
  /** [synchronised (true, false, null), offset ms or null] */
  clock: 10,
  /** ms before capturedAt */
  firstSeen: 11,
  lastSeen: 12,
  /** [sequence, dropped or null, ffc or null] */
  frame: 13,
  /** [width, height] px */
  image: 14,
  /** [number, hits, misses, age ms] */
  track: 15,
  /** [x, y, sigma x, sigma y] px */
  pixel: 16,
  /** [x, y, sigma x, sigma y] px/s */
  velocity: 17,
  /** [score, top score, SNR, extent px] */
  strength: 18,
  /** Absent: false. */
  stationary: 19,
  /** Absent: in none. */
  zones: 20,
  /** [azimuth, elevation, sigma azimuth, sigma elevation, datum] degrees; datum 0 true, 1 magnetic, 2 grid, 3 platform */
  bearing: 21,
  /** [normalise, infer, decode, track or null, total] ms */
  latency: 22,
  /** [name, the sha256's 32 bytes, precision] */
  model: 23,
  provider: 24,
  software: 25,
  /** [ffc or null, health or null, temperature in degrees Celsius or null] */
  sensor: 26,
} as const;

// In this order for ever: the numbers are on the wire.
const TYPES = ['new', 'update', 'end'] as const;
const DATUMS = ['true', 'magnetic', 'grid', 'platform'] as const;
const END_REASONS: readonly string[] = ['lost', 'left', 'displaced', 'reset', 'disabled', 'stopped', 'interrupted'];
const K = CBOR_KEYS;
const VERSION = 1;

/** A message about an event in CBOR, without its chip. Pure. */
export function eventToCbor(event: EventMessage): Uint8Array {
  const atMs = Date.parse(event.capturedAt);
  const { clock, frame, image, track, pixel, velocity, bearing, latencyMs, model, sensor } = event;
  const map = new Map<number, unknown>([
    [K.version, VERSION],
    [K.type, TYPES.indexOf(event.type)],
    [K.id, ulidToBytes(event.id)],
    [K.seq, event.seq],
    [K.device, event.device],
    [K.camera, event.camera],
    [K.severity, SEVERITIES.indexOf(event.severity)],
    [K.capturedAt, atMs],
    [K.captureMonotonicNs, BigInt(event.captureMonotonicNs)],
    [K.clock, [clock.synchronised, clock.offsetMs ?? null]],
    [K.firstSeen, atMs - Date.parse(event.firstSeenAt)],
    [K.lastSeen, atMs - Date.parse(event.lastSeenAt)],
    [K.frame, [frame.sequence, frame.dropped ?? null, frame.ffc ?? null]],
    [K.image, [image.width, image.height]],
    [K.track, [track.number, track.hits, track.misses, track.ageMs]],
    [K.pixel, [pixel.x, pixel.y, pixel.sigmaX, pixel.sigmaY]],
    [K.velocity, [velocity.x, velocity.y, velocity.sigmaX, velocity.sigmaY]],
    [K.strength, [event.score, event.topScore, event.snr, event.extent]],
    [K.latency, [latencyMs.normalise, latencyMs.infer, latencyMs.decode, latencyMs.track ?? null, latencyMs.total]],
    [K.model, [model.name, Buffer.from(model.sha256, 'hex'), model.precision]],
    [K.provider, event.provider],
    [K.software, event.software],
  ]);
  if (event.endReason !== undefined) {
    const known = END_REASONS.indexOf(event.endReason);
    map.set(K.endReason, known < 0 ? event.endReason : known);
  }
  if (event.stationary) map.set(K.stationary, true);
  if (event.zones.length > 0) map.set(K.zones, event.zones);
  if (bearing !== undefined) {
    const { azimuthDeg, elevationDeg, sigmaAzimuthDeg, sigmaElevationDeg, datum } = bearing;
    map.set(K.bearing, [azimuthDeg, elevationDeg, sigmaAzimuthDeg, sigmaElevationDeg, DATUMS.indexOf(datum)]);
  }
  if (sensor !== undefined) map.set(K.sensor, [sensor.ffc ?? null, sensor.health ?? null, sensor.temperatureC ?? null]);
  return encode(rounded(map));
}

/**
 * The message of its CBOR, a valid `EventMessage` where the bytes came from `eventToCbor`. Throws `Error` for what is no such CBOR;
 * words and numbers in it are not checked further: `eventSchema` does that.
 */
export function eventFromCbor(bytes: Uint8Array): EventMessage {
  const map: unknown = decode(bytes, { useMaps: true, rejectDuplicateMapKeys: true, allowIndefinite: false });
  if (!(map instanceof Map)) throw new Error('not an event in CBOR: no map');
  if (map.get(K.version) !== VERSION) throw new Error(`not an event in CBOR of version ${VERSION}`);
  const one = <T>(key: number): T => {
    if (!map.has(key)) throw new Error(`not an event in CBOR: key ${key} is missing`);
    return map.get(key) as T;
  };
  const list = (key: number, length: number): number[] => {
    const value = one<unknown>(key);
    if (!Array.isArray(value) || value.length < length) throw new Error(`not an event in CBOR: list ${key}`);
    return value as number[];
  };
  const word = <T>(words: readonly T[], index: unknown): T => {
    const found = typeof index === 'number' ? words[index] : undefined;
    if (found === undefined) throw new Error('not an event in CBOR: unknown word');
    return found;
  };
  const present = <T>(key: string, value: T | null | undefined): Record<string, T> =>
    value === null || value === undefined ? {} : { [key]: value };
  const vector = (key: number) => {
    const [x, y, sigmaX, sigmaY] = list(key, 4) as [number, number, number, number];
    return { x, y, sigmaX, sigmaY };
  };

  const atMs = one<number>(K.capturedAt);
  const time = (ms: number) => new Date(ms).toISOString();
  const [synchronised, offsetMs] = one<[boolean | null, number | null]>(K.clock);
  const [sequence, dropped, ffc] = one<[number, number | null, boolean | null]>(K.frame);
  const [width, height] = list(K.image, 2) as [number, number];
  const [number, hits, misses, ageMs] = list(K.track, 4) as [number, number, number, number];
  const [score, topScore, snr, extent] = list(K.strength, 4) as [number, number, number, number];
  const [normalise, infer, decodeMs, track, total] = one<[number, number, number, number | null, number]>(K.latency);
  const [name, sha256, precision] = one<[string, Uint8Array, 'fp32' | 'fp16']>(K.model);
  const reason = map.get(K.endReason);
  const bearing = map.has(K.bearing) ? (list(K.bearing, 5) as [number, number, number, number, number]) : undefined;
  const sensor = map.get(K.sensor) as [string | null, string | null, number | null] | undefined;
  return {
    schema: 'irst-edge/event/1',
    type: word(TYPES, one(K.type)),
    id: bytesToUlid(one(K.id)),
    seq: one(K.seq),
    device: one(K.device),
    camera: one(K.camera),
    severity: word(SEVERITIES, one(K.severity)),
    ...(reason !== undefined && { endReason: endReason(reason) }),
    capturedAt: time(atMs),
    captureMonotonicNs: String(one<number | bigint>(K.captureMonotonicNs)),
    clock: { synchronised, ...present('offsetMs', offsetMs) },
    firstSeenAt: time(atMs - one<number>(K.firstSeen)),
    lastSeenAt: time(atMs - one<number>(K.lastSeen)),
    frame: { sequence, ...present('dropped', dropped), ...present('ffc', ffc) },
    image: { width, height },
    track: { number, hits, misses, ageMs },
    pixel: vector(K.pixel),
    velocity: vector(K.velocity),
    score,
    topScore,
    snr,
    extent,
    stationary: map.get(K.stationary) === true,
    zones: (map.get(K.zones) ?? []) as string[],
    ...(bearing && {
      bearing: {
        azimuthDeg: bearing[0],
        elevationDeg: bearing[1],
        sigmaAzimuthDeg: bearing[2],
        sigmaElevationDeg: bearing[3],
        datum: word(DATUMS, bearing[4]),
      },
    }),
    latencyMs: { normalise, infer, decode: decodeMs, ...present('track', track), total },
    model: { name, sha256: Buffer.from(sha256).toString('hex'), precision },
    provider: one(K.provider),
    software: one(K.software),
    ...(sensor && {
      sensor: { ...present('ffc', sensor[0]), ...present('health', sensor[1]), ...present('temperatureC', sensor[2]) },
    }),
  };
}

function endReason(value: unknown): (typeof EVENT_END_REASONS)[number] {
  const text = typeof value === 'number' ? END_REASONS[value] : value;
  if (typeof text !== 'string') throw new Error('not an event in CBOR: unknown word');
  return text as (typeof EVENT_END_REASONS)[number];
}

/** Single precision takes 5 bytes instead of 9. 359.99999 would round up to 360, which is no azimuth: there the next lower one. */
function rounded(map: Map<number, unknown>): Map<number, unknown> {
  const single = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(single);
    return typeof value === 'number' && !Number.isInteger(value) ? Math.fround(value) : value;
  };
  const result = new Map([...map].map(([key, value]) => [key, single(value)]));
  const bearing = result.get(K.bearing) as number[] | undefined;
  if (bearing?.[0] === 360) bearing[0] = 360 - 2 ** -15;
  return result;
}
