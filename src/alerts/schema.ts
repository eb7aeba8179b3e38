import { z } from 'zod';
import type { Detection } from '../types/detection.js';
import { EdgeError, EXIT } from '../types/errors.js';
import { DROP_REASONS, type Frame } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';

// The one source of what leaves the machine: types, checks and JSON Schema all come from the zod schemas below.
// A change that a subscriber could notice as an error gets a new number behind the last slash of `schema`.

/** Names that stand in topics: no `/`, `+`, `#` (MQTT 5, section 4.7.1), nothing that needs quoting in a shell. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
/** One or more names joined by `/`. */
export const PREFIX_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]*(\/[A-Za-z0-9][A-Za-z0-9_.-]*)*$/;

const name = (description: string) => z.string().regex(NAME_PATTERN).meta({ description });
const TEXT_MAX = 512;
const ERROR_MAX = 2048;
const text = (description: string) => z.string().min(1).max(TEXT_MAX).meta({ description });
/** zod 4 numbers are finite: NaN and the infinities, which JSON cannot carry, are refused. */
const number = (description: string) => z.number().meta({ description });
const positiveOrZero = (description: string) => z.number().min(0).meta({ description });
const count = (description: string) => z.int().min(0).meta({ description });
const time = (description: string) => z.iso.datetime({ precision: 3 }).meta({ description });

const model = z
  .strictObject({
    name: text('Name of the model, from its manifest.'),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .meta({ description: 'sha256 of the .onnx file that ran, lower-case hex.' }),
    precision: z.enum(['fp32', 'fp16']).meta({ description: 'Number format the network computes in.' }),
  } satisfies Record<keyof ModelIdentity, z.ZodType>)
  .meta({ description: 'The model that found the targets.' });

const detection = z
  .strictObject({
    x: number('Sub-pixel centre, px to the right; 0 is the centre of the leftmost pixel. Not rounded.'),
    y: number('Sub-pixel centre, px downwards; 0 is the centre of the top pixel. Not rounded.'),
    sigmaX: positiveOrZero('Standard error of x, px.'),
    sigmaY: positiveOrZero('Standard error of y, px.'),
    score: z.number().min(0).max(1).meta({ description: 'Height of the heat-map peak, 0 to 1 (no unit).' }),
    snr: number('Peak contrast over the local background noise of the frame (ratio, no unit).'),
    extent: positiveOrZero("Standard deviation of the target's Gaussian profile, px: its size."),
  } satisfies Record<keyof Detection, z.ZodNumber>)
  .meta({ description: 'One target.' });

export const detectionsSchema = z
  .strictObject({
    schema: z.literal('irst-edge/detections/1').meta({ description: 'Kind and version of this message.' }),
    device: name('Name of the device, as in the topic.'),
    camera: name('Name of the camera, as in the topic.'),
    sequence: count(
      "The source's frame number, from 0 at each start of the source. A message may come twice after a reconnect: " +
        'camera, sequence and captureMonotonicNs together tell the copies.',
    ),
    capturedAt: time('Wall clock at capture, ISO 8601, UTC, ms.'),
    captureMonotonicNs: z
      .string()
      .regex(/^\d{1,20}$/)
      .meta({
        description:
          "The device's CLOCK_MONOTONIC at capture, ns, as a decimal string (it does not fit a JSON number). " +
          'Not stepped when the wall clock is set; starts anew at boot.',
      }),
    image: z
      .strictObject({
        width: z.int().min(1).meta({ description: 'Width of the frame, px.' }),
        height: z.int().min(1).meta({ description: 'Height of the frame, px.' }),
      })
      .meta({ description: 'Size of the frame that the coordinates refer to.' }),
    detections: z.array(detection).min(1).meta({ description: 'The targets found in the frame, at least one.' }),
    model,
    provider: text("Execution provider that really ran the network, for example 'cpu' or 'tensorrt'."),
    software: text('Version of irst-edge.'),
    latencyMs: z
      .strictObject({
        normalise: positiveOrZero('Counts to network input, ms.'),
        infer: positiveOrZero('Network, ms.'),
        decode: positiveOrZero('Heat map to detections, ms.'),
        total: positiveOrZero('Capture to the end of decoding, ms; includes waiting.'),
      })
      .meta({ description: 'Time spent on this frame, ms.' }),
  })
  .meta({
    title: 'irst-edge detections',
    description:
      'Targets found in one frame. Topic irst/<device>/<camera>/detections, not retained; sent for each frame with at ' +
      "least one target. Coordinates in the camera's own pixels: centres at integers, x right, y down, 0-based.",
  });

const camera = z
  .strictObject({
    id: name('Name of the camera, as in its topic.'),
    state: z.enum(['starting', 'running', 'ended', 'failed', 'restarting']).meta({
      description:
        "'ended': the source came to its end; 'failed': it stopped with an error and is not tried again; " +
        "'restarting': it stopped with an error and is tried again.",
    }),
    source: text('What the frames come from, for people.').optional(),
    fps: positiveOrZero('Frames processed per second, Hz, over the last seconds.').optional(),
    provider: text('Execution provider that really runs the network.').optional(),
    model: model.optional(),
    frames: z
      .strictObject({
        captured: count('Frames captured since the source started.'),
        processed: count('Frames that went through the whole pipeline.'),
        dropped: z.partialRecord(z.enum(DROP_REASONS), count('Frames dropped for this reason.')).meta({
          description: 'Frames that did not, by reason. captured = processed + all dropped + the one under way.',
        }),
      })
      .meta({ description: 'Frame counts since the source started.' })
      .optional(),
    error: z
      .strictObject({
        code: text('Stable code, upper case, as in docs/errors.md.'),
        message: z.string().max(ERROR_MAX).meta({ description: 'One line for people.' }),
      })
      .meta({ description: 'Why the camera failed or restarts.' })
      .optional(),
  })
  .meta({ description: 'One camera.' });

export const statusSchema = z
  .strictObject({
    schema: z.literal('irst-edge/status/1').meta({ description: 'Kind and version of this message.' }),
    device: name('Name of the device, as in the topic.'),
    state: z.enum(['online', 'stopped', 'offline']).meta({
      description: "'stopped': ended in good order; 'offline': the broker lost the device (Last Will).",
    }),
    at: time(
      "Wall clock when the device wrote this, ISO 8601, UTC, ms. Absent when state is 'offline': the broker sends " +
        'that one, written when the connection was made.',
    ).optional(),
    software: text('Version of irst-edge.'),
    cameras: z.array(camera).meta({ description: "The device's cameras." }).optional(),
  })
  .meta({
    title: 'irst-edge status',
    description: 'State of a device. Topic irst/<device>/status, retained, QoS 1; also the Last Will.',
  });

export type DetectionsMessage = z.infer<typeof detectionsSchema>;
export type StatusMessage = z.infer<typeof statusSchema>;
export type CameraStatus = z.infer<typeof camera>;
export type LatencyMs = DetectionsMessage['latencyMs'];

/** JSON Schema (2020-12) of each message, for docs/schemas and for subscribers. */
export const ALERT_SCHEMAS: Record<'detections' | 'status', object> = {
  detections: { $id: 'urn:irst-edge:schema:detections:1', ...z.toJSONSchema(detectionsSchema) },
  status: { $id: 'urn:irst-edge:schema:status:1', ...z.toJSONSchema(statusSchema) },
};

export interface Topics {
  /** `<prefix>/<device>/status` */
  readonly status: string;
  /** `<prefix>/<device>/<camera>/detections` */
  detections(camera: string): string;
}

/** Topics of a device. Throws `EdgeError` `BAD_TOPIC_NAME` where a name does not fit a topic. */
export function topics(prefix: string, device: string): Topics {
  if (!PREFIX_PATTERN.test(prefix)) throw badName('topic prefix', prefix, PREFIX_PATTERN);
  if (!NAME_PATTERN.test(device)) throw badName('device name', device, NAME_PATTERN);
  const root = `${prefix}/${device}`;
  return {
    status: `${root}/status`,
    detections(camera) {
      if (!NAME_PATTERN.test(camera)) throw badName('camera name', camera, NAME_PATTERN);
      return `${root}/${camera}/detections`;
    },
  };
}

function badName(what: string, value: string, pattern: RegExp): EdgeError {
  return new EdgeError(
    'BAD_TOPIC_NAME',
    `${what} ${JSON.stringify(value.slice(0, 80))} cannot stand in an MQTT topic`,
    {
      hint: `Use letters, digits, '_', '-' and '.', starting with a letter or digit (${pattern.source}).`,
      exitCode: EXIT.config,
    },
  );
}

export interface DetectionsInput {
  device: string;
  camera: string;
  /** The frame, or just these fields of it. */
  frame: Pick<Frame, 'sequence' | 'captureMonotonicNs' | 'capturedAtMs' | 'width' | 'height'>;
  /** At least one. */
  detections: readonly Detection[];
  model: ModelIdentity;
  /** Execution provider that really ran. */
  provider: string;
  /** Version of irst-edge. */
  software: string;
  latencyMs: LatencyMs;
}

/**
 * The message for one frame. Pure. Copies the known fields only, so that what a later stage adds to its objects does
 * not leak into a versioned message. Does not validate: `detectionsSchema.parse` does, in tests.
 */
export function detectionsMessage(input: DetectionsInput): DetectionsMessage {
  const { frame, model, latencyMs } = input;
  return {
    schema: 'irst-edge/detections/1',
    device: input.device,
    camera: input.camera,
    sequence: frame.sequence,
    capturedAt: isoTime(frame.capturedAtMs),
    captureMonotonicNs: frame.captureMonotonicNs.toString(),
    image: { width: frame.width, height: frame.height },
    detections: input.detections.map(({ x, y, sigmaX, sigmaY, score, snr, extent }) => ({
      x,
      y,
      sigmaX,
      sigmaY,
      score,
      snr,
      extent,
    })),
    model: { name: model.name, sha256: model.sha256, precision: model.precision },
    provider: input.provider,
    software: input.software,
    latencyMs: {
      normalise: latencyMs.normalise,
      infer: latencyMs.infer,
      decode: latencyMs.decode,
      total: latencyMs.total,
    },
  };
}

export interface StatusInput {
  device: string;
  state: StatusMessage['state'];
  /** Wall clock, ms since 1970. Leave out for the will. */
  atMs?: number;
  /** Version of irst-edge. */
  software: string;
  cameras?: readonly CameraStatus[];
}

/** The device's status. Pure. */
export function statusMessage(input: StatusInput): StatusMessage {
  return {
    schema: 'irst-edge/status/1',
    device: input.device,
    state: input.state,
    ...(input.atMs === undefined ? {} : { at: isoTime(input.atMs) }),
    software: input.software,
    ...(input.cameras === undefined ? {} : { cameras: input.cameras.map(clipped) }),
  };
}

/** Descriptions and error texts come from outside (paths, URLs, drivers): keep a retained message small. */
function clipped(camera: CameraStatus): CameraStatus {
  const { source, error } = camera;
  return {
    ...camera,
    ...(source === undefined ? {} : { source: source.slice(0, TEXT_MAX) }),
    ...(error === undefined ? {} : { error: { code: error.code, message: error.message.slice(0, ERROR_MAX) } }),
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
