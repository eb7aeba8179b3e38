import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import type { MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Certificates } from '../../test/integration/certificates.js';
import { parseBrokerUrl } from './broker-url.js';
import { connectionSettings, openClient } from './connection.js';
import { NameResolver } from './name-resolver.js';

/** CONNACK of MQTT 3.1.1: accepted. */
const ACCEPTED = Buffer.from([0x20, 2, 0, 0]);

let folder: string;
let keys: { ca: Buffer; cert: Buffer; key: Buffer };
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'irst-connection-'));
  const certificates = new Certificates(folder);
  await certificates.authority('ca');
  // For localhost and 127.0.0.1.
  await certificates.signed('broker', 'ca');
  const [ca, cert, key] = await Promise.all(
    ['ca.crt', 'broker.crt', 'broker.key'].map((f) => readFile(join(folder, f))),
  );
  keys = { ca, cert, key } as typeof keys;
  // Nothing but this file knows them.
  await writeFile(join(folder, 'hosts'), '127.0.0.1 broker.example localhost\n');
});
afterAll(() => rm(folder, { recursive: true }));

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanup.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

function open(url: string): MqttClient {
  const names = new NameResolver({ hostsFile: join(folder, 'hosts'), servers: [], program: ['false'] });
  const settings = connectionSettings(parseBrokerUrl(url), { ca: keys.ca });
  const client = openClient({ ...settings, protocolVersion: 4, keepalive: 0 }, names);
  cleanup.push(() => {
    client.end(true);
    client.stream.destroy();
    names.stop();
  });
  return client;
}

/** What a client says last of its attempt. */
const failure = (client: MqttClient) =>
  new Promise<Error & { code?: unknown }>((resolve) => client.on('error', resolve));
const connected = (client: MqttClient) => new Promise((resolve) => client.on('connect', resolve));

describe('the name of a broker is looked up by us', () => {
  it('with mqtt', async () => {
    const port = await listening(createServer((socket) => socket.once('data', () => socket.write(ACCEPTED))));
    await connected(open(`mqtt://broker.example:${port}`));
  });

  it('with mqtts, and the certificate is checked against it', async () => {
    const names: unknown[] = [];
    const server = createTlsServer(keys, (socket) => {
      names.push(socket.servername);
      socket.on('error', () => {});
      socket.once('data', () => socket.write(ACCEPTED));
    });
    server.on('tlsClientError', () => {});
    const port = await listening(server);
    await connected(open(`mqtts://localhost:${port}`));
    expect(names).toEqual(['localhost']);
    // The same address, for which the certificate is good too; but it is not what was asked for.
    const error = await failure(open(`mqtts://broker.example:${port}`));
    expect(error.code).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
    expect(error.message).toContain('broker.example');
  });

  it('with ws, and told to the server', async () => {
    const server = createHttpServer();
    const port = await listening(server);
    const asked = once(server, 'upgrade');
    open(`ws://broker.example:${port}/mqtt`);
    const [request, socket] = await asked;
    expect(request.headers.host).toBe(`broker.example:${port}`);
    socket.destroy();
  });

  it('with wss, and the certificate is checked against it', async () => {
    const server = createHttpsServer(keys);
    server.on('tlsClientError', () => {});
    const port = await listening(server);
    const asked = once(server, 'upgrade');
    open(`wss://localhost:${port}/mqtt`);
    const [, socket] = await asked;
    expect(socket.servername).toBe('localhost');
    socket.destroy();
    const error = await failure(open(`wss://broker.example:${port}/mqtt`));
    expect(error.code).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
  });

  it('and a name without an address is an error', async () => {
    for (const scheme of ['mqtt', 'mqtts', 'ws', 'wss']) {
      const error = await failure(open(`${scheme}://unknown.local:1`));
      expect([scheme, error.code]).toEqual([scheme, 'EAI_AGAIN']);
    }
  });
});
