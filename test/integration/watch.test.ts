import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Aedes } from 'aedes';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { EmbeddedBroker } from '../../src/alerts/embedded-broker.js';
import { EXAMPLES } from '../../src/alerts/examples.js';
import { ALERT_SCHEMAS } from '../../src/alerts/schema.js';
import { freePort } from '../../src/util/ports.js';
import { Certificates } from './certificates.js';
import { startMosquitto } from './mosquitto.js';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const EVENTS = 'irst/edge-1/north/events';

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function start(args: string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(CLI, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
    env: { ...process.env, ...env },
  });
  const state = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (state.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (state.err += text));
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  cleanup.push(() => child.kill('SIGKILL'));
  return { state, child, closed };
}

async function until(what: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !what(); await delay(20)) if (Date.now() > end) throw new Error('too late');
}

async function embedded(): Promise<{ url: string; client: MqttClient }> {
  const broker = new EmbeddedBroker({ host: '127.0.0.1', port: 0 });
  const { url } = await broker.start();
  cleanup.push(() => broker.stop());
  return { url, client: await publisher(url) };
}

async function publisher(url: string, options: object = {}): Promise<MqttClient> {
  const client = await connectAsync(url, { protocolVersion: 4, ...options });
  cleanup.push(() => client.endAsync(true));
  return client;
}

describe('irst-edge watch', () => {
  it('shows retained states and events as lines, and ends well with SIGINT', async () => {
    const { url, client } = await embedded();
    await client.publishAsync('irst/edge-1/available', 'online', { retain: true });
    const { state, child, closed } = start(['watch', '--url', url]);
    await until(() => state.out.includes('edge-1  online\n'));
    await client.publishAsync(EVENTS, JSON.stringify(EXAMPLES.event));
    await until(() => state.out.includes('track 5'));
    child.kill('SIGINT');
    expect(await closed).toBe(0);
    expect(state.err).toBe('');
    expect(state.out.split('\n')[1]).toMatch(/^edge-1\/north {2}new {2}01KG9Q8PRANBQ5ZV4H6E7C2T0X {2}track 5/);
  });

  it('prints messages as JSON and ends after the first event', async () => {
    const { url, client } = await embedded();
    await client.publishAsync('irst/edge-1/available', 'online', { retain: true });
    await client.publishAsync('irst/other/available', 'online', { retain: true });
    const { state, closed } = start(['--json', 'watch', '--url', url, '--once', '--device', 'edge-1']);
    await until(() => state.out !== '');
    await client.publishAsync('irst/other/north/events', JSON.stringify(EXAMPLES.event));
    await client.publishAsync(EVENTS, JSON.stringify(EXAMPLES.event));
    expect(await closed).toBe(0);
    const lines = state.out.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { at: expect.any(String), topic: 'irst/edge-1/available', payload: 'online' },
      { at: expect.any(String), topic: EVENTS, payload: EXAMPLES.event },
    ]);
  });

  it('ends after the time given', async () => {
    const { url } = await embedded();
    const { state, closed } = start(['watch', '--url', url, '--once', '--seconds', '0.3']);
    expect([await closed, state.out, state.err]).toEqual([0, '', '']);
  });

  it('says so when nobody listens, or does not answer as a broker', async () => {
    const { state, closed } = start(['watch', '--url', `mqtt://127.0.0.1:${await freePort()}`]);
    expect(await closed).toBe(69);
    expect(state.err).toContain('BROKER_UNREACHABLE');

    const deaf = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
    cleanup.push(() => deaf.close());
    const { port } = deaf.address() as { port: number };
    const second = start(['watch', '--url', `mqtt://127.0.0.1:${port}`]);
    expect(await second.closed).toBe(69);
    expect(second.state.err).toMatch(/^irst-edge: BROKER_/);
  });

  it('says so when it may not read the topics', async () => {
    const aedes = await Aedes.createBroker({
      authorizeSubscribe: (_client, subscription, done) =>
        done(null, subscription.topic.endsWith('/events') ? null : subscription),
    });
    const server = createServer((socket) => void aedes.handle(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanup.push(
      () => new Promise<void>((resolve) => aedes.close(() => resolve())),
      () => server.close(),
    );
    const { port } = server.address() as { port: number };
    const { state, closed } = start(['watch', '--url', `mqtt://127.0.0.1:${port}`]);
    expect(await closed).toBe(69);
    expect(state.err).toContain('BROKER_REFUSED_SUBSCRIPTION');
    expect(state.err).toContain('irst/+/+/events');
  });

  it('takes the password from a file, and only from there', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'irst-watch-'));
    cleanup.push(() => rm(folder, { recursive: true, force: true }));
    const file = join(folder, 'password');
    await writeFile(file, 'letmein\n');
    await writeFile(join(folder, 'wrong'), 'wrong\n');
    const users = join(folder, 'users');
    await writeFile(users, '');
    await promisify(execFile)('mosquitto_passwd', ['-b', users, 'watcher', 'letmein']);
    const broker = await startMosquitto({
      noAnonymous: true,
      config: ['password_file {dir}/users'],
      files: { users: await readFile(users, 'utf8') },
    });
    cleanup.push(() => broker.stop());
    const client = await publisher(broker.url, { username: 'watcher', password: 'letmein' });
    await client.publishAsync('irst/edge-1/available', 'online', { retain: true });

    // mqtt.js prints whole packets where DEBUG asks for it.
    const args = ['watch', '--url', broker.url, '--username', 'watcher', '--password-file', file];
    const good = start(args, { DEBUG: '*' });
    await until(() => good.state.out.includes('online'));
    good.child.kill('SIGTERM');
    expect(await good.closed).toBe(0);
    expect(good.state.err).not.toMatch(/letmein|6c,? ?65,? ?74,? ?6d|108, 101, 116, 109/);

    const bad = start([
      'watch',
      '--url',
      broker.url,
      '--username',
      'watcher',
      '--password-file',
      join(folder, 'wrong'),
    ]);
    expect(await bad.closed).toBe(69);
    expect(bad.state.err).toContain('BROKER_REFUSED');

    const open = start(['watch', '--url', broker.url.replace('//', '//watcher:letmein@')]);
    expect(await open.closed).toBe(64);
    expect(open.state.err).not.toContain('letmein');
  });

  it('shows its certificate to a broker that asks for one', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'irst-watch-'));
    cleanup.push(() => rm(folder, { recursive: true, force: true }));
    const certificates = new Certificates(folder);
    await certificates.authority('ca');
    for (const name of ['broker', 'watcher']) await certificates.signed(name, 'ca');
    const at = (name: string) => join(folder, name);
    const broker = await startMosquitto({
      config: [
        `cafile ${at('ca.crt')}`,
        `certfile ${at('broker.crt')}`,
        `keyfile ${at('broker.key')}`,
        'require_certificate true',
      ],
    });
    cleanup.push(() => broker.stop());
    const [ca, cert, certKey] = ['ca.crt', 'watcher.crt', 'watcher.key'].map(at) as [string, string, string];
    const tls = { ca: await readFile(ca), cert: await readFile(cert), key: await readFile(certKey) };
    const url = broker.url.replace('mqtt:', 'mqtts:');
    const client = await publisher(url, tls);
    await client.publishAsync('irst/edge-1/available', 'online', { retain: true });

    const good = start(['watch', '--url', url, '--ca', ca, '--cert', cert, '--key', certKey]);
    await until(() => good.state.out.includes('online'));
    good.child.kill('SIGTERM');
    expect(await good.closed).toBe(0);

    const bare = start(['watch', '--url', url, '--ca', ca]);
    expect(await bare.closed).toBe(69);
    expect(bare.state.err).toMatch(/^irst-edge: BROKER_/);

    const missing = start(['watch', '--url', url, '--ca', ca, '--cert', at('none.crt'), '--key', certKey]);
    expect(await missing.closed).toBe(69);
    expect(missing.state.err).toContain('--cert');
  });

  it('says so when certificate and key are none, or do not belong together', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'irst-watch-'));
    cleanup.push(() => rm(folder, { recursive: true, force: true }));
    const certificates = new Certificates(folder);
    for (const name of ['one', 'other']) await certificates.authority(name);
    const at = (name: string) => join(folder, name);
    await writeFile(at('bad'), '-----BEGIN CERTIFICATE-----\nno such thing\n-----END CERTIFICATE-----\n');
    for (const [cert, key] of [
      ['bad', 'one.key'],
      ['one.crt', 'bad'],
      ['one.crt', 'other.key'],
    ] as const) {
      // They are read before anybody is asked.
      const { state, closed } = start([
        ...['watch', '--url', 'mqtts://127.0.0.1:1'],
        ...['--cert', at(cert), '--key', at(key)],
      ]);
      expect([await closed, state.err]).toEqual([78, expect.stringMatching(/^irst-edge: BROKER_TLS: /)]);
    }
  });

  it('refuses a wrong command line', async () => {
    for (const args of [
      ['--prefix', 'a/#'],
      ['--device', 'a+b'],
      ['--seconds', '0'],
      ['--password-file', 'x'],
      ['--cert', 'x'],
      ['--key', 'x'],
    ]) {
      const { closed } = start(['watch', ...args]);
      expect(await closed).toBe(64);
    }
  });
});

describe('irst-edge event-schema', () => {
  it('prints the schema of an event', async () => {
    const { state, closed } = start(['event-schema']);
    expect(await closed).toBe(0);
    expect(JSON.parse(state.out)).toEqual(ALERT_SCHEMAS.event);
  });
});
