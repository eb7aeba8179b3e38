import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type CameraStateMessage,
  type CommandAnswer,
  cameraStateSchema,
  commandAnswerSchema,
  type EventMessage,
  eventSchema,
  type Snapshot,
  statsSchema,
} from '../../src/alerts/schema.js';
import { type Mosquitto, startMosquitto } from './mosquitto.js';
import { waiting } from './until.js';

const until = waiting(25_000);

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const CLIP = fileURLToPath(new URL('../fixtures/drone-sky', import.meta.url));

let dir: string;
let broker: Mosquitto;
const children: ChildProcess[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-events-'));
  broker = await startMosquitto();
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await broker?.stop();
  await rm(dir, { recursive: true, force: true });
});

function start(
  command: string,
  args: string[],
): { child: ChildProcess; out: () => string; ended: Promise<number | null> } {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  let out = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
  return { child, out: () => out, ended: once(child, 'close').then(([code]) => code as number | null) };
}

/** Of the files of a folder, which may come and go. */
async function contents(folder: string): Promise<Buffer[]> {
  const files = await readdir(folder).catch(() => []);
  return Promise.all(files.map((name) => readFile(join(folder, name)).catch(() => Buffer.alloc(0))));
}

/** Messages of a topic, as JSON. */
async function subscribe(topic: string): Promise<<T>() => T[]> {
  const before = broker.log().length;
  const { out } = start('mosquitto_sub', ['-p', String(broker.port), '-t', topic, '-q', '1']);
  await until(
    `the subscription to ${topic}`,
    () => broker.log().slice(before).includes('SUBACK') || out() !== '',
    3000,
  ).catch(() => {});
  return <T>() =>
    out()
      .split('\n')
      .flatMap((line) => (line ? [JSON.parse(line) as T] : []));
}

const tell = (topic: string, payload: string) =>
  promisify(execFile)('mosquitto_pub', ['-p', String(broker.port), '-t', topic, '-m', payload, '-q', '1']);

async function daemon(device: string, source: string, more = ''): Promise<ReturnType<typeof start>> {
  const config = join(dir, `${device}.yaml`);
  await writeFile(
    config,
    `device: {id: ${device}}\ncameras: [{id: cam0, source: ${source}}]\nmqtt: {url: '${broker.url}'}\nlog: {level: warn}\n${more}`,
  );
  return start(process.execPath, [CLI, 'run', '--config', config]);
}

test('one target, one event: new, updates, end; valid, in order, on the drone', async () => {
  const events = await subscribe('irst/one/cam0/events');
  const states = await subscribe('irst/one/cam0/state');
  const run = await daemon('one', `{kind: recording, path: '${CLIP}'}`, 'alerts: {updateIntervalSeconds: 0.5}\n');
  expect(await run.ended).toBe(0);
  await until('the end', () => events<EventMessage>().some((e) => e.type === 'end'));

  const all = events<EventMessage>();
  for (const event of all) expect(eventSchema.safeParse(event).error).toBeUndefined();
  expect(new Set(all.map((e) => e.id)).size).toBe(1);
  expect(all[0]?.type).toBe('new');
  expect(all.at(-1)).toMatchObject({ type: 'end', endReason: 'stopped' });
  const updates = all.filter((e) => e.type === 'update');
  expect(updates.length).toBeGreaterThanOrEqual(1);
  expect(all.map((e) => e.seq)).toEqual([...all.map((e) => e.seq)].sort((a, b) => a - b));
  // The drone is at about (74..84, 110..119) in these four seconds.
  for (const { pixel } of all) {
    expect(pixel.x).toBeGreaterThan(70);
    expect(pixel.x).toBeLessThan(90);
    expect(pixel.y).toBeGreaterThan(105);
    expect(pixel.y).toBeLessThan(122);
  }
  const state = states<CameraStateMessage>().at(-1);
  expect(cameraStateSchema.safeParse(state).error).toBeUndefined();
  expect(state).toMatchObject({ enabled: true, tracks: { confirmed: 1, reported: 1, opened: 1, closed: 1, open: 0 } });
});

test('commands: switched off, no new event; a threshold is taken over by the worker; nonsense is answered with an error', async () => {
  const answers = await subscribe('irst/two/cam0/+/state');
  const events = await subscribe('irst/two/cam0/events');
  const stats = await subscribe('irst/two/stats');
  const run = await daemon('two', `{kind: recording, path: '${CLIP}', loop: true}`);
  type Answer = { command: string; ok: boolean; value?: unknown; error?: { code: string } };
  const last = (command: string) =>
    answers<Answer>()
      .filter((a) => a.command === command)
      .at(-1);
  await until('an event', () => events().length > 0);

  await tell('irst/two/cam0/enabled/set', 'false');
  await until('enabled = false', () => last('enabled')?.value === false);
  await until('its end', () => events<EventMessage>().some((e) => e.type === 'end' && e.endReason === 'disabled'));
  const quiet = events().length;
  await delay(1500);
  expect(events().length).toBe(quiet);

  await tell('irst/two/cam0/threshold/set', '0.31');
  await until('threshold = 0.31', () => last('threshold')?.value === 0.31);
  await tell('irst/two/cam0/threshold/set', '"high"');
  await until('a refusal', () => last('threshold')?.ok === false);
  expect(last('threshold')).toMatchObject({ value: 0.31, error: { code: 'COMMAND_VALUE' } });
  await tell('irst/two/cam0/threshold/set', 'null');
  await until('the model’s own again', () => last('threshold')?.ok === true && last('threshold')?.value !== 0.31);
  for (const answer of answers<Answer>()) expect(commandAnswerSchema.safeParse(answer).error).toBeUndefined();

  await until('stats', () => stats().length > 0, 15_000);
  expect(statsSchema.safeParse(stats()[0]).error).toBeUndefined();
  run.child.kill('SIGTERM');
  expect(await run.ended).toBe(0);

  // What was set ends with the program, and the retained topics say so.
  expect(last('enabled')?.value).toBe(false);
  const told = answers().length;
  const again = await daemon('two', `{kind: recording, path: '${CLIP}', loop: true}`);
  await until(
    'the states anew',
    () =>
      new Set(
        answers<Answer>()
          .slice(told)
          .map((a) => a.command),
      ).size === 3,
  );
  expect(last('enabled')).toMatchObject({ ok: true, value: true });
  expect(last('profile')).toMatchObject({ ok: true, value: 'default' });
  again.child.kill('SIGTERM');
  expect(await again.ended).toBe(0);
});

test('profiles and snapshots on command, chips in events, the state of the clock', async () => {
  const answers = await subscribe('irst/pictures/cam0/+/state');
  const events = await subscribe('irst/pictures/cam0/events');
  const run = await daemon(
    'pictures',
    `{kind: recording, path: '${CLIP}', loop: true}`,
    'alerts: {chip: {enabled: true, side: 16}, snapshot: {maxSide: 100, minIntervalSeconds: 60}, ' +
      'profiles: [{name: night, threshold: 0.4, severity: critical}]}\n',
  );
  const last = (command: string) =>
    answers<CommandAnswer>()
      .filter((a) => a.command === command)
      .at(-1);
  await until('an event', () => events().length > 0);
  const [first] = events<EventMessage>();
  expect([true, false, null]).toContain(first?.clock.synchronised);
  expect(first?.chip).toMatchObject({ format: 'png', bits: 8, width: 16, height: 16 });
  const chip = await sharp(Buffer.from(first?.chip?.data ?? '', 'base64')).metadata();
  expect(chip).toMatchObject({ format: 'png', width: 16, height: 16 });
  expect(Math.abs((first?.chip?.x ?? 0) + 7.5 - (first?.pixel.x ?? 0))).toBeLessThan(1);

  expect(last('profile')).toMatchObject({ ok: true, value: 'default' });
  await tell('irst/pictures/cam0/profile/set', 'night');
  await until('night', () => last('profile')?.value === 'night');
  await until('its threshold', () => last('threshold')?.value === 0.4);
  await tell('irst/pictures/cam0/profile/set', 'dawn');
  await until('a refusal', () => last('profile')?.ok === false);
  expect(last('profile')).toMatchObject({ value: 'night', error: { code: 'COMMAND_REFUSED' } });
  expect(last('profile')?.error?.message).toContain('default, night');

  await tell('irst/pictures/cam0/snapshot/set', '{"value": true, "id": "s-1"}');
  await until('a picture', () => last('snapshot')?.id === 's-1');
  const picture = last('snapshot')?.value as Snapshot;
  expect(picture).toMatchObject({ format: 'png', bits: 8, width: 80, height: 64, scale: 4 });
  const whole = await sharp(Buffer.from(picture.data, 'base64')).metadata();
  expect(whole).toMatchObject({ format: 'png', width: 80, height: 64 });
  await tell('irst/pictures/cam0/snapshot/set', 'true');
  await until('too soon', () => last('snapshot')?.ok === false);
  expect(last('snapshot')?.error).toMatchObject({ code: 'COMMAND_REFUSED' });

  for (const event of events()) expect(eventSchema.safeParse(event).error).toBeUndefined();
  for (const answer of answers()) expect(commandAnswerSchema.safeParse(answer).error).toBeUndefined();
  run.child.kill('SIGTERM');
  expect(await run.ended).toBe(0);
});

test('events made while the broker is away survive SIGKILL and arrive after the next start', async () => {
  const own = await startMosquitto();
  const config = join(dir, 'three.yaml');
  const state = join(dir, 'state');
  const text = (url: string) =>
    `device: {id: three}\ncameras: [{id: cam0, source: {kind: recording, path: '${CLIP}', loop: true}}]\nmqtt: {url: '${url}'}\n` +
    `stateDirectory: '${state}'\nlog: {level: error}\nalerts: {detectionsTopic: false}\n`;
  try {
    await writeFile(config, text(own.url));
    await own.kill();
    const first = start(process.execPath, [CLI, 'run', '--config', config]);
    // Its payload is JSON in the store as it is on the way.
    await until('an event on disk', async () =>
      (await contents(join(state, 'outbox'))).some((bytes) => bytes.includes('"type":"new"')),
    );
    first.child.kill('SIGKILL');
    await first.ended;
    await own.restart();
    const sub = start('mosquitto_sub', ['-p', String(own.port), '-t', 'irst/three/cam0/events', '-q', '1']);
    await until('the subscription', () => own.log().includes('SUBACK'));
    const restarted = Date.now();
    const second = start(process.execPath, [CLI, 'run', '--config', config]);
    const parsed = () =>
      sub
        .out()
        .split('\n')
        .flatMap((line) => (line ? [JSON.parse(line) as EventMessage] : []));
    await until('an event from before the kill', () =>
      parsed().some((e) => e.type === 'new' && Date.parse(e.capturedAt) < restarted),
    );
    // The event was open when the program was killed.
    await until('its end', () => parsed().some((e) => e.endReason === 'interrupted'));
    const end = parsed().find((e) => e.endReason === 'interrupted');
    expect(eventSchema.safeParse(end).error).toBeUndefined();
    const beginning = parsed().find((e) => e.type === 'new' && e.id === end?.id);
    expect(end).toMatchObject({ type: 'end', capturedAt: beginning?.capturedAt });
    expect(end?.seq).toBeGreaterThan(beginning?.seq ?? 0);
    expect(end?.chip).toBeUndefined();
    second.child.kill('SIGTERM');
    expect(await second.ended).toBe(0);
  } finally {
    await own.stop();
  }
});

test('outputs: Home Assistant finds the device, and an event reaches a Cursor-on-Target receiver', async () => {
  const receiver = createSocket('udp4');
  const packets: string[] = [];
  receiver.on('message', (bytes) => packets.push(bytes.toString()));
  await new Promise<void>((resolve) => receiver.bind(0, '127.0.0.1', resolve));
  const { port } = receiver.address();
  try {
    const found = await subscribe('homeassistant/#');
    const run = await daemon(
      'four',
      `{kind: recording, path: '${CLIP}'}`,
      `outputs: {homeAssistant: {enabled: true}, cot: {enabled: true, url: 'udp://127.0.0.1:${port}'}}\n`,
    );
    expect(await run.ended).toBe(0);
    expect(found().length).toBeGreaterThan(0);
    expect(packets.length).toBeGreaterThanOrEqual(2);
    for (const packet of packets) expect(packet).toMatch(/<event version="2\.0" uid="[0-9A-Z]{26}".*<\/event>\s*$/s);
  } finally {
    receiver.close();
  }
});
