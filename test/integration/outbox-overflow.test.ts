import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type EventMessage, type StatsMessage, statsSchema } from '../../src/alerts/schema.js';
import { configSchema } from '../../src/config/schema.js';
import { Daemon } from '../../src/service/daemon.js';
import { createLogger } from '../../src/service/log.js';
import { type Mosquitto, startMosquitto, startSubscriber } from './mosquitto.js';
import { waiting } from './until.js';

const until = waiting(20_000);

/** 64 tracks begin and end: 128 messages; every fourth event is critical. */
const FLOCK = new URL('../fakes/worker-flock.mjs', import.meta.url);
const EVENTS = 64;
const ROOM = 40;
const CLIP = fileURLToPath(new URL('../fixtures/drone-sky', import.meta.url));

const sum = (counts: object): number => Object.values(counts).reduce((a: number, b: number) => a + b, 0);

/** A daemon whose broker is away while its camera sees a flock; then the broker comes back. */
async function outage(
  device: string,
  outbox: object,
  away: (log: () => string) => Promise<void>,
): Promise<{ events: EventMessage[]; stats: StatsMessage; log: string }> {
  let broker: Mosquitto | undefined;
  let log = '';
  let daemon: Daemon | undefined;
  try {
    broker = await startMosquitto();
    await broker.kill();
    const config = configSchema.parse({
      device: { id: device },
      cameras: [{ id: 'cam0', source: { kind: 'recording', path: CLIP } }],
      alerts: { severity: { base: 'warning', rules: [{ severity: 'critical', snr: 10 }] } },
      mqtt: { url: broker.url },
      outbox,
      log: { level: 'warn', format: 'json' },
    });
    const logger = createLogger(config.log, { write: (line: string) => (log += line) });
    daemon = new Daemon(config, logger, { workerFile: FLOCK });
    await daemon.start(new AbortController().signal);
    await away(() => log);
    await broker.restart();
    const events = await startSubscriber(broker.port, `irst/${device}/cam0/events`, ['-q', '1']);
    const figures = await startSubscriber(broker.port, `irst/${device}/stats`, ['-q', '1']);
    try {
      // The figures of the moment of the connection may come before our subscriber; the next ones do not.
      await figures.until((m) => {
        const last = m.at(-1);
        return last !== undefined && (JSON.parse(last[1]) as StatsMessage).outbox?.waiting === 0;
      });
      return {
        events: events.messages.map(([, payload]) => JSON.parse(payload) as EventMessage),
        stats: JSON.parse(figures.messages.at(-1)?.[1] ?? '') as StatsMessage,
        log,
      };
    } finally {
      await events.stop();
      await figures.stop();
    }
  } finally {
    await daemon?.stop();
    await broker?.stop();
  }
}

const lineOf = (log: string, code: string) =>
  log
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { code?: string; msg: string; hint?: string })
    .find((line) => line.code === code);

test('overflow: the least valuable go, and what went is counted in /stats and told in the log', async () => {
  const { events, stats, log } = await outage('full', { maxEvents: ROOM }, (soFar) =>
    until('the line in the log', () => soFar().includes('EVENTS_DROPPED')),
  );
  expect(statsSchema.safeParse(stats).error).toBeUndefined();
  const outbox = stats.outbox;
  if (outbox === undefined) throw new Error('no outbox in the stats');
  expect(outbox.accepted).toEqual({ new: EVENTS, update: 0, end: EVENTS });
  expect(sum(outbox.accepted)).toBe(sum(outbox.published) + sum(outbox.dropped) + outbox.inFlight);
  // No message is lost for another reason, and the room is used.
  expect(sum(outbox.dropped)).toBe(outbox.dropped.overflow);
  expect(sum(outbox.published)).toBeGreaterThanOrEqual(ROOM - 1);
  expect(sum(outbox.published)).toBeLessThanOrEqual(ROOM);
  expect(lineOf(log, 'EVENTS_DROPPED')).toMatchObject({
    msg: expect.stringMatching(/^messages about events given up: overflow \d+; \d+ wait$/),
    hint: expect.stringContaining('outbox.maxEvents'),
  });
  // All severe events got through, whole.
  const critical = events.filter((e) => e.severity === 'critical');
  expect(critical.filter((e) => e.type === 'new')).toHaveLength(EVENTS / 4);
  expect(critical.filter((e) => e.type === 'end')).toHaveLength(EVENTS / 4);
});

test('the lives of the configuration hold: what waited longer is counted as expired', async () => {
  const { events, stats, log } = await outage(
    'old',
    { eventLifeSeconds: 1 },
    () => new Promise((resolve) => setTimeout(resolve, 1500)),
  );
  expect(events).toEqual([]);
  expect(stats.outbox).toMatchObject({ dropped: { expired: 2 * EVENTS, overflow: 0 }, published: { new: 0, end: 0 } });
  expect(lineOf(log, 'EVENTS_DROPPED')?.msg).toBe(`messages about events given up: expired ${2 * EVENTS}; 0 wait`);
});

test('the bound in bytes holds too', async () => {
  const { stats } = await outage('heavy', { maxMegabytes: 0.1 }, (soFar) =>
    until('the line in the log', () => soFar().includes('EVENTS_DROPPED')),
  );
  // A message takes about 1.2 kB.
  expect(stats.outbox?.dropped.overflow).toBeGreaterThan(0);
  expect(sum(stats.outbox?.published ?? {})).toBeGreaterThan(40);
});
