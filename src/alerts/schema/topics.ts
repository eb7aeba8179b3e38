import { EdgeError, EXIT } from '../../types/errors.js';
import { COMMAND_NAMES, type CommandName } from './command.js';
import { NAME_PATTERN } from './common.js';

/** One or more names joined by `/`. */
export const PREFIX_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]*(\/[A-Za-z0-9][A-Za-z0-9_.-]*)*$/;

export interface Topics {
  /** `<prefix>/<device>/available`: `online`, `stopped` or `offline`; retained. */
  readonly available: string;
  /** `<prefix>/<device>/status`, retained. */
  readonly status: string;
  /** `<prefix>/<device>/stats` */
  readonly stats: string;
  /** Filter for all commands of the device: `<prefix>/<device>/+/+/set`. */
  readonly commands: string;
  /** `<prefix>/<device>/<camera>/events` */
  events(camera: string): string;
  /** `<prefix>/<device>/<camera>/detections` */
  detections(camera: string): string;
  /** `<prefix>/<device>/<camera>/state`, retained. */
  state(camera: string): string;
  /** `<prefix>/<device>/<camera>/<name>/set` */
  commandSet(camera: string, command: CommandName): string;
  /** `<prefix>/<device>/<camera>/<name>/state` */
  commandState(camera: string, command: CommandName): string;
  /** Camera and command of a topic that matched `commands`; undefined for any other topic or command name. */
  parseCommand(topic: string): { camera: string; command: CommandName } | undefined;
}

/** Topics of a device. Throws `EdgeError` `BAD_TOPIC_NAME` where a name does not fit a topic. */
export function topics(prefix: string, device: string): Topics {
  if (!PREFIX_PATTERN.test(prefix)) throw badName('topic prefix', prefix, PREFIX_PATTERN);
  if (!NAME_PATTERN.test(device)) throw badName('device name', device, NAME_PATTERN);
  const root = `${prefix}/${device}`;
  const of = (camera: string, rest: string): string => {
    if (!NAME_PATTERN.test(camera)) throw badName('camera name', camera, NAME_PATTERN);
    return `${root}/${camera}/${rest}`;
  };
  return {
    available: `${root}/available`,
    status: `${root}/status`,
    stats: `${root}/stats`,
    commands: `${root}/+/+/set`,
    events: (camera) => of(camera, 'events'),
    detections: (camera) => of(camera, 'detections'),
    state: (camera) => of(camera, 'state'),
    commandSet: (camera, command) => of(camera, `${command}/set`),
    commandState: (camera, command) => of(camera, `${command}/state`),
    parseCommand(topic) {
      if (!topic.startsWith(`${root}/`)) return undefined;
      const [camera, command, set, ...rest] = topic.slice(root.length + 1).split('/');
      if (camera === undefined || !NAME_PATTERN.test(camera) || set !== 'set' || rest.length > 0) return undefined;
      const known = COMMAND_NAMES.find((name) => name === command);
      return known && { camera, command: known };
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
