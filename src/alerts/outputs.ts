import { EdgeError, EXIT } from '../types/errors.js';
import { eventToCbor } from './mappers/cbor.js';
import { type CotOptions, toCot } from './mappers/cot.js';
import { ForemostTarget } from './mappers/foremost.js';
import { homeAssistantDiscovery } from './mappers/home-assistant.js';
import { encodeTrackingStatus, trackingStatus } from './mappers/mavlink.js';
import { toSapient } from './mappers/sapient.js';
import { type Bearing, type EventMessage, topics } from './schema.js';
import { createSink, type Sink, type SinkCounters } from './sinks.js';

/** Open events whose bearings are kept. */
const MOST_BEARINGS = 1024;

/** The section `outputs` of the configuration. */
export interface OutputsConfig {
  homeAssistant: { enabled: boolean; prefix: string };
  cot: { enabled: boolean; url: string } & CotOptions;
  sapient: { enabled: boolean };
  cbor: { enabled: boolean };
  mavlink: { enabled: boolean; url: string; systemId: number; componentId: number };
}

export interface OutputsOptions {
  device: string;
  /** Start of all topics. */
  prefix: string;
  /** Those that are on. */
  cameras: readonly string[];
  /**
   * All of the configuration in its order, those that are off too: MAVLink components count on from the first, and stay when one is switched
   * off. Absent: `cameras`.
   */
  configured?: readonly string[];
  /** Version of irst-edge. */
  software: string;
  outputs: OutputsConfig;
  onProblem?: (error: EdgeError, suppressed: number) => void;
  /** For tests. */
  sink?: (url: string) => Sink;
}

/** For the publisher. */
export interface MqttMessage {
  topic: string;
  payload: Buffer;
  retain: boolean;
  contentType: string;
}

export const OUTPUT_KINDS = ['homeAssistant', 'cot', 'sapient', 'cbor', 'mavlink'] as const;
export type OutputKind = (typeof OUTPUT_KINDS)[number];

export interface OutputCounters {
  /** Messages made; those for sinks go on in `sink`. */
  made: number;
  /** Events that this form cannot hold, by reason: `noBearing`; or a fault of the mapper: `fault`. */
  skipped: Record<string, number>;
  sink?: SinkCounters;
}

/**
 * The forms in which events leave beside the MQTT contract: messages for the broker come back to the caller, those for other
 * receivers go to their sinks. Whatever goes wrong in one is counted and touches neither the caller nor the others.
 */
export class Outputs {
  readonly #options: OutputsOptions;
  readonly #sinks = new Map<'cot' | 'mavlink', Sink>();
  readonly #made = new Map<OutputKind, number>();
  readonly #skipped = new Map<OutputKind, Record<string, number>>();
  readonly #foremost = new Map<string, ForemostTarget>();
  /** SAPIENT: the last bearing of each open event, the latest one last. */
  readonly #bearings = new Map<string, Bearing>();
  /** MAVLink: number of the next message, by camera. */
  readonly #sequence = new Map<string, number>();

  constructor(options: OutputsOptions) {
    this.#options = options;
  }

  /** Opens the sinks; does not wait for them. Throws `EdgeError` `BAD_OUTPUT_URL`. */
  start(signal?: AbortSignal): void {
    const { outputs, sink = (url: string) => createSink({ url }), onProblem } = this.#options;
    for (const kind of ['cot', 'mavlink'] as const) {
      if (!outputs[kind].enabled || this.#sinks.has(kind)) continue;
      const made = sink(outputs[kind].url);
      made.on('problem', (error, suppressed) => onProblem?.(error, suppressed));
      this.#sinks.set(kind, made);
    }
    for (const made of this.#sinks.values()) made.start(signal);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#sinks.values()].map((sink) => sink.stop()));
  }

  /**
   * Retained messages for the start: the device for Home Assistant. They need not be sent again: the publisher keeps retained ones
   * over reconnects.
   */
  atStart(): MqttMessage[] {
    if (!this.#options.outputs.homeAssistant.enabled) return [];
    return this.#guard('homeAssistant', () => [retained(homeAssistantDiscovery(this.#discovery()))]);
  }

  /** A message about an event. Sends to the sinks and gives back what the broker gets. Never throws, never waits. */
  event(event: EventMessage): MqttMessage[] {
    const { outputs } = this.#options;
    const messages: MqttMessage[] = [];
    if (outputs.sapient.enabled) messages.push(...this.#guard('sapient', () => this.#sapient(event)));
    if (outputs.cbor.enabled) messages.push(...this.#guard('cbor', () => this.#cbor(event)));
    if (outputs.cot.enabled) this.#guard('cot', () => this.#send('cot', Buffer.from(`${toCot(event, outputs.cot)}\n`)));
    if (outputs.mavlink.enabled) this.#guard('mavlink', () => this.#mavlink(event));
    return messages;
  }

  /** Of the outputs that are on. */
  counters(): Partial<Record<OutputKind, OutputCounters>> {
    const on = OUTPUT_KINDS.filter((kind) => this.#options.outputs[kind].enabled);
    return Object.fromEntries(
      on.map((kind) => {
        const sink = kind === 'cot' || kind === 'mavlink' ? this.#sinks.get(kind)?.counters() : undefined;
        const counters: OutputCounters = {
          made: this.#made.get(kind) ?? 0,
          skipped: { ...this.#skipped.get(kind) },
          ...(sink && { sink }),
        };
        return [kind, counters];
      }),
    );
  }

  #discovery() {
    const { device, prefix, cameras, software, outputs } = this.#options;
    return { device, prefix, cameras, software, discoveryPrefix: outputs.homeAssistant.prefix };
  }

  /** An end with the last bearing of its event, where it has none: a target that left may be where a lens shows nothing. */
  #withBearing(event: EventMessage): EventMessage {
    const { id, type, bearing } = event;
    const last = this.#bearings.get(id);
    this.#bearings.delete(id);
    if (type === 'end') return bearing === undefined && last !== undefined ? { ...event, bearing: last } : event;
    const known = bearing ?? last;
    if (known !== undefined) this.#bearings.set(id, known);
    // Ends that never came, as at a restart of a worker, are forgotten.
    if (this.#bearings.size > MOST_BEARINGS) this.#bearings.delete(this.#bearings.keys().next().value!);
    return event;
  }

  #sapient(event: EventMessage): MqttMessage[] {
    const report = toSapient(this.#withBearing(event));
    if (report === null) {
      this.#skip('sapient', 'noBearing');
      return [];
    }
    return [this.#message(event, 'sapient', Buffer.from(JSON.stringify(report)), 'application/json')];
  }

  #cbor(event: EventMessage): MqttMessage[] {
    return [this.#message(event, 'cbor', Buffer.from(eventToCbor(event)), 'application/cbor')];
  }

  #message(event: EventMessage, form: string, payload: Buffer, contentType: string): MqttMessage {
    const { prefix, device } = this.#options;
    return { topic: `${topics(prefix, device).events(event.camera)}/${form}`, payload, retain: false, contentType };
  }

  #mavlink(event: EventMessage): [] {
    const { outputs, cameras, configured = cameras } = this.#options;
    const { camera } = event;
    let foremost = this.#foremost.get(camera);
    if (foremost === undefined) {
      foremost = new ForemostTarget();
      this.#foremost.set(camera, foremost);
    }
    const shown = foremost.update(event);
    // About another target than the one shown.
    if (shown === undefined) {
      this.#skip('mavlink', 'notForemost');
      return [];
    }
    const sequence = this.#sequence.get(camera) ?? 0;
    this.#sequence.set(camera, (sequence + 1) & 255);
    const { systemId, componentId } = outputs.mavlink;
    const sender = { systemId, componentId: componentId + Math.max(0, configured.indexOf(camera)), sequence };
    return this.#send('mavlink', encodeTrackingStatus(trackingStatus(shown), sender));
  }

  #send(kind: 'cot' | 'mavlink', message: Buffer): [] {
    this.#made.set(kind, (this.#made.get(kind) ?? 0) + 1);
    this.#sinks.get(kind)?.send(message);
    return [];
  }

  #skip(kind: OutputKind, reason: string): void {
    const skipped = this.#skipped.get(kind) ?? {};
    skipped[reason] = (skipped[reason] ?? 0) + 1;
    this.#skipped.set(kind, skipped);
  }

  #guard(kind: OutputKind, make: () => MqttMessage[]): MqttMessage[] {
    try {
      const messages = make();
      this.#made.set(kind, (this.#made.get(kind) ?? 0) + messages.length);
      return messages;
    } catch {
      this.#skip(kind, 'fault');
      return [];
    }
  }
}

/** For the log. @param counts `queue_full 5` */
export function formsDropped(counts: string): EdgeError {
  return new EdgeError('FORMS_DROPPED', `events in other forms (CBOR, SAPIENT) given up: ${counts}`, {
    hint: 'They wait in memory only: mend the link to the broker, or raise mqtt.maxQueued.',
    exitCode: EXIT.unavailable,
  });
}

function retained({ topic, payload }: { topic: string; payload: string }): MqttMessage {
  return { topic, payload: Buffer.from(payload), retain: true, contentType: 'application/json' };
}
