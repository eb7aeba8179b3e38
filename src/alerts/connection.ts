import type { IClientOptions } from 'mqtt';
import type { BrokerAddress } from './broker-url.js';

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
