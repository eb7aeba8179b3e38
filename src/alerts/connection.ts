import { connect as tcpConnect } from 'node:net';
import { type IClientOptions, MqttClient, connect as mqttConnect } from 'mqtt';
import type { BrokerAddress } from './broker-url.js';
import type { NameResolver } from './name-resolver.js';

export interface ConnectionSecrets {
  /** Wins over the address's. */
  username?: string | undefined;
  password?: string | undefined;
  /** PEM. */
  ca?: Buffer | undefined;
  cert?: Buffer | undefined;
  key?: Buffer | undefined;
}

/** What every connection of ours to a broker has in common: where it goes, who we are, and that mqtt.js does nothing by itself. */
export function connectionSettings(address: BrokerAddress, secrets: ConnectionSecrets): IClientOptions {
  const { ca, cert, key } = secrets;
  const username = secrets.username ?? address.username;
  const password = secrets.password ?? address.password;
  const web = address.protocol === 'ws' || address.protocol === 'wss';
  return {
    // Not the URL: mqtt.js would read query parameters from it and keep the password in more places.
    protocol: address.protocol,
    host: address.host,
    hostname: address.host,
    port: address.port,
    ...(web ? { path: address.path } : {}),
    clean: true,
    // We reconnect ourselves, with another client.
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    // The default logger prints whole packets, CONNECT with its password among them, when DEBUG is set.
    log: () => {},
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

/**
 * As `connect` of mqtt.js, with our lookup of names. TLS goes on checking the certificate against the name: the host stays what it was.
 * Throws where ca, cert or key cannot be read.
 *
 * @param settings from `connectionSettings`, completed
 */
export function openClient(settings: IClientOptions, { lookup }: NameResolver): MqttClient {
  const { protocol, host, port, cert, key } = settings;
  // mqtt.js hands `lookup` on to tls.connect (with cert and key it makes TLS of `mqtt`), for WebSockets what is in `wsOptions` to ws and
  // so to net and tls, but for plain TCP host and port only. A proxy looks up for itself.
  if (protocol === 'mqtt' && (cert === undefined || key === undefined) && !process.env.MQTTJS_SOCKS_PROXY) {
    const client = new MqttClient(() => tcpConnect({ host, port: port as number, lookup }), settings);
    // As `connect` does: an error that comes before its listener is not the end of the process.
    client.on('error', () => {});
    return client;
  }
  const web = protocol === 'ws' || protocol === 'wss';
  return mqttConnect({ ...settings, ...(web ? { wsOptions: { lookup } } : { lookup }) } as IClientOptions);
}
