import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type { IClientOptions, IConnackPacket, MqttClient } from 'mqtt';
import { writeToStream } from 'mqtt-packet';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { backoffMs } from './backoff.js';
import {
  badTlsFiles,
  connectionError,
  disconnectError,
  messageRefusedError,
  reasonCode,
  refusedError,
  subscriptionRefusedError,
} from './broker-errors.js';
import { type BrokerAddress, parseBrokerUrl } from './broker-url.js';
import { connectionSettings, openClient } from './connection.js';
import type { DurableOutbox, EventItem, OutboxRecord } from './durable-outbox.js';
import { NameResolver } from './name-resolver.js';
import { type AlertCounters, type Lane, Outbox, type OutboxEntry } from './outbox.js';
import { PacketSizes } from './packet-sizes.js';
import { type DetectionsMessage, type StatusMessage, statusMessage, type Topics, topics } from './schema.js';

// Else the first packet makes a buffer for every two-byte number there is, 7 MB: see the README of mqtt-packet.
writeToStream.cacheNumbers = false;

/** What is subscribed to on every connection. */
export interface Subscriptions {
  /** For example `irst/edge-1/+/+/set`. */
  filters: readonly string[];
  /** Called for each message, also for retained ones where the broker cannot leave them out (MQTT 3.1.1). */
  onMessage(topic: string, payload: Uint8Array, packet: { retain: boolean }): void;
}

export interface MqttPublisherOptions {
  /** `mqtt://host:1883`, `mqtts://`, `ws://`, `wss://`; a user name and password in it serve where none are given below. */
  url: string;
  /** Name of the device: stands in the topics. */
  device: string;
  /** Version of irst-edge, for the will. */
  software: string;
  /** Start of all topics. Default `irst`. */
  prefix?: string;
  /** 5 (default), or 4 for a broker that speaks MQTT 3.1.1 only, as the embedded one. */
  protocolVersion?: 4 | 5;
  /** Default `irst-edge-<device>`: stable, so that the broker ends a stale connection when a new one comes. */
  clientId?: string;
  username?: string;
  /** A function is asked at every attempt, so that a new password in a file is used without a restart. */
  password?: string | (() => string | undefined);
  /** PEM of the authority that signed the broker's certificate. Default: the ones Node knows. */
  ca?: Buffer;
  /** PEM of the client certificate and its key. */
  cert?: Buffer;
  key?: Buffer;
  /** QoS of detections. 1 (default): nothing accepted is lost uncounted; 0: what is on the wire when a link breaks is. */
  qos?: 0 | 1;
  /** s. Default 15: a dead link is noticed after 1.5 times that. */
  keepalive?: number;
  /** From the start of an attempt to the broker's answer, ms. Default 10 000. */
  connectTimeoutMs?: number;
  /** Longest wait for an acknowledgement before the connection is given up, ms. Default 20 000. */
  ackTimeoutMs?: number;
  /** Shortest and longest wait between two attempts, ms. Default 1 000 and 30 000. */
  reconnectMinMs?: number;
  reconnectMaxMs?: number;
  /** Most alerts that wait for the broker, and as many events in other forms; the oldest make room. Default 1 000. */
  maxQueued?: number;
  /** Most bytes of each that wait. Default 16 MiB. */
  maxQueuedBytes?: number;
  /** Largest payload, bytes; larger ones are dropped as `oversized`. Default 256 KiB. */
  maxMessageBytes?: number;
  /** Most unacknowledged alerts at a time. Default 20; less where the broker asks for less. */
  maxInFlight?: number;
  /** Most bytes of unacknowledged events at a time: on a slow link, what a fresh alert waits for. Default 64 KiB. */
  maxInFlightBytes?: number;
  /**
   * Where events wait; the owner starts it before, and stops it after, the publisher. Without it there are no events.
   */
  events?: DurableOutbox;
  /** MIME type of events. Default `application/json`. */
  eventContentType?: string;
  /**
   * Most events a second out of those that waited for the link; 0: no limit. Default 2 000: a broker takes what comes, but drops
   * for subscribers that do not keep up (mosquitto: beyond max_queued_messages, 1 000). Fresh events are not limited.
   */
  drainPerSecond?: number;
  /**
   * Keep `<prefix>/<device>/available` (retained `online`, `stopped`, `offline`). Default: when there are events.
   *
   * MQTT has one will a connection: it is then that of `available`, and the retained status goes on saying what the device said
   * last. Without it the will is a status `offline`.
   */
  availability?: boolean;
  /** Commands. */
  subscriptions?: Subscriptions;
  /**
   * Largest packet that the broker may send us, bytes. Default 64 KiB. At a larger one the connection is given up: with MQTT 5, which
   * tells the broker so, at once; with MQTT 3.1.1 from 16 times as much on, for nobody could have known, and smaller ones are refused
   * as commands.
   */
  maxIncomingBytes?: number;
  /**
   * After that nothing is subscribed to for so long, ms: a retained message of that size on the topic of a command would end every
   * connection. Default 600 000.
   */
  subscriptionsPauseMs?: number;
  /** Send a topic's name once a connection, then a number (MQTT 5): for narrow links. Default false. */
  topicAliases?: boolean;
  /** Longest that `stop()` tries to deliver what waits, ms. Default 1 000. */
  stopTimeoutMs?: number;
  /** The same problem is reported at most once in this time, ms. Default 30 000. */
  problemIntervalMs?: number;
  /** For tests: 0 ≤ r < 1. */
  random?: () => number;
  /** For tests; stopped with the publisher. */
  names?: NameResolver;
}

/**
 * `idle` → `connecting` ⇄ `waiting` (for the next attempt) or `connected` → … → `stopped`.
 */
export type PublisherState = 'idle' | 'connecting' | 'connected' | 'waiting' | 'stopped';

export interface ConnectedInfo {
  /** `mqtt://host:1883` */
  broker: string;
  protocolVersion: 4 | 5;
  /** How many times the broker was reached since `start`, from 1. */
  connections: number;
}

export interface PublisherEvents {
  connected: [info: ConnectedInfo];
  /** An established connection ended; alerts wait. */
  disconnected: [reason: EdgeError];
  /** The broker answered an attempt with an error; it is tried again. */
  refused: [error: EdgeError, reasonCode: number];
  /** The broker took the subscriptions. */
  subscribed: [];
  /** The broker took an empty state: the topic has none any more. */
  cleared: [topic: string];
  /** For the log: everything that went wrong, each code at most once in `problemIntervalMs`. `suppressed`: how many were left out before. */
  problem: [error: EdgeError, suppressed: number];
}

type Optional = 'username' | 'password' | 'ca' | 'cert' | 'key' | 'events' | 'subscriptions';

/** Alerts lost with the connection this often, each time as the only one under way, are what the broker closes it for. */
const MAX_SOLO_LOSSES = 5;
/** Room in a packet beside topic and payload: fixed header, lengths, packet id, properties. */
const PACKET_OVERHEAD = 64;
const CONTENT_TYPE = 'application/json';
/** Most topics with a retained state. */
const MAX_RETAINED = 256;
/** How much larger a packet from a broker may be that was told no limit. */
const UNTOLD_FACTOR = 16;
/** PUBACK: the message itself is at fault (topic name, payload format); sent again it fares no better. */
const HOPELESS: readonly number[] = [144, 153];

interface Retained {
  payload: Buffer;
  /** What to send where the broker takes no packet of that size. */
  small: Buffer | undefined;
  contentType: string | undefined;
  due: boolean;
  inFlight: boolean;
}

/**
 * Publishes detections, events, states and the device's status to an MQTT broker, and hands on commands.
 *
 * No call waits for the network but `waitConnected` and `stop`. Detections wait in an `Outbox`, events in a `DurableOutbox`, until
 * the broker has acknowledged them (QoS 1): a lost connection costs duplicates, never alerts. A broker that is away, hangs or
 * refuses is tried again for ever; `state`, `problem` events and counters say so. An event that the broker refuses (not
 * authorised, quota) or finds too large is kept and tried again, up to its expiry.
 *
 * Every connection begins with a clean session that ends with it (MQTT 5: clean start, expiry 0): what waits here needs none, and
 * a command that was given while the device was away must not be carried out hours later.
 *
 * Every attempt gets a client of its own, with a clean session: mqtt.js then never replays from its store, which loses
 * messages when the link drops during the replay (https://github.com/mqttjs/MQTT.js/issues/2015).
 */
export class MqttPublisher extends EventEmitter<PublisherEvents> {
  readonly #options: Required<Omit<MqttPublisherOptions, Optional>> & Pick<MqttPublisherOptions, Optional>;
  readonly #outbox: Outbox;
  readonly #events: DurableOutbox | undefined;
  #address: BrokerAddress | undefined;
  #topics: Topics | undefined;
  readonly #detectionTopics = new Map<string, string>();

  #state: PublisherState = 'idle';
  /** Set while an attempt or a connection is under way; what reports with another one is stale. */
  #client: MqttClient | undefined;
  #connections = 0;
  #failures = 0;
  /** While it runs nothing is subscribed to. */
  #pauseTimer: NodeJS.Timeout | undefined;
  #lastError: EdgeError | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #stableTimer: NodeJS.Timeout | undefined;
  #ackTimer: NodeJS.Timeout | undefined;

  /** Limits of the present connection. */
  #window = 1;
  #receiveMaximum = 65_535;
  #maximumPacketSize = Number.POSITIVE_INFINITY;
  #maximumQos: 0 | 1 = 1;
  /** An alert was acknowledged on the present connection. */
  #progress = false;
  /** The last connection ended with alerts under way: so many go one by one, to find the one it may have ended for. */
  #probesLeft = 0;
  #probeEvent = true;
  #pumping = false;

  /** By topic, in the order in which they are sent. */
  readonly #retained = new Map<string, Retained>();
  #retainedInFlight = 0;
  #status: StatusMessage | undefined;

  /** Right to send events out of the backlog, and when it was counted. */
  #tokens = 0;
  #tokensAt = 0;
  #drainTimer: NodeJS.Timeout | undefined;
  /** Topics that the broker refuses. */
  readonly #refusals = new Map<string, { failures: number; timer: NodeJS.Timeout | undefined }>();
  readonly #onSendable = () => this.#pump();

  #stopping = false;
  #stopped: Promise<void> | undefined;
  /** Woken at every change that `stop` and `waitConnected` may wait for. */
  readonly #changed = new EventEmitter<{ change: [] }>().setMaxListeners(0);
  readonly #problems = new Map<string, { at: number; suppressed: number }>();
  #abort: AbortSignal | undefined;

  constructor(options: MqttPublisherOptions) {
    super();
    this.#options = {
      prefix: 'irst',
      protocolVersion: 5,
      clientId: `irst-edge-${options.device}`,
      qos: 1,
      keepalive: 15,
      connectTimeoutMs: 10_000,
      ackTimeoutMs: 20_000,
      reconnectMinMs: 1_000,
      reconnectMaxMs: 30_000,
      maxQueued: 1_000,
      maxQueuedBytes: 16 * 1024 * 1024,
      maxMessageBytes: 256 * 1024,
      maxInFlight: 20,
      maxInFlightBytes: 64 * 1024,
      eventContentType: CONTENT_TYPE,
      drainPerSecond: 2_000,
      availability: options.events !== undefined,
      maxIncomingBytes: 64 * 1024,
      subscriptionsPauseMs: 600_000,
      topicAliases: false,
      stopTimeoutMs: 1_000,
      problemIntervalMs: 30_000,
      random: Math.random,
      names: new NameResolver(),
      ...defined(options),
    };
    this.#outbox = new Outbox({ maxQueued: this.#options.maxQueued, maxQueuedBytes: this.#options.maxQueuedBytes });
    this.#events = options.events;
  }

  get state(): PublisherState {
    return this.#state;
  }

  /** What went wrong last; undefined while connected. */
  get lastError(): EdgeError | undefined {
    return this.#lastError;
  }

  /** `mqtt://host:1883`, without secrets. Empty before `start`. */
  get broker(): string {
    return this.#address?.display ?? '';
  }

  /**
   * Begins connecting and returns. Throws `EdgeError` only for what no retry can mend: `BAD_BROKER_URL`,
   * `BAD_TOPIC_NAME`, `BROKER_TLS` (unreadable certificate or key), and what the function `password` throws.
   *
   * @param signal ends `waitConnected`; alerts still flow until `stop()`, so that those of the last frames get out
   */
  start(signal?: AbortSignal): void {
    if (this.#state !== 'idle') return;
    this.#address = parseBrokerUrl(this.#options.url);
    this.#topics = topics(this.#options.prefix, this.#options.device);
    this.#abort = signal;
    if (this.#options.availability) this.#retain(this.#topics.available, Buffer.from('online'));
    this.#retainStatus();
    this.#events?.on('sendable', this.#onSendable);
    this.#attempt(true);
  }

  /** Resolves when connected. Rejects with the last problem (or `BROKER_TIMEOUT`) after `timeoutMs`, or on abort. */
  async waitConnected(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.#state !== 'connected') {
      this.#abort?.throwIfAborted();
      const left = deadline - performance.now();
      if (left <= 0 || this.#state === 'stopped' || this.#state === 'idle')
        throw this.#lastError ?? this.#notConnected();
      await this.#nextChange(left, this.#abort);
    }
  }

  /**
   * Accepts the alerts of one frame; never waits, never throws for the network's sake.
   *
   * @returns false when it was dropped at once (too large, or stopped); it is counted all the same
   */
  publishDetections(message: DetectionsMessage): boolean {
    if (this.#stopping || this.#state === 'stopped') {
      this.#outbox.reject('shutdown');
      return false;
    }
    return this.publishMessage(this.#detectionsTopic(message.camera), JSON.stringify(message));
  }

  /** Accepts a message that is not retained (statistics, an answer); as `publishDetections`, and counted with them. */
  publishMessage(topic: string, text: string | Buffer): boolean {
    return this.#offer('frames', topic, typeof text === 'string' ? Buffer.from(text) : text, CONTENT_TYPE);
  }

  /** Accepts an event in another form; as `publishDetections`, but in a queue of its own, as long, and counted apart. */
  publishForm(topic: string, payload: Buffer, contentType: string): boolean {
    return this.#offer('forms', topic, payload, contentType);
  }

  #offer(lane: Lane, topic: string, payload: Buffer, contentType: string): boolean {
    if (this.#stopping || this.#state === 'stopped') {
      this.#outbox.reject('shutdown', lane);
      return false;
    }
    if (payload.length > this.#options.maxMessageBytes) {
      this.#outbox.reject('oversized', lane);
      this.#problem(oversizedError(payload.length, this.#options.maxMessageBytes));
      return false;
    }
    this.#outbox.offer(topic, payload, contentType, lane);
    this.#pump();
    return true;
  }

  /**
   * Accepts a message about an event: into the durable outbox, and from there to the broker. Never waits.
   *
   * @param interrupted see `DurableOutbox.offer`
   * @returns false when it was dropped at once (too large, expired, stopped, no outbox); the outbox counts it
   */
  publishEvent(record: OutboxRecord, interrupted?: () => OutboxRecord): boolean {
    return this.#events?.offer(record, interrupted) ?? false;
  }

  /**
   * Sets the retained state of a topic: sent when connected, and again at every reconnect. Only the newest waits.
   *
   * @param text empty: the topic has no state any more
   * @returns false where there are too many topics, or it is too large, or stopped
   */
  publishState(topic: string, text: string | Buffer, contentType: string | undefined = CONTENT_TYPE): boolean {
    if (this.#stopping || this.#state === 'stopped') return false;
    const payload = typeof text === 'string' ? Buffer.from(text) : text;
    if (!this.#retained.has(topic) && this.#retained.size >= MAX_RETAINED) return false;
    if (payload.length > this.#options.maxMessageBytes) {
      this.#problem(oversizedError(payload.length, this.#options.maxMessageBytes));
      return false;
    }
    this.#retain(topic, payload, undefined, contentType);
    this.#pump();
    return true;
  }

  /** Sets the retained status: sent when connected, and again at every reconnect. Only the newest waits. */
  setStatus(message: StatusMessage): void {
    if (this.#stopping || this.#state === 'stopped') return;
    this.#status = message;
    // Before the start its topic is not known; `start` does it then.
    if (this.#topics !== undefined) this.#retainStatus();
    this.#pump();
  }

  #retainStatus(): void {
    const status = this.#status ?? this.#defaultStatus();
    const { cameras: _, ...bare } = status;
    // Better the bare state than none: the broker would close the connection, and the will would say `offline`.
    this.#retain(
      (this.#topics as Topics).status,
      Buffer.from(JSON.stringify(status)),
      Buffer.from(JSON.stringify(bare)),
      CONTENT_TYPE,
    );
  }

  #retain(topic: string, payload: Buffer, small?: Buffer, contentType?: string): void {
    const inFlight = this.#retained.get(topic)?.inFlight ?? false;
    this.#retained.set(topic, { payload, small, contentType, due: true, inFlight });
  }

  /** Of messages that are not about events. */
  counters(): AlertCounters {
    return this.#outbox.counters();
  }

  /** Of events in other forms. */
  formCounters(): AlertCounters {
    return this.#outbox.counters('forms');
  }

  /**
   * Delivers what waits, then a status `stopped`, for at most `stopTimeoutMs`; ends the connection; counts the rest as
   * `shutdown`. Where the broker does not take `stopped`, it publishes the will (`offline`) instead. May be called
   * twice. Never rejects.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping = true;
    const { names } = this.#options;
    names.onlyKnown();
    if (this.#state !== 'idle') {
      const start = performance.now();
      const limit = this.#options.stopTimeoutMs;
      const deadline = start + limit;
      const waiting = () => this.#outbox.queued + (this.#events?.waiting ?? 0) + this.#messagesInFlight;
      // Without a known address it could but fail.
      const known = this.#address !== undefined && names.knows(this.#address.host);
      if (this.#state === 'waiting' && waiting() > 0 && known) this.#attempt();
      // A quarter of the time is kept for the status.
      await this.#until(() => waiting() === 0, start + limit * 0.75);
      const sent = await this.#sendStopped(deadline);
      await this.#end(sent);
    }
    // A lookup under way would keep the process.
    names.stop();
    this.#events?.off('sendable', this.#onSendable);
    this.#events?.offline();
    this.#outbox.clear('shutdown');
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#drainTimer);
    clearTimeout(this.#pauseTimer);
    this.#forgetRefusals();
    this.#setState('stopped');
  }

  async #sendStopped(deadline: number): Promise<boolean> {
    if (this.#state !== 'connected') return false;
    const base = this.#status ?? this.#defaultStatus();
    this.#status = { ...base, state: 'stopped', at: new Date().toISOString() };
    this.#retainStatus();
    if (this.#options.availability) this.#retain((this.#topics as Topics).available, Buffer.from('stopped'));
    this.#pump();
    const told = () => ![...this.#retained.values()].some((r) => r.due || r.inFlight);
    await this.#until(() => this.#state !== 'connected' || told(), deadline);
    return this.#state === 'connected' && told();
  }

  /** @param orderly say goodbye, so that the broker drops the will */
  async #end(orderly: boolean): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#stableTimer);
    if (client === undefined) return;
    if (orderly) {
      // `end()` would wait for these for ever.
      for (const id of Object.keys(client.outgoing)) client.removeOutgoingMessage(Number(id));
      const ended = new Promise<void>((resolve) => client.end(false, {}, () => resolve()));
      await Promise.race([ended, delay(Math.min(250, this.#options.stopTimeoutMs))]);
    } else {
      client.end(true);
    }
    client.stream.destroy();
  }

  #attempt(first = false): void {
    clearTimeout(this.#retryTimer);
    this.#setState('connecting');
    let client: MqttClient;
    try {
      const options = this.#clientOptions();
      try {
        client = openClient(options, this.#options.names);
      } catch (error) {
        // mqtt.js reads ca, cert and key here: bad ones fail the same way each time.
        throw first ? badTlsFiles(this.broker, error) : connectionError(this.broker, error, false);
      }
    } catch (error) {
      if (first) {
        this.#setState('idle');
        throw error;
      }
      this.#lost(undefined, error instanceof EdgeError ? error : connectionError(this.broker, error, false));
      return;
    }
    this.#client = client;
    this.#watchSizes(client);
    let goodbye: EdgeError | undefined;
    client.on('connect', (connack) => this.#onConnect(client, connack));
    client.on('message', (topic, payload, packet) => {
      if (client !== this.#client) return;
      this.#options.subscriptions?.onMessage(topic, payload, { retain: packet.retain });
    });
    client.on('disconnect', (packet) => {
      goodbye = disconnectError(this.broker, packet.reasonCode ?? 0);
    });
    client.on('error', (error) => {
      const code = reasonCode(error);
      const connected = this.#state === 'connected';
      if (!connected && code !== undefined && this.#client === client) {
        const refused = refusedError(this.broker, code);
        this.#lost(client, refused);
        this.emit('refused', refused, code);
        return;
      }
      const closedByPeer = ['ECONNRESET', 'EPIPE'].includes(errno(error) ?? '');
      this.#lost(client, goodbye ?? connectionError(this.broker, error, connected), closedByPeer);
    });
    client.on('close', () => {
      this.#lost(client, goodbye ?? connectionError(this.broker, undefined, this.#state === 'connected'), true);
    });
  }

  /** mqtt.js would keep a packet of up to 256 MiB until it is whole. */
  #watchSizes(client: MqttClient): void {
    const { maxIncomingBytes, protocolVersion } = this.#options;
    const limit = protocolVersion === 5 ? maxIncomingBytes : maxIncomingBytes * UNTOLD_FACTOR;
    const sizes = new PacketSizes(() => limit);
    client.stream.on('data', (chunk: Uint8Array) => {
      const over = client === this.#client ? sizes.take(chunk) : undefined;
      if (over === undefined) return;
      this.#pauseSubscriptions();
      this.#lost(client, incomingTooLargeError(this.broker, over.bytes, limit));
    });
  }

  #pauseSubscriptions(): void {
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = setTimeout(() => {
      this.#pauseTimer = undefined;
      if (this.#client !== undefined && this.#state === 'connected') this.#subscribe(this.#client);
    }, this.#options.subscriptionsPauseMs).unref();
  }

  #clientOptions(): IClientOptions {
    const o = this.#options;
    const address = this.#address as BrokerAddress;
    return {
      ...connectionSettings(address, { ...o, password: typeof o.password === 'function' ? o.password() : o.password }),
      protocolVersion: o.protocolVersion,
      clientId: o.clientId,
      keepalive: o.keepalive,
      connectTimeout: o.connectTimeoutMs,
      ...(o.protocolVersion === 5
        ? {
            properties: { sessionExpiryInterval: 0, maximumPacketSize: o.maxIncomingBytes },
            // As many as the broker has room for, which it says in its answer.
            autoAssignTopicAlias: o.topicAliases,
          }
        : {}),
      will: this.#will(),
    };
  }

  #will(): NonNullable<IClientOptions['will']> {
    const { device, software, protocolVersion, availability } = this.#options;
    const to = this.#topics as Topics;
    if (availability) return { topic: to.available, payload: Buffer.from('offline'), qos: 1, retain: true };
    return {
      topic: to.status,
      payload: Buffer.from(JSON.stringify(statusMessage({ device, state: 'offline', software }))),
      qos: 1,
      retain: true,
      ...(protocolVersion === 5 ? { properties: { contentType: CONTENT_TYPE } } : {}),
    };
  }

  #onConnect(client: MqttClient, connack: IConnackPacket): void {
    if (client !== this.#client) return;
    sendAtOnce(client);
    // The broker's wishes (MQTT 5, section 3.2.2.3).
    const wishes = connack.properties ?? {};
    this.#receiveMaximum = wishes.receiveMaximum ?? 65_535;
    this.#maximumPacketSize = wishes.maximumPacketSize ?? Number.POSITIVE_INFINITY;
    this.#maximumQos = wishes.maximumQoS === 0 ? 0 : 1;
    this.#window = this.#options.maxInFlight;
    this.#progress = false;
    this.#connections += 1;
    this.#lastError = undefined;
    this.#retainedInFlight = 0;
    for (const entry of this.#retained.values()) {
      entry.inFlight = false;
      entry.due = true;
    }
    this.#forgetRefusals();
    this.#events?.online();
    this.#subscribe(client);
    // A broker that takes us and throws us out at once must not reset the back-off.
    this.#stableTimer = setTimeout(() => {
      this.#failures = 0;
    }, this.#options.reconnectMinMs * 5).unref();
    this.#setState('connected');
    this.emit('connected', {
      broker: this.broker,
      protocolVersion: this.#options.protocolVersion,
      connections: this.#connections,
    });
    this.#pump();
  }

  /** The attempt failed or the connection ended: whatever the way mqtt.js tells it, once per client. */
  #lost(client: MqttClient | undefined, reason: EdgeError, closedByPeer = false): void {
    if (client !== this.#client) return;
    this.#client = undefined;
    const wasConnected = this.#state === 'connected';
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#stableTimer);
    this.#ackTimer = undefined;
    this.#lastError = reason;
    clearTimeout(this.#drainTimer);
    this.#drainTimer = undefined;
    if (wasConnected) this.#recoverInFlight(closedByPeer);
    // Ends a half-open socket too. Its callbacks come with "Connection closed" and find their entries no longer in flight.
    client?.end(true);
    client?.stream.destroy();

    const wait = backoffMs(
      this.#failures,
      this.#options.reconnectMinMs,
      this.#options.reconnectMaxMs,
      this.#options.random,
    );
    this.#failures += 1;
    this.#setState('waiting');
    this.#retryTimer = setTimeout(() => this.#attempt(), wait);
    if (wasConnected) this.emit('disconnected', reason);
    this.#problem(reason);
  }

  #recoverInFlight(closedByPeer: boolean): void {
    const inFlight = this.#messagesInFlight;
    const entry = inFlight === 1 ? this.#outbox.sole() : undefined;
    // An MQTT 5 broker says how much it takes, and why it closes: then a closed connection says nothing of an event.
    const event = inFlight === 1 && this.#options.protocolVersion === 4 ? this.#events?.sole() : undefined;
    const sole = entry ?? event;
    if (closedByPeer && sole !== undefined && (this.#probesLeft > 0 || !this.#progress)) {
      // MQTT 3.1.1 brokers answer a message they do not take (too large, say) by closing the connection. Sent again in
      // front of all others for ever, it would be the last one they ever see.
      sole.soloLosses += 1;
      if (sole.soloLosses >= MAX_SOLO_LOSSES) {
        if (entry !== undefined) this.#outbox.drop(entry, 'refused');
        else if (event !== undefined) this.#events?.drop(event, 'refused');
        const { topic, payload } = entry ?? (event as EventItem).record;
        this.#problem(
          new EdgeError(
            'BROKER_REFUSED_MESSAGE',
            `broker ${this.broker} closes the connection at a message of ${payload.length} bytes on ${topic}; dropped`,
            { hint: "See the broker's log; raise its limit on the size of packets.", exitCode: EXIT.unavailable },
          ),
        );
      }
    }
    // Twice as many: events and detections take turns.
    this.#probesLeft = closedByPeer || !this.#progress ? 2 * this.#messagesInFlight : 0;
    this.#outbox.requeue();
    this.#events?.offline();
  }

  get #messagesInFlight(): number {
    return this.#outbox.inFlight + (this.#events?.inFlight ?? 0);
  }

  #subscribe(client: MqttClient): void {
    const { subscriptions, protocolVersion } = this.#options;
    if (subscriptions === undefined || subscriptions.filters.length === 0 || this.#pauseTimer !== undefined) return;
    // MQTT 5: nothing that we published ourselves, nothing retained (an order left lying is not given anew).
    const options = protocolVersion === 5 ? { qos: 1 as const, nl: true, rap: true, rh: 2 } : { qos: 1 as const };
    client.subscribe([...subscriptions.filters], options, (error, grants, packet) => {
      if (client !== this.#client) return;
      // MQTT 3.1.1 has one code for all refusals, and mqtt.js gives it as a grant.
      const refused = packet?.granted?.map(Number).find((code) => code >= 128);
      const code = refused ?? reasonCode(error);
      if (code !== undefined)
        this.#problem(subscriptionRefusedError(this.broker, subscriptions.filters.join(', '), code));
      else if (grants !== undefined) this.emit('subscribed');
    });
  }

  /** Hands over as much as connection and window allow. */
  #pump(): void {
    // Callbacks for QoS 0 come within `publish`.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#state === 'connected' && this.#client?.connected === true) {
        const client = this.#client;
        if (this.#messagesInFlight + this.#retainedInFlight >= this.#receiveMaximum) break;
        if (this.#sendRetained(client)) continue;
        if (this.#probesLeft > 0) {
          if (this.#messagesInFlight > 0) break;
          this.#probeEvent = !this.#probeEvent;
          if (
            this.#probeEvent
              ? this.#sendEvent(client) || this.#sendEntry(client)
              : this.#sendEntry(client) || this.#sendEvent(client)
          )
            continue;
          break;
        }
        // Events first, but detections have a window of their own: neither keeps the other waiting for long.
        const event = this.#sendEvent(client);
        if (event && this.#messagesInFlight + this.#retainedInFlight >= this.#receiveMaximum) break;
        if (!this.#sendEntry(client) && !event) break;
      }
    } finally {
      this.#pumping = false;
    }
    this.#watchAcks();
    this.#changed.emit('change');
  }

  #sendRetained(client: MqttClient): boolean {
    if (this.#retainedInFlight >= this.#window) return false;
    for (const [topic, entry] of this.#retained) {
      if (!entry.due || entry.inFlight) continue;
      const fits = (payload: Buffer) =>
        payload.length + Buffer.byteLength(topic) + PACKET_OVERHEAD <= this.#maximumPacketSize;
      const payload = [entry.payload, entry.small].find((p) => p !== undefined && fits(p));
      entry.due = false;
      if (payload === undefined) {
        this.#problem(oversizedError(entry.payload.length, this.#maximumPacketSize));
        continue;
      }
      entry.inFlight = true;
      this.#retainedInFlight += 1;
      const properties = this.#properties(entry.contentType);
      client.publish(topic, payload, { qos: this.#maximumQos, retain: true, ...properties }, (error) => {
        if (client !== this.#client) return;
        // It may have been set again meanwhile: then this is the entry that waits.
        const now = this.#retained.get(topic) as Retained;
        now.inFlight = false;
        this.#retainedInFlight -= 1;
        const code = reasonCode(error);
        if (code !== undefined) this.#problem(messageRefusedError(this.broker, topic, code));
        // A state that was taken back, and is.
        if (now.payload.length === 0 && !now.due) {
          this.#retained.delete(topic);
          if (!error) this.emit('cleared', topic);
        }
        this.#acknowledged();
      });
      return true;
    }
    return false;
  }

  #sendEntry(client: MqttClient): boolean {
    if (this.#outbox.inFlight >= this.#window) return false;
    const entry = this.#outbox.take();
    if (entry === undefined) return false;
    this.#send(client, entry);
    return true;
  }

  #send(client: MqttClient, entry: OutboxEntry): void {
    const size = entry.payload.length + Buffer.byteLength(entry.topic) + PACKET_OVERHEAD;
    if (size > this.#maximumPacketSize) {
      this.#outbox.drop(entry, 'oversized');
      this.#problem(oversizedError(size, this.#maximumPacketSize));
      return;
    }
    const qos = Math.min(this.#options.qos, this.#maximumQos) as 0 | 1;
    client.publish(entry.topic, entry.payload, { qos, ...this.#properties(entry.contentType) }, (error) => {
      if (client !== this.#client) return;
      const code = reasonCode(error);
      if (code !== undefined) {
        this.#outbox.drop(entry, 'refused');
        this.#problem(messageRefusedError(this.broker, entry.topic, code));
      } else if (error) {
        // Not sent; the connection is about to be reported lost, and the entry goes back to the queue with it.
        return;
      } else {
        this.#outbox.done(entry);
      }
      this.#progressed();
    });
  }

  #sendEvent(client: MqttClient): boolean {
    const events = this.#events;
    const next = events?.next();
    if (events === undefined || next === undefined) return false;
    if (events.inFlight >= this.#window) return false;
    if (events.inFlight > 0 && events.inFlightBytes >= this.#options.maxInFlightBytes) return false;
    if (next === 'backlog' && !this.#mayDrain()) return false;
    const item = events.take();
    if (item === undefined) return false;
    const { topic, payload } = item.record;
    const size = payload.length + Buffer.byteLength(topic) + PACKET_OVERHEAD;
    if (size > this.#maximumPacketSize) {
      events.hold(item);
      this.#problem(eventTooLargeError(size, this.#maximumPacketSize));
      return true;
    }
    const properties =
      this.#options.protocolVersion === 5
        ? {
            properties: {
              contentType: this.#options.eventContentType,
              messageExpiryInterval: events.secondsLeft(item),
            },
          }
        : {};
    client.publish(topic, payload as Buffer, { qos: this.#maximumQos, ...properties }, (error) => {
      if (client !== this.#client) return;
      const code = reasonCode(error);
      if (code !== undefined) {
        this.#problem(messageRefusedError(this.broker, topic, code));
        if (HOPELESS.includes(code)) events.drop(item, 'refused');
        else this.#eventRefused(events, item);
      } else if (error) {
        return;
      } else {
        events.done(item);
        this.#refusals.delete(topic);
      }
      this.#progressed();
    });
    return true;
  }

  /** Kept, and tried again later: the broker's rules may be mended. Other topics go on. */
  #eventRefused(events: DurableOutbox, item: EventItem): void {
    const { topic } = item.record;
    const { reconnectMinMs, reconnectMaxMs, random } = this.#options;
    const refusal = this.#refusals.get(topic) ?? { failures: 0, timer: undefined };
    this.#refusals.set(topic, refusal);
    events.holdTopic(item);
    if (refusal.timer !== undefined) return;
    const wait = backoffMs(refusal.failures, reconnectMinMs, reconnectMaxMs, random);
    refusal.failures += 1;
    refusal.timer = setTimeout(() => {
      refusal.timer = undefined;
      events.releaseTopic(topic);
      this.#pump();
    }, wait).unref();
  }

  #forgetRefusals(): void {
    for (const [topic, { timer }] of this.#refusals) {
      clearTimeout(timer);
      this.#events?.releaseTopic(topic);
    }
    this.#refusals.clear();
  }

  /** Whether the backlog may send one more now; comes back to it by itself where not. */
  #mayDrain(): boolean {
    const rate = this.#options.drainPerSecond;
    if (rate <= 0) return true;
    const now = performance.now();
    this.#tokens = Math.min(Math.max(1, rate / 50), this.#tokens + ((now - this.#tokensAt) * rate) / 1_000);
    this.#tokensAt = now;
    if (this.#tokens >= 1) {
      this.#tokens -= 1;
      return true;
    }
    this.#drainTimer ??= setTimeout(
      () => {
        this.#drainTimer = undefined;
        this.#pump();
      },
      Math.max(5, 1_000 / rate),
    ).unref();
    return false;
  }

  #progressed(): void {
    this.#progress = true;
    if (this.#probesLeft > 0) this.#probesLeft -= 1;
    this.#acknowledged();
  }

  #properties(contentType: string | undefined): { properties?: { contentType: string } } {
    return this.#options.protocolVersion === 5 && contentType !== undefined ? { properties: { contentType } } : {};
  }

  #acknowledged(): void {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#pump();
  }

  /** A broker may answer pings and yet not acknowledge; then nothing would ever move again. */
  #watchAcks(): void {
    if (this.#messagesInFlight + this.#retainedInFlight === 0) {
      clearTimeout(this.#ackTimer);
      this.#ackTimer = undefined;
      return;
    }
    this.#ackTimer ??= setTimeout(() => {
      const ms = this.#options.ackTimeoutMs;
      this.#lost(
        this.#client,
        new EdgeError('BROKER_LOST', `broker ${this.broker} acknowledged nothing for ${ms} ms`, {
          hint: 'The link or the broker hangs; it is tried again.',
          exitCode: EXIT.unavailable,
        }),
      );
    }, this.#options.ackTimeoutMs);
  }

  #defaultStatus(): StatusMessage {
    const { device, software } = this.#options;
    return statusMessage({ device, software, state: 'online', atMs: Date.now() });
  }

  #detectionsTopic(camera: string): string {
    let topic = this.#detectionTopics.get(camera);
    if (topic === undefined) {
      const { prefix, device } = this.#options;
      this.#topics ??= topics(prefix, device);
      topic = this.#topics.detections(camera);
      if (this.#detectionTopics.size < 64) this.#detectionTopics.set(camera, topic);
    }
    return topic;
  }

  #problem(error: EdgeError): void {
    const now = performance.now();
    // By message within a code, so that "wrong password" after "not available" is heard at once; bounded all the same.
    const key = error.code === 'BROKER_REFUSED' ? error.message : error.code;
    const last = this.#problems.get(key);
    if (last !== undefined && now - last.at < this.#options.problemIntervalMs) {
      last.suppressed += 1;
      return;
    }
    if (this.#problems.size > 32) this.#problems.clear();
    this.#problems.set(key, { at: now, suppressed: 0 });
    this.emit('problem', error, last?.suppressed ?? 0);
  }

  #notConnected(): EdgeError {
    return new EdgeError('BROKER_TIMEOUT', `broker ${this.broker} did not answer the connection in time`, {
      hint: 'Check the host, the port and the network.',
      exitCode: EXIT.unavailable,
    });
  }

  #setState(state: PublisherState): void {
    this.#state = state;
    this.#changed.emit('change');
  }

  async #until(done: () => boolean, deadline: number): Promise<void> {
    while (!done()) {
      const left = deadline - performance.now();
      if (left <= 0) return;
      await this.#nextChange(left);
    }
  }

  /** Waits for the next change, `ms` or the abort, whichever comes first. */
  #nextChange(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        this.#changed.off('change', finish);
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = setTimeout(finish, ms);
      this.#changed.once('change', finish);
      signal?.addEventListener('abort', finish, { once: true });
    });
  }
}

function oversizedError(bytes: number, limit: number): EdgeError {
  return new EdgeError('ALERT_OVERSIZED', `an alert of ${bytes} bytes is over the limit of ${limit} bytes; dropped`, {
    hint: 'Raise the score threshold (so many detections in a frame are noise) or the limit on messages.',
    exitCode: EXIT.unavailable,
  });
}

function incomingTooLargeError(broker: string, bytes: number, limit: number): EdgeError {
  return new EdgeError(
    'BROKER_LOST',
    `broker ${broker} began a packet of ${bytes} bytes, over the limit of ${limit} bytes; the connection is given up, and commands are left alone for some minutes`,
    {
      hint: 'Somebody publishes large messages on the command topics (.../set), perhaps a retained one: look there.',
      exitCode: EXIT.unavailable,
    },
  );
}

function eventTooLargeError(bytes: number, limit: number): EdgeError {
  return new EdgeError(
    'ALERT_OVERSIZED',
    `an event of ${bytes} bytes is over the broker's limit of ${limit} bytes; kept`,
    {
      hint: "Raise the broker's limit on packets (mosquitto: max_packet_size), or send events without pictures.",
      exitCode: EXIT.unavailable,
    },
  );
}

/** Drops keys whose value is undefined, so that they do not hide a default. */
function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}

/**
 * Small packets leave at once. With Nagle's algorithm (on in mqtt.js) one waits for the acknowledgement of the last, which the
 * other side may delay by 40 ms (tcp(7), TCP_NODELAY).
 */
export function sendAtOnce(client: MqttClient): void {
  const stream = client.stream as Partial<Pick<Socket, 'setNoDelay'>>;
  stream.setNoDelay?.(true);
}
