import { topics } from '../schema.js';

export interface HomeAssistantOptions {
  /** Name of the device, and start of its topics. */
  device: string;
  prefix: string;
  /** Names of the cameras. */
  cameras: readonly string[];
  /** Version of irst-edge. */
  software: string;
  /** Start of the discovery topics. Default `homeassistant`. */
  discoveryPrefix?: string | undefined;
  /**
   * Figures of a camera that are older are shown as unknown, s. Default 60: several times as long as the camera's state takes to be
   * told again.
   */
  expireAfterSeconds?: number | undefined;
}

export interface DiscoveryMessage {
  topic: string;
  /** JSON; retained. */
  payload: string;
}

type Component = Record<string, unknown>;

/**
 * Home Assistant's discovery message for the whole device (https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload,
 * Home Assistant 2024.11 or later). It only points at the topics that are there anyway. An empty message on its topic takes the device out
 * again. Pure. Throws `EdgeError` `BAD_TOPIC_NAME`.
 *
 * For each camera: its state, frame rate, number of open events, last alert with attributes, an event entity that triggers
 * automations, a switch for `enabled` and a number for `threshold`.
 */
export function homeAssistantDiscovery(options: HomeAssistantOptions): DiscoveryMessage {
  const { device, prefix, software } = options;
  const address = topics(prefix, device);
  const node = nodeName(options);
  const components = Object.fromEntries(
    options.cameras.flatMap((camera) =>
      Object.entries(cameraComponents(camera, options)).map(([key, component]) => {
        const unique = `${node}_${escaped(camera)}_${key}`;
        return [`${escaped(camera)}_${key}`, { ...component, name: `${camera} ${component.name}`, unique_id: unique }];
      }),
    ),
  );
  const payload = {
    device: { identifiers: [node], name: device, manufacturer: 'irst-edge', model: 'irst-edge', sw_version: software },
    origin: { name: 'irst-edge', sw_version: software },
    // `stopped` is neither of the two words that Home Assistant knows; one that it does not know changes nothing there.
    availability: [{ topic: address.available, value_template: "{{ 'online' if value == 'online' else 'offline' }}" }],
    qos: 1,
    components,
  };
  return { topic: discoveryTopic(options), payload: JSON.stringify(payload) };
}

function discoveryTopic(options: HomeAssistantOptions): string {
  return `${options.discoveryPrefix ?? 'homeassistant'}/device/${nodeName(options)}/config`;
}

function nodeName({ prefix, device }: HomeAssistantOptions): string {
  return escaped(`${prefix}/${device}`);
}

/** Home Assistant allows letters, digits, `_` and `-` there. Two names never become the same. */
function escaped(name: string): string {
  return name.replaceAll('_', '__').replaceAll('.', '_d').replaceAll('/', '_s');
}

/** What Home Assistant's database takes of an event: no picture, nothing that is the same every time. */
const ATTRIBUTES = [
  'id',
  'type',
  'severity',
  'endReason',
  'capturedAt',
  'firstSeenAt',
  'pixel',
  'velocity',
  'score',
  'topScore',
  'snr',
  'zones',
  'bearing',
  'stationary',
];

function cameraComponents(camera: string, options: HomeAssistantOptions): Record<string, Component> {
  const address = topics(options.prefix, options.device);
  const state = address.state(camera);
  const events = address.events(camera);
  const fresh = { expire_after: options.expireAfterSeconds ?? 60 };
  // Fields that are not there are left out, so that `none` never stands for a value.
  const picked = (first: string): string =>
    `{% set ns = namespace(a=${first}) %}{% for k in ${JSON.stringify(ATTRIBUTES).replaceAll('"', "'")} %}` +
    '{% if k in value_json %}{% set ns.a = dict(ns.a, **{k: value_json[k]}) %}{% endif %}{% endfor %}{{ ns.a | tojson }}';
  return {
    state: {
      platform: 'sensor',
      name: 'state',
      state_topic: state,
      value_template: '{{ value_json.state }}',
      icon: 'mdi:cctv',
      entity_category: 'diagnostic',
    },
    fps: {
      platform: 'sensor',
      name: 'frame rate',
      state_topic: state,
      value_template: '{{ value_json.fps if value_json.fps is defined else none }}',
      unit_of_measurement: 'Hz',
      device_class: 'frequency',
      state_class: 'measurement',
      suggested_display_precision: 1,
      entity_category: 'diagnostic',
      ...fresh,
    },
    open: {
      platform: 'sensor',
      name: 'open alerts',
      state_topic: state,
      value_template: '{{ value_json.tracks.open if value_json.tracks is defined else none }}',
      state_class: 'measurement',
      icon: 'mdi:crosshairs',
      ...fresh,
    },
    last_alert: {
      platform: 'sensor',
      name: 'last alert',
      state_topic: events,
      value_template: '{{ value_json.capturedAt }}',
      device_class: 'timestamp',
      json_attributes_topic: events,
      json_attributes_template: picked('{}'),
    },
    alert: {
      platform: 'event',
      name: 'alert',
      state_topic: events,
      event_types: ['new', 'update', 'end'],
      value_template: picked("{'event_type': value_json.type}"),
      icon: 'mdi:alert',
    },
    enabled: {
      platform: 'switch',
      name: 'alerts',
      command_topic: address.commandSet(camera, 'enabled'),
      state_topic: address.commandState(camera, 'enabled'),
      value_template:
        "{{ 'true' if value_json.value is true else ('false' if value_json.value is false else 'None') }}",
      payload_on: 'true',
      payload_off: 'false',
      // Commands are refused when they are retained: they must not be carried out again at every start.
      retain: false,
      entity_category: 'config',
    },
    threshold: {
      platform: 'number',
      name: 'threshold',
      command_topic: address.commandSet(camera, 'threshold'),
      state_topic: address.commandState(camera, 'threshold'),
      // `None`: unknown, which is what null (as configured) is here.
      value_template: '{{ value_json.value if value_json.value is number else none }}',
      min: 0,
      max: 1,
      step: 0.01,
      mode: 'box',
      retain: false,
      entity_category: 'config',
    },
  };
}
