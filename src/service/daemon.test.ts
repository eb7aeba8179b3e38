import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { waiting } from '../../test/integration/until.js';
import { EmbeddedBroker } from '../alerts/embedded-broker.js';
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
