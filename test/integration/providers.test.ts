import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectAsync } from 'mqtt';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type CameraStateMessage, cameraStateSchema } from '../../src/alerts/schema.js';
import { EngineBuilder } from '../../src/detect/engine-builder.js';
import { EngineCache } from '../../src/detect/engine-cache.js';
import { type EngineJob, runEngineJob } from '../../src/detect/engine-job.js';
import { loadGolden } from '../../src/detect/golden.js';
import { BUNDLED_MANIFEST, readManifest } from '../../src/detect/manifest.js';
import { ModelRunner } from '../../src/detect/model-runner.js';
import {
  type Opened,
  type Pending,
  ProviderOpener,
  RUNTIME_DEFAULTS,
  type RuntimeOptions,
} from '../../src/detect/provider-opener.js';
import { tryProviders } from '../../src/detect/try-providers.js';
import type { ProviderChange } from '../../src/types/provider.js';
import { buildFakeLibrary, buildFakePlatform, FAKE_TRTEXEC } from '../fakes/onnxruntime/build.js';

// The real opener, runner, cache and builder process against a fake ONNX Runtime with TensorRT (test/fakes/onnxruntime), whose script is
// a file that the builder's process reads too.

/** `npm test` builds it before. */
const CHILD = new URL('../../dist/detect/engine-child.js', import.meta.url);

const manifest = await readManifest(BUNDLED_MANIFEST);
const model = {
  manifestPath: BUNDLED_MANIFEST,
  manifest,
  precision: 'auto',
  threads: 1,
  width: 160,
  height: 120,
} as const;

let dir: string;
let library: string;
let platform: { root: string; libraries: string };
let cacheDirectory: string;
let log: string;
let count = 0;

beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'irst-providers-'));
  [library, platform] = await Promise.all([buildFakeLibrary(path.join(dir, 'lib')), buildFakePlatform(dir)]);
  const { expected } = await loadGolden(BUNDLED_MANIFEST, BUNDLED_MANIFEST, manifest, model);
  const { heat, logSigma } = expected!;
  const answer = path.join(dir, 'answer');
  await writeFile(
    answer,
    Buffer.concat([heat, new Float32Array(heat.length).fill(logSigma)].map((a) => Buffer.from(a.buffer))),
  );
  script.FAKE_ORT_ANSWER = answer;
  process.env.FAKE_ORT_SCRIPT = path.join(dir, 'script');
}, 180_000);
afterAll(async () => {
  delete process.env.FAKE_ORT_SCRIPT;
  await rm(dir, { recursive: true });
});
beforeEach(() => {
  count++;
  cacheDirectory = path.join(dir, `cache${count}`);
  log = path.join(dir, `log${count}`);
  for (const name of Object.keys(script)) if (name !== 'FAKE_ORT_ANSWER') delete script[name];
  set({ FAKE_ORT_LOG: log });
});
afterEach(() => {
  delete process.env.FAKE_TRTEXEC;
  delete process.env.FAKE_TRTEXEC_LOG;
});

/** What the fake library is to do from now on; undefined: no more. */
const script: Record<string, string> = {};
function set(change: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(change)) {
    if (value === undefined) delete script[name];
    else script[name] = value;
  }
  const file = path.join(dir, 'script');
  const text = Object.entries(script).map(([name, value]) => `${name}=${value}\n`);
  writeFileSync(`${file}.new`, text.join(''));
  renameSync(`${file}.new`, file);
}

function options(change: Partial<RuntimeOptions> = {}): RuntimeOptions {
  return {
    ...RUNTIME_DEFAULTS,
    libonnxruntime: library,
    cacheDirectory,
    trtexec: FAKE_TRTEXEC,
    buildTimeoutMs: 60_000,
    retryMinMs: 50,
    retryMaxMs: 200,
    ...change,
  };
}
function opener(change: Partial<RuntimeOptions> = {}): ProviderOpener {
  const runtime = options(change);
  return new ProviderOpener(runtime, model, {
    builder: new EngineBuilder(runtime.buildTimeoutMs, CHILD),
    platform,
  });
}
const lines = async (): Promise<string[]> => (await readFile(log, 'utf8').catch(() => '')).split('\n').filter(Boolean);
const pending = async (o: ProviderOpener): Promise<Pending> => {
  const result = await o.open('tensorrt');
  expect(result).toHaveProperty('pending', true);
  return result as Pending;
};
const opened = async (o: ProviderOpener): Promise<Opened> => {
  const result = await o.open('tensorrt');
  expect(result).toHaveProperty('backend');
  return result as Opened;
};

describe('an engine built by the library', () => {
  test('in another process, with every option; then it is loaded, proven and reused', async () => {
    const first = opener({ tensorrtOptions: { trt_builder_optimization_level: '5' } });
    const wanted = await pending(first);
    expect(wanted.facts).toMatchObject({
      tensorrt: '10.3.0',
      cuda: '12.6',
      computeCapability: '8.7',
      board: 'NVIDIA Jetson Orin Nano Developer Kit',
      l4t: '36.4.3',
      library: 'libonnxruntime 1.23.0',
      width: 160,
    });
    const phases: string[] = [];
    await first.build(wanted, { onPhase: (phase) => phases.push(phase) });
    expect(phases).toEqual(['building', 'proving']);
    const told = await lines();
    // TensorRT 10 obeys the types of the file: trt_fp16_enable would end that.
    expect(
      told
        .filter((line) => line.startsWith('option '))
        .map((line) => line.replace(/cache_path=.*/, 'cache_path='))
        .sort(),
    ).toEqual([
      'option trt_builder_optimization_level=5',
      'option trt_engine_cache_enable=1',
      'option trt_engine_cache_path=',
      'option trt_max_workspace_size=536870912',
      'option trt_timing_cache_enable=1',
      'option trt_timing_cache_path=',
    ]);
    expect(told).toContain('config session.disable_cpu_ep_fallback=1');
    expect(told).toContain('engine built');
    const names = await readdir(cacheDirectory);
    expect(names.filter((name) => !name.startsWith('timings-'))).toEqual([wanted.key]);
    expect((await readdir(path.join(cacheDirectory, wanted.key))).sort()).toEqual(['engine.json', 'fake_sm87.engine']);

    await rm(log);
    const { backend, identity, golden, provider } = await opened(
      opener({ tensorrtOptions: { trt_builder_optimization_level: '5' } }),
    );
    expect([provider, identity.precision, backend.library]).toEqual(['tensorrt', 'fp16', 'libonnxruntime 1.23.0']);
    expect(golden!.heatError).toBeLessThan(1e-6);
    expect(await lines()).toContain('engine loaded');
    expect(await lines()).not.toContain('engine built');
    await backend.close();
    // Other options are another engine; its build finds the timings of the first.
    const other = opener();
    await other.build(await pending(other));
    expect(await lines()).toContain('timings found');
    expect((await new EngineCache(cacheDirectory).state()).entries).toMatchObject([
      { kind: 'library' },
      { kind: 'library' },
    ]);
  });

  test('that is damaged on disk is deleted and asked for anew', async () => {
    const one = opener();
    const wanted = await pending(one);
    await one.build(wanted);
    await writeFile(path.join(cacheDirectory, wanted.key, 'fake_sm87.engine'), 'something else');
    expect((await pending(opener())).because).toContain('fake_sm87.engine is not the file that was built');
    expect(await new EngineCache(cacheDirectory).lookup(wanted.key)).toBeUndefined();
  });

  test('that does not load is deleted and built once more, not for ever', async () => {
    const one = opener();
    await one.build(await pending(one));
    set({ FAKE_ORT_REFUSES_ENGINE: 'TensorRT EP could not deserialize engine from cache' });
    const again = await pending(one);
    expect(again.because).toContain('could not deserialize');
    await one.build(again);
    await expect(one.open('tensorrt')).rejects.toMatchObject({
      code: 'PROVIDER_UNAVAILABLE',
      message: expect.stringContaining('could not deserialize'),
    });
    set({ FAKE_ORT_REFUSES_ENGINE: undefined });
    await (await opened(one)).backend.close();
  });

  test('that is damaged or does not load is left where it is by who only looks', async () => {
    const one = opener();
    const wanted = await pending(one);
    await one.build(wanted);
    set({ FAKE_ORT_REFUSES_ENGINE: 'out of memory' });
    await expect(opener().open('tensorrt', true)).rejects.toThrow('out of memory');
    set({ FAKE_ORT_REFUSES_ENGINE: undefined });
    await (await opened(opener())).backend.close();
    await writeFile(path.join(cacheDirectory, wanted.key, 'fake_sm87.engine'), 'something else');
    expect(await opener().open('tensorrt', true)).toMatchObject({
      because: expect.stringContaining('is not the file'),
    });
    expect(await new EngineCache(cacheDirectory).lookup(wanted.key)).toHaveProperty('problem');
  });

  test('that computes something else never serves', async () => {
    const one = opener();
    await one.build(await pending(one));
    set({ FAKE_ORT_WRONG: '0.1' });
    const again = await pending(one);
    expect(again.because).toContain('computes something else');
    await expect(one.build(again)).rejects.toMatchObject({ code: 'GOLDEN_MISMATCH' });
  });

  test('that ended the process twice is not loaded any more', async () => {
    const one = opener();
    const { key } = await pending(one);
    await one.build(await pending(one));
    await writeFile(path.join(cacheDirectory, `${key}.loading`), JSON.stringify({ process: '1 2', earlier: 1 }));
    await expect(opener().open('tensorrt')).rejects.toMatchObject({
      code: 'ENGINE_CRASHED',
      hint: expect.stringContaining(key),
    });
  });
});

describe('a build that goes wrong', () => {
  test.each<[string, Record<string, string>, string, RegExp]>([
    ['no provider', { FAKE_ORT_APPEND_FAILS: 'no CUDA device' }, 'PROVIDER_UNAVAILABLE', /no CUDA device/],
    ['no session', { FAKE_ORT_SESSION_FAILS: 'out of memory' }, 'PROVIDER_UNAVAILABLE', /out of memory/],
    [
      'a run that fails',
      { FAKE_ORT_RUN_FAILS: 'CUDA failure 700' },
      'PROVIDER_UNAVAILABLE|INFERENCE|INTERNAL',
      /CUDA failure 700/,
    ],
    ['a crash', { FAKE_ORT_CRASH: 'session' }, 'ENGINE_BUILD_CRASHED', /SIGSEGV/],
    ['a crash on the first frame', { FAKE_ORT_CRASH: 'run' }, 'ENGINE_BUILD_CRASHED', /SIGSEGV/],
  ])('%s: says why, leaves nothing behind, and this process lives', async (_, fault, code, words) => {
    const one = opener();
    const wanted = await pending(one);
    set(fault);
    const error = await one.build(wanted).catch((e) => e);
    expect(error.message).toMatch(words);
    expect(error.code).toMatch(new RegExp(`^(${code})$`));
    expect((await readdir(cacheDirectory)).filter((name) => !name.startsWith('timings-'))).toEqual([]);
  });

  test('too slow: its process is ended; stopped: likewise', async () => {
    set({ FAKE_ORT_BUILD_MS: '60000' });
    const slow = opener({ buildTimeoutMs: 1500 });
    await expect(slow.build(await pending(slow))).rejects.toMatchObject({
      code: 'ENGINE_BUILD_FAILED',
      message: expect.stringContaining('longer than 2 s'),
    });
    const stop = new AbortController();
    const patient = opener();
    const stopped = patient.build(await pending(patient), { signal: stop.signal, onPhase: () => stop.abort() });
    await expect(stopped).rejects.toMatchObject({ message: expect.stringContaining('stopped') });
    expect(await readdir(cacheDirectory)).toEqual([]);
  });

  test('an unknown option is refused by its name', async () => {
    const one = opener({ tensorrtOptions: { no_such_option: '1' } });
    await expect(one.build(await pending(one))).rejects.toMatchObject({
      code: 'PROVIDER_UNAVAILABLE',
      message: expect.stringContaining('no_such_option'),
    });
  });
});

describe('an engine built by trtexec', () => {
  const arguments_ = async () => (await readFile(process.env.FAKE_TRTEXEC_LOG!, 'utf8')).trim().split(' ');
  beforeEach(() => {
    process.env.FAKE_TRTEXEC_LOG = path.join(dir, `trtexec${count}`);
  });

  test('is wrapped into a model, kept, and run without building', async () => {
    process.env.FAKE_TRTEXEC = JSON.stringify({
      engine: 'ENGINE BYTES',
      lines: ['[11/25/2026-10:00:00] [I] [TRT] Local timing cache in use'],
    });
    const one = opener({ engineBuilder: 'trtexec' });
    const details: string[] = [];
    const wanted = await pending(one);
    await one.build(wanted, { onDetail: (text) => details.push(text) });
    expect(details).toEqual(['[TRT] Local timing cache in use']);
    const given = await arguments_();
    expect(given).toEqual(
      expect.arrayContaining(['--stronglyTyped', '--skipInference', '--memPoolSize=workspace:512']),
    );
    expect(given[0]).toMatch(/^--onnx=.*160x120_fp16\.onnx$/);
    expect((await readdir(path.join(cacheDirectory, wanted.key))).sort()).toEqual(['engine.json', 'engine.onnx']);
    expect(await readFile(path.join(cacheDirectory, wanted.key, 'engine.onnx'))).toSatisfy((b: Buffer) =>
      b.includes('ENGINE BYTES'),
    );
    await rm(log);
    const { backend } = await opened(one);
    expect(await lines()).toContain('session tensorrt context');
    await backend.close();
  });

  /** In this process: what fails in trtexec needs no other one. */
  const build = async (fault: object, program = FAKE_TRTEXEC, more: Partial<EngineJob> = {}): Promise<unknown> => {
    process.env.FAKE_TRTEXEC = JSON.stringify(fault);
    const { key, model: wanted } = await pending(opener({ engineBuilder: 'trtexec' }));
    const job: EngineJob = {
      how: 'trtexec',
      provider: 'tensorrt',
      backend: 'libonnxruntime',
      libraryPath: library,
      manifestPath: BUNDLED_MANIFEST,
      file: wanted.file,
      width: 160,
      height: 120,
      threads: 1,
      folder: await new EngineCache(cacheDirectory).stage(key),
      providerOptions: {},
      trtexec: { program, args: [] },
      ...more,
    };
    return runEngineJob(job, () => {});
  };

  test.each<[string, object, RegExp]>([
    [
      'fails',
      { exit: 1, lines: ['[11/25/2026-10:00:00] [E] Error[2]: no tactic'] },
      /ended with 1: Error\[2\]: no tactic/,
    ],
    ['is ended', { signal: 'SIGKILL' }, /ended by SIGKILL/],
    ['leaves nothing', { engine: null }, /left no engine/],
    ['leaves an empty file', { engine: '' }, /empty engine/],
  ])('that %s says so', async (_, fault, words) => {
    await expect(build(fault)).rejects.toMatchObject({
      code: 'ENGINE_BUILD_FAILED',
      message: expect.stringMatching(words),
    });
  });

  test('in its own process the manifest is checked against the configured key again', async () => {
    const key = (await readFile('test/fixtures/minisign/key.pub', 'utf8')).trim().split('\n').at(-1)!;
    await expect(build({}, FAKE_TRTEXEC, { publicKey: key })).rejects.toMatchObject({ code: 'MODEL_UNSIGNED' });
  });

  test('that is not there says so', async () => {
    await expect(build({}, '/none/trtexec')).rejects.toMatchObject({ message: expect.stringContaining('ENOENT') });
  });
});

describe('the whole ladder', () => {
  test('serves on the CPU while it builds, swaps, falls back when TensorRT fails, and comes back', async () => {
    set({ FAKE_ORT_BUILD_MS: '300' });
    const changes: ProviderChange[] = [];
    const runtime = options({ providers: ['tensorrt', 'cpu'] });
    const runner = new ModelRunner(opener({ providers: ['tensorrt', 'cpu'] }), {
      ...runtime,
      onChange: (c) => changes.push(c),
    });
    const served: string[] = [];
    const frame = async () => {
      const { heat } = await runner.run(runner.input);
      served.push(runner.provider);
      return heat;
    };
    const until = async (provider: string) => {
      for (let i = 0; i < 2000 && runner.provider !== provider; i++) {
        await frame();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      expect(runner.provider).toBe(provider);
    };
    try {
      await runner.start();
      expect(runner.status()).toMatchObject({ provider: 'cpu', build: { provider: 'tensorrt' } });
      await until('tensorrt');
      expect(served.length).toBeGreaterThan(1);
      set({ FAKE_ORT_RUN_FAILS: 'CUDA failure 700: an illegal memory access was encountered' });
      expect((await frame()).length).toBe(60 * 80);
      expect(runner.status()).toMatchObject({
        provider: 'cpu',
        demotions: 1,
        refused: [
          { provider: 'tensorrt', code: 'PROVIDER_FAILED', reason: expect.stringContaining('CUDA failure 700') },
        ],
      });
      set({ FAKE_ORT_RUN_FAILS: undefined });
      await until('tensorrt');
      expect(runner.status().refused).toEqual([]);
      expect(changes.map((c) => c.kind).filter((kind) => kind !== 'progress')).toEqual([
        'serving',
        'building',
        'built',
        'serving',
        'demoted',
        'serving',
        'serving',
      ]);
    } finally {
      await runner.close();
    }
    expect((await lines()).at(-1)).toBe('release tensorrt');
  });

  test('two cameras build one engine once', async () => {
    set({ FAKE_ORT_BUILD_MS: '200' });
    const [one, two] = [opener(), opener()];
    const [a, b] = [await pending(one), await pending(two)];
    expect(a.key).toBe(b.key);
    await Promise.all([one.build(a), two.build(b)]);
    expect((await lines()).filter((line) => line === 'engine built')).toHaveLength(1);
    for (const { backend } of [await opened(one), await opened(two)]) await backend.close();
  });

  test('tryProviders tells what each does, and why not', async () => {
    const parts = { builder: new EngineBuilder(60_000, CHILD), platform };
    const outcomes = await tryProviders(options(), model, { parts });
    expect(outcomes).toMatchObject([
      { provider: 'tensorrt', outcome: 'unbuilt', reason: 'its engine is not built yet' },
      { provider: 'cuda', outcome: 'unbuilt' },
      { provider: 'cpu', outcome: 'proved', library: expect.stringContaining('onnxruntime-node'), precision: 'fp32' },
    ]);
    expect(
      await tryProviders(options({ providers: ['tensorrt', 'cuda'] }), model, { parts, build: true }),
    ).toMatchObject([
      { provider: 'tensorrt', outcome: 'proved', precision: 'fp16', latencyMs: expect.any(Number) },
      { provider: 'cuda', outcome: 'proved' },
    ]);
    expect(await lines()).toContain('append cuda');
    const none = await tryProviders(options({ providers: ['tensorrt'], libonnxruntime: '/none.so' }), model, { parts });
    expect(none).toMatchObject([{ outcome: 'refused', code: 'RUNTIME_LIBRARY_NOT_FOUND' }]);
  });
});

describe('the daemon', () => {
  test('tells in log and state what runs: CPU, build, TensorRT, its failure and its return', async () => {
    set({ FAKE_ORT_BUILD_MS: '500' });
    const config = path.join(dir, 'irst-edge.json');
    const camera = { id: 'cam0', source: { kind: 'synthetic', width: 160, height: 120, fps: 20 } };
    const runtime = { libonnxruntime: library, cacheDirectory, providers: ['tensorrt', 'cpu'], retryMinSeconds: 1 };
    await writeFile(config, JSON.stringify({ cameras: [camera], runtime, embeddedBroker: { port: 0 } }));
    const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
    const daemon = spawn(process.execPath, [cli, 'run', '-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    const closed = once(daemon, 'close');
    const entries: Record<string, unknown>[] = [];
    createInterface(daemon.stderr).on('line', (line) => {
      if (line.startsWith('{')) entries.push(JSON.parse(line));
    });
    const until = async <T>(what: string, look: () => T | undefined): Promise<T> => {
      for (const end = Date.now() + 60_000; ; await delay(20)) {
        const found = look();
        if (found !== undefined) return found;
        if (Date.now() > end) throw new Error(`waited in vain for ${what}: ${JSON.stringify(entries.slice(-8))}`);
      }
    };
    let client: Awaited<ReturnType<typeof connectAsync>> | undefined;
    try {
      const url = await until('the broker', () => entries.find((e) => typeof e.url === 'string')?.url as string);
      client = await connectAsync(url);
      const states: CameraStateMessage[] = [];
      client.on('message', (_, payload) => states.push(cameraStateSchema.parse(JSON.parse(payload.toString()))));
      await client.subscribeAsync('irst/irst-edge/cam0/state');
      const state = (provider: string, more: (s: CameraStateMessage) => boolean = () => true) =>
        until(`the state on ${provider}`, () => states.find((s) => s.provider === provider && more(s)));
      await state('cpu', (s) => s.runtime?.build?.provider === 'tensorrt');
      expect(await state('tensorrt')).toMatchObject({
        model: { precision: 'fp16' },
        runtime: { library: 'libonnxruntime 1.23.0', refused: [], demotions: 0, golden: { peakErrorPx: 0 } },
      });
      set({ FAKE_ORT_RUN_FAILS: 'CUDA failure 700' });
      const fallen = await state('cpu', (s) => s.runtime?.demotions === 1);
      expect(fallen.runtime).toMatchObject({
        refused: [
          { provider: 'tensorrt', code: 'PROVIDER_FAILED', reason: expect.stringContaining('CUDA failure 700') },
        ],
      });
      set({ FAKE_ORT_RUN_FAILS: undefined });
      await state('tensorrt', (s) => s.runtime?.demotions === 1 && s.runtime.refused.length === 0);
      const steps = entries.flatMap((e) => (e.step && e.step !== 'progress' ? [`${e.step} ${e.provider}`] : []));
      expect(steps.slice(0, 6)).toEqual([
        'serving cpu',
        'building tensorrt',
        'built tensorrt',
        'serving tensorrt',
        'demoted tensorrt',
        'serving cpu',
      ]);
    } finally {
      await client?.endAsync(true);
      daemon.kill('SIGTERM');
      await closed;
    }
    expect(daemon.exitCode).toBe(0);
  }, 180_000);
});
