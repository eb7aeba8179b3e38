import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect, promisify } from 'node:util';
import { generate } from 'mqtt-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { EmbeddedBroker, type EmbeddedBrokerOptions } from '../../src/alerts/embedded-broker.js';
import { MqttPublisher, type MqttPublisherOptions } from '../../src/alerts/publisher.js';
import {
  type DetectionsMessage,
  detectionsMessage,
  detectionsSchema,
  statusMessage,
  statusSchema,
} from '../../src/alerts/schema.js';
import type { EdgeError } from '../../src/types/errors.js';
import { freePort } from '../../src/util/ports.js';
import { Certificates } from './certificates.js';
import { compileModule } from './compile.js';
import { type Mosquitto, type MosquittoOptions, startMosquitto, startSubscriber } from './mosquitto.js';
import { waiting } from './until.js';

const until = waiting(20_000);

const run = promisify(execFile);
const STATUS = 'irst/edge-1/status';
const DETECTIONS = 'irst/edge-1/north/detections';
const SECRET = 'S3cret-passw0rd';

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function broker(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const mosquitto = await startMosquitto(options);
  cleanup.push(() => mosquitto.stop());
  return mosquitto;
}

async function subscriber(port: number, topic: string, args: string[] = []) {
  const sub = await startSubscriber(port, topic, args);
  cleanup.push(() => sub.stop());
  return sub;
}

function publisher(url: string, options: Partial<MqttPublisherOptions> = {}): MqttPublisher {
  const p = new MqttPublisher({
    url,
    device: 'edge-1',
    software: '0.0.0-test',
    reconnectMinMs: 50,
    reconnectMaxMs: 200,
    ...options,
  });
  cleanup.push(() => p.stop());
  return p;
}

function message(sequence: number, count = 1): DetectionsMessage {
  return detectionsMessage({
    device: 'edge-1',
    camera: 'north',
    frame: {
      sequence,
      captureMonotonicNs: process.hrtime.bigint(),
      capturedAtMs: Date.now(),
      width: 320,
      height: 256,
    },
    detections: Array.from({ length: count }, (_, i) => ({
      x: 10.123456789 + i,
      y: 20.5,
      sigmaX: 0.1,
      sigmaY: 0.1,
      score: 0.9,
      snr: 7,
      extent: 0.8,
    })),
    model: { name: 'test', sha256: '0'.repeat(64), precision: 'fp32' },
    provider: 'cpu',
    software: '0.0.0-test',
    latencyMs: { normalise: 0.2, infer: 20, decode: 0.4, total: 21 },
  });
}

/** Publishes sequences `from` to `to`, `to` left out. */
function publish(p: MqttPublisher, from: number, to: number): void {
  for (let sequence = from; sequence < to; sequence += 1) p.publishDetections(message(sequence));
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const sequences = (messages: [string, string][]) =>
  messages.filter(([topic]) => topic === DETECTIONS).map(([, payload]) => JSON.parse(payload).sequence as number);
/** Without copies, in order of first arrival. */
const distinct = (messages: [string, string][]) => [...new Set(sequences(messages))];
const states = (messages: [string, string][]) =>
  messages.filter(([topic]) => topic === STATUS).map(([, payload]) => statusSchema.parse(JSON.parse(payload)).state);

/** Every accepted alert is somewhere. */
function balanced(p: MqttPublisher) {
  const c = p.counters();
  const dropped = Object.values(c.dropped).reduce((a, b) => a + b, 0);
  expect(c.published + dropped + c.queued + c.inFlight).toBe(c.accepted);
  return c;
}

const delivered = (p: MqttPublisher, n: number) =>
  until(`${n} delivered; ${inspect(p.counters())}`, () => {
    balanced(p);
    return p.counters().published >= n;
  });

describe('with a real mosquitto', () => {
  it('delivers valid alerts and a retained status to an independent subscriber, over MQTT 5', async () => {
    const mosquitto = await broker();
    const sub = await subscriber(mosquitto.port, 'irst/#', ['-q', '1', '-V', 'mqttv5', '-F', '%t %C %p']);
    const p = publisher(mosquitto.url);
    expect(p.state).toBe('idle');
    p.start();
    await p.waitConnected(10_000);
    const sent = message(42, 3);
    expect(p.publishDetections(sent)).toBe(true);
    p.setStatus(
      statusMessage({
        device: 'edge-1',
        state: 'online',
        atMs: Date.now(),
        software: '1.2.3',
        cameras: [{ id: 'north', state: 'running' }],
      }),
    );
    await sub.until((m) => m.length >= 3);
    const byTopic = (wanted: string) =>
      sub.messages.filter(([topic]) => topic === wanted).map(([, text]) => text.split(/ (.*)/s));
    const [type, payload] = byTopic(DETECTIONS)[0] as string[];
    // The content type is a property that only MQTT 5 has.
    expect(type).toBe('application/json');
    const received = JSON.parse(payload as string);
    expect(detectionsSchema.parse(received)).toEqual(sent);
    expect(received.detections[0].x).toBe(10.123456789);
    const statuses = byTopic(STATUS).map(([, text]) => statusSchema.parse(JSON.parse(text as string)));
    expect(statuses.at(-1)).toMatchObject({ state: 'online', software: '1.2.3', cameras: [{ id: 'north' }] });
    expect(mosquitto.log()).toMatch(/as irst-edge-edge-1 \(p5, c1, k15\)/);
    await delivered(p, 1);
    expect(balanced(p)).toMatchObject({ accepted: 1, published: 1, queued: 0, inFlight: 0 });
  });

  it('speaks MQTT 3.1.1 and QoS 0 where asked to', async () => {
    const mosquitto = await broker();
    const sub = await subscriber(mosquitto.port, DETECTIONS);
    const p = publisher(mosquitto.url, { protocolVersion: 4, qos: 0, clientId: 'other' });
    p.start();
    publish(p, 0, 50);
    await sub.until((m) => m.length === 50);
    expect(distinct(sub.messages)).toEqual(range(0, 50));
    expect(mosquitto.log()).toMatch(/as other \(p2, c1, k15\)/);
    expect(balanced(p)).toMatchObject({ accepted: 50, published: 50 });
  });

  it('keeps the status for late subscribers, up to `stopped`, and delivers everything before it stops', async () => {
    const mosquitto = await broker();
    const p = publisher(mosquitto.url, { stopTimeoutMs: 10_000 });
    const all = await subscriber(mosquitto.port, 'irst/#', ['-q', '1']);
    p.start();
    await p.waitConnected(10_000);
    await all.until((m) => states(m).includes('online'));
    const late = await subscriber(mosquitto.port, STATUS);
    await late.until((m) => states(m).includes('online'));
    publish(p, 0, 200);
    await Promise.all([p.stop(), p.stop()]);
    expect(p.state).toBe('stopped');
    expect(balanced(p)).toMatchObject({ accepted: 200, published: 200 });
    await all.until((m) => states(m).includes('stopped'));
    expect(distinct(all.messages)).toEqual(range(0, 200));
    const later = await subscriber(mosquitto.port, STATUS);
    await later.until((m) => m.length === 1);
    expect(states(later.messages)).toEqual(['stopped']);
    // After a goodbye the broker does not send the will.
    await delay(200);
    expect(states(all.messages)).not.toContain('offline');
    // Nothing is taken any more, and that is counted.
    expect(p.publishDetections(message(201))).toBe(false);
    expect(balanced(p)).toMatchObject({ accepted: 201, dropped: { shutdown: 1 } });
  });

  it('has the broker say `offline` when the process is killed, and says `online` when it is back', async () => {
    const mosquitto = await broker();
    const sub = await subscriber(mosquitto.port, STATUS, ['-q', '1']);
    const module = await compileModule('alerts/publisher');
    cleanup.push(() => module.remove());
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'publisher-child.mjs'), module.file, mosquitto.url],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
    cleanup.push(() => child.kill('SIGKILL'));
    await sub.until((m) => states(m).includes('online'));
    child.kill('SIGKILL');
    await once(child, 'exit');
    await sub.until((m) => states(m).at(-1) === 'offline');
    const will = statusSchema.parse(JSON.parse(sub.messages.at(-1)?.[1] as string));
    expect(will).toEqual({ schema: 'irst-edge/status/1', device: 'edge-1', state: 'offline', software: 'child' });
    // Retained.
    const late = await subscriber(mosquitto.port, STATUS);
    await late.until((m) => states(m).at(0) === 'offline');
    const p = publisher(mosquitto.url);
    p.start();
    await late.until((m) => states(m).at(-1) === 'online');
  });

  it('keeps trying, and loses nothing, while the broker refuses the password', async () => {
    const mosquitto = await broker({
      noAnonymous: true,
      files: { passwd: '' },
      config: ['password_file {dir}/passwd'],
    });
    const setPassword = async (user: string, password: string) => {
      await run('mosquitto_passwd', ['-b', join(mosquitto.dir, 'passwd'), user, password], {
        env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
      });
      mosquitto.signal('SIGHUP');
    };
    await setPassword('watcher', 'w');
    await until('password file read', () => mosquitto.log().includes('Reloading config'));
    const sub = await subscriber(mosquitto.port, DETECTIONS, ['-q', '1', '-u', 'watcher', '-P', 'w']);
    const p = publisher(mosquitto.url.replace('//', `//edge:${SECRET}@`));
    const refusals: [EdgeError, number][] = [];
    const problems: EdgeError[] = [];
    p.on('refused', (...args) => refusals.push(args));
    p.on('problem', (error) => problems.push(error));
    p.start();
    publish(p, 0, 20);
    await until('three refusals', () => refusals.length >= 3);
    expect(p.state).not.toBe('connected');
    const [error, code] = refusals[0] as [EdgeError, number];
    expect([134, 135]).toContain(code);
    expect(error).toMatchObject({ code: 'BROKER_REFUSED', exitCode: 69, hint: expect.stringContaining('password') });
    expect(p.lastError?.code).toBe('BROKER_REFUSED');
    // One line for all attempts.
    expect(problems.map((e) => e.code)).toEqual(['BROKER_REFUSED']);
    await expect(p.waitConnected(50)).rejects.toMatchObject({ code: 'BROKER_REFUSED' });
    expect(balanced(p)).toMatchObject({ accepted: 20, published: 0 });
    for (const text of [inspect(p, { depth: 9, showHidden: true }), String(p), JSON.stringify(p), inspect(refusals)]) {
      expect(text).not.toContain(SECRET);
    }
    expect(p.broker).toBe(mosquitto.url);

    await setPassword('edge', SECRET);
    await sub.until((m) => m.length >= 20);
    expect(distinct(sub.messages)).toEqual(range(0, 20));
    await delivered(p, 20);
    expect(p.lastError).toBeUndefined();
  });

  it('delivers every accepted alert across a broker that is killed and started again', async () => {
    const mosquitto = await broker({
      // The subscriber's session must survive the broker's death, or the broker would lose what we delivered.
      config: [
        'persistence true',
        'persistence_location {dir}/',
        'autosave_on_changes true',
        'autosave_interval 1',
        'max_inflight_messages 0',
        'max_queued_messages 0',
      ],
    });
    const sub = await subscriber(mosquitto.port, 'irst/#', ['-q', '1', '-c', '-i', 'durable']);
    await until('session saved', () => mosquitto.log().includes('Saving in-memory database'));
    const p = publisher(mosquitto.url, { maxQueued: 10_000 });
    const lost: EdgeError[] = [];
    p.on('disconnected', (error) => lost.push(error));
    p.start();
    let sequence = 0;
    const stream = setInterval(() => p.publishDetections(message(sequence++)), 5);
    cleanup.push(() => clearInterval(stream));
    await delivered(p, 30);
    await mosquitto.kill();
    await until('loss noticed', () => lost.length === 1);
    expect(lost[0]?.code).toBe('BROKER_LOST');
    const before = p.counters().accepted;
    await until('alerts wait', () => p.counters().accepted >= before + 30);
    balanced(p);
    await mosquitto.restart();
    await delivered(p, before + 60);
    clearInterval(stream);
    await sub.until((m) => distinct(m).length >= sequence);
    await delivered(p, sequence);
    expect(distinct(sub.messages)).toEqual(range(0, sequence));
    expect(balanced(p)).toMatchObject({
      accepted: sequence,
      published: sequence,
      dropped: { queue_full: 0, oversized: 0, refused: 0, shutdown: 0 },
    });
    expect(states(sub.messages).at(-1)).toBe('online');
  });

  it('sets the retained status again on a broker that forgot it', async () => {
    const mosquitto = await broker();
    const p = publisher(mosquitto.url);
    p.start();
    p.setStatus(statusMessage({ device: 'edge-1', state: 'online', atMs: 0, software: 'mark' }));
    await p.waitConnected(10_000);
    await mosquitto.kill();
    await mosquitto.restart();
    const late = await subscriber(mosquitto.port, STATUS);
    await late.until((m) => m.length >= 1);
    expect(JSON.parse(late.messages[0]?.[1] as string)).toMatchObject({ state: 'online', software: 'mark' });
  });

  it('notices a broker that hangs, and delivers when it goes on', async () => {
    const mosquitto = await broker();
    const sub = await subscriber(mosquitto.port, DETECTIONS, ['-q', '1']);
    const p = publisher(mosquitto.url, { keepalive: 1, connectTimeoutMs: 300 });
    const lost: EdgeError[] = [];
    p.on('disconnected', (error) => lost.push(error));
    p.start();
    await p.waitConnected(10_000);
    publish(p, 0, 5);
    await delivered(p, 5);
    mosquitto.signal('SIGSTOP');
    publish(p, 5, 100);
    await until('hang noticed', () => lost.length === 1);
    expect(lost[0]?.code).toBe('BROKER_LOST');
    publish(p, 100, 120);
    await until('attempt timed out', () => p.lastError?.code === 'BROKER_TIMEOUT');
    expect(balanced(p)).toMatchObject({ accepted: 120, published: 5, queued: 115, inFlight: 0 });
    mosquitto.signal('SIGCONT');
    await sub.until((m) => distinct(m).length === 120);
    await delivered(p, 120);
  });

  it('gives up a connection on which nothing is acknowledged', async () => {
    const mosquitto = await broker();
    const p = publisher(mosquitto.url, { ackTimeoutMs: 200, keepalive: 60 });
    p.start();
    await p.waitConnected(10_000);
    publish(p, 0, 1);
    await delivered(p, 1);
    const lost = once(p, 'disconnected') as Promise<[EdgeError]>;
    mosquitto.signal('SIGSTOP');
    publish(p, 1, 2);
    expect((await lost)[0].message).toContain('acknowledged nothing');
    mosquitto.signal('SIGCONT');
    await delivered(p, 2);
  });

  it('stops in time before a broker that hangs, and counts what it could not deliver', async () => {
    const mosquitto = await broker();
    const p = publisher(mosquitto.url, { stopTimeoutMs: 300 });
    p.start();
    await p.waitConnected(10_000);
    publish(p, 0, 5);
    await delivered(p, 5);
    mosquitto.signal('SIGSTOP');
    publish(p, 5, 105);
    const start = Date.now();
    await p.stop();
    expect(Date.now() - start).toBeLessThan(5_000);
    expect(p.state).toBe('stopped');
    expect(balanced(p)).toMatchObject({
      accepted: 105,
      published: 5,
      dropped: { shutdown: 100 },
      queued: 0,
      inFlight: 0,
    });
    mosquitto.signal('SIGCONT');
    // It had no goodbye: the will is published.
    const late = await subscriber(mosquitto.port, STATUS);
    await late.until((m) => states(m).at(-1) === 'offline');
  });

  it('takes an unreachable broker quietly, keeps the newest alerts and delivers them when it appears', async () => {
    const port = await freePort();
    const p = publisher(`mqtt://127.0.0.1:${port}`, { maxQueued: 30 });
    const problems: EdgeError[] = [];
    p.on('problem', (error) => problems.push(error));
    p.start();
    publish(p, 0, 100);
    await until('an attempt failed', () => p.lastError !== undefined);
    await expect(p.waitConnected(300)).rejects.toMatchObject({
      code: 'BROKER_UNREACHABLE',
      exitCode: 69,
      message: `broker mqtt://127.0.0.1:${port} cannot be reached: connection refused: nothing listens there`,
    });
    expect(problems.map((e) => e.code)).toEqual(['BROKER_UNREACHABLE']);
    expect(balanced(p)).toMatchObject({ accepted: 100, dropped: { queue_full: 70 }, queued: 30 });

    const mosquitto = await broker({ port, config: ['persistence false'] });
    await delivered(p, 30);
    // Without a subscriber at the time, the broker itself is the witness.
    expect(mosquitto.log()).toContain(`'${DETECTIONS}'`);
    expect(balanced(p)).toMatchObject({ published: 30, queued: 0, inFlight: 0 });
  });

  it('tries once more before it stops, rather than wait for its next attempt', async () => {
    const port = await freePort();
    const p = publisher(`mqtt://127.0.0.1:${port}`, { reconnectMinMs: 600_000, stopTimeoutMs: 10_000 });
    p.start();
    publish(p, 0, 10);
    await until('waiting', () => p.state === 'waiting');
    await broker({ port });
    const sub = await subscriber(port, 'irst/#', ['-q', '1']);
    await p.stop();
    expect(balanced(p)).toMatchObject({ accepted: 10, published: 10 });
    await sub.until((m) => states(m).at(-1) === 'stopped');
    expect(distinct(sub.messages)).toEqual(range(0, 10));
  });

  it('reports a stop without ever a broker', async () => {
    const p = publisher(`mqtt://127.0.0.1:${await freePort()}`, { stopTimeoutMs: 100 });
    p.start();
    publish(p, 0, 3);
    await p.stop();
    expect(balanced(p)).toMatchObject({ accepted: 3, dropped: { shutdown: 3 }, queued: 0 });
    // Never started at all:
    const idle = publisher('mqtt://127.0.0.1');
    publish(idle, 0, 2);
    await idle.stop();
    expect(balanced(idle)).toMatchObject({ accepted: 2, dropped: { shutdown: 2 } });
  });

  it('ends a wait for the broker on abort, without ending the publishing', async () => {
    const mosquitto = await broker();
    mosquitto.signal('SIGSTOP');
    const p = publisher(mosquitto.url);
    const abort = new AbortController();
    p.start(abort.signal);
    const waiting = expect(p.waitConnected(60_000)).rejects.toMatchObject({ name: 'AbortError' });
    abort.abort();
    await waiting;
    publish(p, 0, 1);
    mosquitto.signal('SIGCONT');
    await delivered(p, 1);
  });

  it('drops and counts what is too large, MQTT 5: before sending', async () => {
    const mosquitto = await broker({ config: ['max_packet_size 2000'] });
    const p = publisher(mosquitto.url, { maxMessageBytes: 20_000 });
    const problems: EdgeError[] = [];
    let losses = 0;
    p.on('problem', (error) => problems.push(error));
    p.on('disconnected', () => {
      losses += 1;
    });
    p.start();
    await p.waitConnected(10_000);
    expect(p.publishDetections(message(0, 1_000))).toBe(false);
    expect(balanced(p)).toMatchObject({ accepted: 1, dropped: { oversized: 1 } });
    expect(p.publishDetections(message(1, 50))).toBe(true);
    expect(p.publishDetections(message(2))).toBe(true);
    await delivered(p, 1);
    expect(balanced(p)).toMatchObject({ accepted: 3, published: 1, dropped: { oversized: 2 } });
    expect(problems.map((e) => e.code)).toEqual(['ALERT_OVERSIZED']);
    expect(losses).toBe(0);
  });

  it('drops and counts what is too large, MQTT 3.1.1: after the broker closed the connection over it five times', async () => {
    const mosquitto = await broker({ config: ['max_packet_size 2000'] });
    const sub = await subscriber(mosquitto.port, DETECTIONS, ['-q', '1']);
    const p = publisher(mosquitto.url, { protocolVersion: 4 });
    const problems: EdgeError[] = [];
    p.on('problem', (error) => problems.push(error));
    p.start();
    publish(p, 0, 3);
    p.publishDetections(message(3, 50));
    publish(p, 4, 40);
    await sub.until((m) => distinct(m).length === 39);
    await delivered(p, 39);
    expect(distinct(sub.messages)).toEqual(range(0, 40).filter((n) => n !== 3));
    expect(balanced(p)).toMatchObject({ accepted: 40, published: 39, dropped: { refused: 1 } });
    expect(problems.map((e) => e.code)).toContain('BROKER_REFUSED_MESSAGE');
  });

  it('counts what the broker does not let it publish', async () => {
    const mosquitto = await broker({
      files: { acl: `topic readwrite ${STATUS}\n` },
      config: ['acl_file {dir}/acl'],
    });
    const p = publisher(mosquitto.url);
    const problem = once(p, 'problem') as Promise<[EdgeError]>;
    p.start();
    publish(p, 0, 3);
    expect((await problem)[0]).toMatchObject({
      code: 'BROKER_REFUSED_MESSAGE',
      message: expect.stringContaining('not authorised'),
    });
    await until('all refused', () => balanced(p).dropped.refused === 3);
    expect(p.state).toBe('connected');
  });

  it('passes on why the broker ended the connection', async () => {
    // Mosquitto 2.0 sends no DISCONNECT for this: CONNACK 0, then DISCONNECT 142 (session taken over).
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(Buffer.from([0x20, 3, 0, 0, 0, 0xe0, 2, 142, 0])));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.push(() => server.close());
    const p = publisher(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`);
    const lost = once(p, 'disconnected') as Promise<[EdgeError]>;
    p.start();
    expect((await lost)[0]).toMatchObject({
      code: 'BROKER_LOST',
      message: expect.stringContaining('another client took over'),
      hint: expect.stringContaining('own name'),
    });
  });

  it.each([4, 5] as const)(
    'gives up a connection on which a packet of 100 MiB begins, MQTT version %i',
    async (protocolVersion) => {
      const sockets: Socket[] = [];
      const server = createServer((socket) => {
        sockets.push(socket);
        socket.on('error', () => {});
        socket.once('data', () => {
          socket.write(Buffer.from(protocolVersion === 5 ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0]));
          // PUBLISH, and a body for as long as somebody listens.
          socket.write(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x32]));
          const body = Buffer.alloc(65_536);
          const more = () => {
            while (!socket.destroyed && socket.bytesWritten < 100 * 1024 * 1024) if (!socket.write(body)) return;
          };
          socket.on('drain', more);
          more();
        });
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      cleanup.push(() => server.close());
      cleanup.push(() => {
        for (const socket of sockets) socket.destroy();
      });
      const p = publisher(`mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`, {
        protocolVersion,
        reconnectMinMs: 600_000,
      });
      // Before the answer to CONNECT is looked at, or after: then it was also connected.
      const lost = once(p, 'problem') as Promise<[EdgeError]>;
      p.start();
      expect((await lost)[0]).toMatchObject({
        code: 'BROKER_LOST',
        message: expect.stringContaining('began a packet of 104857605 bytes'),
      });
      await until('the end of the connection', () => sockets[0]?.closed === true);
      // What the two ends of the socket hold, not the packet.
      expect(sockets[0]?.bytesWritten).toBeLessThan(20 * 1024 * 1024);
      expect(p.state).toBe('waiting');
    },
  );

  it('refuses a large command of MQTT 3.1.1, and stays connected', async () => {
    const mosquitto = await broker();
    const got: number[] = [];
    const p = publisher(mosquitto.url, {
      protocolVersion: 4,
      subscriptions: { filters: ['irst/edge-1/+/+/set'], onMessage: (_, payload) => got.push(payload.length) },
    });
    const subscribed = once(p, 'subscribed');
    p.start();
    await subscribed;
    const args = ['-h', '127.0.0.1', '-p', String(mosquitto.port), '-t', 'irst/edge-1/north/profile/set', '-q', '1'];
    await run('mosquitto_pub', [...args, '-m', 'x'.repeat(100_000)]);
    await until('the message', () => got.length === 1);
    expect(got).toEqual([100_000]);
    expect(p.state).toBe('connected');
  });

  it('a retained message of 2 MiB on a command of MQTT 3.1.1 stops commands for a while, not the alerts', async () => {
    const mosquitto = await broker();
    const topic = 'irst/edge-1/north/profile/set';
    const args = ['-h', '127.0.0.1', '-p', String(mosquitto.port), '-t', topic, '-r', '-q', '1'];
    await run('sh', ['-c', `head -c 2097152 /dev/zero | tr '\\0' x | mosquitto_pub ${args.join(' ')} -s`]);
    const got: number[] = [];
    const p = publisher(mosquitto.url, {
      protocolVersion: 4,
      subscriptionsPauseMs: 2_000,
      subscriptions: { filters: ['irst/edge-1/+/+/set'], onMessage: (_, payload) => got.push(payload.length) },
    });
    let losses = 0;
    p.on('disconnected', () => {
      losses += 1;
    });
    p.start();
    await until('the first loss', () => losses === 1);
    publish(p, 0, 20);
    await delivered(p, 20);
    expect(losses).toBe(1);
    await run('mosquitto_pub', [...args, '-n']);
    await once(p, 'subscribed');
    await run('mosquitto_pub', [...args.filter((a) => a !== '-r'), '-m', 'day']);
    await until('the command', () => got.includes(3));
    expect(losses).toBe(1);
  });

  it('never has more under way than the broker allows', async () => {
    const mosquitto = await broker({ config: ['max_inflight_messages 3'] });
    const p = publisher(mosquitto.url, { maxInFlight: 20 });
    let losses = 0;
    p.on('disconnected', () => {
      losses += 1;
    });
    p.start();
    await p.waitConnected(10_000);
    publish(p, 0, 200);
    expect(balanced(p).inFlight).toBeLessThanOrEqual(3);
    await delivered(p, 200);
    // It throws out who exceeds it (reason code 147).
    expect(losses).toBe(0);
  });

  it('connects over TLS to a broker whose authority it knows, and to no other', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'irst-tls-'));
    cleanup.push(() => rm(dir, { recursive: true, force: true }));
    const certificates = new Certificates(dir);
    await certificates.authority('ca');
    await certificates.signed('broker', 'ca', { subject: 'localhost' });
    const mosquitto = await broker({ config: [`certfile ${dir}/broker.crt`, `keyfile ${dir}/broker.key`] });
    const url = `mqtts://127.0.0.1:${mosquitto.port}`;

    const trusting = publisher(url, { ca: await readFile(join(dir, 'ca.crt')) });
    trusting.start();
    await trusting.waitConnected(10_000);
    publish(trusting, 0, 2);
    await delivered(trusting, 2);

    const wary = publisher(url, { clientId: 'wary' });
    const problem = once(wary, 'problem') as Promise<[EdgeError]>;
    wary.start();
    expect((await problem)[0]).toMatchObject({ code: 'BROKER_TLS', exitCode: 69 });

    const broken = publisher(url, { ca: Buffer.from('no PEM'), cert: Buffer.from('x'), key: Buffer.from(SECRET) });
    expect(() => broken.start()).toThrow(
      expect.objectContaining({ code: 'BROKER_TLS', exitCode: 78, message: expect.not.stringContaining(SECRET) }),
    );
    expect(broken.state).toBe('idle');
  });

  it('refuses to start with a broker URL or a name that no retry can mend', () => {
    expect(() => publisher('http://host').start()).toThrow(expect.objectContaining({ code: 'BAD_BROKER_URL' }));
    expect(() => publisher('mqtt://host', { device: 'a/b' }).start()).toThrow(
      expect.objectContaining({ code: 'BAD_TOPIC_NAME' }),
    );
  });

  it('backs off from a port that takes connections and closes them', async () => {
    let attempts = 0;
    const server = createServer((socket) => {
      attempts += 1;
      socket.on('error', () => {});
      socket.destroy();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    // 200, 400, 800, 1600 … ms: a second sees at most three attempts.
    const p = publisher(`mqtt://127.0.0.1:${port}`, { reconnectMinMs: 100, reconnectMaxMs: 60_000, random: () => 1 });
    p.start();
    await delay(1_000);
    expect(attempts).toBeGreaterThanOrEqual(1);
    expect(attempts).toBeLessThanOrEqual(3);
    expect(p.lastError?.code).toBe('BROKER_UNREACHABLE');
  });
});

describe('the embedded broker', () => {
  async function embedded(options: EmbeddedBrokerOptions = {}) {
    const b = new EmbeddedBroker({ port: 0, ...options });
    cleanup.push(() => b.stop());
    return { b, info: await b.start() };
  }

  it('carries alerts, status and will between real clients, on a port of its own choice', async () => {
    const { b, info } = await embedded();
    expect(info.port).toBeGreaterThan(0);
    expect(info.url).toBe(`mqtt://127.0.0.1:${info.port}`);
    expect(b.info).toEqual(info);
    const p = publisher(info.url, { protocolVersion: 4 });
    p.start();
    await p.waitConnected(10_000);
    const sub = await subscriber(info.port, 'irst/#', ['-q', '1', '-V', 'mqttv311']);
    // More than any window, so that acknowledgements must flow.
    publish(p, 0, 300);
    await sub.until((m) => distinct(m).length === 300);
    expect(distinct(sub.messages)).toEqual(range(0, 300));
    expect(states(sub.messages)[0]).toBe('online');
    await delivered(p, 300);
    await p.stop();
    await sub.until((m) => states(m).at(-1) === 'stopped');
  });

  it('refuses MQTT 5, and the publisher says what to set', async () => {
    const { info } = await embedded();
    const p = publisher(info.url, { protocolVersion: 5 });
    const refused = once(p, 'refused') as Promise<[EdgeError, number]>;
    p.start();
    expect((await refused)[0]).toMatchObject({
      code: 'BROKER_REFUSED',
      hint: expect.stringContaining('protocolVersion'),
    });
  });

  it('tells that its port is in use', async () => {
    const { info } = await embedded();
    const second = new EmbeddedBroker({ port: info.port });
    await expect(second.start()).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      exitCode: 69,
      message: expect.stringContaining(String(info.port)),
      hint: expect.stringContaining('embeddedBroker.port'),
    });
    await second.stop();
  });

  it.each([
    // It may get that address, or that name, later: systemd starts it again.
    ['192.0.2.77', 69],
    ['no-such-host.invalid', 69],
    // Link-local, without its interface.
    ['fe80::1', 78],
  ])('tells that it cannot listen on %s, exit code %i', async (host, exitCode) => {
    await expect(new EmbeddedBroker({ host, port: 0 }).start()).rejects.toMatchObject({
      code: 'BAD_LISTEN_ADDRESS',
      exitCode,
    });
  });

  it('stops within its time though clients, one of them dumb, hang on it, and frees the port', async () => {
    const { b, info } = await embedded();
    const p = publisher(info.url, { protocolVersion: 4 });
    p.start();
    await p.waitConnected(10_000);
    await subscriber(info.port, '#');
    const dumb = connect(info.port, '127.0.0.1');
    dumb.on('error', () => {});
    await once(dumb, 'connect');
    const closed = once(dumb, 'close');
    const start = Date.now();
    await Promise.all([b.stop(), b.stop()]);
    expect(Date.now() - start).toBeLessThan(3_000);
    await closed;
    expect(b.info).toBeUndefined();
    const again = new EmbeddedBroker({ port: info.port });
    cleanup.push(() => again.stop());
    await again.start();
    // The publisher finds the new one.
    await until('reconnected', () => p.state === 'connected');
  });

  it('is bounded: connections, payloads, retained messages', async () => {
    const { info } = await embedded({ maxConnections: 3, maxMessageBytes: 1_000, maxRetained: 2 });
    const sub = await subscriber(info.port, 'x/#');
    const pub = (...args: string[]) =>
      run('mosquitto_pub', ['-h', '127.0.0.1', '-p', String(info.port), '-q', '1', ...args]).then(
        () => 'taken',
        () => 'refused',
      );
    expect(await pub('-t', 'x/small', '-m', 'hello')).toBe('taken');
    expect(await pub('-t', 'x/large', '-m', 'x'.repeat(2_000))).toBe('refused');
    expect(await pub('-t', 'x/r1', '-r', '-m', '1')).toBe('taken');
    expect(await pub('-t', 'x/r2', '-r', '-m', '1')).toBe('taken');
    expect(await pub('-t', 'x/r3', '-r', '-m', '1')).toBe('refused');
    expect(await pub('-t', 'x/r1', '-r', '-n')).toBe('taken');
    expect(await pub('-t', 'x/r3', '-r', '-m', '1')).toBe('taken');
    await sub.until((m) => m.length === 5);
    const idle = [connect(info.port, '127.0.0.1'), connect(info.port, '127.0.0.1')];
    for (const socket of idle) {
      socket.on('error', () => {});
      await once(socket, 'connect');
      cleanup.push(() => socket.destroy());
    }
    expect(await pub('-t', 'x/full', '-m', 'one too many')).toBe('refused');
  });

  /** A client that writes what it likes; and when the broker closed it. */
  async function raw(port: number) {
    const socket = connect(port, '127.0.0.1');
    cleanup.push(() => socket.destroy());
    socket.on('error', () => {});
    let answers = 0;
    socket.on('data', (chunk) => {
      answers += chunk.length;
    });
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await once(socket, 'connect');
    socket.write(generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: '', clean: true }));
    await until('CONNACK', () => answers >= 4);
    return { socket, closed, answers: () => answers };
  }
  /** Watches how long a turn of the event loop takes at most, ms of processor time: what other processes take does not count. */
  function longestTurn(): () => number {
    let longest = 0;
    let last = process.cpuUsage();
    const look = () => {
      const { user, system } = process.cpuUsage(last);
      longest = Math.max(longest, (user + system) / 1_000);
      last = process.cpuUsage();
    };
    const timer = setInterval(look, 5);
    cleanup.push(() => clearInterval(timer));
    return () => {
      clearInterval(timer);
      look();
      return longest;
    };
  }
  const subscribe = (filters: string[]) =>
    generate({ cmd: 'subscribe', messageId: 1, subscriptions: filters.map((topic) => ({ topic, qos: 0 })) });

  it.each([
    [
      'a packet of 10 000 filters: closes it',
      [subscribe(range(0, 10_000).map((i) => `x/${i}/none`))],
      /closed: a packet of \d+ bytes/,
    ],
    [
      'a packet of 3 000 filters: refuses most',
      [subscribe(range(0, 3_000).map((i) => `x/${i}/none`))],
      /subscription was refused: more than/,
    ],
    [
      'the same filter 10 000 times: refuses most',
      range(0, 10_000).map(() => subscribe(['x/none'])),
      /refused: more than 16 subscriptions a second/,
    ],
    ['a long filter: refuses it', [subscribe(['x'.repeat(2_000)])], /refused: a filter over 1024 bytes/],
    [
      'a packet that begins with 100 MiB: closes it',
      [Buffer.from([0x30, 0x80, 0x80, 0x80, 0x32])],
      /closed: a packet of 1048576\d\d bytes/,
    ],
  ])('a client with %s, before it holds up the process', async (what, packets, why) => {
    const problems: EdgeError[] = [];
    const { b, info } = await embedded({ onProblem: (error) => problems.push(error) });
    const publisher = await raw(info.port);
    const before = publisher.answers();
    for (const i of range(0, 1_000)) {
      const packet = { cmd: 'publish', topic: `x/${i}/state`, payload: 'x', qos: 0, dup: false, retain: true } as const;
      publisher.socket.write(generate(packet));
    }
    publisher.socket.write(generate({ cmd: 'pingreq' }));
    await until('the retained messages', () => publisher.answers() > before);

    // What this machine needs for a client that asks for as much as Home Assistant does.
    const usual: number[] = [];
    while (usual.length < 3) {
      const modest = await raw(info.port);
      const done = longestTurn();
      modest.socket.write(subscribe(range(0, 80).map((i) => `x/${i}/none`)));
      await until('its answers', () => modest.answers() >= 4 + 4 + 80);
      usual.push(done());
      modest.socket.destroy();
    }
    usual.sort((a, b) => a - b);

    const greedy = await raw(info.port);
    const done = longestTurn();
    greedy.socket.write(Buffer.concat(packets));
    if (what.endsWith('closes it')) {
      await until('the end of the connection', () => greedy.socket.destroyed);
      await greedy.closed;
      expect(b.refused).toBe(1);
    } else {
      // SUBACKs: four bytes and a code for each filter.
      const asked = packets.length === 1 ? (what.includes('3 000') ? 3_000 + 5 : 5) : packets.length * 5;
      await until('all answers', () => greedy.answers() >= 4 + asked);
      expect(b.refused).toBeGreaterThan(0);
      expect(greedy.socket.destroyed).toBe(false);
    }
    // Some seconds where every filter is held against every retained message, twenty times the usual and more.
    expect(done()).toBeLessThan(Math.max(1_000, 15 * usual[1]!));
    expect(problems).toMatchObject([{ code: 'EMBEDDED_BROKER_CLIENT', message: expect.stringMatching(why) }]);
    // The others go on.
    const sub = await subscriber(info.port, 'x/7/+');
    await sub.until((m) => m.length === 1);
  });

  it('closes a client that leaves too many messages of QoS 2 half sent, and says so', async () => {
    const problems: EdgeError[] = [];
    const { b, info } = await embedded({ onProblem: (error) => problems.push(error) });
    const sub = await subscriber(info.port, 'x/#', ['-q', '1']);
    const client = await raw(info.port);
    for (const messageId of range(1, 40)) {
      const packet = { cmd: 'publish', topic: 'x/y', payload: 'x', qos: 2, dup: false, retain: false } as const;
      client.socket.write(generate({ ...packet, messageId }));
    }
    await client.closed;
    expect(sub.messages.length).toBeLessThanOrEqual(20);
    expect(b.refused).toBe(1);
    expect(problems).toMatchObject([{ message: expect.stringContaining('QoS 2 half sent') }]);
  });
});
