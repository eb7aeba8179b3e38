import { z } from 'zod';
import { clippedError, error, isoTime, name, TEXT_MAX, time } from './common.js';
import { picture } from './event.js';

// Commands come as set/state pairs: <name>/set asks, <name>/state tells what holds after it.

export const COMMAND_NAMES = ['enabled', 'threshold', 'profile', 'snapshot'] as const;
export type CommandName = (typeof COMMAND_NAMES)[number];

/** Retained answers hold the value in force; a snapshot is asked for once. */
export const RETAINED_COMMANDS: Readonly<Record<CommandName, boolean>> = {
  enabled: true,
  threshold: true,
  profile: true,
  snapshot: false,
};

/** Largest payload of a command, bytes. */
export const COMMAND_MAX_BYTES = 1024;

const id = z
  .string()
  .min(1)
  .max(64)
  .meta({ description: 'Chosen by the sender; comes back in the answer.' })
  .optional();

const command = <T extends z.ZodType>(value: T) => z.strictObject({ value, id });

const values = {
  enabled: z.boolean().meta({ description: 'Whether the camera raises events.' }),
  threshold: z
    .number()
    .min(0)
    .max(1)
    .nullable()
    .meta({ description: 'Height of the heat-map peak from which a target is reported, 0 to 1; null: as configured.' }),
  profile: name('Name of a profile that the camera has.'),
  snapshot: z.literal(true).meta({ description: 'The newest frame, please.' }),
};

/** By name. The payload is JSON: the object, or the bare value. */
export const commandSchemas = {
  enabled: command(values.enabled),
  threshold: command(values.threshold),
  profile: command(values.profile),
  snapshot: command(values.snapshot),
} satisfies Record<CommandName, z.ZodType>;

export type Command = { [K in CommandName]: { name: K } & z.infer<(typeof commandSchemas)[K]> }[CommandName];

export const commandSchema = z
  .union([
    commandSchemas.enabled,
    commandSchemas.threshold,
    commandSchemas.profile,
    commandSchemas.snapshot,
    ...Object.values(values),
  ])
  .meta({
    title: 'irst-edge command',
    description:
      'Asks a camera for a change. Topic irst/<device>/<camera>/<name>/set, with <name> enabled (true or false), threshold (0 to 1, or ' +
      'null), profile (a name) or snapshot (true). JSON: {"value": ..., "id": ...}, or the bare value. Not retained. Answered on ' +
      '.../<name>/state, but for these, which are dropped and counted in stats: retained ones, more than 5 a second (20 at once), those of ' +
      'an unknown name or camera, and those that come while the program stops.',
  });

const snapshot = picture.extend({
  bits: z.union([z.literal(8), z.literal(16)]).meta({
    description: 'Bits of a PNG sample; counts are as the camera gave them, unless black and white are there.',
  }),
  scale: z
    .int()
    .min(1)
    .meta({ description: "Each pixel of the picture is the mean of so many of the frame's, each way; absent: 1." })
    .optional(),
  black: z.number().meta({ description: 'Count shown as 0, where the picture was stretched to 8 bits.' }).optional(),
  white: z.number().meta({ description: 'Count shown as 255, where the picture was stretched to 8 bits.' }).optional(),
  sequence: z.int().min(0).meta({ description: "The source's frame number." }),
  capturedAt: time('Wall clock at capture, ISO 8601, UTC, ms.'),
});
export type Snapshot = z.infer<typeof snapshot>;

export const COMMAND_ERRORS = [
  /** Not JSON, or neither a value nor an object with one. */
  'COMMAND_MALFORMED',
  /** Longer than `COMMAND_MAX_BYTES`. */
  'COMMAND_TOO_LARGE',
  /** The value is not of the kind that the command takes. */
  'COMMAND_VALUE',
  /** Well formed, but it cannot be done now. */
  'COMMAND_REFUSED',
  /** A newer one of the same kind came before it was begun. */
  'COMMAND_SUPERSEDED',
] as const;

export const commandAnswerSchema = z
  .strictObject({
    schema: z.literal('irst-edge/command-answer/1').meta({ description: 'Kind and version of this message.' }),
    device: name('Name of the device, as in the topic.'),
    camera: name('Name of the camera, as in the topic.'),
    command: z.enum(COMMAND_NAMES).meta({ description: 'The command, as in the topic.' }),
    at: time('Wall clock when the device wrote this, ISO 8601, UTC, ms.'),
    ok: z.boolean().meta({ description: 'Whether the last command was carried out; true also before the first.' }),
    value: z
      .union([z.boolean(), z.number(), z.string().max(TEXT_MAX), z.null(), snapshot])
      .meta({ description: 'What is in force now, also after a refusal; of a snapshot: the picture.' })
      .optional(),
    error: error
      .meta({
        description:
          'Why it was refused; there when ok is false, and only then. COMMAND_MALFORMED: not JSON, or no value in it; ' +
          'COMMAND_TOO_LARGE; COMMAND_VALUE: not a value that the command takes; COMMAND_SUPERSEDED: a newer one came before it was ' +
          'begun; COMMAND_REFUSED, or a code of docs/errors.md: it could not be done.',
      })
      .optional(),
    id: id.meta({ description: 'Of the command that this answers.' }),
  })
  .meta({
    title: 'irst-edge command answer',
    description:
      'Answer to a command, and the value in force. Topic irst/<device>/<camera>/<name>/state, QoS 1; retained, but for snapshot.',
  });

export type CommandAnswer = z.infer<typeof commandAnswerSchema>;
export type CommandError = { code: string; message: string };
export type ParsedCommand = { ok: true; command: Command } | { ok: false; error: CommandError; id?: string };

/**
 * Reads the payload of `<name>/set`. Never throws: what is wrong comes back as an error for the answer.
 */
export function parseCommand(command: CommandName, payload: Uint8Array): ParsedCommand {
  if (payload.length > COMMAND_MAX_BYTES) {
    return refuse('COMMAND_TOO_LARGE', `${payload.length} bytes; at most ${COMMAND_MAX_BYTES} are read`);
  }
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch {
    return refuse('COMMAND_MALFORMED', 'the payload is not JSON');
  }
  const bare = typeof raw !== 'object' || raw === null || Array.isArray(raw);
  const parsed = commandSchemas[command].safeParse(bare ? { value: raw } : raw);
  if (parsed.success) return { ok: true, command: { name: command, ...parsed.data } as Command };
  const asked = bare ? undefined : (raw as { id?: unknown }).id;
  const known = typeof asked === 'string' && asked.length > 0 && asked.length <= 64 ? asked : undefined;
  const wrongValue = parsed.error.issues.some((issue) => issue.path[0] === 'value');
  return refuse(
    wrongValue ? 'COMMAND_VALUE' : 'COMMAND_MALFORMED',
    wrongValue ? `${command} takes ${EXPECTED[command]}` : 'expected a value, or {"value": ..., "id": "..."}',
    known,
  );
}

const EXPECTED: Record<CommandName, string> = {
  enabled: 'true or false',
  threshold: 'a number from 0 to 1, or null',
  profile: 'the name of a profile',
  snapshot: 'true',
};

function refuse(code: (typeof COMMAND_ERRORS)[number], message: string, id?: string): ParsedCommand {
  return { ok: false, error: { code, message }, ...(id === undefined ? {} : { id }) };
}

export interface CommandAnswerInput {
  device: string;
  camera: string;
  command: CommandName;
  /** Wall clock, ms since 1970. */
  atMs: number;
  /** What is in force now; of a snapshot, the picture. */
  value?: CommandAnswer['value'];
  /** Set when it was refused. */
  error?: CommandError;
  /** Of the command. */
  id?: string;
}

/** The answer to a command, or the state to retain when the program starts. Pure. */
export function commandAnswer(input: CommandAnswerInput): CommandAnswer {
  const { device, camera, command, atMs, value, error, id } = input;
  return {
    schema: 'irst-edge/command-answer/1',
    device,
    camera,
    command,
    at: isoTime(atMs),
    ok: error === undefined,
    ...(value === undefined ? {} : { value }),
    ...(error === undefined ? {} : { error: clippedError(error) }),
    ...(id === undefined ? {} : { id }),
  };
}
