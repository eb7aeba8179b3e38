import { createRequire } from 'node:module';
import { Ajv } from 'ajv';
import addFormatsModule from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { configSchema } from '../config/schema.js';
import { asyncApiDocument } from './asyncapi.js';
import { EXAMPLES } from './examples.js';
import { FORM_SCHEMAS } from './form-schemas.js';
import { Outputs } from './outputs.js';
import { MESSAGE_SCHEMAS, topics } from './schema.js';

const require = createRequire(import.meta.url);
// `module.exports.default` of a CommonJS package, as NodeNext sees it.
const addFormats = addFormatsModule as unknown as (ajv: Ajv) => Ajv;
const official = require('@asyncapi/specs/schemas/3.0.0-without-$id.json') as object;

interface Document {
  channels: Record<string, { address: string; 'x-optional'?: string; messages: Record<string, { $ref: string }> }>;
  components: {
    parameters: Record<string, { default?: string }>;
    messages: Record<string, { payload: { $ref: string }; examples: { payload: unknown }[] }>;
    schemas: Record<string, object>;
  };
}

const document = JSON.parse(JSON.stringify(asyncApiDocument())) as Document;
const ajv = () => addFormats(new Ajv({ strict: false, allErrors: true }));

describe('the AsyncAPI document', () => {
  it('fits the official JSON Schema of AsyncAPI 3.0', () => {
    const validate = ajv().compile(official);
    validate(document);
    expect(validate.errors ?? []).toEqual([]);
    // The check is one: a wrong document does not pass.
    expect(validate({ ...document, operations: { x: { action: 'shout' } } })).toBe(false);
  });

  it('refers only to what is in it', () => {
    const refs: string[] = [];
    JSON.stringify(document, (key, value: unknown) => {
      if (key === '$ref') refs.push(value as string);
      return value;
    });
    expect(refs.length).toBeGreaterThan(30);
    for (const ref of refs) {
      const found = ref
        .slice(2)
        .split('/')
        .reduce<unknown>((node, part) => (node as Record<string, unknown> | undefined)?.[part], document);
      expect(found, ref).toBeDefined();
    }
  });

  it('its examples fit its schemas, and a wrong one does not', () => {
    for (const [kind, message] of Object.entries(document.components.messages)) {
      // As strict as a subscriber's validator may be.
      const validate = addFormats(new Ajv({ strict: true, strictTypes: false })).compile(
        document.components.schemas[kind] as object,
      );
      for (const { payload } of message.examples) {
        validate(payload);
        expect(validate.errors ?? [], kind).toEqual([]);
      }
      expect(validate({ schema: 'irst-edge/other/1' }), kind).toBe(false);
    }
    expect(Object.keys(document.components.messages).sort()).toEqual(
      [...Object.keys(MESSAGE_SCHEMAS), 'available', ...Object.keys(FORM_SCHEMAS)].sort(),
    );
  });

  it("has the program's topics", () => {
    const t = topics('irst', 'edge');
    const filled = Object.values(document.channels).map(({ address }) =>
      address
        .replace('{prefix}', 'irst')
        .replace('{device}', 'edge')
        .replace('{camera}', 'north')
        .replace('{command}', 'enabled')
        .replace('{discoveryPrefix}', 'homeassistant')
        .replace('{node}', 'irst_sedge'),
    );
    // What the outputs really send.
    const { outputs } = configSchema.parse({
      cameras: [{ id: 'north', source: { kind: 'synthetic' } }],
      outputs: { homeAssistant: { enabled: true }, sapient: { enabled: true }, cbor: { enabled: true } },
    });
    const made = new Outputs({ device: 'edge', prefix: 'irst', cameras: ['north'], software: '0', outputs });
    const optional = [...made.atStart(), ...made.event({ ...EXAMPLES.event, device: 'edge' })].map(
      ({ topic }) => topic,
    );
    expect(optional).toHaveLength(3);
    expect(filled.sort()).toEqual(
      [
        t.available,
        t.status,
        t.stats,
        t.events('north'),
        t.detections('north'),
        t.state('north'),
        t.commandSet('north', 'enabled'),
        t.commandState('north', 'enabled'),
        ...optional,
      ].sort(),
    );
    const marked = Object.values(document.channels).filter((channel) => channel['x-optional'] !== undefined);
    expect(marked).toHaveLength(optional.length);
  });
});
