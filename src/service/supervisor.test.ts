import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { waiting } from '../../test/integration/until.js';
import { BUNDLED_MANIFEST } from '../detect/manifest.js';
import type { CameraJob } from '../pipeline/messages.js';
import { CameraSupervisor, type SupervisorOptions } from './supervisor.js';

const until = waiting(10_000);
const job: CameraJob = {
  camera: 'cam0',
  source: { kind: 'synthetic', rate: 'fast' },
  detector: { manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 1 },
};
const file = (name: string) => new URL(`../../test/fakes/worker-${name}.mjs`, import.meta.url);

const started: { supervisor: CameraSupervisor; flag: Int32Array }[] = [];
/** `more`: what else a fake worker is told. */
function start(name: string, options: SupervisorOptions = {}, more: object = {}, known = false): CameraSupervisor {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const data: CameraJob & { release: unknown } = { ...job, ...more, release: flag.buffer };
  const supervisor = new CameraSupervisor(data, {
    workerFile: file(name),
    minBackoffMs: 5,
    maxBackoffMs: 40,
    ...options,
  });
  started.push({ supervisor, flag });
  if (known) supervisor.servedBefore();
  supervisor.start();
  return supervisor;
}
/** Lets the workers that hang go on. */
function release(): void {
  for (const { flag } of started) {
    Atomics.store(flag, 0, 1);
    Atomics.notify(flag, 0);
  }
}
afterEach(async () => {
  release();
  const outcomes = await Promise.all(started.splice(0).map(({ supervisor }) => supervisor.stop(10_000)));
  // None leaves a thread behind.
  expect(outcomes).not.toContain('hung');
});

test('running when ready; stopped when asked; its last counters are kept', async () => {
  const s = start('good');
  await once(s, 'state');
  expect(s.status()).toMatchObject({ id: 'cam0', state: 'running', provider: 'cpu', source: 'nothing' });
  expect(await s.stop(5000)).toBe('stopped');
  expect(s.status()).toMatchObject({ state: 'ended', frames: { captured: 3, processed: 2, dropped: { stale: 1 } } });
});

test('a camera that does not fit at the first start failed for good; one that served before is waited for', async () => {
  const first = start('misfit');
  await once(first, 'done');
  expect(first.status()).toMatchObject({ state: 'failed', error: { code: 'PROFILE_UNFIT' } });
  const known = start('misfit', {}, {}, true);
  await once(known, 'restart');
  await once(known, 'restart');
  await until('it runs', () => known.status().state === 'running');
  const broken = start('refused', {}, {}, true);
  await once(broken, 'done');
  expect(broken.status()).toMatchObject({ state: 'failed', error: { code: 'MODEL_SHA_MISMATCH' } });
});

test('while a camera is away its frames are late; opened again, they are not', async () => {
  const s = start('reopens');
  await once(s, 'capture');
  expect(s.progress().capture).toBe('lost');
  await once(s, 'capture');
  expect(s.progress().frameMs).toBeGreaterThan(300);
  await once(s, 'capture');
  expect(s.progress()).toMatchObject({ capture: 'streaming', ready: true });
  expect(s.progress().frameMs).toBeLessThan(200);
});

test('a worker that crashes is reported and restarted, and counters of its lives add up', async () => {
  const s = start('crash', { random: () => 1 });
  const delays: number[] = [];
  for (let i = 0; i < 3; i++) {
    const [error, delay] = await once(s, 'restart');
    expect(error).toMatchObject({ code: 'INTERNAL', message: 'out of luck' });
    delays.push(delay as number);
  }
  // That it was ready for a moment does not shorten the wait.
  expect(delays).toEqual([10, 20, 40]);
  expect(s.restarts).toBe(3);
  expect(s.counters()).toMatchObject({ captured: 3, processed: 3 });
  expect(s.status()).toMatchObject({ state: 'restarting', error: { message: 'out of luck' } });
});

test('a worker that ends without a word is restarted with a growing delay', async () => {
  const s = start('silent', { random: () => 1 });
  const delays: number[] = [];
  for (let i = 0; i < 4; i++) {
    const [error, delay] = await once(s, 'restart');
    expect(error).toMatchObject({ code: 'WORKER_DIED' });
    delays.push(delay as number);
  }
  expect(delays).toEqual([10, 20, 40, 40]);
});

test('an error that trying again cannot mend ends the camera at its first start', async () => {
  const s = start('refused');
  await once(s, 'done');
  expect(s.failure).toMatchObject({ code: 'MODEL_SHA_MISMATCH', hint: 'restore it', exitCode: 65 });
  expect(s.restarts).toBe(0);
});

test('a worker that does not answer is reported as hung, in time, and is not terminated', async () => {
  const s = start('hung');
  expect(await s.stop(200)).toBe('hung');
  const ended = once(s, 'done');
  release();
  await ended;
});

test('stopped while it waits for a restart: no further start', async () => {
  const s = start('silent', { minBackoffMs: 60_000, maxBackoffMs: 60_000 });
  await once(s, 'restart');
  expect(await s.stop(100)).toBe('stopped');
  expect(s.restarts).toBe(1);
});

test('asked for pictures and a threshold, a worker that dies leaves no one waiting', async () => {
  const s = start('doomed', { minBackoffMs: 60_000, maxBackoffMs: 60_000 });
  await once(s, 'state');
  const restart = once(s, 'restart');
  const picture = { maxSide: 64, bits: 8, maxBytes: 1000 } as const;
  const asked = s.snapshot(picture);
  // Who asks before the next frame came waits for the same picture.
  expect(s.snapshot(picture)).toBe(asked);
  const answers = await Promise.all([asked, s.snapshot(picture), s.setThreshold(0.4)]);
  expect(answers).toEqual([undefined, undefined, undefined]);
  await restart;
  // While there is no worker, at once.
  expect(await s.snapshot(picture)).toBeUndefined();
  expect(await s.setThreshold(0.4)).toBeUndefined();
});

test.each<[string, (s: CameraSupervisor) => unknown, number]>([
  ['the last one that was in force', (s) => s.setThreshold(0.6), 0.6],
  ['none, where none was', () => undefined, 0.5],
  ['one that was held', (s) => s.holdThreshold(0.7), 0.7],
])('a threshold over which a worker dies is not asked of the next: %s is', async (_, before, after) => {
  const s = start('dies-once', {}, { lives: new SharedArrayBuffer(4), deadly: 0.4 });
  await once(s, 'state');
  await before(s);
  // What the worker does not live to answer.
  expect(await s.setThreshold(0.4)).toBeUndefined();
  while (!s.running) await once(s, 'state');
  // It answers in order: with this it has answered for the threshold, if it was asked for one.
  expect(await s.snapshot({ maxSide: 64, bits: 8, maxBytes: 1000 })).toBeNull();
  expect(s.threshold).toBe(after);
});

test('a threshold that is held is asked of the next worker too, and an older answer does not undo it', async () => {
  const s = start('dies-once', {}, { lives: new SharedArrayBuffer(4), deadly: 0.7 });
  await once(s, 'state');
  const asked = s.setThreshold(0.6);
  s.holdThreshold(0.7);
  expect(await asked).toBe(0.6);
  await once(s, 'restart');
  while (s.threshold !== 0.7) await once(s, 'state');
});

test('a worker that hangs is stuck after its limit, one that never got ready waits, one that died is excused', async () => {
  const limits = { silentMs: 300, openingMs: 300, loadingMs: 60_000, framelessMs: 60_000 };
  const s = start('hung', { limits });
  expect(s.judgement()).toEqual({ condition: 'loading', reason: 'loads its model' });
  const dying = start('silent', { minBackoffMs: 60_000, maxBackoffMs: 60_000 });
  await once(dying, 'restart');
  expect(dying.judgement()).toEqual({ condition: 'excused', reason: 'restarts (WORKER_DIED)' });
  const later = start('hangs-later', { limits });
  await once(later, 'frame');
  expect([later.modelUp, later.judgement()]).toEqual([true, { condition: 'serving' }]);
  while (later.judgement().condition === 'serving') await new Promise((resolve) => setTimeout(resolve, 50));
  expect(later.judgement()).toEqual({ condition: 'stuck', reason: expect.stringMatching(/^silent for \d+ s$/) });
});

test('the first frame has the time that its source gives it, the next ones have not', async () => {
  const source = { kind: 'ffmpeg', input: 'x', rate: 'realtime', startTimeoutMs: 60_000, stallTimeoutMs: 2000 };
  const s = start('hangs-later', {}, { source });
  await once(s, 'state');
  expect(s.progress()).toMatchObject({ ready: true, startMs: 60_000, stallMs: 2000 });
  await once(s, 'frame');
  expect(s.progress()).toMatchObject({ stallMs: 2000 });
  expect(s.progress()).not.toHaveProperty('startMs');
});

test('what runs the network is known as it changes, with the model of its precision', async () => {
  const s = start('swap');
  const steps: string[] = [];
  s.on('provider', ({ message }) => steps.push(message));
  while (steps.length < 2) await once(s, 'provider');
  expect(s.status()).toMatchObject({ state: 'running', provider: 'tensorrt', model: { precision: 'fp16' } });
  expect(s.model?.library).toBe('tensorrt library');
  // Anything that is asked of this worker makes it fall back.
  void s.setThreshold(0.4);
  await once(s, 'provider');
  expect(s.status()).toMatchObject({ provider: 'cpu', model: { precision: 'fp32' } });
  expect(s.runtime).toMatchObject({ provider: 'cpu', demotions: 1 });
  expect(steps).toEqual(['serving cpu', 'serving tensorrt', 'serving cpu']);
});
