import { EdgeError, EXIT } from '../types/errors.js';

const PORTS = { mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 } as const;
export type BrokerProtocol = keyof typeof PORTS;

export interface BrokerAddress {
  protocol: BrokerProtocol;
  /** Without the brackets of an IPv6 address. */
  host: string;
  port: number;
  /** Path of a WebSocket, with its query; `/` where there is none. */
  path: string;
  username?: string;
  password?: string;
  /** For people: `mqtt://host:1883`, never with user name, password or query. */
  display: string;
}

/** Reads a broker URL. Throws `EdgeError` `BAD_BROKER_URL`, whose text repeats nothing of the URL that may be secret. */
export function parseBrokerUrl(url: string): BrokerAddress {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw badUrl('the broker URL cannot be read');
  }
  const protocol = parsed.protocol.replace(/:$/, '');
  if (!isProtocol(protocol)) throw badUrl(`the broker URL has the unknown scheme '${protocol.slice(0, 16)}'`);
  if (parsed.hostname === '') throw badUrl('the broker URL has no host');
  const port = parsed.port === '' ? PORTS[protocol] : Number(parsed.port);
  if (port === 0) throw badUrl('the broker URL has port 0');
  return {
    protocol,
    host: parsed.hostname.replace(/^\[(.*)\]$/, '$1'),
    port,
    path: `${parsed.pathname === '' ? '/' : parsed.pathname}${parsed.search}`,
    ...(parsed.username === '' ? {} : { username: decode(parsed.username) }),
    ...(parsed.password === '' ? {} : { password: decode(parsed.password) }),
    display: `${protocol}://${parsed.hostname}:${port}`,
  };
}

/** A URL for logs: `mqtt://host:1883`; `(unreadable URL)` where it is none. */
export function redactUrl(url: string): string {
  try {
    return parseBrokerUrl(url).display;
  } catch {
    return '(unreadable URL)';
  }
}

function isProtocol(protocol: string): protocol is BrokerProtocol {
  return Object.hasOwn(PORTS, protocol);
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function badUrl(message: string): EdgeError {
  return new EdgeError('BAD_BROKER_URL', message, {
    hint: 'Write it like mqtt://host:1883 or mqtts://host:8883 (ws and wss work too).',
    exitCode: EXIT.config,
  });
}
