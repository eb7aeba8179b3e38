import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { compileModule } from '../../test/integration/compile.js';
import { waiting } from '../../test/integration/until.js';
import { freePort } from '../util/ports.js';
import { EmbeddedBroker } from './embedded-broker.js';
import { NameResolver, type NameResolverOptions } from './name-resolver.js';
import { MqttPublisher, type PublisherState } from './publisher.js';

const until = waiting(15_000);

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

/** A name server that never answers. */
async function silentServer(): Promise<{ servers: string[]; queries: number }> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  cleanup.push(() => socket.close());
  const server = { servers: [`127.0.0.1:${socket.address().port}`], queries: 0 };
  socket.on('message', () => {
    server.queries += 1;
  });
  return server;
}

describe('a stop while a name is looked up', () => {
  let compiled: Awaited<ReturnType<typeof compileModule>>;
  beforeAll(async () => {
    compiled = await compileModule('alerts/publisher', 'alerts/sinks');
  });
  afterAll(() => compiled?.remove());

  /** Prints when the stop begins; what keeps the process then is a lookup. */
  const PROGRAM = `
    const [folder, host, servers] = process.argv.slice(1);
    const load = (name) => import(new URL(name, folder));
    const { MqttPublisher } = await load('publisher.js');
    const { NameResolver } = await load('name-resolver.js');
    const { createSink } = await load('sinks.js');
    // Longer than the test: only a cancelled lookup ends.
    const names = () =>
      new NameResolver({ hostsFile: '/dev/null', servers: [servers], program: ['sh', '-c', 'exec sleep 60'], limitMs: 60_000 });
    const publisher = new MqttPublisher({ url: 'mqtt://' + host, device: 'edge-1', software: 'child', names: names() });
    const sinks = ['udp', 'tcp'].map((scheme) => createSink({ url: scheme + '://' + host + ':9', names: names() }));
    publisher.start();
    for (const sink of sinks) sink.start();
    publisher.publishMessage('irst/test', 'waits');
    for (const sink of sinks) sink.send(Buffer.from('waits'));
    await new Promise((resolve) => setTimeout(resolve, 500));
    process.stdout.write('stop\\n');
    await Promise.all([publisher, ...sinks].map((part) => part.stop()));
    process.stdout.write(JSON.stringify([publisher.counters(), ...sinks.map((sink) => sink.counters())]) + '\\n');
  `;

  it.each(['broker.example', 'broker.local'])('ends the process within two seconds: %s', async (host) => {
    const { servers } = await silentServer();
    const folder = `${pathToFileURL(dirname(compiled.file)).href}/`;
    const args = ['--input-type=module', '-e', PROGRAM, folder, host, ...servers];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    cleanup.push(() => child.kill('SIGKILL'));
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('stop');
    const start = performance.now();
    const counted = JSON.parse((await lines.next()).value as string);
    if (child.exitCode === null) await once(child, 'exit');
    // 750 ms are the publisher's; the rest is for a loaded machine.
    expect(performance.now() - start).toBeLessThan(2_000);
    expect(child.exitCode).toBe(0);
    for (const { dropped } of counted) expect(dropped.shutdown).toBe(1);
  });
});

describe('at its stop a publisher', () => {
  function publisher(port: number, options: NameResolverOptions, stopTimeoutMs = 4_000) {
    const names = new NameResolver({ hostsFile: '/dev/null', program: ['false'], ...options });
    const made = new MqttPublisher({
      url: `mqtt://broker.example:${port}`,
      device: 'edge-1',
      software: 'test',
      protocolVersion: 4,
      reconnectMinMs: 60_000,
      reconnectMaxMs: 60_000,
      stopTimeoutMs,
      names,
    });
    cleanup.push(() => made.stop());
    return made;
  }

  it('does not try again where the lookup failed', async () => {
    const server = await silentServer();
    const p = publisher(1883, { servers: server.servers, limitMs: 100, holdMs: 0 }, 500);
    p.start();
    await until('the first attempt', () => p.state === 'waiting');
    expect(p.lastError).toMatchObject({
      code: 'BROKER_UNREACHABLE',
      message: expect.stringContaining('lookup failed'),
    });
    p.publishMessage('irst/test', 'waits');
    const { queries } = server;
    const stopped = p.stop();
    expect(p.state satisfies PublisherState).toBe('waiting');
    await stopped;
    expect(server.queries).toBe(queries);
    expect(p.counters().dropped.shutdown).toBe(1);
  });

  it('delivers to the address that it knows, though the name is no longer found', async () => {
    const server = await silentServer();
    const folder = await mkdtemp(join(tmpdir(), 'irst-stop-'));
    cleanup.push(() => rm(folder, { recursive: true }));
    const hostsFile = join(folder, 'hosts');
    await writeFile(hostsFile, '127.0.0.1 broker.example\n');
    const port = await freePort();
    const p = publisher(port, { servers: server.servers, hostsFile, freshMs: 0 });
    p.start();
    await until('the first attempt', () => p.state === 'waiting');
    await writeFile(hostsFile, '');
    const broker = new EmbeddedBroker({ port });
    await broker.start();
    cleanup.push(() => broker.stop());
    p.publishMessage('irst/test', 'waits');
    await p.stop();
    expect(p.counters()).toMatchObject({ published: 1, dropped: { shutdown: 0 } });
    expect(server.queries).toBe(0);
  });
});
