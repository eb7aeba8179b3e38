import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import type { EdgeError } from '../types/errors.js';
import { NameResolver } from './name-resolver.js';
import { createSink, type Sink, type SinkCounters, type SinkOptions } from './sinks.js';

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function sink(url: string, options: Partial<SinkOptions> = {}): Sink {
  const made = createSink({ url, reconnectMinMs: 20, reconnectMaxMs: 50, random: () => 0, ...options });
  cleanup.push(() => made.stop());
  return made;
}

async function until(what: () => boolean): Promise<void> {
  for (const end = Date.now() + 15_000; !what(); await delay(5)) if (Date.now() > end) throw new Error('too late');
}

const bytes = (text: string) => Buffer.from(text);
const lost = ({ dropped }: SinkCounters) => Object.values(dropped).reduce((a, b) => a + b, 0);
const adds = (c: SinkCounters) => expect(c.accepted).toBe(c.sent + lost(c) + c.queued);

async function udpReceiver(
  type: 'udp4' | 'udp6' = 'udp4',
): Promise<{ socket: UdpSocket; port: number; got: string[] }> {
  const socket = createSocket(type);
  const got: string[] = [];
  socket.on('message', (message) => got.push(message.toString()));
  socket.bind(0, type === 'udp4' ? '127.0.0.1' : '::1');
  await once(socket, 'listening');
  cleanup.push(() => socket.close());
  return { socket, port: socket.address().port, got };
}

interface TcpReceiver {
  port: number;
  server: Server;
  sockets: Socket[];
  text(): string;
}

async function tcpReceiver(port = 0, onSocket: (socket: Socket) => void = () => {}): Promise<TcpReceiver> {
  let text = '';
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    onSocket(socket);
    socket.on('data', (data) => {
      text += data.toString();
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  cleanup.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, server, sockets, text: () => text };
}

describe('a URL', () => {
  it.each(['', 'nonsense', 'http://h:1', 'udp://', 'udp://host', 'tcp://host:0', 'tcp://host'])(
    '%j is refused, without repeating it',
    (url) => {
      expect(() => createSink({ url })).toThrow(expect.objectContaining({ code: 'BAD_OUTPUT_URL' }));
    },
  );
});

describe('UDP', () => {
  it.each(['127.0.0.1', 'localhost'])('sends one datagram a message to %s', async (host) => {
    const { port, got } = await udpReceiver();
    const s = sink(`udp://${host}:${port}`);
    s.start();
    expect([s.send(bytes('a')), s.send(bytes('b'))]).toEqual([true, true]);
    await until(() => got.length === 2);
    expect(got.sort()).toEqual(['a', 'b']);
    await until(() => s.counters().sent === 2);
    adds(s.counters());
  });

  it('drops what no datagram holds, and what does not fit the queue', async () => {
    const { port } = await udpReceiver();
    const s = sink(`udp://127.0.0.1:${port}`, { maxQueued: 1 });
    s.start();
    expect(s.send(Buffer.alloc(65_508))).toBe(false);
    expect([s.send(bytes('a')), s.send(bytes('b'))]).toEqual([true, false]);
    expect(s.counters().dropped).toMatchObject({ oversized: 1, overflow: 1 });
    await until(() => s.counters().queued === 0);
    expect(s.counters()).toMatchObject({ accepted: 3, sent: 1 });
  });

  it('counts and reports what the network refuses, once', async () => {
    // Without leave to broadcast: EACCES.
    const s = sink('udp://255.255.255.255:9');
    const problems: EdgeError[] = [];
    s.on('problem', (error) => problems.push(error));
    s.start();
    s.send(bytes('a'));
    s.send(bytes('b'));
    await until(() => s.counters().dropped.failed === 2);
    expect(problems.map((e) => e.code)).toEqual(['OUTPUT_UNREACHABLE']);
    expect(problems[0]?.message).toContain('udp://255.255.255.255:9');
    adds(s.counters());
  });

  it('drops before the start and after the stop', async () => {
    const { port } = await udpReceiver();
    const s = sink(`udp://127.0.0.1:${port}`);
    expect(s.send(bytes('a'))).toBe(false);
    s.start();
    await s.stop();
    await s.stop();
    expect(s.send(bytes('b'))).toBe(false);
    s.start();
    expect(s.send(bytes('c'))).toBe(false);
    expect(s.counters()).toMatchObject({ accepted: 3, sent: 0, dropped: { shutdown: 3 }, queued: 0 });
  });

  it('delivers before it stops, and stops with the signal', async () => {
    const { port, got } = await udpReceiver();
    const s = sink(`udp://127.0.0.1:${port}`);
    const controller = new AbortController();
    s.start(controller.signal);
    s.send(bytes('last'));
    controller.abort();
    await s.stop();
    expect(s.counters()).toMatchObject({ sent: 1, queued: 0 });
    await until(() => got.length === 1);
  });
});

describe('a receiver whose name nobody knows', () => {
  /** Its servers never answer. */
  async function silence(): Promise<{ names: NameResolver; queries: string[] }> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    cleanup.push(() => socket.close());
    const queries: string[] = [];
    socket.on('message', (query) => queries.push(query.toString('latin1', 2)));
    const servers = [`127.0.0.1:${socket.address().port}`];
    return { names: new NameResolver({ hostsFile: '/dev/null', servers, limitMs: 800, holdMs: 60_000 }), queries };
  }

  it('is looked up once for many datagrams, which are dropped and counted', async () => {
    const { names, queries } = await silence();
    const s = sink('udp://dead.example:9', { names });
    const problems: EdgeError[] = [];
    s.on('problem', (error) => problems.push(error));
    s.start();
    for (let i = 0; i < 300; i++) s.send(bytes('a'));
    expect(s.counters()).toMatchObject({ accepted: 300, queued: 256, dropped: { overflow: 44 } });
    await until(() => s.counters().queued === 0);
    expect(s.counters()).toMatchObject({ sent: 0, dropped: { overflow: 44, failed: 256 } });
    // A and AAAA; c-ares may ask a second time, with another number.
    expect(new Set(queries).size).toBe(2);
    const before = queries.length;
    s.send(bytes('b'));
    await until(() => s.counters().dropped.failed === 257);
    expect(queries.length).toBe(before);
    expect(problems.map((e) => e.message)).toEqual(['udp://dead.example:9: a datagram could not be sent: EAI_AGAIN']);
    adds(s.counters());
  });

  it.each(['udp', 'tcp'])('does not hold up the stop: %s', async (scheme) => {
    const { names } = await silence();
    const s = sink(`${scheme}://dead.example:9`, { names });
    s.start();
    s.send(bytes('a'));
    const start = Date.now();
    await s.stop();
    expect(Date.now() - start).toBeLessThan(2_000);
    expect(s.counters()).toMatchObject({ queued: 0, dropped: { shutdown: 1 } });
  });

  it('does not hold up another sink', async () => {
    const { names } = await silence();
    const dead = sink('udp://dead.example:9', { names });
    dead.start();
    for (let i = 0; i < 256; i++) dead.send(bytes('a'));
    const { port, got } = await udpReceiver();
    const s = sink(`udp://localhost:${port}`);
    s.start();
    s.send(bytes('b'));
    await until(() => got.length === 1);
    expect(dead.counters().queued).toBe(256);
  });
});

describe('TCP', () => {
  it('keeps what comes before the connection, in order', async () => {
    const receiver = await tcpReceiver();
    const s = sink(`tcp://127.0.0.1:${receiver.port}`);
    s.start();
    for (const text of ['a', 'b', 'c']) s.send(bytes(text));
    await until(() => receiver.text() === 'abc');
    await until(() => s.counters().sent === 3);
    adds(s.counters());
  });

  it('tries again until the receiver is there, and drops the oldest in the meantime', async () => {
    const gone = await tcpReceiver();
    gone.server.close();
    await once(gone.server, 'close');
    const s = sink(`tcp://127.0.0.1:${gone.port}`, { maxQueued: 2, problemIntervalMs: 60_000 });
    const problems: EdgeError[] = [];
    s.on('problem', (error) => problems.push(error));
    s.start();
    for (const text of ['a', 'b', 'c']) s.send(bytes(text));
    await until(() => problems.length > 0);
    expect(s.counters()).toMatchObject({ queued: 2, dropped: { overflow: 1 } });
    await delay(100);
    const receiver = await tcpReceiver(gone.port);
    await until(() => receiver.text() === 'bc');
    expect(problems.map((e) => e.message)).toEqual([`tcp://127.0.0.1:${gone.port}: no connection: ECONNREFUSED`]);
    adds(s.counters());
  });

  it('goes on after the receiver hung up, and reads what it says', async () => {
    // More than fits the buffers of both ends: who does not read would stall it.
    const chatter = Buffer.alloc(4 * 1024 * 1024);
    let flushed = false;
    const receiver = await tcpReceiver(0, (socket) => {
      socket.write(chatter, () => {
        flushed = true;
      });
    });
    const s = sink(`tcp://127.0.0.1:${receiver.port}`);
    s.start();
    s.send(bytes('a'));
    await until(() => receiver.text() === 'a' && flushed);
    receiver.sockets[0]?.destroy();
    await until(() => receiver.sockets.length === 2);
    s.send(bytes('b'));
    await until(() => receiver.text() === 'ab');
    adds(s.counters());
  });

  it('drops what waited for too long', async () => {
    const gone = await tcpReceiver();
    gone.server.close();
    await once(gone.server, 'close');
    const s = sink(`tcp://127.0.0.1:${gone.port}`, { maxAgeMs: 50 });
    s.start();
    s.send(bytes('old'));
    await delay(120);
    const receiver = await tcpReceiver(gone.port);
    await until(() => receiver.sockets.length === 1);
    s.send(bytes('new'));
    await until(() => s.counters().dropped.expired === 1);
    await until(() => receiver.text() === 'new');
  });

  it('gives up a receiver that takes nothing', async () => {
    const receiver = await tcpReceiver(0, (socket) => socket.pause());
    const s = sink(`tcp://127.0.0.1:${receiver.port}`, { timeoutMs: 200, maxQueued: 100 });
    const problems: EdgeError[] = [];
    s.on('problem', (error) => problems.push(error));
    s.start();
    for (let i = 0; i < 30; i++) s.send(Buffer.alloc(1024 * 1024));
    await until(() => problems.length > 0);
    expect(problems[0]?.message).toContain('not taken in time');
    await until(() => receiver.sockets.length > 1);
    expect(s.counters().dropped.disconnected).toBeGreaterThan(0);
    adds(s.counters());
  });

  it('does not hang at the stop, whatever waits', async () => {
    const receiver = await tcpReceiver(0, (socket) => socket.pause());
    const s = sink(`tcp://127.0.0.1:${receiver.port}`);
    s.start();
    for (let i = 0; i < 20; i++) s.send(Buffer.alloc(1024 * 1024));
    const start = Date.now();
    await s.stop();
    expect(Date.now() - start).toBeLessThan(10_000);
    expect(s.counters().queued).toBe(0);
    expect(s.counters().dropped.shutdown).toBeGreaterThan(0);
    adds(s.counters());
  });
});
