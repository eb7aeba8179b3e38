import { z } from 'zod';
import type { ModelIdentity } from '../../types/model.js';

// What the messages have in common. See ../schema.ts for the rules of versions.

/** Names that stand in topics: no `/`, `+`, `#` (MQTT 5, section 4.7.1), nothing that needs quoting in a shell. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;
export const TEXT_MAX = 512;
export const ERROR_MAX = 2048;

export const name = (description: string) => z.string().regex(NAME_PATTERN).meta({ description });
export const text = (description: string) => z.string().min(1).max(TEXT_MAX).meta({ description });
/** zod 4 numbers are finite: NaN and the infinities, which JSON cannot carry, are refused. */
export const number = (description: string) => z.number().meta({ description });
export const positiveOrZero = (description: string) => z.number().min(0).meta({ description });
export const share = (description: string) => z.number().min(0).max(1).meta({ description });
export const count = (description: string) => z.int().min(0).meta({ description });
export const flag = (description: string) => z.boolean().meta({ description });
export const time = (description: string) => z.iso.datetime({ precision: 3 }).meta({ description });

/**
 * A list of words that may grow within a version. The device checks that it sends a known one; the published schema allows any
 * text and gives the known ones as examples (`publishedSchema`).
 */
export const openList = <const T extends readonly [string, ...string[]]>(values: T, description: string) =>
  z.enum(values).meta({ description, 'x-open': true });

/** Counts by reason. Reasons may be added within a version. */
export const countsByReason = (description: string) =>
  z.record(z.string().regex(/^[a-z][a-zA-Z0-9_]{0,63}$/), count('How many, for this reason.')).meta({ description });

export const monotonicNs = z
  .string()
  .regex(/^\d{1,20}$/)
  .meta({
    description:
      "The device's CLOCK_MONOTONIC at capture, ns, as a decimal string (it does not fit a JSON number). " +
      'Not stepped when the wall clock is set; starts anew at boot.',
  });

export const image = z
  .strictObject({
    width: z.int().min(1).meta({ description: 'Width of the frame, px.' }),
    height: z.int().min(1).meta({ description: 'Height of the frame, px.' }),
  })
  .meta({ description: 'Size of the frame that the coordinates refer to.' });

export const latencyMs = z
  .strictObject({
    normalise: positiveOrZero('Counts to network input, ms.'),
    infer: positiveOrZero(
      'Network, ms. Where it runs on another thread (a GPU), the search for faint points runs meanwhile: until both are over.',
    ),
    decode: positiveOrZero('Heat map to detections, ms.'),
    track: positiveOrZero(
      "Detections to tracks, ms, with the camera's own motion, and with the search for faint points where that did not run beside the network.",
    ).optional(),
    total: positiveOrZero('Capture to the end of the last of these, ms; includes waiting.'),
  })
  .meta({ description: 'Time spent on this frame, ms.' });

export const model = z
  .strictObject({
    name: text('Name of the model, from its manifest.'),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .meta({ description: 'sha256 of the .onnx file that ran, lower-case hex.' }),
    precision: z.enum(['fp32', 'fp16']).meta({ description: 'Number format the network computes in.' }),
  } satisfies Record<keyof ModelIdentity, z.ZodType>)
  .meta({ description: 'The model that found the targets.' });

export const error = z.strictObject({
  code: text('Stable code, upper case.'),
  message: z.string().max(ERROR_MAX).meta({ description: 'One line for people.' }),
});

export const software = text('Version of irst-edge.');
export const provider = text("Execution provider that really ran the network, for example 'cpu' or 'tensorrt'.");

/** State of the sensor, as far as the camera tells. */
export const sensor = z.strictObject({
  ffc: openList(
    ['idle', 'imminent', 'running', 'settling'],
    "Flat-field correction: 'imminent': about to begin; 'running': the shutter is closed; 'settling': just done.",
  ).optional(),
  health: openList(
    ['ok', 'degraded', 'frozen', 'fault'],
    "'degraded': pictures come with faults; 'frozen': the same picture again and again; 'fault': the camera reports one.",
  ).optional(),
  temperatureC: number('Temperature of the sensor, degrees Celsius.').optional(),
});
export type SensorState = z.infer<typeof sensor>;

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** Error texts come from outside (paths, URLs, drivers): keep a retained message small. */
export function clippedError(e: { code: string; message: string }): { code: string; message: string } {
  return { code: e.code, message: e.message.slice(0, ERROR_MAX) };
}

export interface PublishOptions {
  /** Default draft-2020-12; draft-7 is what AsyncAPI 3 builds on. */
  target?: 'draft-2020-12' | 'draft-7';
  /** For what the device reads: unknown fields are refused, and the published schema says so. */
  closed?: boolean;
}

/**
 * A zod schema as published JSON Schema. What the device sends is checked against the zod schema, which refuses unknown fields;
 * the published one leaves objects and open lists open, so that a subscriber that validates does not break when a field or a word
 * is added within a version.
 */
export function publishedSchema(schema: z.ZodType, options: PublishOptions = {}): Record<string, unknown> {
  const { target = 'draft-2020-12', closed = false } = options;
  return z.toJSONSchema(schema, {
    target,
    override: ({ jsonSchema }) => {
      if (jsonSchema.additionalProperties === false && !closed) delete jsonSchema.additionalProperties;
      // Not formats of JSON Schema: a strict validator refuses the schema. A pattern, or contentEncoding, says the same.
      if (jsonSchema.format === 'ulid' || jsonSchema.format === 'base64') delete jsonSchema.format;
      if (jsonSchema['x-open'] === true) {
        delete jsonSchema['x-open'];
        if (jsonSchema.enum !== undefined) {
          jsonSchema.examples = jsonSchema.enum;
          delete jsonSchema.enum;
        }
      }
      // zod closes the list of a partial record's keys; reasons may be added.
      if (jsonSchema.propertyNames !== undefined) delete jsonSchema.propertyNames;
    },
  }) as Record<string, unknown>;
}
