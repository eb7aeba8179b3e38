// The one source of what leaves the machine: types, checks, JSON Schema (docs/schemas) and docs/asyncapi.json all come from the zod
// schemas in ./schema.
//
// Versions. The number behind the last slash of `schema` is the version of a message. Within a version fields, and words of the
// lists that say so, are only added; a subscriber ignores those it does not know. Whatever a subscriber could notice as an error
// (a field that goes, changes its meaning, unit or type, or becomes optional) gets a new number.

import { cameraStateSchema } from './schema/camera-state.js';
import { commandAnswerSchema, commandSchema } from './schema/command.js';
import { type PublishOptions, publishedSchema } from './schema/common.js';
import { detectionsSchema } from './schema/detections.js';
import { eventSchema } from './schema/event.js';
import { statsSchema } from './schema/stats.js';
import { statusSchema } from './schema/status.js';

export * from './schema/camera-state.js';
export * from './schema/command.js';
export { isoTime, NAME_PATTERN, type SensorState, TEXT_MAX } from './schema/common.js';
export * from './schema/detections.js';
export * from './schema/event.js';
export * from './schema/stats.js';
export * from './schema/status.js';
export * from './schema/topics.js';

/** The zod schema of each message, by the stem of its file in docs/schemas. */
export const MESSAGE_SCHEMAS = {
  event: eventSchema,
  detections: detectionsSchema,
  'camera-state': cameraStateSchema,
  status: statusSchema,
  stats: statsSchema,
  command: commandSchema,
  'command-answer': commandAnswerSchema,
} as const;
export type MessageKind = keyof typeof MESSAGE_SCHEMAS;

/** JSON Schema of a message, without an `$id`. What the device reads is closed, what it sends may grow. */
export function messageSchema(kind: MessageKind, target?: PublishOptions['target']): Record<string, unknown> {
  return publishedSchema(MESSAGE_SCHEMAS[kind], { closed: kind === 'command', ...(target && { target }) });
}

/** JSON Schema (2020-12) of each message, for docs/schemas and for subscribers. */
export const ALERT_SCHEMAS = Object.fromEntries(
  (Object.keys(MESSAGE_SCHEMAS) as MessageKind[]).map((kind) => [
    kind,
    { $id: `urn:irst-edge:schema:${kind}:1`, ...messageSchema(kind) },
  ]),
) as Record<MessageKind, object>;
