import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { freePort } from '../../src/util/ports.js';
import { Certificates } from './certificates.js';
import { startMosquitto } from './mosquitto.js';
import { waiting } from './until.js';

const until = waiting(60_000);

// Everything that the program says, keeps or shows of itself, searched for its passwords and its key.

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const IN_FILE = 'pa55-in-the-file';
const IN_URL = 'pa55-in-the-url';
const IN_STREAM = 'pa55-of-the-camera';
const WRONG = 'pa55-that-is-wrong';
/** A key as it stands in its file, and as Node prints the bytes of one. */
const KEY = ['BEGIN PRIVATE', inspect(Buffer.from('BEGIN PRIVATE')).slice('<Buffer '.length, -1)];
const SECRETS = [IN_FILE, IN_URL, IN_STREAM, WRONG, ...KEY];

/** Debian puts mosquitto's programs where a user's PATH does not look. What the libraries log of themselves is searched too. */
const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin`, DEBUG: 'mqtt*' };

// The programs are started many times over.
vi.setConfig({ testTimeout: 240_000 });

let folder: string;
const ends: (() => unknown)[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'irst-secrets-'));
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, content: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode });
  return path;
}

function searched(text: string, where: string): void {
  for (const secret of SECRETS) expect(text.includes(secret), `${where} holds ${secret}`).toBe(false);
}

function filesBelow(dir: string): string[] {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    return statSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

interface Running {
  child: ChildProcess;
  output(): string;
}

function run(config: string): Running {
  let text = '';
  const child = spawn(process.execPath, [CLI, 'run', '--config', config], { env: ENV });
  child.stdout?.on('data', (chunk) => {
    text += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    text += chunk;
  });
  ends.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  return { child, output: () => text };
}

async function stop({ child }: Running): Promise<void> {
  child.kill('SIGTERM');
  if (child.exitCode === null) await once(child, 'exit');
}

const source = 'source: {kind: synthetic, width: 160, height: 120, fps: 10, snr: 20}';

test('a password and a key for the broker stand in no log, message, file, argument or variable, refused or taken', async () => {
  const made = join(folder, 'broker-passwords');
  expect(spawnSync('mosquitto_passwd', ['-b', '-c', made, 'edge', IN_FILE], { env: ENV }).status).toBe(0);
  const certificates = new Certificates(folder);
  await certificates.authority('ca');
  await certificates.signed('broker', 'ca', { subject: 'localhost' });
  await certificates.signed('edge', 'ca');
  const [ca, cert, key] = [join(folder, 'ca.crt'), join(folder, 'edge.crt'), join(folder, 'edge.key')] as const;
  expect(readFileSync(key, 'latin1')).toContain(KEY[0]);
  const broker = await startMosquitto({
    noAnonymous: true,
    files: { passwords: readFileSync(made, 'utf8') },
    config: [
      'password_file {dir}/passwords',
      `certfile ${join(folder, 'broker.crt')}`,
      `keyfile ${join(folder, 'broker.key')}`,
      `cafile ${ca}`,
      'require_certificate true',
    ],
  });
  ends.push(() => broker.stop());
  const { port } = broker;
  const heard: string[] = [];
  const subscriber: MqttClient = await connectAsync(`mqtts://127.0.0.1:${port}`, {
    username: 'edge',
    password: IN_FILE,
    ca: readFileSync(ca),
    cert: readFileSync(cert),
    key: readFileSync(key),
  });
  ends.push(() => subscriber.endAsync(true));
  subscriber.on('message', (topic, payload) => heard.push(`${topic} ${payload.toString('latin1')}`));
  await subscriber.subscribeAsync('#', { qos: 1 });

  const file = write('password', `${WRONG}\n`);
  const state = join(folder, 'state');
  const config = write(
    'broker.yaml',
    `cameras: [{id: cam0, ${source}}]\nstateDirectory: ${state}\nlog: {level: trace, format: json}\n` +
      `mqtt: {url: 'mqtts://127.0.0.1:${port}', username: edge, passwordFile: ${file}, ca: ${ca}, cert: ${cert}, key: ${key}}\n`,
  );
  const daemon = run(config);
  await until('the refusal', () => daemon.output().includes('BROKER_REFUSED'));
  // Taken at the next attempt.
  writeFileSync(file, `${IN_FILE}\n`);
  await until('the connection', () => daemon.output().includes('broker connected'));
  const proc = `/proc/${daemon.child.pid}`;
  for (const name of ['cmdline', 'environ']) searched(readFileSync(join(proc, name), 'latin1'), name);
  await until('an event and the figures', () =>
    ['/events', '/stats', '/state', '/status'].every((t) => heard.some((m) => m.includes(t))),
  );
  await subscriber.publishAsync('irst/irst-edge/cam0/threshold/set', 'nonsense');
  await until('the answer', () => heard.some((m) => m.includes('threshold/state') && m.includes('COMMAND_')));
  await stop(daemon);
  expect(daemon.output()).toContain('mqttjs:tls');
  searched(daemon.output(), 'the log');
  for (const message of heard) searched(message, 'a message');
  const kept = filesBelow(state);
  expect(kept.length).toBeGreaterThan(0);
  for (const path of kept) searched(readFileSync(path, 'latin1'), path);
});

test('passwords in URLs stand in no log, message or output of config check', async () => {
  const port = await freePort();
  const heard: string[] = [];
  const dead = await freePort();
  const config = write(
    'urls.yaml',
    `cameras:\n  - {id: cam0, source: {kind: ffmpeg, input: 'rtsp://viewer:${IN_STREAM}@127.0.0.1:${dead}/s?token=${IN_STREAM}'}}\n` +
      `  - {id: cam1, ${source}}\nlog: {level: trace, format: json}\nembeddedBroker: {port: ${port}}\n`,
  );
  const daemon = run(config);
  await until('the failure', () => daemon.output().includes('SOURCE_UNREADABLE'));
  const subscriber = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4 });
  ends.push(() => subscriber.endAsync(true));
  subscriber.on('message', (topic, payload) => heard.push(`${topic} ${payload.toString('latin1')}`));
  await subscriber.subscribeAsync('#', { qos: 1 });
  await until('states', () => ['cam0/state', '/status'].every((t) => heard.some((m) => m.includes(t))));
  await stop(daemon);
  searched(daemon.output(), 'the log');
  for (const message of heard) searched(message, 'a message');

  const bad = write(
    'bad.yaml',
    `cameras: [{id: cam0, ${source}}]\nmqtt: {url: 'mqtt://edge:${IN_URL}@127.0.0.1:${dead}', keepaliveSeconds: no}\nx: 'rtsp://u:${IN_STREAM}@h/'\n`,
  );
  const good = write(
    'good.yaml',
    `cameras: [{id: cam0, ${source}}]\nmqtt: {url: 'mqtt://edge:${IN_URL}@127.0.0.1:${dead}'}\n`,
  );
  for (const [args, status] of [
    [['config', 'check', bad], 78],
    [['--json', 'config', 'check', bad], 78],
    [['config', 'check', good, '--print'], 0],
    [['--json', 'config', 'check', good], 0],
    [['--verbose', 'run', '--config', bad], 78],
  ] as const) {
    const result = spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8', env: ENV });
    expect(result.status, result.stderr).toBe(status);
    searched(result.stdout + result.stderr, args.join(' '));
  }
  const unreachable = run(good);
  await until('the attempt', () => unreachable.output().includes('BROKER_UNREACHABLE'));
  await stop(unreachable);
  searched(unreachable.output(), 'the log');
});
