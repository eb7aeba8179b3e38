import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Health } from '../../src/service/health.js';
import { NotifyReceiver } from '../fakes/notify-receiver.js';
import { waiting } from './until.js';

const until = waiting(120_000);

// The daemon as systemd runs it: a process of its own, a real notification socket, signals.

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const HUNG = fileURLToPath(new URL('../fakes/daemon-hung-worker.mjs', import.meta.url));

let dir: string;
let count = 0;
const cleanup: (() => unknown)[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-service-'));
});
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});
afterAll(() => rm(dir, { recursive: true, force: true }));

interface Service {
  child: ChildProcess;
  out(): string;
  err(): string;
  exit: Promise<number | null>;
  /** By which signal it ended. */
  signal: Promise<NodeJS.Signals | null>;
  /** Every datagram so far. */
  heard: string[];
  file: string;
  runtime: string;
}

interface Options {
  config?: string;
  program?: string[];
  env?: Record<string, string>;
  stderr?: number;
}

async function start(options: Options = {}): Promise<Service> {
  const runtime = join(dir, `run-${++count}`);
  const file = join(dir, `${count}.yaml`);
  const socket = join(dir, `${count}.sock`);
  await mkdir(runtime);
  await writeFile(file, options.config ?? SYNTHETIC);
  const receiver = await NotifyReceiver.listen(socket);
  cleanup.push(() => receiver.close());
  const child = spawn(process.execPath, options.program ?? [CLI, 'run', '--config', file], {
    stdio: ['ignore', 'pipe', options.stderr ?? 'pipe'],
    cwd: dir,
    env: { PATH: process.env.PATH ?? '', NOTIFY_SOCKET: socket, RUNTIME_DIRECTORY: runtime, ...options.env },
  });
  cleanup.push(() => child.kill('SIGKILL'));
  let out = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
  let err = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text));
  const heard: string[] = [];
  void (async () => {
    for (;;) heard.push(await receiver.receive());
  })().catch(() => {});
  const end = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  const exit = end.then(([code]) => code);
  const signal = end.then(([, name]) => name);
  return { child, out: () => out, err: () => err, exit, signal, heard, file, runtime };
}

const SYNTHETIC = 'cameras: [{id: cam0, source: {kind: synthetic, fps: 10}}]\nembeddedBroker: {port: 0}\n';
const isReady = (text: string) => /^READY=1(\n|$)/.test(text);
const ready = ({ heard }: Service) => until('READY=1', () => heard.some(isReady));
const readHealth = async ({ runtime }: Service) =>
  JSON.parse(await readFile(join(runtime, 'health.json'), 'utf8')) as Health;

async function health(
  service: Service,
  ...args: string[]
): Promise<{ code: number | null; verdict: { severity: string; reasons: string[] } }> {
  const child = spawn(process.execPath, [CLI, 'health', '--json', '--directory', service.runtime, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, verdict: JSON.parse(out) as { severity: string; reasons: string[] } };
}

describe('towards systemd', { timeout: 300_000 }, () => {
  test('ready, status, watchdog; health says ok; a stop says so and leaves no health behind', async () => {
    const service = await start({ env: { WATCHDOG_USEC: '2000000' } });
    await ready(service);
    expect(service.heard[0]).toBe('STATUS=starting');
    expect(await health(service, '--wait', '20', '--stable', '1')).toMatchObject({
      code: 0,
      verdict: { severity: 'ok', reasons: [], directory: service.runtime, health: { pid: service.child.pid } },
    });
    await until('the watchdog', () => service.heard.filter((text) => text === 'WATCHDOG=1').length >= 3);
    await until('a status', () =>
      service.heard.some((text) => /^STATUS=cam0: \d+ fps on cpu; broker connected/.test(text)),
    );
    service.child.kill('SIGTERM');
    expect(await service.exit).toBe(0);
    await until('STOPPING', () => service.heard.includes('STOPPING=1'));
    expect(await health(service)).toMatchObject({ code: 3, verdict: { severity: 'unknown' } });
  });

  test('ready without camera and without broker; health is degraded and names both', async () => {
    const service = await start({
      config: `cameras: [{id: roof, source: {kind: v4l2, device: /dev/no-such-camera}}]\nmqtt: {url: 'mqtt://127.0.0.1:1'}\n`,
    });
    await ready(service);
    // It is ready before it has looked for the camera.
    await until(
      'the camera is missed',
      async () => (await readHealth(service)).cameras[0]?.reason?.includes('(') === true,
    );
    const { code, verdict } = await health(service);
    expect([code, verdict.severity]).toEqual([1, 'degraded']);
    expect(verdict.reasons[0]).toBe('camera roof: excused, waits for its source or provider (CAMERA_NOT_FOUND)');
    expect(verdict.reasons[1]).toMatch(/^broker: (connecting|waiting)$/);
    // In vain, and not longer than asked.
    expect((await health(service, '--wait', '0.5')).code).toBe(1);
  });

  test('a model that is broken: never ready, and its exit code', async () => {
    const service = await start({ config: `${SYNTHETIC}detector: {model: /no/such/manifest.json}\n` });
    expect(await service.exit).toBe(66);
    expect(service.heard.some(isReady)).toBe(false);
    expect(service.err()).toContain('MODEL_NOT_FOUND');
  });

  test('a bad configuration: 78, and its lines carry their priority in the journal', async () => {
    const log = join(dir, 'journal');
    const fd = openSync(log, 'w');
    const { dev, ino } = fstatSync(fd, { bigint: true });
    const service = await start({
      config: 'cameras: []\nlgo: {}\n',
      stderr: fd,
      env: { JOURNAL_STREAM: `${dev}:${ino}` },
    });
    closeSync(fd);
    expect(await service.exit).toBe(78);
    const lines = (await readFile(log, 'utf8')).trimEnd().split('\n');
    expect(lines[0]).toMatch(/^<3>irst-edge: CONFIG_INVALID: /);
    for (const line of lines) expect(line).toMatch(/^<3>/);
    expect(service.heard).toEqual([]);
  });

  test('a worker that hangs: the watchdog is fed while it works and not after', async () => {
    const service = await start({ program: [HUNG, 'serve'], env: { WATCHDOG_USEC: '800000' } });
    await ready(service);
    await until('the watchdog', () => service.heard.filter((text) => text === 'WATCHDOG=1').length >= 3);
    await until('its end', () => service.err().includes('WATCHDOG_HELD'));
    expect(service.err()).toMatch(/no progress: camera cam0: silent for \d+ s/);
    const fed = () => service.heard.filter((text) => text === 'WATCHDOG=1').length;
    await delay(300);
    const before = fed();
    await delay(1500);
    expect(fed()).toBe(before);
    expect(await health(service)).toMatchObject({ code: 2, verdict: { severity: 'failing' } });
    // What systemd does then.
    service.child.kill('SIGABRT');
    await service.exit;
    expect(await health(service)).toMatchObject({ code: 3 });
  });
});

describe('with a worker that hangs, for which exit() would wait', { timeout: 300_000 }, () => {
  const hanging = async (...args: string[]) => {
    const service = await start({ program: [HUNG, ...args] });
    await ready(service);
    await until('it hangs', async () => (await health(service)).verdict.severity === 'failing');
    return service;
  };

  test('a stop ends in a kill, and says so', async () => {
    const service = await hanging('serve', '--json');
    service.child.kill('SIGTERM');
    expect(await service.signal).toBe('SIGKILL');
    expect(JSON.parse(service.out())).toMatchObject({ error: { code: 'WORKER_HUNG' } });
    expect(service.err()).toContain('"code":"WORKER_HUNG"');
  });

  test('so does a fault, which is what is printed', async () => {
    const service = await hanging('serve');
    service.child.kill('SIGUSR2');
    expect(await service.signal).toBe('SIGKILL');
    expect(service.err()).toContain('irst-edge: INTERNAL: out of luck');
    expect(service.err()).toContain('"code":"WORKER_HUNG"');
  });

  test('so does a command that has its result', async () => {
    const service = await hanging('session');
    service.child.kill('SIGTERM');
    expect(await service.signal).toBe('SIGKILL');
    expect(service.out()).toBe('the report\n');
  });

  test('a second signal ends it at once', async () => {
    const service = await hanging('serve');
    service.child.kill('SIGTERM');
    await until('the first is heard', () => service.heard.includes('STOPPING=1'));
    service.child.kill('SIGINT');
    expect(await service.signal).toBe('SIGINT');
  });
});

describe('SIGHUP', { timeout: 300_000 }, () => {
  const FAST = 'cameras: [{id: cam0, source: {kind: synthetic}, rate: fast}]\nembeddedBroker: {port: 0}\n';
  const reloads = ({ heard }: Service) =>
    heard.filter((text) => text.startsWith('RELOADING=1\nMONOTONIC_USEC=')).length;
  const answers = ({ heard }: Service) => heard.filter(isReady).length;

  test('applies what it can without losing a frame, says what needs a restart, refuses a bad file', async () => {
    const service = await start({ config: FAST });
    await ready(service);
    const processed = async () => (await readHealth(service)).cameras[0]?.processed ?? 0;
    await until('frames', async () => (await processed()) > 20);

    await writeFile(service.file, `${FAST}log: {level: debug}\ndetector: {threshold: 0.91, threads: 1}\n`);
    service.child.kill('SIGHUP');
    await until('the reload', () => answers(service) === 2);
    expect(reloads(service)).toBe(1);
    expect(service.heard.filter(isReady)[1]).toBe('READY=1\nSTATUS=reloaded, a restart is needed for detector.threads');
    expect(service.err()).toContain('"applied":["detector.threshold","log.level"],"restart":["detector.threads"]');

    await writeFile(service.file, `${FAST}detector: {threshold: 7}\n`);
    service.child.kill('SIGHUP');
    await until('the refusal', () => answers(service) === 3);
    expect(service.heard.filter(isReady)[2]).toBe('READY=1\nSTATUS=reload refused: CONFIG_INVALID');
    expect(service.err()).toContain('the old configuration stays: ');

    const before = await processed();
    await until('frames go on', async () => (await processed()) > before + 20);
    service.child.kill('SIGTERM');
    expect(await service.exit).toBe(0);
    const last = service.err().trimEnd().split('\n').at(-1) as string;
    const { frames } = JSON.parse(last) as { frames: { captured: number; processed: number; dropped: object }[] };
    const { captured, processed: done, dropped } = frames[0]!;
    // At most the frame under way at the stop is given up.
    expect(dropped).toEqual(captured === done ? {} : { shutdown: 1 });
    expect(service.err()).not.toContain('WORKER_');
  });
});
