import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { connectAsync, type IPublishPacket, type MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Commands } from '../../src/alerts/commands.js';
import { passwordSource } from '../../src/alerts/credentials.js';
import { DurableOutbox, type EventKind, type OutboxRecord } from '../../src/alerts/durable-outbox.js';
import { EmbeddedBroker } from '../../src/alerts/embedded-broker.js';
import { MqttPublisher, type MqttPublisherOptions } from '../../src/alerts/publisher.js';
import { runAlertBench } from '../../src/service/alert-bench.js';
import type { EdgeError } from '../../src/types/errors.js';
import { Certificates } from './certificates.js';
import { compileModule } from './compile.js';
import { type Mosquitto, type MosquittoOptions, startMosquitto } from './mosquitto.js';
import { waiting } from './until.js';

const until = waiting(25_000);

const run = promisify(execFile);
const EVENTS = 'irst/edge-1/north/events';
const AVAILABLE = 'irst/edge-1/available';
const UNLIMITED = ['max_inflight_messages 0', 'max_queued_messages 0'];

let modules: string;
let removeModules: () => Promise<void>;
let dir: string;
beforeAll(async () => {
  const module = await compileModule('alerts/publisher', 'alerts/store-process', 'service/alert-bench-subscriber');
  modules = dirname(module.file);
  removeModules = module.remove;
  dir = await mkdtemp(join(tmpdir(), 'irst-events-'));
});
const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});
afterAll(async () => {
  await removeModules();
  await rm(dir, { recursive: true, force: true });
});

async function broker(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const mosquitto = await startMosquitto(options);
  cleanup.push(() => mosquitto.stop());
  return mosquitto;
}

/** In memory, unless a directory is given. */
async function outbox(directory?: string): Promise<DurableOutbox> {
  const box = new DurableOutbox(
    directory === undefined ? {} : { directory, storeProcess: join(modules, 'store-process.js') },
  );
  cleanup.push(() => box.stop(5_000));
  await box.start();
  return box;
}

function publisher(url: string, events: DurableOutbox, options: Partial<MqttPublisherOptions> = {}) {
  const p = new MqttPublisher({
    url,
    device: 'edge-1',
    software: '0.0.0-test',
    reconnectMinMs: 50,
    reconnectMaxMs: 200,
    events,
    ...options,
  });
  const problems: EdgeError[] = [];
  p.on('problem', (error) => problems.push(error));
  cleanup.push(() => p.stop());
  return { p, problems };
}

let seq = 0;
function record(id: string, kind: EventKind = 'new', more: Partial<OutboxRecord> = {}): OutboxRecord {
  seq += 1;
  return {
    id,
    seq,
    kind,
    severity: 1,
    topic: EVENTS,
    payload: Buffer.from(JSON.stringify({ id, kind, pad: 'x'.repeat(600) })),
    createdAtMs: Date.now(),
    expiresAtMs: Date.now() + 3_600_000,
    ...more,
  };
}

interface Message {
  topic: string;
  text: string;
  packet: IPublishPacket;
  at: number;
}

interface Watch {
  client: MqttClient;
  messages: Message[];
  /** `id kind` of the events, as they came. */
  events(): string[];
  of(topic: string): string[];
}

/** Subscribes with a client of its own. */
async function watch(port: number, filter = 'irst/#', options: object = {}): Promise<Watch> {
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, {
    protocolVersion: 5,
    reconnectPeriod: 100,
    ...options,
  });
  cleanup.push(() => client.end(true));
  const messages: Message[] = [];
  const events: string[] = [];
  client.on('message', (topic, payload, packet) => {
    const at = performance.now();
    const text = payload.toString();
    messages.push({ topic, text, packet, at });
    if (!topic.endsWith('/events')) return;
    const { id, kind } = JSON.parse(text);
    events.push(`${id} ${kind}`);
  });
  await client.subscribeAsync(filter, { qos: 1 });
  return {
    client,
    messages,
    events: () => events,
    of: (topic) => messages.filter((m) => m.topic === topic).map((m) => m.text),
  };
}

function balanced(box: DurableOutbox) {
  const c = box.counters();
  const sum = (o: Record<string, number>) => Object.values(o).reduce((a, b) => a + b, 0);
  expect(sum(c.published) + c.coalesced + sum(c.dropped) + c.kept + c.waiting + c.inFlight).toBe(
    sum(c.accepted) + c.recovered,
  );
  return c;
}

const names = (prefix: string, n: number, kind: EventKind = 'new') =>
  Array.from({ length: n }, (_, i) => `${prefix}${i} ${kind}`);

describe('events over a real mosquitto', () => {
  it('delivers them in order of life, with the time they have left, beside availability and states', async () => {
    const mosquitto = await broker();
    const box = await outbox();
    const { p } = publisher(mosquitto.url, box);
    p.publishState('irst/edge-1/north/state', '{"fps":1}');
    p.publishState('irst/edge-1/north/state', '{"fps":2}');
    p.publishState('irst/edge-1/gone', 'x');
    const w = await watch(mosquitto.port);
    p.publishEvent(record('a', 'new', { expiresAtMs: Date.now() + 100_000 }));
    p.publishEvent(record('a', 'update'));
    p.publishEvent(record('a', 'update'));
    p.start();
    await until('update', () => w.events().length === 2);
    p.publishEvent(record('a', 'end'));
    await until('end', () => w.events().length === 3);
    expect(w.events()).toEqual(['a new', 'a update', 'a end']);
    const first = w.messages.find((m) => m.topic === EVENTS)?.packet;
    expect(first).toMatchObject({ qos: 1, retain: false, properties: { contentType: 'application/json' } });
    const left = first?.properties?.messageExpiryInterval ?? 0;
    expect(left).toBeGreaterThan(60);
    expect(left).toBeLessThanOrEqual(100);
    await until('acknowledged', () => box.inFlight === 0);
    expect(balanced(box)).toMatchObject({ coalesced: 1, published: { new: 1, update: 1, end: 1 } });
    p.publishState('irst/edge-1/gone', '');
    const late = await watch(mosquitto.port);
    await until('states', () => late.messages.length >= 3);
    expect(late.of(AVAILABLE)).toEqual(['online']);
    expect(late.of('irst/edge-1/north/state')).toEqual(['{"fps":2}']);
    await p.stop();
    await until('stopped', () => late.of(AVAILABLE).at(-1) === 'stopped');
    const later = await watch(mosquitto.port);
    await until('all retained', () => later.messages.length >= 3);
    expect(JSON.parse(later.of('irst/edge-1/status')[0] as string).state).toBe('stopped');
    expect(later.of('irst/edge-1/gone')).toEqual([]);
    expect(later.of(AVAILABLE)).toEqual(['stopped']);
  });

  it('10 000 messages while the broker is away, our process killed three times: all arrive, and a fresh alert goes first', async () => {
    const mosquitto = await broker({ config: UNLIMITED });
    const { port } = mosquitto;
    await mosquitto.kill();
    const directory = join(dir, 'state');
    const durable: string[] = [];
    const PER_LIFE = 1_700;
    for (const life of ['a', 'b', 'c']) {
      const child: ChildProcess = spawn(
        process.execPath,
        [join(import.meta.dirname, 'outbox-child.mjs'), modules, mosquitto.url, directory, life, '100000'],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      cleanup.push(() => child.kill('SIGKILL'));
      let last = -1;
      child.stdout?.setEncoding('utf8').on('data', (text: string) => {
        for (const [, n] of text.matchAll(/durable (\d+)/g)) last = Math.max(last, Number(n));
      });
      // In the middle of its writing.
      await until(`life ${life}`, () => last >= PER_LIFE - 1);
      child.kill('SIGKILL');
      await once(child, 'exit');
      for (let i = 0; i <= last; i++) durable.push(`${life}-${i} new`, `${life}-${i} end`);
    }
    expect(durable.length).toBeGreaterThanOrEqual(10_000);
    await mosquitto.restart();
    const w = await watch(port);
    const box = await outbox(directory);
    const { recovered, store } = box.counters();
    // What was offered but not yet told to be on disk may be there as well.
    expect(recovered).toBeGreaterThanOrEqual(durable.length);
    expect(store).toMatchObject({ mode: 'disk', movedAside: 0, skipped: { corrupt: 0, unknown_version: 0 } });
    const { p } = publisher(mosquitto.url, box, { drainPerSecond: 4_000 });
    p.start();
    await p.waitConnected(20_000);
    const sent = new Map<string, number>();
    let fresh = 0;
    const stream = setInterval(() => {
      if (box.waiting < 200) return;
      const id = `fresh${fresh++}`;
      sent.set(`${id} new`, performance.now());
      // The least severe: it still goes before everything that waited.
      p.publishEvent(record(id, 'new', { severity: 0 }));
    }, 50);
    cleanup.push(() => clearInterval(stream));
    await until('drained', () => box.waiting + box.inFlight === 0);
    clearInterval(stream);
    // The broker took each once: the link did not break.
    await until('received', () => w.events().length >= recovered + fresh);
    const received = w.events();
    const distinct = new Set(received);
    expect(durable.filter((name) => !distinct.has(name))).toEqual([]);
    // Within an event the order holds.
    const at = new Map(received.map((name, i) => [name, i]));
    for (let i = 0; i < durable.length; i += 2) {
      expect(at.get(durable[i + 1] as string)).toBeGreaterThan(at.get(durable[i] as string) as number);
    }
    const latencies = w.messages
      .filter((m) => m.topic === EVENTS)
      .flatMap((m, i) => {
        const start = sent.get(received[i] as string);
        return start === undefined ? [] : [m.at - start];
      })
      .sort((a, b) => a - b);
    const p99 = latencies[Math.ceil(latencies.length * 0.99) - 1] as number;
    console.log(
      `fresh alert during the drain of ${recovered}: n ${latencies.length}, p50 ${latencies[latencies.length >> 1]?.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`,
    );
    expect(latencies.length).toBeGreaterThan(5);
    // 200 ms is asked for, and measured by `bench --alerts`; a test on a loaded machine allows more. Behind the backlog: seconds.
    expect(p99).toBeLessThan(1_500);
    expect(balanced(box).dropped).toMatchObject({ overflow: 0, expired: 0, refused: 0 });
    await box.flush(20_000);
    await p.stop();
    await box.stop(5_000);
    expect(balanced(box).kept).toBe(0);
  }, 90_000);

  it('tells within 1.5 times its keepalive that a killed device is offline', async () => {
    const mosquitto = await broker();
    const w = await watch(mosquitto.port, AVAILABLE);
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'outbox-child.mjs'), modules, mosquitto.url, join(dir, 'lwt'), 'a', '1'],
      { stdio: 'ignore' },
    );
    cleanup.push(() => child.kill('SIGKILL'));
    await until('online', () => w.of(AVAILABLE).at(-1) === 'online');
    const from = performance.now();
    child.kill('SIGKILL');
    await until('offline', () => w.of(AVAILABLE).at(-1) === 'offline');
    expect(performance.now() - from).toBeLessThan(3_000);
  });

  it.each([
    ['comes back empty', []],
    [
      'comes back with its sessions',
      ['persistence true', 'persistence_location {dir}/', 'autosave_on_changes true', 'autosave_interval 1'],
    ],
  ])('loses nothing when the broker is killed and %s', async (_, persistence) => {
    const mosquitto = await broker({ config: [...UNLIMITED, ...persistence] });
    const w = await watch(
      mosquitto.port,
      'irst/#',
      persistence.length > 0 ? { clean: false, clientId: 'durable', properties: { sessionExpiryInterval: 3_600 } } : {},
    );
    const box = await outbox(await mkdtemp(join(dir, 'killed-')));
    const { p } = publisher(mosquitto.url, box);
    p.start();
    p.publishState('irst/edge-1/north/state', 'kept');
    await p.waitConnected(10_000);
    for (let i = 0; i < 50; i++) p.publishEvent(record(`a${i}`));
    await until('first ones', () => new Set(w.events()).size === 50);
    if (persistence.length > 0) await until('saved', () => mosquitto.log().includes('Saving in-memory database'));
    const before = w.messages.length;
    await mosquitto.kill();
    await until('noticed', () => p.state !== 'connected');
    for (let i = 0; i < 100; i++) p.publishEvent(record(`b${i}`));
    await box.flush(20_000);
    expect(box.waiting).toBe(100);
    // A broker that forgot its subscribers: ours must be back before us, or nobody is there to hear.
    await p.stop();
    await mosquitto.restart();
    await until('subscriber back', () => w.client.connected);
    await delay(200);
    const { p: again } = publisher(mosquitto.url, box);
    again.publishState('irst/edge-1/north/state', 'kept');
    again.start();
    await until('all', () => new Set(w.events()).size === 150);
    expect(new Set(w.events())).toEqual(new Set([...names('a', 50), ...names('b', 100)]));
    await until('state again', () => w.messages.slice(before).some((m) => m.text === 'kept'));
    await until('acknowledged', () => box.inFlight === 0);
    balanced(box);
  });

  it('sends again what a frozen broker did not acknowledge', async () => {
    const mosquitto = await broker({ config: UNLIMITED });
    const w = await watch(mosquitto.port, EVENTS, { keepalive: 60 });
    const box = await outbox();
    const { p } = publisher(mosquitto.url, box, { ackTimeoutMs: 300, connectTimeoutMs: 300 });
    p.start();
    await p.waitConnected(10_000);
    mosquitto.signal('SIGSTOP');
    for (let i = 0; i < 50; i++) p.publishEvent(record(`a${i}`));
    await until('given up', () => p.state !== 'connected');
    expect(box.waiting).toBe(50);
    mosquitto.signal('SIGCONT');
    await until('all', () => new Set(w.events()).size === 50);
    await until('acknowledged', () => box.inFlight + box.waiting === 0);
    expect(balanced(box).published.new).toBe(50);
  });

  it('loses nothing over a link that is cut in the middle of packets', async () => {
    const mosquitto = await broker({ config: UNLIMITED });
    const w = await watch(mosquitto.port, EVENTS);
    let cuts = 0;
    const sockets = new Set<Socket>();
    const proxy = createServer((client) => {
      const upstream = connect(mosquitto.port, '127.0.0.1');
      for (const socket of [client, upstream]) {
        sockets.add(socket);
        socket.on('error', () => {});
        socket.on('close', () => {
          sockets.delete(socket);
          client.destroy();
          upstream.destroy();
        });
      }
      upstream.pipe(client);
      // Not at the border of a packet: events have more than 600 bytes.
      let left = cuts < 6 ? 5_000 + 777 * cuts : Number.POSITIVE_INFINITY;
      client.on('data', (chunk) => {
        upstream.write(chunk.subarray(0, Math.min(chunk.length, left)));
        left -= chunk.length;
        if (left > 0) return;
        cuts += 1;
        upstream.end(() => client.destroy());
      });
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    cleanup.push(() => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    });
    const box = await outbox(await mkdtemp(join(dir, 'proxy-')));
    const { p } = publisher(`mqtt://127.0.0.1:${(proxy.address() as AddressInfo).port}`, box);
    p.start();
    for (let i = 0; i < 150; i++) {
      p.publishEvent(record(`a${i}`, 'new'));
      p.publishEvent(record(`a${i}`, 'end'));
    }
    await until('all', () => new Set(w.events()).size === 300);
    await until('acknowledged', () => box.inFlight + box.waiting === 0);
    expect(cuts).toBe(6);
    expect(balanced(box).published).toMatchObject({ new: 150, end: 150 });
    // Also with its copies: no end before the first copy of its new.
    const order = w.events();
    for (let i = 0; i < 150; i++) expect(order.indexOf(`a${i} end`)).toBeGreaterThan(order.indexOf(`a${i} new`));
  });

  it('keeps events that the broker refuses, goes on with others, and delivers when it is allowed', async () => {
    const south = 'irst/edge-1/south/events';
    const acl = (...topics: string[]) => topics.map((t) => `topic readwrite ${t}\n`).join('');
    const mosquitto = await broker({
      config: ['acl_file {dir}/acl'],
      files: { acl: acl('irst/edge-1/available', 'irst/edge-1/status', south) },
    });
    const box = await outbox();
    const { p, problems } = publisher(mosquitto.url, box);
    const w = await watch(mosquitto.port, 'irst/edge-1/+/events');
    p.start();
    for (let i = 0; i < 20; i++) p.publishEvent(record(`n${i}`, 'new', { severity: 2 }));
    for (let i = 0; i < 5; i++) p.publishEvent(record(`s${i}`, 'new', { topic: south, severity: 0 }));
    await until('south', () => w.events().length === 5);
    await until('held', () => box.counters().held === 20);
    expect(problems.map((e) => [e.code, e.message])).toContainEqual([
      'BROKER_REFUSED_MESSAGE',
      expect.stringContaining('not authorised'),
    ]);
    expect(balanced(box)).toMatchObject({ waiting: 20, dropped: { refused: 0 } });
    await writeFile(join(mosquitto.dir, 'acl'), acl('irst/#'));
    mosquitto.signal('SIGHUP');
    await until('all', () => new Set(w.events()).size === 25);
    await until('acknowledged', () => box.inFlight + box.waiting === 0);
    expect(p.state).toBe('connected');
  });

  it('keeps an event that is too large for the broker until that takes more', async () => {
    const mosquitto = await broker({ config: ['max_packet_size 2000'] });
    const box = await outbox();
    const { p, problems } = publisher(mosquitto.url, box);
    p.start();
    await p.waitConnected(10_000);
    p.publishEvent(
      record('large', 'new', {
        payload: Buffer.from(JSON.stringify({ id: 'large', kind: 'new', pad: 'x'.repeat(5_000) })),
      }),
    );
    p.publishEvent(record('small'));
    await until('small one', () => box.counters().published.new === 1);
    expect(problems.map((e) => e.code)).toEqual(['ALERT_OVERSIZED']);
    expect(balanced(box)).toMatchObject({ held: 1, waiting: 1 });
    const { port } = mosquitto;
    await mosquitto.stop();
    const larger = await broker({ port });
    await until('delivered', () => box.counters().published.new === 2);
    expect(larger.log()).toContain(`'${EVENTS}'`);
  });

  it('drains at a pace that a broker with a short queue for its subscribers can pass on', async () => {
    const mosquitto = await broker({ config: ['max_queued_messages 200', 'max_inflight_messages 20'] });
    const w = await watch(mosquitto.port, EVENTS);
    const box = await outbox();
    for (let i = 0; i < 500; i++) box.offer(record(`a${i}`));
    const { p } = publisher(mosquitto.url, box, { drainPerSecond: 250 });
    const from = performance.now();
    p.start();
    await until('all', () => w.events().length === 500);
    expect(performance.now() - from).toBeGreaterThan(1_500);
    await until('acknowledged', () => box.inFlight === 0);
    balanced(box);
  });

  it('takes a new password from the file without a restart', async () => {
    const mosquitto = await broker({
      noAnonymous: true,
      files: { passwd: '' },
      config: ['password_file {dir}/passwd'],
    });
    const PATH = `${process.env.PATH}:/usr/sbin`;
    await run('mosquitto_passwd', ['-b', join(mosquitto.dir, 'passwd'), 'edge', 'right'], {
      env: { ...process.env, PATH },
    });
    mosquitto.signal('SIGHUP');
    const file = join(await mkdtemp(join(dir, 'password-')), 'mqtt-password');
    await writeFile(file, 'wrong\n');
    const password = passwordSource({ credentialsDirectory: dirname(file) });
    if (password === undefined) throw new Error('no credential');
    const box = await outbox();
    const { p, problems } = publisher(mosquitto.url, box, { username: 'edge', password });
    p.publishEvent(record('a'));
    p.start();
    await until('refused', () => problems.some((e) => e.code === 'BROKER_REFUSED'));
    await rm(file);
    await until('unreadable', () => problems.some((e) => e.code === 'CREDENTIAL_UNREADABLE'));
    await writeFile(file, 'right\n');
    await until('delivered', () => box.counters().published.new === 1);
    const { p: first } = publisher(mosquitto.url, await outbox(), {
      username: 'edge',
      password: passwordSource({ file: '/nonexistent' }) ?? '',
    });
    expect(() => first.start()).toThrow(expect.objectContaining({ code: 'CREDENTIAL_UNREADABLE', exitCode: 69 }));
  });

  it('shows its certificate over TLS, and tells missing, foreign and expired ones apart from other failures', async () => {
    const tls = await mkdtemp(join(dir, 'tls-'));
    const certificates = new Certificates(tls);
    for (const name of ['ca', 'otherca']) await certificates.authority(name);
    await certificates.signed('broker', 'ca');
    await certificates.signed('edge', 'ca');
    await certificates.signed('stranger', 'otherca');
    // Valid until yesterday.
    await certificates.signed('old', 'ca', { days: -1 });
    const config = (server: string) => [
      `cafile ${tls}/ca.crt`,
      `certfile ${tls}/${server}.crt`,
      `keyfile ${tls}/${server}.key`,
      'require_certificate true',
    ];
    const good = await broker({ config: config('broker') });
    const old = await broker({ config: config('old') });
    const pem = (name: string) => readFile(join(tls, name));
    const ca = await pem('ca.crt');
    const cert = await pem('edge.crt');
    const certKey = await pem('edge.key');
    const url = (b: Mosquitto) => `mqtts://127.0.0.1:${b.port}`;

    const box = await outbox();
    const { p } = publisher(url(good), box, { ca, cert, key: certKey });
    p.publishEvent(record('a'));
    p.start();
    await until('delivered', () => box.counters().published.new === 1);

    const waiting = await outbox();
    waiting.offer(record('b'));
    const fails: [string, string, Partial<MqttPublisherOptions>, RegExp][] = [
      ['expired broker', url(old), { ca, cert, key: certKey }, /CERT_HAS_EXPIRED/],
      ['unknown authority', url(good), { ca: await pem('otherca.crt'), cert, key: certKey }, /CERT|SIGNATURE|VERIFY/],
      ['foreign certificate', url(good), { ca, cert: await pem('stranger.crt'), key: await pem('stranger.key') }, /./],
      ['no certificate', url(good), { ca }, /./],
    ];
    for (const [what, to, options, words] of fails) {
      const { p: bad, problems } = publisher(to, waiting, { ...options, clientId: what.replace(' ', '-') });
      bad.start();
      await until(what, () => problems.length > 0);
      expect([what, problems[0]?.code]).toEqual([what, expect.stringMatching(/^BROKER_(TLS|UNREACHABLE|LOST)$/)]);
      expect(problems[0]?.message).toMatch(words);
      // Again and again, and nothing is lost.
      await until('another attempt', () => bad.state === 'connecting' || bad.state === 'waiting');
      expect(balanced(waiting).waiting).toBe(1);
      await bad.stop();
    }
  });

  it('sends names of topics once a connection where asked to', async () => {
    const mosquitto = await broker();
    const w = await watch(mosquitto.port, EVENTS);
    const topic = Buffer.from(EVENTS);
    let bytes = Buffer.alloc(0);
    const proxy = createServer((client) => {
      const upstream = connect(mosquitto.port, '127.0.0.1');
      for (const socket of [client, upstream]) socket.on('error', () => {});
      client.on('data', (chunk) => {
        bytes = Buffer.concat([bytes, chunk]);
      });
      client.pipe(upstream).pipe(client);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    cleanup.push(() => proxy.close());
    const box = await outbox();
    const { p } = publisher(`mqtt://127.0.0.1:${(proxy.address() as AddressInfo).port}`, box, { topicAliases: true });
    p.start();
    for (let i = 0; i < 30; i++) p.publishEvent(record(`a${i}`));
    await until('all', () => new Set(w.events()).size === 30);
    let names = 0;
    for (let at = bytes.indexOf(topic); at >= 0; at = bytes.indexOf(topic, at + 1)) names += 1;
    expect(names).toBe(1);
    await p.stop();
  });

  it('carries out commands and answers them, but no retained ones', async () => {
    const mosquitto = await broker();
    const box = await outbox();
    const orders: unknown[] = [];
    let p: MqttPublisher | undefined;
    const commands = new Commands({
      device: 'edge-1',
      cameras: ['north'],
      onCommand: async (name, camera, value) => {
        orders.push([name, camera, value]);
        return name === 'profile' ? { ok: false, error: 'no such profile' } : { ok: true, value };
      },
      answer: (topic, payload, { retain }) => {
        if (retain) p?.publishState(topic, payload);
        else p?.publishMessage(topic, payload);
      },
    });
    const send = (name: string, text: string, retain = false) =>
      w.client.publishAsync(`irst/edge-1/north/${name}/set`, text, { qos: 1, retain });
    const w = await watch(mosquitto.port, 'irst/edge-1/north/+/state');
    await send('enabled', 'false', true);
    p = publisher(mosquitto.url, box, {
      subscriptions: { filters: commands.filters, onMessage: (...message) => commands.onMessage(...message) },
    }).p;
    const subscribed = once(p, 'subscribed');
    p.start();
    await subscribed;
    await send('threshold', '0.4');
    await send('profile', 'night');
    await until('answers', () => w.messages.length === 2);
    const answer = (name: string) => JSON.parse(w.of(`irst/edge-1/north/${name}/state`)[0] as string);
    expect(answer('threshold')).toMatchObject({ ok: true, value: 0.4 });
    expect(answer('profile')).toMatchObject({ ok: false, error: { message: 'no such profile' } });
    expect(orders).toEqual([
      ['threshold', 'north', 0.4],
      ['profile', 'north', 'night'],
    ]);
    const late = await watch(mosquitto.port, 'irst/edge-1/north/+/state');
    await until('retained answers', () => late.messages.length === 2);
  });

  it('says so where it may not subscribe', async () => {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      // CONNACK, then SUBACK 135 for packet identifier 1 or whatever it is.
      socket.once('data', () => {
        socket.write(Buffer.from([0x20, 3, 0, 0, 0]));
        socket.on('data', (chunk) => {
          const at = chunk.indexOf(0x82);
          if (at >= 0) socket.write(Buffer.from([0x90, 4, chunk[at + 2] as number, chunk[at + 3] as number, 0, 135]));
        });
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.push(() => server.close());
    const { p, problems } = publisher(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`, await outbox(), {
      availability: false,
      subscriptions: { filters: ['irst/edge-1/+/+/set'], onMessage: () => {} },
      stopTimeoutMs: 100,
    });
    p.start();
    await until('told', () => problems.some((e) => e.code === 'BROKER_REFUSED_SUBSCRIPTION'));
    expect(problems[0]?.message).toContain('not authorised');
  });
});

describe('events over the embedded broker', () => {
  it('delivers events, states and commands over MQTT 3.1.1', async () => {
    const embedded = new EmbeddedBroker({ port: 0 });
    const info = await embedded.start();
    cleanup.push(() => embedded.stop());
    const w = await watch(info.port, 'irst/#', { protocolVersion: 4 });
    const retainedFlags: boolean[] = [];
    await w.client.publishAsync('irst/edge-1/north/enabled/set', 'true', { qos: 1, retain: true });
    const box = await outbox();
    const { p } = publisher(info.url, box, {
      protocolVersion: 4,
      subscriptions: {
        filters: ['irst/edge-1/+/+/set'],
        onMessage: (_topic, _payload, { retain }) => retainedFlags.push(retain),
      },
    });
    for (let i = 0; i < 100; i++) {
      p.publishEvent(record(`a${i}`, 'new'));
      p.publishEvent(record(`a${i}`, 'end'));
    }
    p.start();
    await until('all', () => new Set(w.events()).size === 200);
    await w.client.publishAsync('irst/edge-1/north/enabled/set', 'true', { qos: 1 });
    await until('commands', () => retainedFlags.length === 2);
    expect(retainedFlags).toEqual([true, false]);
    await p.stop();
    await until('stopped', () => w.of(AVAILABLE).at(-1) === 'stopped');
  });
});

describe('the measurement of alerts', () => {
  it('reports every figure, with whole counts', async () => {
    const report = await runAlertBench({
      directory: dir,
      events: 400,
      seconds: 1,
      storeProcess: join(modules, 'store-process.js'),
      subscriber: join(modules, '../service/alert-bench-subscriber.js'),
    });
    expect(report).toMatchObject({ broker: 'mosquitto', protocolVersion: 5, durable: { events: 300 } });
    expect(report.fsync.perSecond).toBeGreaterThan(0);
    expect(report.durable.perSecond).toBeGreaterThan(0);
    expect(report.durable.commits).toBeLessThan(300);
    // With the ends of the 100 that were written alone: nobody else said any.
    expect(report.drain.events).toBe(500);
    expect(report.drain.received).toBe(report.drain.published);
    expect(report.steady.detectionMs.count).toBe(30);
    for (const p of [report.durable.singleMs, report.drain.freshMs, report.steady.updateMs, report.steady.newMs]) {
      expect(p.count).toBeGreaterThan(0);
      expect(p.p50).toBeGreaterThan(0);
      expect(p.p99).toBeGreaterThanOrEqual(p.p50);
    }
  });
});
