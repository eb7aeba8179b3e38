import { decode } from 'cborg';
import { z } from 'zod';
import { EXAMPLES } from './examples.js';
import { CBOR_KEYS, eventToCbor } from './mappers/cbor.js';
import { homeAssistantDiscovery } from './mappers/home-assistant.js';
import { toSapient } from './mappers/sapient.js';
import { NAME_PATTERN } from './schema.js';

// The forms in which an event, or the device, leaves beside the contract proper, for docs/asyncapi.json. Their own standards say more.

const number = (description: string) => z.number().meta({ description });
const whole = (description: string) => z.int().min(0).meta({ description });
const word = (description: string) => z.string().max(512).meta({ description });
const list = (description: string) => z.array(z.unknown()).meta({ description });

const CBOR_FIELDS: Record<keyof typeof CBOR_KEYS, z.ZodType> = {
  version: z.literal(1).meta({ description: 'Version of these keys.' }),
  type: whole('0 new, 1 update, 2 end.'),
  id: word("The event's ULID, a byte string of 16."),
  seq: whole('Number of the message within its event.'),
  device: z.string().regex(NAME_PATTERN).meta({ description: 'Name of the device.' }),
  camera: z.string().regex(NAME_PATTERN).meta({ description: 'Name of the camera.' }),
  severity: whole('0 info, 1 warning, 2 critical.'),
  endReason: z
    .union([z.int(), z.string()])
    .meta({
      description: '0 lost, 1 left, 2 displaced, 3 reset, 4 disabled, 5 stopped, 6 interrupted; a later one as text.',
    })
    .optional(),
  capturedAt: whole('Wall clock at capture, ms since 1970.'),
  captureMonotonicNs: whole('CLOCK_MONOTONIC at capture, ns.'),
  clock: list('[synchronised (true, false, null), offset ms or null].'),
  firstSeen: number('ms before capturedAt.'),
  lastSeen: number('ms before capturedAt.'),
  frame: list('[sequence, dropped or null, ffc or null].'),
  image: list('[width, height], px.'),
  track: list('[number, hits, misses, age ms].'),
  pixel: list('[x, y, sigma x, sigma y], px.'),
  velocity: list('[x, y, sigma x, sigma y], px/s.'),
  strength: list('[score, top score, SNR, extent px].'),
  stationary: z.boolean().meta({ description: 'Absent: false.' }).optional(),
  zones: list('Names; absent: in none.').optional(),
  bearing: list(
    '[azimuth, elevation, sigma azimuth, sigma elevation, datum], degrees; datum 0 true, 1 magnetic, 2 grid, 3 platform.',
  ).optional(),
  latency: list('[normalise, infer, decode, track or null, total], ms.'),
  model: list("[name, the sha256's 32 bytes, precision]."),
  provider: word('Execution provider.'),
  software: word('Version of irst-edge.'),
  sensor: list('[ffc or null, health or null, temperature in degrees Celsius or null].').optional(),
};

export const cborEventSchema = z
  .looseObject(
    Object.fromEntries(
      Object.entries(CBOR_KEYS).map(([name, key]) => [String(key), CBOR_FIELDS[name as keyof typeof CBOR_KEYS]]),
    ),
  )
  .meta({
    title: 'irst-edge event in CBOR',
    description:
      'An event (see event) without its picture, in CBOR (RFC 8949): a map with integer keys. Here as JSON, the keys as text, byte strings ' +
      'in lower-case hex. Keys, and elements at the end of lists, may be added. Only with outputs.cbor.enabled; not kept over a restart.',
  });

const degrees = (description: string) => number(`${description}, degrees.`);
const infos = (description: string) =>
  z.array(z.looseObject({ type: word('Name.'), value: word('Value.') })).meta({ description });

export const sapientEventSchema = z
  .looseObject({
    timestamp: z.iso.datetime({ precision: 3 }).meta({ description: 'Wall clock at capture, UTC.' }),
    nodeId: z.uuid().meta({ description: 'Of the camera: the same for the same names of device and camera.' }),
    detectionReport: z
      .looseObject({
        reportId: word('ULID of this message; of a copy the same.'),
        objectId: word('ULID of the event.'),
        state: word("'object lost' in the last one of an event.").optional(),
        rangeBearing: z
          .looseObject({
            elevation: degrees('Elevation'),
            azimuth: degrees('Azimuth'),
            elevationError: degrees('Standard error of the elevation'),
            azimuthError: degrees('Standard error of the azimuth'),
            coordinateSystem: word('RANGE_BEARING_COORDINATE_SYSTEM_DEGREES_M.'),
            datum: word('RANGE_BEARING_DATUM_TRUE, _MAGNETIC, _GRID or _PLATFORM.'),
          })
          .meta({ description: 'Where, without a range.' }),
        detectionConfidence: number("The event's score, 0 to 1."),
        trackInfo: infos('hits, misses, age in s, severity, stationary, endReason.'),
        objectInfo: infos('snr, extent, pixelX and pixelY in px.'),
        classification: z.array(z.looseObject({ type: word("'Unknown'.") })).meta({ description: 'Always unknown.' }),
      })
      .meta({ description: 'The report.' }),
  })
  .meta({
    title: 'irst-edge event as a SAPIENT detection report',
    description:
      "An event with a bearing as a SapientMessage of BSI Flex 335 v2.0, in proto3's JSON mapping. Only with outputs.sapient.enabled; not " +
      'kept over a restart.',
  });

export const homeAssistantSchema = z
  .looseObject({
    device: z.looseObject({ identifiers: z.array(z.string()), name: z.string() }).meta({ description: 'The device.' }),
    origin: z.looseObject({ name: z.string() }).meta({ description: 'The program.' }),
    components: z
      .record(z.string(), z.looseObject({ platform: z.string() }))
      .meta({ description: 'Entities, by name: several of each camera.' }),
  })
  .meta({
    title: 'irst-edge discovery for Home Assistant',
    description:
      'Device discovery of Home Assistant (https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload), retained. Only with ' +
      'outputs.homeAssistant.enabled; where that is switched off again, an empty message takes it back.',
  });

export const FORM_SCHEMAS = {
  'event-cbor': cborEventSchema,
  'event-sapient': sapientEventSchema,
  'home-assistant': homeAssistantSchema,
} as const;
export type FormKind = keyof typeof FORM_SCHEMAS;

/** Made by the mappers themselves. */
export const FORM_EXAMPLES: Readonly<Record<FormKind, unknown>> = {
  'event-cbor': asJson(decode(eventToCbor(EXAMPLES.event), { useMaps: true })),
  'event-sapient': toSapient(EXAMPLES.event),
  'home-assistant': JSON.parse(
    homeAssistantDiscovery({
      device: EXAMPLES.event.device,
      prefix: 'irst',
      cameras: [EXAMPLES.event.camera],
      software: EXAMPLES.event.software,
    }).payload,
  ),
};

/** CBOR as JSON can hold it. */
function asJson(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, v]) => [String(key), asJson(v)]));
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(asJson);
  return typeof value === 'bigint' ? Number(value) : value;
}
