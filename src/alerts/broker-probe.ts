import { randomBytes } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { IClientOptions, MqttClient } from 'mqtt';
import type { EdgeError } from '../types/errors.js';
import { connectionError, reasonCode, refusedError, subscriptionRefusedError } from './broker-errors.js';
import { parseBrokerUrl } from './broker-url.js';
import { connectionSettings, openClient } from './connection.js';
import { NameResolver } from './name-resolver.js';

export interface BrokerProbeOptions {
  /** `mqtt://host:1883`, `mqtts://host:8883`. */
  url: string;
  /** 5 or 4 (MQTT 3.1.1). */
  protocolVersion: 4 | 5;
  username?: string;
  password?: string;
  /** PEM. */
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
  /** How long the whole probe may take, ms. */
  timeoutMs: number;
  /** Subscribed to, and given up again. */
  filters: readonly string[];
}

export interface BrokerProbe {
  /** `mqtt://host:1883`, without secrets. */
  broker: string;
  /** From the start to the broker's acceptance, ms. */
  connectMs: number;
  /** From a ping to its answer, ms. */
  pingMs: number;
  tls?: {
    /** `TLSv1.3`. */
    protocol: string;
    /** Whose certificate it is. */
    subject: string;
    /** When the certificate ends, ms since 1970. */
    validUntilMs: number;
  };
  /** Why the broker does not give the subscriptions. */
  subscriptionRefused?: EdgeError;
}

/**
 * Connects as the daemon does, under a client id of its own, subscribes, and leaves. Publishes nothing and leaves no session, so that
 * neither a running daemon nor a subscriber notices.
 *
 * @throws EdgeError BAD_BROKER_URL, BROKER_UNREACHABLE, BROKER_TIMEOUT, BROKER_TLS, BROKER_REFUSED
 */
export async function probeBroker(options: BrokerProbeOptions): Promise<BrokerProbe> {
  const address = parseBrokerUrl(options.url);
  const broker = address.display;
  const { protocolVersion, timeoutMs, filters } = options;
  const settings: IClientOptions = {
    ...connectionSettings(address, options),
    protocolVersion,
    clientId: `irst-edge-doctor-${randomBytes(4).toString('hex')}`,
    keepalive: 0,
    connectTimeout: timeoutMs,
    ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 0 } } : {}),
  };
  const names = new NameResolver();
  const start = performance.now();
  let client: MqttClient;
  try {
    client = openClient(settings, names);
  } catch (error) {
    // mqtt.js reads ca, cert and key here.
    throw connectionError(broker, error, false);
  }
  const failed = new Promise<never>((_, reject) => {
    let connected = false;
    client.on('connect', () => {
      connected = true;
    });
    const timer = setTimeout(() => reject(connectionError(broker, new Error('connack timeout'), false)), timeoutMs);
    timer.unref();
    client.on('error', (error) => {
      const code = reasonCode(error);
      reject(code === undefined ? connectionError(broker, error, connected) : refusedError(broker, code));
    });
    client.on('close', () => {
      clearTimeout(timer);
      reject(connectionError(broker, undefined, connected));
    });
  });
  // Nobody may be waiting for it any more when the connection is closed at the end.
  failed.catch(() => {});
  try {
    await Promise.race([new Promise<void>((resolve) => client.once('connect', () => resolve())), failed]);
    const connectMs = performance.now() - start;
    const tls = tlsOf(client);
    const subscriptionRefused = await Promise.race([subscribe(client, broker, filters), failed]);
    const pinged = performance.now();
    await Promise.race([ping(client), failed]);
    return {
      broker,
      connectMs,
      pingMs: performance.now() - pinged,
      ...(tls !== undefined && { tls }),
      ...(subscriptionRefused !== undefined && { subscriptionRefused }),
    };
  } finally {
    client.end(true);
    client.stream.destroy();
    names.stop();
  }
}

function tlsOf({ stream }: MqttClient): BrokerProbe['tls'] {
  if (!(stream instanceof TLSSocket)) return undefined;
  const { subject, valid_to } = stream.getPeerCertificate();
  const name = subject?.CN;
  return {
    protocol: stream.getProtocol() ?? 'unknown',
    subject: typeof name === 'string' ? name : 'unnamed',
    validUntilMs: Date.parse(valid_to),
  };
}

async function subscribe(
  client: MqttClient,
  broker: string,
  filters: readonly string[],
): Promise<EdgeError | undefined> {
  if (filters.length === 0) return undefined;
  const refused = (code: number) => subscriptionRefusedError(broker, filters.join(', '), code);
  try {
    const granted = await client.subscribeAsync([...filters], { qos: 1 });
    const bad = granted.map(({ qos }) => qos as number).find((qos) => qos >= 128);
    return bad === undefined ? undefined : refused(bad);
  } catch (error) {
    // mqtt.js rejects where the broker refuses; MQTT 3.1.1 has one code for it.
    return refused(reasonCode(error) ?? 128);
  }
}

/** PINGREQ and its answer: what the broker does besides cannot delay it much. */
async function ping(client: MqttClient): Promise<void> {
  await new Promise<void>((resolve) => {
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'pingresp') resolve();
    });
    client.sendPing();
  });
}
