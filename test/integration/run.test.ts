import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DetectionsMessage, detectionsSchema, type StatusMessage, statusSchema } from '../../src/alerts/schema.js';
import { type Mosquitto, startMosquitto } from './mosquitto.js';
import { waiting } from './until.js';

const until = waiting(25_000);

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const CLIP = fileURLToPath(new URL('../fixtures/drone-sky', import.meta.url));
const MODELS = fileURLToPath(new URL('../../models', import.meta.url));

let dir: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-run-'));
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

interface Outcome {
  code: number | null;
  out: string;
  err: string;
}

interface Started {
  child: ChildProcess;
  done: Promise<Outcome>;
  out: () => string;
  err: () => string;
}

function start(command: string, args: string[]): Started {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: dir });
  children.push(child);
  let out = '';
  let err = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text));
  return {
    child,
    out: () => out,
    err: () => err,
    done: once(child, 'close').then(([code]) => ({ code: code as number | null, out, err })),
  };
}

const edge = (...args: string[]) => start(process.execPath, [CLI, ...args]);

/** The first `count` pictures of the clip. */
async function shortClip(name: string, count: number): Promise<string> {
  const folder = join(dir, name);
  await mkdir(folder);
  for (let i = 0; i < count; i++) {
    const file = `${String(i).padStart(3, '0')}.png`;
    await cp(join(CLIP, file), join(folder, file));
  }
  return folder;
}

describe('run, against a real mosquitto', () => {
  let broker: Mosquitto;
  beforeAll(async () => {
    broker = await startMosquitto();
  });
  afterAll(() => broker?.stop());

  const subscribe = (topic: string, ...more: string[]) =>
    start('mosquitto_sub', ['-p', String(broker.port), '-t', topic, '-V', 'mqttv5', '-q', '1', ...more]);
  const lines = <T>(text: string) => text.split('\n').flatMap((line) => (line ? [JSON.parse(line) as T] : []));

  test('an independent subscriber gets every alert of a recording, valid and in place; then the status is stopped', async () => {
    const clip = await shortClip('clip', 12);
    const alerts = subscribe('irst/roof/cam1/detections');
    const status = subscribe('irst/roof/status');
    await until('both subscriptions', () => (broker.log().match(/Sending SUBACK/g)?.length ?? 0) >= 2);
    const ran = await edge(
      'run',
      '--input',
      clip,
      '--fast',
      '--mqtt',
      broker.url,
      '--device',
      'roof',
      '--camera',
      'cam1',
    ).done;
    expect(ran).toMatchObject({ code: 0, out: '' });
    await until('the last status', () => status.out().includes('"stopped"'));

    const truth = JSON.parse(await readFile(join(CLIP, 'points.json'), 'utf8')) as Record<string, [number, number][]>;
    const messages = lines<DetectionsMessage>(alerts.out());
    expect(messages.map((m) => m.sequence)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    for (const message of messages) {
      expect(detectionsSchema.safeParse(message).error).toBeUndefined();
      const [x, y] = truth[`${String(message.sequence).padStart(3, '0')}.png`]![0]!;
      const best = message.detections.map((d) => Math.hypot(d.x - x, d.y - y)).sort((a, b) => a - b)[0];
      expect(best).toBeLessThan(3);
    }
    const states = lines<StatusMessage>(status.out());
    for (const state of states) expect(statusSchema.safeParse(state).error).toBeUndefined();
    expect(states[0]).toMatchObject({ device: 'roof', state: 'online' });
    expect(states.at(-1)).toMatchObject({
      state: 'stopped',
      cameras: [{ id: 'cam1', state: 'ended', provider: 'cpu', frames: { captured: 12, processed: 12, dropped: {} } }],
    });
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('%s ends it soon and in good order', async (signal) => {
    const status = subscribe(`irst/${signal.toLowerCase()}/status`);
    const daemon = edge('run', '--input', 'synthetic', '--mqtt', broker.url, '--device', signal.toLowerCase());
    await until('running', () => status.out().includes('"running"'));
    const asked = Date.now();
    daemon.child.kill(signal);
    expect((await daemon.done).code).toBe(0);
    // It gives itself 1.9 s; the signal's way and the end of the process come on top, and take longer on a busy machine.
    expect(Date.now() - asked).toBeLessThan(5000);
    await until('stopped', () => status.out().includes('"state":"stopped"'));
  });

  test('SIGKILL: the broker tells that the device is offline', async () => {
    const status = subscribe('irst/killed/status');
    const available = subscribe('irst/killed/available');
    const daemon = edge('run', '--input', 'synthetic', '--mqtt', broker.url, '--device', 'killed');
    await until('running', () => status.out().includes('"running"') && available.out().includes('online'));
    daemon.child.kill('SIGKILL');
    await until('offline', () => available.out().trimEnd().endsWith('offline'));
  });

  test('a broker that goes away and comes back: the daemon goes on and connects again', async () => {
    const own = await startMosquitto();
    try {
      const daemon = edge('run', '--input', 'synthetic', '--mqtt', own.url, '--device', 'patient');
      await until('connected', () => own.log().includes('irst-edge-patient'));
      await own.kill();
      await delay(300);
      await own.restart();
      const late = start('mosquitto_sub', ['-p', String(own.port), '-t', 'irst/patient/cam0/detections', '-C', '3']);
      expect((await late.done).code).toBe(0);
      daemon.child.kill('SIGTERM');
      expect((await daemon.done).code).toBe(0);
    } finally {
      await own.stop();
    }
  });
});

describe('demo', () => {
  test('prints alerts and a summary, and exits with 0', async () => {
    const { code, out, err } = await edge('demo', '--fast').done;
    expect(code).toBe(0);
    expect(out.match(/^irst\/demo\/clip\/detections {2}frame/gm)?.length).toBeGreaterThanOrEqual(100);
    expect(out).toMatch(/^frames {4}120 captured, 120 processed, dropped: none$/m);
    expect(out).toMatch(/^latency {3}frame to subscriber: p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms$/m);
    expect(err).toContain('irst-edge demo');
  });

  test('--json: one object whose counts agree', async () => {
    const report = JSON.parse((await edge('demo', '--fast', '--json').done).out);
    expect(report.frames).toEqual({ captured: 120, processed: 120, dropped: {} });
    expect(report.alerts).toBeGreaterThanOrEqual(100);
    expect(report.model).toMatchObject({ precision: 'fp32' });
  });
});

describe('bench and eval', () => {
  test('bench --json gives every stage, rate, memory, model, provider and threads', async () => {
    const { code, out } = await edge('bench', '--size', '64x64', '--frames', '60', '--threads', '1', '--json').done;
    expect(code).toBe(0);
    const report = JSON.parse(out);
    expect(report).toMatchObject({
      provider: 'cpu',
      threads: 1,
      frames: { captured: 60, processed: 60 },
      model: { precision: 'fp32' },
    });
    for (const s of ['normalise', 'infer', 'decode', 'track']) expect(report.stages[s].count).toBe(50);
    expect(report.fps).toBeGreaterThan(0);
    expect(report.peakMemoryMiB).toBeGreaterThan(20);
  });

  test('eval scores the clip against its published truth, at any subset', async () => {
    const list = join(dir, 'list.txt');
    await writeFile(list, '000\n010.png\n\n020\n');
    const { code, out } = await edge('eval', '--data', CLIP, '--list', list, '--json').done;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ images: 3, targets: 3, radius: 5, tp: 3, fn: 0, strict: { targets: 3 } });
  });

  test('detect prints sub-pixel places and writes a picture', async () => {
    const picture = join(dir, 'out', 'picture.png');
    const { code, out } = await edge('detect', join(CLIP, '000.png'), '--picture', picture, '--json').done;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ width: 320, height: 256 });
    expect((await readFile(picture)).subarray(1, 4).toString()).toBe('PNG');
  });
});

describe('bad input: one line, a code, a hint, the documented exit code', () => {
  async function refused(code: string, exit: number, ...args: string[]): Promise<Outcome> {
    const outcome = await edge(...args).done;
    expect(outcome.err).toContain(code);
    expect(outcome.err).not.toMatch(/^\s+at .+:\d+/m);
    expect(outcome.code).toBe(exit);
    return outcome;
  }

  test('missing model, changed model', async () => {
    await refused('MODEL_NOT_FOUND', 66, 'detect', join(CLIP, '000.png'), '--model', join(dir, 'nowhere'));
    const models = join(dir, 'models');
    await mkdir(models);
    for (const file of await readdir(MODELS)) {
      if (/manifest\.json$|320x256_fp32/.test(file)) await cp(join(MODELS, file), join(models, file));
    }
    const onnx = (await readdir(models)).find((f) => f.endsWith('.onnx'))!;
    await truncate(join(models, onnx), 1000);
    for (const command of [
      ['detect', join(CLIP, '000.png')],
      ['run', '--input', CLIP],
    ]) {
      const { err } = await refused('MODEL_SHA_MISMATCH', 65, ...command, '--model', models);
      expect(err).toContain('hint');
    }
  });

  test('unreadable picture, missing recording, zero-length recording', async () => {
    const broken = join(dir, 'broken.png');
    await writeFile(broken, (await readFile(join(CLIP, '000.png'))).subarray(0, 20_000));
    await refused('IMAGE_UNREADABLE', 65, 'detect', broken);
    await refused('INPUT_NOT_FOUND', 66, 'detect', join(dir, 'none.png'));
    await refused('INPUT_NOT_FOUND', 66, 'run', '--input', join(dir, 'none'));
    const empty = join(dir, 'empty.y16');
    await writeFile(empty, '');
    await writeFile(join(dir, 'empty.json'), '{"width": 160, "height": 120}');
    expect((await edge('run', '--input', empty).done).code).toBe(65);
  });

  test('busy port of the embedded broker', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const config = join(dir, 'busy.yaml');
    await writeFile(config, `cameras: [{id: a, source: {kind: synthetic}}]\nembeddedBroker: {port: ${port}}\n`);
    await refused('PORT_IN_USE', 69, 'run', '--config', config);
    server.close();
  });

  test('unknown configuration key, wrong command line', async () => {
    const config = join(dir, 'typo.yaml');
    await writeFile(config, 'cameras: [{id: a, source: {kind: synthetic}}]\nmqqt: {}\n');
    const { err } = await refused('CONFIG_INVALID', 78, 'run', '--config', config);
    expect(err).toContain('did you mean mqtt?');
    await refused('USAGE', 64, 'bench', '--frames', 'many');
    await refused('USAGE', 64, 'run', '--config', 'a', '--input', 'b');
  });

  test('a broker that is not there does not stop the daemon; alerts wait', async () => {
    const daemon = edge('run', '--input', 'synthetic', '--mqtt', 'mqtt://127.0.0.1:1', '--device', 'alone');
    await until('the attempt and the camera', () => ['BROKER_', '"running"'].every((w) => daemon.err().includes(w)));
    expect(daemon.child.exitCode).toBeNull();
    daemon.child.kill('SIGTERM');
    expect((await daemon.done).code).toBe(0);
  });

  test('full disk for output', async () => {
    if (process.getuid?.() !== 0) throw new Error('this test mounts a small tmpfs: run it as root');
    const disk = join(dir, 'disk');
    await mkdir(disk);
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', disk]);
    try {
      await refused('OUTPUT_FAILED', 74, 'detect', join(CLIP, '000.png'), '--picture', join(disk, 'picture.png'));
      expect(await readdir(disk)).toEqual([]);
    } finally {
      await promisify(execFile)('umount', [disk]);
    }
  });
});
