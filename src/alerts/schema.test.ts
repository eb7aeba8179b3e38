import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { DROP_REASONS } from '../types/frame.js';
import { Percentiles } from '../util/percentiles.js';
import { EXAMPLES } from './examples.js';
import {
  ALERT_SCHEMAS,
  COMMAND_MAX_BYTES,
  COMMAND_NAMES,
  type CommandName,
  commandAnswer,
  commandAnswerSchema,
  type DetectionsInput,
  detectionsMessage,
  detectionsSchema,
  MESSAGE_SCHEMAS,
  type MessageKind,
  NAME_PATTERN,
  parseCommand,
  type StatusInput,
  statsMessage,
  statusMessage,
  statusSchema,
  topics,
} from './schema.js';

// JSON has no -0: it comes back as 0.
const finite = fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (Object.is(x, -0) ? 0 : x));
const positive = fc.double({ min: 0, max: 1e9, noNaN: true }).map((x) => Math.abs(x));
const name = fc.stringMatching(NAME_PATTERN);
const text = fc.string({ minLength: 1, maxLength: 512 });
const size = fc.integer({ min: 1, max: 100_000 });
const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
// Years 1970 to 9999: what a four-digit year can say.
const wallMs = fc.double({ min: 0, max: 253_402_300_799_999, noNaN: true });
const model = fc.record({
  name: text,
  sha256: fc.stringMatching(/^[0-9a-f]{64}$/),
  precision: fc.constantFrom('fp32' as const, 'fp16' as const),
});
const detection = fc.record({
  x: finite,
  y: finite,
  sigmaX: positive,
  sigmaY: positive,
  score: fc.double({ min: 0, max: 1, noNaN: true }).map((x) => Math.abs(x)),
  snr: finite,
  extent: positive,
});
const input: fc.Arbitrary<DetectionsInput> = fc.record({
  device: name,
  camera: name,
  frame: fc.record({
    sequence: count,
    captureMonotonicNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    capturedAtMs: wallMs,
    width: size,
    height: size,
  }),
  detections: fc.array(detection, { minLength: 1, maxLength: 20 }),
  model,
  provider: text,
  software: text,
  latencyMs: fc.record({ normalise: positive, infer: positive, decode: positive, total: positive }),
});
const statusInput: fc.Arbitrary<StatusInput> = fc.record(
  {
    device: name,
    state: fc.constantFrom('online' as const, 'stopped' as const, 'offline' as const),
    atMs: wallMs,
    software: text,
    cameras: fc.array(
      fc.record(
        {
          id: name,
          state: fc.constantFrom('starting' as const, 'running' as const, 'failed' as const, 'restarting' as const),
          source: fc.string({ minLength: 1, maxLength: 2000 }),
          fps: positive,
          provider: text,
          model,
          frames: fc.record({
            captured: count,
            processed: count,
            dropped: fc.dictionary(fc.constantFrom(...DROP_REASONS), count),
          }),
          error: fc.record({ code: text, message: fc.string({ maxLength: 5000 }) }),
        },
        { requiredKeys: ['id', 'state'] },
      ),
      { maxLength: 4 },
    ),
  },
  { requiredKeys: ['device', 'state', 'software'] },
);

const example: DetectionsInput = {
  device: 'edge-1',
  camera: 'north',
  frame: { sequence: 7, captureMonotonicNs: 123_456_789_012_345n, capturedAtMs: 1.7e12, width: 320, height: 256 },
  detections: [{ x: 10.25, y: 20.5, sigmaX: 0.1, sigmaY: 0.2, score: 0.9, snr: 8.5, extent: 0.8 }],
  model: { name: 'm', sha256: 'a'.repeat(64), precision: 'fp32' },
  provider: 'cpu',
  software: '0.1.0',
  latencyMs: { normalise: 0.1, infer: 20, decode: 0.5, total: 21 },
};

describe('detections message', () => {
  it('survives JSON and fits the zod schema and the published JSON Schema, whatever the numbers', () => {
    const published = z.fromJSONSchema(ALERT_SCHEMAS.detections as Parameters<typeof z.fromJSONSchema>[0]);
    fc.assert(
      fc.property(input, (value) => {
        const message = detectionsMessage(value);
        const back = JSON.parse(JSON.stringify(message));
        expect(detectionsSchema.parse(back)).toEqual(message);
        expect(published.safeParse(back).success).toBe(true);
        expect(BigInt(back.captureMonotonicNs)).toBe(value.frame.captureMonotonicNs);
        expect(Date.parse(back.capturedAt)).toBe(Math.trunc(value.frame.capturedAtMs));
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    // Of a version that did not tell it.
    ['without the time of tracking', example.latencyMs],
    ['with the time of tracking, which the total holds', { ...example.latencyMs, track: 0.4 }],
  ])('%s', (_, latencyMs) => {
    const message = detectionsMessage({ ...example, latencyMs });
    expect(message.latencyMs).toEqual(latencyMs);
    expect(detectionsSchema.parse(message)).toEqual(message);
  });

  it('looks like this', () => {
    expect(detectionsMessage(example)).toEqual({
      schema: 'irst-edge/detections/1',
      device: 'edge-1',
      camera: 'north',
      sequence: 7,
      capturedAt: '2023-11-14T22:13:20.000Z',
      captureMonotonicNs: '123456789012345',
      image: { width: 320, height: 256 },
      detections: [{ x: 10.25, y: 20.5, sigmaX: 0.1, sigmaY: 0.2, score: 0.9, snr: 8.5, extent: 0.8 }],
      model: { name: 'm', sha256: 'a'.repeat(64), precision: 'fp32' },
      provider: 'cpu',
      software: '0.1.0',
      latencyMs: { normalise: 0.1, infer: 20, decode: 0.5, total: 21 },
    });
  });

  it('carries no field that the schema does not know', () => {
    const extra = {
      ...example,
      detections: [{ ...example.detections[0]!, secret: 1 }],
      model: { ...example.model, x: 1 },
    };
    expect(detectionsSchema.safeParse(detectionsMessage(extra)).success).toBe(true);
    expect(detectionsSchema.safeParse({ ...detectionsMessage(example), extra: 1 }).success).toBe(false);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('refuses the number %s anywhere', (bad) => {
    for (const key of ['x', 'y', 'sigmaX', 'sigmaY', 'score', 'snr', 'extent'] as const) {
      const message = detectionsMessage({ ...example, detections: [{ ...example.detections[0]!, [key]: bad }] });
      expect(detectionsSchema.safeParse(message).success).toBe(false);
      // As JSON, where it becomes null.
      expect(detectionsSchema.safeParse(JSON.parse(JSON.stringify(message))).success).toBe(false);
    }
    for (const key of ['normalise', 'infer', 'decode', 'total'] as const) {
      const message = detectionsMessage({ ...example, latencyMs: { ...example.latencyMs, [key]: bad } });
      expect(detectionsSchema.safeParse(message).success).toBe(false);
    }
  });

  it.each([
    ['no detections', { detections: [] }],
    ['a bad sha256', { model: { name: 'm', sha256: 'XYZ', precision: 'fp32' } }],
    ['a local time', { capturedAt: '2023-11-14T22:13:20.000+01:00' }],
    ['a time in whole seconds', { capturedAt: '2023-11-14T22:13:20Z' }],
    ['a numeric clock', { captureMonotonicNs: 5 }],
    ['a topic wildcard as camera', { camera: 'a/#' }],
    ['a fraction of a frame', { sequence: 1.5 }],
    ['another version', { schema: 'irst-edge/detections/2' }],
  ])('refuses %s', (_what, change) => {
    expect(detectionsSchema.safeParse({ ...detectionsMessage(example), ...change }).success).toBe(false);
  });
});

describe('status message', () => {
  it('survives JSON and fits both schemas; long texts are cut', () => {
    const published = z.fromJSONSchema(ALERT_SCHEMAS.status as Parameters<typeof z.fromJSONSchema>[0]);
    fc.assert(
      fc.property(statusInput, (value) => {
        const message = statusMessage(value);
        const back = JSON.parse(JSON.stringify(message));
        expect(statusSchema.parse(back)).toEqual(message);
        expect(published.safeParse(back).success).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('has no time in the will', () => {
    expect(statusMessage({ device: 'd', state: 'offline', software: '1' })).toEqual({
      schema: 'irst-edge/status/1',
      device: 'd',
      state: 'offline',
      software: '1',
    });
  });
});

describe('topics', () => {
  it('are built from prefix, device and camera', () => {
    const t = topics('site/irst', 'edge-1');
    expect(t.status).toBe('site/irst/edge-1/status');
    expect(t.detections('north')).toBe('site/irst/edge-1/north/detections');
  });

  it.each(['', 'a/b', '+', 'a#', 'ä', 'a b', '$SYS', 'x'.repeat(65)])('refuse the name %j', (bad) => {
    const refusal = expect.objectContaining({ code: 'BAD_TOPIC_NAME', exitCode: 78 });
    expect(() => topics('irst', bad)).toThrow(refusal);
    expect(() => topics('irst', 'edge').detections(bad)).toThrow(refusal);
  });

  it.each(['', '/irst', 'irst/', 'a//b', 'a/+', '$SYS'])('refuse the prefix %j', (bad) => {
    expect(() => topics(bad, 'edge')).toThrow(expect.objectContaining({ code: 'BAD_TOPIC_NAME' }));
  });
});

describe('topics of the contract', () => {
  const t = topics('irst', 'edge-1');

  it('are these', () => {
    expect({
      available: t.available,
      stats: t.stats,
      commands: t.commands,
      events: t.events('north'),
      state: t.state('north'),
      set: t.commandSet('north', 'threshold'),
      answer: t.commandState('north', 'threshold'),
    }).toEqual({
      available: 'irst/edge-1/available',
      stats: 'irst/edge-1/stats',
      commands: 'irst/edge-1/+/+/set',
      events: 'irst/edge-1/north/events',
      state: 'irst/edge-1/north/state',
      set: 'irst/edge-1/north/threshold/set',
      answer: 'irst/edge-1/north/threshold/state',
    });
  });

  it.each(COMMAND_NAMES)('the topic of the command %s is read back', (command) => {
    fc.assert(
      fc.property(name, (camera) => {
        expect(t.parseCommand(t.commandSet(camera, command))).toEqual({ camera, command });
      }),
      { numRuns: 30 },
    );
  });

  it.each([
    'irst/edge-1/north/threshold/state',
    'irst/edge-1/north/threshold/set/x',
    'irst/edge-1/north/reboot/set',
    'irst/edge-1/north/toString/set',
    'irst/edge-1//threshold/set',
    'irst/edge-12/north/threshold/set',
    'irst/other/north/threshold/set',
    'x/irst/edge-1/north/threshold/set',
    '',
  ])('%j is no command', (topic) => {
    expect(t.parseCommand(topic)).toBeUndefined();
  });
});

describe('commands', () => {
  const read = (command: CommandName, payload: string) => parseCommand(command, Buffer.from(payload));

  it.each([
    ['enabled', 'true', { name: 'enabled', value: true }],
    ['enabled', '{"value": false, "id": "a"}', { name: 'enabled', value: false, id: 'a' }],
    ['threshold', ' 0.4\n', { name: 'threshold', value: 0.4 }],
    ['threshold', 'null', { name: 'threshold', value: null }],
    ['threshold', '{"value": null}', { name: 'threshold', value: null }],
    ['profile', '"night"', { name: 'profile', value: 'night' }],
    ['snapshot', 'true', { name: 'snapshot', value: true }],
  ] as const)('%s takes %s', (command, payload, expected) => {
    expect(read(command, payload)).toEqual({ ok: true, command: expected });
  });

  it.each([
    ['enabled', 'ON', 'COMMAND_MALFORMED'],
    ['enabled', '', 'COMMAND_MALFORMED'],
    ['enabled', '"on"', 'COMMAND_VALUE'],
    ['enabled', '1', 'COMMAND_VALUE'],
    ['enabled', '{}', 'COMMAND_VALUE'],
    ['enabled', '[true]', 'COMMAND_VALUE'],
    ['enabled', '{"value": true, "valeu": 1}', 'COMMAND_MALFORMED'],
    ['threshold', '1.01', 'COMMAND_VALUE'],
    ['threshold', '"0.5"', 'COMMAND_VALUE'],
    ['threshold', '1e999', 'COMMAND_VALUE'],
    ['profile', '"a/b"', 'COMMAND_VALUE'],
    ['snapshot', 'false', 'COMMAND_VALUE'],
    ['threshold', `0.5${' '.repeat(COMMAND_MAX_BYTES)}`, 'COMMAND_TOO_LARGE'],
  ] as const)('%s refuses %j with %s', (command, payload, code) => {
    expect(read(command, payload)).toMatchObject({ ok: false, error: { code } });
  });

  it('gives back the id of a command that it refuses', () => {
    expect(read('threshold', '{"value": 2, "id": "q-1"}')).toMatchObject({ ok: false, id: 'q-1' });
    expect(read('threshold', '{"value": 0.5, "id": 5}')).not.toHaveProperty('id');
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(parseCommand('profile', Uint8Array.of(0x22, 0xff, 0xfe, 0x22))).toMatchObject({ ok: false });
  });

  it('answers fit the schema; a refusal still tells the value in force', () => {
    const base = { device: 'd', camera: 'c', command: 'threshold', atMs: 1.7e12 } as const;
    const done = commandAnswer({ ...base, value: 0.4, id: 'a' });
    expect(done).toEqual({
      schema: 'irst-edge/command-answer/1',
      device: 'd',
      camera: 'c',
      command: 'threshold',
      at: '2023-11-14T22:13:20.000Z',
      ok: true,
      value: 0.4,
      id: 'a',
    });
    const refused = commandAnswer({ ...base, value: 0.4, error: { code: 'X', message: 'm'.repeat(5000) } });
    expect(refused).toMatchObject({ ok: false, value: 0.4, error: { code: 'X' } });
    for (const answer of [done, refused]) expect(commandAnswerSchema.parse(answer)).toEqual(answer);
  });
});

describe('statistics', () => {
  it('leave out percentiles of nothing', () => {
    const message = statsMessage({
      ...EXAMPLES.stats,
      atMs: 0,
      cameras: [{ camera: 'c', latencyMs: { infer: new Percentiles().summary(), total: summaryOf(3) } }],
    });
    expect(message.cameras[0]?.latencyMs).toEqual({ total: { count: 1, mean: 3, p50: 3, p95: 3, p99: 3, max: 3 } });
  });

  function summaryOf(value: number) {
    const percentiles = new Percentiles();
    percentiles.add(value);
    return percentiles.summary();
  }
});

describe('ALERT_SCHEMAS', () => {
  type Node = {
    [key: string]: unknown;
    properties?: Record<string, Node>;
    items?: Node;
    additionalProperties?: unknown;
  };
  const nodes = (node: Node, path: string): [string, Node][] => [
    [path, node],
    ...Object.entries(node.properties ?? {}).flatMap(([key, child]) => nodes(child, `${path}.${key}`)),
    ...(node.items === undefined ? [] : nodes(node.items, `${path}[]`)),
  ];
  const kinds = Object.keys(MESSAGE_SCHEMAS) as MessageKind[];
  const publish = (kind: MessageKind) =>
    z.fromJSONSchema(ALERT_SCHEMAS[kind] as Parameters<typeof z.fromJSONSchema>[0]);

  it.each(kinds)('%s: every field described, an $id', (kind) => {
    for (const [path, node] of nodes(ALERT_SCHEMAS[kind] as Node, kind)) {
      expect(node.description, path).toBeTypeOf('string');
    }
    expect(ALERT_SCHEMAS[kind]).toMatchObject({
      $id: `urn:irst-edge:schema:${kind}:1`,
      $schema: 'https://json-schema.org/draft/2020-12/schema',
    });
  });

  it.each(kinds)('%s: the example fits the zod schema and the published one', (kind) => {
    expect(MESSAGE_SCHEMAS[kind].parse(EXAMPLES[kind])).toEqual(EXAMPLES[kind]);
    expect(publish(kind).safeParse(EXAMPLES[kind]).error).toBeUndefined();
  });

  it.each(kinds.filter((kind) => kind !== 'command'))(
    '%s: a field more is an error of the device, but none for a subscriber that validates',
    (kind) => {
      const later = { ...(EXAMPLES[kind] as object), addedLater: 1 };
      expect(MESSAGE_SCHEMAS[kind].safeParse(later).success).toBe(false);
      expect(publish(kind).safeParse(later).success).toBe(true);
    },
  );

  it('a word more in an open list is none either', () => {
    const later = { ...EXAMPLES.event, type: 'end', endReason: 'abducted' };
    expect(MESSAGE_SCHEMAS.event.safeParse(later).success).toBe(false);
    expect(publish('event').safeParse(later).success).toBe(true);
    expect(publish('event').safeParse({ ...EXAMPLES.event, severity: 'dire' }).success).toBe(false);
    const state = { ...EXAMPLES['camera-state'], frames: { captured: 1, processed: 0, dropped: { meteor: 1 } } };
    expect(publish('camera-state').safeParse(state).success).toBe(true);
  });

  it('a command with an unknown field fits neither', () => {
    expect(publish('command').safeParse({ value: true, valeu: 1 }).success).toBe(false);
  });
});
