import { EXAMPLES } from './examples.js';
import { FORM_EXAMPLES, FORM_SCHEMAS, type FormKind } from './form-schemas.js';
import { publishedSchema } from './schema/common.js';
import {
  availableSchema,
  COMMAND_NAMES,
  MESSAGE_SCHEMAS,
  type MessageKind,
  messageSchema,
  NAME_PATTERN,
  topics,
} from './schema.js';

/** Version of the contract as a whole: the second number rises with every addition, the first with every new message version. */
const CONTRACT_VERSION = '1.3.0';

type Kind = MessageKind | FormKind | 'available';

interface ChannelSpec {
  /** With parameters in braces, or a topic of the program. */
  address: string;
  message: Kind;
  /** What the program does with it. */
  action: 'send' | 'receive';
  qos: 0 | 1;
  retain: boolean;
  summary: string;
  /** Channel of the answer. */
  reply?: string;
  /** Key of the configuration that switches it on; without it, it is there. */
  optional?: string;
}

/** The contract with subscribers as an AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0). */
export function asyncApiDocument(): object {
  // The topics of the program itself, with the parameters' names in the places of the names.
  const address = topics('prefix', 'device');
  const parametrised = (topic: string): string =>
    topic
      .split('/')
      .map((part) => (['prefix', 'device', 'camera'].includes(part) ? `{${part}}` : part))
      .join('/');

  const channels: Record<string, ChannelSpec> = {
    events: {
      address: address.events('camera'),
      message: 'event',
      action: 'send',
      qos: 1,
      retain: false,
      summary: 'Life of each target: new, update, end.',
    },
    detections: {
      address: address.detections('camera'),
      message: 'detections',
      action: 'send',
      qos: 1,
      retain: false,
      summary: 'Targets of each frame, before tracking; can be switched off.',
    },
    cameraState: {
      address: address.state('camera'),
      message: 'camera-state',
      action: 'send',
      qos: 1,
      retain: true,
      summary: 'State of a camera.',
    },
    available: {
      address: address.available,
      message: 'available',
      action: 'send',
      qos: 1,
      retain: true,
      summary: 'Whether the device is there; also the Last Will.',
    },
    status: {
      address: address.status,
      message: 'status',
      action: 'send',
      qos: 1,
      retain: true,
      summary: 'State of the device and its cameras.',
    },
    stats: {
      address: address.stats,
      message: 'stats',
      action: 'send',
      qos: 1,
      retain: false,
      summary: 'Figures of the device, every few seconds.',
    },
    command: {
      address: `${parametrised(address.state('camera')).replace(/state$/, '{command}/set')}`,
      message: 'command',
      action: 'receive',
      qos: 1,
      retain: false,
      summary: 'Asks a camera for a change.',
      reply: 'commandAnswer',
    },
    commandAnswer: {
      address: `${parametrised(address.state('camera')).replace(/state$/, '{command}/state')}`,
      message: 'command-answer',
      action: 'send',
      qos: 1,
      retain: true,
      summary: 'Answer to a command, and the value in force. The answer to snapshot is not retained.',
    },
    eventsCbor: {
      address: `${parametrised(address.events('camera'))}/cbor`,
      message: 'event-cbor',
      action: 'send',
      qos: 1,
      retain: false,
      summary: 'Optional: events in CBOR.',
      optional: 'outputs.cbor.enabled',
    },
    eventsSapient: {
      address: `${parametrised(address.events('camera'))}/sapient`,
      message: 'event-sapient',
      action: 'send',
      qos: 1,
      retain: false,
      summary: 'Optional: events with a bearing as SAPIENT detection reports.',
      optional: 'outputs.sapient.enabled',
    },
    homeAssistant: {
      address: '{discoveryPrefix}/device/{node}/config',
      message: 'home-assistant',
      action: 'send',
      qos: 1,
      retain: true,
      summary: 'Optional: announces the device to Home Assistant.',
      optional: 'outputs.homeAssistant.enabled',
    },
  };

  return {
    asyncapi: '3.0.0',
    id: 'urn:irst-edge:contract',
    info: {
      title: 'irst-edge',
      version: CONTRACT_VERSION,
      description:
        'What an irst-edge device says over MQTT, and what it listens to. Within a version of a message (the number at the end of its ' +
        '`schema`) fields, and words of the lists that say so, are only added: ignore those you do not know. MQTT delivers at least once: ' +
        'of events, `id` and `seq` together tell the copies. Coordinates are in the pixels of the camera: centres at integers, x right, y ' +
        'down, 0-based.',
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    defaultContentType: 'application/json',
    servers: {
      embedded: {
        host: 'localhost:1883',
        protocol: 'mqtt',
        protocolVersion: '3.1.1',
        description: 'The broker inside the program, when no other is configured; on the device only.',
      },
      broker: {
        host: '{host}:8883',
        protocol: 'mqtts',
        protocolVersion: '5.0',
        description: 'The broker of the installation (mqtt.url in the configuration).',
        variables: { host: { description: 'Its host name.', default: 'broker.example' } },
        security: [
          { $ref: '#/components/securitySchemes/password' },
          { $ref: '#/components/securitySchemes/certificate' },
        ],
      },
    },
    channels: Object.fromEntries(
      Object.entries(channels).map(([key, channel]) => {
        const where = channel.address.includes('{') ? channel.address : parametrised(channel.address);
        const names = [...where.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as string);
        return [
          key,
          {
            address: where,
            summary: channel.summary,
            ...(channel.optional !== undefined && { 'x-optional': channel.optional }),
            parameters: Object.fromEntries(names.map((name) => [name, { $ref: `#/components/parameters/${name}` }])),
            messages: { [channel.message]: { $ref: `#/components/messages/${channel.message}` } },
          },
        ];
      }),
    ),
    operations: Object.fromEntries(
      Object.entries(channels).map(([key, { action, qos, retain, summary, message, reply }]) => [
        key,
        {
          action,
          channel: { $ref: `#/channels/${key}` },
          summary,
          messages: [{ $ref: `#/channels/${key}/messages/${message}` }],
          bindings: { mqtt: { qos, retain, bindingVersion: '0.2.0' } },
          ...(reply !== undefined && { reply: { channel: { $ref: `#/channels/${reply}` } } }),
        },
      ]),
    ),
    components: {
      parameters: {
        prefix: { description: 'topicPrefix of the configuration; may hold several levels.', default: 'irst' },
        device: { description: `device.id of the configuration: ${NAME_PATTERN.source}`, default: 'irst-edge' },
        camera: { description: `id of a camera in the configuration: ${NAME_PATTERN.source}`, examples: ['north'] },
        command: { description: 'Name of the command.', enum: COMMAND_NAMES },
        discoveryPrefix: {
          description: 'outputs.homeAssistant.prefix of the configuration; may hold several levels.',
          default: 'homeassistant',
        },
        node: {
          description: 'prefix/device with "_" as "__", "." as "_d" and "/" as "_s".',
          examples: ['irst_sedge-1'],
        },
      },
      messages: Object.fromEntries(KINDS.map((kind) => [kind, message(kind)])),
      // AsyncAPI 3 builds on JSON Schema draft 7.
      schemas: Object.fromEntries(KINDS.map((kind) => [kind, embedded(payloadSchema(kind))])),
      securitySchemes: {
        password: { type: 'userPassword', description: 'mqtt.username and mqtt.passwordFile.' },
        certificate: { type: 'X509', description: 'mqtt.cert and mqtt.key.' },
      },
    },
  };
}

const SCHEMAS = { ...MESSAGE_SCHEMAS, available: availableSchema, ...FORM_SCHEMAS } as const;
const KINDS = Object.keys(SCHEMAS) as Kind[];
const CONTENT_TYPES: Partial<Record<Kind, string>> = { available: 'text/plain', 'event-cbor': 'application/cbor' };

function payloadSchema(kind: Kind): Record<string, unknown> {
  return Object.hasOwn(MESSAGE_SCHEMAS, kind)
    ? messageSchema(kind as MessageKind, 'draft-7')
    : publishedSchema(SCHEMAS[kind], { target: 'draft-7' });
}

function message(kind: Kind): object {
  const { title, description } = SCHEMAS[kind].meta() ?? {};
  return {
    name: kind,
    title,
    summary: description,
    contentType: CONTENT_TYPES[kind] ?? 'application/json',
    payload: { $ref: `#/components/schemas/${kind}` },
    examples: [{ payload: { ...EXAMPLES, ...FORM_EXAMPLES }[kind] }],
  };
}

/** Inside of another document a schema does not say again which draft it is of. */
function embedded({ $schema: _, ...schema }: Record<string, unknown>): object {
  return schema;
}
