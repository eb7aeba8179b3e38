import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import { afterEach, expect, test, vi } from 'vitest';
import { waiting } from '../../test/integration/until.js';
import { EmbeddedBroker } from '../alerts/embedded-broker.js';
import { type StatsMessage, statsSchema } from '../alerts/schema.js';
import { configSchema, type EdgeConfigInput } from '../config/schema.js';
import { Daemon } from './daemon.js';
import { createLogger } from './log.js';

const until = waiting(20_000);
const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'irst-daemon-'));
  cleanup.push(() => rm(made, { recursive: true, force: true }));
  return made;
}

async function embedded(): Promise<string> {
  const broker = new EmbeddedBroker({ port: 0 });
  cleanup.push(() => broker.stop());
  return (await broker.start()).url;
}

/** A daemon without a camera that runs, and the lines of its log. */
async function started(input: Partial<EdgeConfigInput>) {
  const camera = { id: 'a', enabled: false, source: { kind: 'synthetic' } } as const;
  const config = configSchema.parse({ cameras: [camera], embeddedBroker: { port: 0 }, ...input });
  const lines: Record<string, unknown>[] = [];
  const log = createLogger(
    { level: 'debug', format: 'json' },
    { write: (line) => lines.push(JSON.parse(line)) },
    false,
  );
  const daemon = new Daemon(config, log);
  cleanup.push(() => daemon.stop());
  await daemon.start(new AbortController().signal);
  return { daemon, lines, connected: () => lines.some(({ msg }) => msg === 'broker connected') };
}

test('a reload waits until what it changes has been put together', async () => {
  const config = configSchema.parse({ cameras: [{ id: 'a', source: { kind: 'synthetic' } }] });
  const daemon = new Daemon(config, createLogger({ ...config.log, level: 'fatal' }));
  let read = 0;
  void daemon.reload(async () => {
    read++;
    return { config, warnings: [] };
  });
  await delay(20);
  expect(read).toBe(0);
});

test('a password that systemd hands over is not for the embedded broker', async () => {
  const credentials = await folder();
  await writeFile(path.join(credentials, 'mqtt-password'), 'secret\n');
  vi.stubEnv('CREDENTIALS_DIRECTORY', credentials);
  cleanup.push(() => vi.unstubAllEnvs());
  const { lines, connected } = await started({});
  await until(`the connection; ${JSON.stringify(lines)}`, connected);
  expect(lines.filter(({ code }) => code !== undefined)).toEqual([]);
});

test.each([4, 5] as const)(
  'a password without a user name is left out, and said, with MQTT version %i',
  async (protocolVersion) => {
    const broker = await embedded();
    const credentials = await folder();
    await writeFile(path.join(credentials, 'mqtt-password'), 'secret\n');
    vi.stubEnv('CREDENTIALS_DIRECTORY', credentials);
    cleanup.push(() => vi.unstubAllEnvs());
    const { lines } = await started({ mqtt: { url: broker, protocolVersion } });
    await until('an answer', () =>
      lines.some(({ msg, code }) => msg === 'broker connected' || code === 'BROKER_REFUSED'),
    );
    // The embedded broker speaks version 4 only: version 5 gets as far as its refusal.
    const codes = lines.map(({ code }) => code).filter((code) => code !== undefined);
    expect(codes).toEqual(['PASSWORD_WITHOUT_USER', ...(protocolVersion === 5 ? ['BROKER_REFUSED'] : [])]);
  },
);

test('commands that are not carried out, and what outputs did, stand in the figures; the log says the commands by reason', async () => {
  const url = await embedded();
  const client = await connectAsync(url, { protocolVersion: 4 });
  cleanup.push(() => client.endAsync(true));
  const stats: StatsMessage[] = [];
  client.on('message', (_, payload) => stats.push(statsSchema.parse(JSON.parse(String(payload)))));
  await client.subscribeAsync('irst/irst-edge/stats', { qos: 1 });
  const { daemon, lines, connected } = await started({
    mqtt: { url, protocolVersion: 4 },
    outputs: { cbor: { enabled: true }, cot: { enabled: true, url: 'udp://127.0.0.1:9' } },
  });
  await until('the connection', connected);
  await until('figures', () => stats.length > 0);
  for (let n = 0; n < 30; n++) await client.publishAsync('irst/irst-edge/nobody/enabled/set', 'on', { qos: 1 });
  await until('the line of the log', () => lines.some(({ code }) => code === 'COMMANDS_REFUSED'));
  await daemon.stop();
  await until('the last figures', () => (stats.at(-1)?.commands?.received ?? 0) >= 30);
  const { commands, forms, outputs } = stats.at(-1) as StatsMessage;
  expect(commands?.dropped.unknown).toBeGreaterThanOrEqual(20);
  expect((commands?.dropped.unknown ?? 0) + (commands?.dropped.rate ?? 0)).toBe(30);
  expect(forms).toMatchObject({ accepted: 0, queued: 0 });
  expect(outputs).toMatchObject({ cbor: { made: 0 }, cot: { made: 0, sink: { accepted: 0, sent: 0 } } });
  const [line] = lines.filter(({ code }) => code === 'COMMANDS_REFUSED');
  expect(line?.msg).toMatch(/^commands were not carried out: .*unknown \d+/);
});

test('the device leaves Home Assistant again where that output is switched off', async () => {
  const url = await embedded();
  const client = await connectAsync(url, { protocolVersion: 4 });
  cleanup.push(() => client.endAsync(true));
  const found: string[] = [];
  client.on('message', (_, payload) => found.push(String(payload)));
  await client.subscribeAsync('homeassistant/#', { qos: 1 });
  const stateDirectory = await folder();
  const run = async (enabled: boolean) => {
    const mqtt = { url, protocolVersion: 4 } as const;
    const { daemon, lines, connected } = await started({
      mqtt,
      stateDirectory,
      outputs: { homeAssistant: { enabled } },
    });
    await until('the connection', connected);
    return { daemon, lines };
  };
  const announced = path.join(stateDirectory, 'announced.json');
  const first = await run(true);
  await until('the announcement', () => found.length === 1);
  await until('the note', () => existsSync(announced));
  await first.daemon.stop();
  const second = await run(false);
  await until('its removal', () => found.length === 2);
  expect(found.map((text) => text === '')).toEqual([false, true]);
  await until('the end of the note', () => !existsSync(announced));
  await second.daemon.stop();
  // Nothing is left, neither there nor here.
  const third = await run(false);
  await third.daemon.stop();
  expect(found).toHaveLength(2);
  const lines = [first, second, third].flatMap((run) => run.lines);
  expect(lines.filter(({ code }) => code === 'STATE_NOT_WRITTEN')).toEqual([]);
});
