import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EdgeError } from '../types/errors.js';
import type { Provider, ProviderChange } from '../types/provider.js';
import type { HeatMaps } from './backend.js';
import { ModelRunner, type RunnerOptions } from './model-runner.js';
import type { Opened, Pending } from './provider-opener.js';

const refusal = (message = 'not here') => new EdgeError('PROVIDER_UNAVAILABLE', message, { hint: 'install it' });

/** A network whose heat says which provider it is: the place in the ladder. */
class FakeProvider {
  runs = 0;
  closed = 0;
  fails: Error | undefined;
  readonly opened: Opened;
  constructor(readonly provider: Provider) {
    const heat = Float32Array.of(['tensorrt', 'cuda', 'cpu'].indexOf(provider));
    const maps: HeatMaps = { heat, logsig: new Float32Array(1), rows: 1, cols: 1 };
    this.opened = {
      provider,
      identity: { name: 'm', sha256: 'a'.repeat(64), precision: provider === 'cpu' ? 'fp32' : 'fp16' },
      input: new Float32Array(4),
      golden: { heatError: 0.001, peakErrorPx: 0.01, logSigmaError: 0, latencyMs: 3 },
      backend: {
        provider,
        library: 'fake 1.0',
        runsApart: false,
        run: async () => {
          this.runs++;
          if (this.fails) throw this.fails;
          return maps;
        },
        close: async () => {
          this.closed++;
        },
      },
    };
  }
}

/** Answers each `open` with the next of a provider's list; the last one stays. */
class FakeOpener {
  readonly asked: Provider[] = [];
  builds: Provider[] = [];
  build = async (pending: Pending): Promise<void> => {
    this.builds.push(pending.provider);
  };
  constructor(private readonly script: Partial<Record<Provider, (FakeProvider | Error | 'pending')[]>>) {}
  async open(provider: Provider): Promise<Opened | Pending> {
    this.asked.push(provider);
    const list = this.script[provider] ?? [refusal()];
    const next = list.length > 1 ? list.shift()! : list[0]!;
    if (next instanceof Error) throw next;
    if (next === 'pending') return { pending: true, provider } as Pending;
    return next.opened;
  }
}

let changes: ProviderChange[];
let runner: ModelRunner;
function create(opener: FakeOpener, options: Partial<RunnerOptions> = {}): ModelRunner {
  changes = [];
  runner = new ModelRunner(opener, {
    providers: ['tensorrt', 'cuda', 'cpu'],
    retryMinMs: 1000,
    retryMaxMs: 8000,
    random: () => 0,
    onChange: (change) => changes.push(change),
    ...options,
  });
  return runner;
}
const steps = () => changes.map(({ kind, provider }) => `${kind} ${provider}`);
/** Which provider worked this frame. */
const frame = async () => (await runner.run(runner.input)).heat[0];
const settle = () => vi.advanceTimersByTimeAsync(0);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(async () => {
  await runner.close();
  vi.useRealTimers();
});

describe('the ladder', () => {
  test('the first provider that opens serves; the reason of every refusal is kept', async () => {
    const cpu = new FakeProvider('cpu');
    const opener = new FakeOpener({ tensorrt: [refusal('no library')], cuda: [refusal('no driver')], cpu: [cpu] });
    await create(opener).start();
    expect(opener.asked).toEqual(['tensorrt', 'cuda', 'cpu']);
    expect(await frame()).toBe(2);
    expect(runner.status()).toMatchObject({
      provider: 'cpu',
      library: 'fake 1.0',
      wanted: ['tensorrt', 'cuda', 'cpu'],
      refused: [
        { provider: 'tensorrt', code: 'PROVIDER_UNAVAILABLE', reason: 'no library', hint: 'install it' },
        { provider: 'cuda', reason: 'no driver' },
      ],
      demotions: 0,
      golden: { heatError: 0.001, peakErrorPx: 0.01, latencyMs: 3 },
    });
    expect(steps()).toEqual(['refused tensorrt', 'refused cuda', 'serving cpu']);
    await runner.close();
    expect(cpu.closed).toBe(1);
  });

  test('nothing below the winner is opened', async () => {
    const opener = new FakeOpener({ tensorrt: [new FakeProvider('tensorrt')] });
    await create(opener).start();
    expect(opener.asked).toEqual(['tensorrt']);
    expect([runner.provider, runner.identity.precision]).toEqual(['tensorrt', 'fp16']);
  });

  test('a required provider that does not serve is an error with every reason; the others are not asked', async () => {
    const opener = new FakeOpener({ tensorrt: [refusal('no library')], cpu: [new FakeProvider('cpu')] });
    await expect(create(opener, { require: 'tensorrt' }).start()).rejects.toMatchObject({
      code: 'PROVIDER_REQUIRED',
      exitCode: 69,
      message: expect.stringContaining('no library'),
    });
    expect(opener.asked).toEqual(['tensorrt']);
  });

  test('no provider at all; and a broken model is called by its name', async () => {
    const none = new FakeOpener({ cpu: [refusal('out of memory')] });
    await expect(create(none, { providers: ['cuda', 'cpu'] }).start()).rejects.toMatchObject({
      code: 'PROVIDER_NONE',
      message: 'no provider serves: not here; out of memory',
    });
    await runner.close();
    const broken = new FakeOpener({ cpu: [new EdgeError('MODEL_SHA_MISMATCH', 'changed')] });
    await expect(create(broken).start()).rejects.toMatchObject({ code: 'MODEL_SHA_MISMATCH' });
  });
});

describe('an engine that is not built yet', () => {
  test('is built while the next provider serves, and taken into service between two frames', async () => {
    const [trt, cpu] = [new FakeProvider('tensorrt'), new FakeProvider('cpu')];
    const opener = new FakeOpener({ tensorrt: ['pending', trt], cuda: ['pending'], cpu: [cpu] });
    let finish = () => {};
    opener.build = async () => {
      opener.builds.push('tensorrt');
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
    };
    await create(opener).start();
    expect(await frame()).toBe(2);
    await vi.advanceTimersByTimeAsync(25_000);
    expect(runner.status().build).toMatchObject({ provider: 'tensorrt', phase: 'building', elapsedSeconds: 25 });
    expect(changes.filter((c) => c.kind === 'progress').at(-1)?.message).toContain('20 s');
    expect(await frame()).toBe(2);
    finish();
    await settle();
    // Proven, but the frame under way keeps its provider.
    expect(runner.provider).toBe('cpu');
    expect(await frame()).toBe(0);
    expect(runner.provider).toBe('tensorrt');
    expect(cpu.closed).toBe(1);
    expect(runner.status().build).toBeUndefined();
    // The one below it is not needed any more.
    expect(opener.builds).toEqual(['tensorrt']);
    expect(steps().filter((s) => !s.startsWith('progress'))).toEqual([
      'serving cpu',
      'building tensorrt',
      'built tensorrt',
      'serving tensorrt',
    ]);
  });

  test('that fails is refused with its reason, and the next one is built', async () => {
    const [cuda, cpu] = [new FakeProvider('cuda'), new FakeProvider('cpu')];
    const opener = new FakeOpener({ tensorrt: ['pending'], cuda: ['pending', cuda], cpu: [cpu] });
    opener.build = async ({ provider }) => {
      opener.builds.push(provider);
      if (provider === 'tensorrt') throw new EdgeError('ENGINE_BUILD_CRASHED', 'was ended by SIGSEGV');
    };
    await create(opener).start();
    await settle();
    expect(await frame()).toBe(1);
    expect(runner.status().refused).toMatchObject([{ provider: 'tensorrt', code: 'ENGINE_BUILD_CRASHED' }]);
  });

  test('is waited for where nothing else may serve', async () => {
    const opener = new FakeOpener({ tensorrt: ['pending', new FakeProvider('tensorrt')] });
    await create(opener, { require: 'tensorrt' }).start();
    expect(opener.builds).toEqual(['tensorrt']);
    expect(await frame()).toBe(0);
  });

  test('that fails is tried again later, while another provider serves', async () => {
    const [tensorrt, cpu] = [new FakeProvider('tensorrt'), new FakeProvider('cpu')];
    const opener = new FakeOpener({ tensorrt: ['pending', 'pending', tensorrt], cpu: [cpu] });
    let builds = 0;
    opener.build = async () => {
      if (++builds === 1) throw refusal('no memory');
    };
    create(opener, { providers: ['tensorrt', 'cpu'] });
    await runner.start();
    await settle();
    expect(runner.status()).toMatchObject({
      provider: 'cpu',
      refused: [{ provider: 'tensorrt', reason: 'no memory' }],
    });
    expect(runner.status().retryAtMs).toBeDefined();
    await vi.advanceTimersByTimeAsync(1000);
    expect(await frame()).toBe(0);
    expect(builds).toBe(2);
    expect(runner.status()).toMatchObject({ provider: 'tensorrt', refused: [] });
  });

  test('that is done while the provider beside it failed does not give way to that one again', async () => {
    const [tensorrt, cuda, cpu] = (['tensorrt', 'cuda', 'cpu'] as const).map((p) => new FakeProvider(p)) as [
      FakeProvider,
      FakeProvider,
      FakeProvider,
    ];
    const opener = new FakeOpener({ tensorrt: ['pending', tensorrt], cuda: [cuda], cpu: [cpu] });
    let finish = () => {};
    opener.build = () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      });
    await create(opener).start();
    expect(await frame()).toBe(1);
    cuda.fails = new Error('CUDA failure 2: out of memory');
    expect(await frame()).toBe(2);
    // Its retry is due, and waits for the build.
    await vi.advanceTimersByTimeAsync(5000);
    finish();
    await settle();
    expect(await frame()).toBe(0);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await frame()).toBe(0);
    expect([tensorrt.closed, opener.asked.filter((p) => p === 'cuda').length]).toEqual([0, 1]);
  });

  test('that fails is tried again later though a lesser one was built instead', async () => {
    const [tensorrt, cuda, cpu] = [new FakeProvider('tensorrt'), new FakeProvider('cuda'), new FakeProvider('cpu')];
    const opener = new FakeOpener({ tensorrt: ['pending', 'pending', tensorrt], cuda: ['pending', cuda], cpu: [cpu] });
    opener.build = async ({ provider }) => {
      opener.builds.push(provider);
      if (opener.builds.length === 1) throw refusal('no memory');
    };
    await create(opener).start();
    await settle();
    expect(await frame()).toBe(1);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await frame()).toBe(0);
    expect(opener.builds).toEqual(['tensorrt', 'cuda', 'tensorrt']);
    expect(cuda.closed).toBe(1);
  });

  test('that never comes to be is given up after three builds', async () => {
    const opener = new FakeOpener({ tensorrt: ['pending'], cpu: [new FakeProvider('cpu')] });
    await create(opener).start();
    await settle();
    expect(opener.builds).toHaveLength(3);
    expect(runner.status().refused).toMatchObject([{ provider: 'tensorrt', code: 'ENGINE_BUILD_FAILED' }, {}]);
  });

  test('is not waited for when the runner closes', async () => {
    const opener = new FakeOpener({ tensorrt: ['pending'], cpu: [new FakeProvider('cpu')] });
    let stopped = false;
    opener.build = (_, hooks?: { signal?: AbortSignal }) =>
      new Promise((_resolve, reject) => {
        hooks!.signal!.addEventListener('abort', () => {
          stopped = true;
          reject(new Error('stopped'));
        });
      });
    await create(opener).start();
    await settle();
    await runner.close();
    expect(stopped).toBe(true);
    expect(steps()).not.toContain('refused tensorrt');
  });
});

describe('a provider that fails while it serves', () => {
  test('the next one works the same frame; the failed one comes back after a growing wait', async () => {
    const [first, second, cpu] = [new FakeProvider('tensorrt'), new FakeProvider('tensorrt'), new FakeProvider('cpu')];
    const opener = new FakeOpener({ tensorrt: [first, refusal('driver gone'), second], cpu: [cpu] });
    await create(opener).start();
    expect(await frame()).toBe(0);
    first.fails = new Error('CUDA failure 700');
    runner.input[0] = 42;
    expect(await frame()).toBe(2);
    expect(first.closed).toBe(1);
    expect(runner.status()).toMatchObject({
      provider: 'cpu',
      demotions: 1,
      refused: [
        { provider: 'tensorrt', code: 'PROVIDER_FAILED', reason: expect.stringContaining('CUDA failure 700') },
        {},
      ],
      retryAtMs: Date.now() + 1000,
    });
    expect(changes.map((c) => c.kind)).toContain('demoted');
    await vi.advanceTimersByTimeAsync(1000);
    expect(runner.status()).toMatchObject({ provider: 'cpu', retryAtMs: Date.now() + 2000 });
    expect(runner.status().refused[0]).toMatchObject({ reason: 'driver gone' });
    await vi.advanceTimersByTimeAsync(2000);
    expect(await frame()).toBe(0);
    expect([runner.status().refused.map((r) => r.provider), runner.status().retryAtMs]).toEqual([['cuda'], undefined]);
    expect(cpu.closed).toBe(1);
  });

  test('one between it and the next that was never needed is proven behind that', async () => {
    const [tensorrt, cuda, cpu] = [new FakeProvider('tensorrt'), new FakeProvider('cuda'), new FakeProvider('cpu')];
    const opener = new FakeOpener({ tensorrt: [tensorrt, refusal('gone')], cuda: ['pending', cuda], cpu: [cpu] });
    await create(opener).start();
    tensorrt.fails = new Error('CUDA failure 700');
    expect(await frame()).toBe(2);
    await settle();
    expect(opener.builds).toEqual(['cuda']);
    expect(await frame()).toBe(1);
  });

  test('one that was refused because the failed one held its memory is tried again as well', async () => {
    const [tensorrt, cuda, cpu] = [new FakeProvider('tensorrt'), new FakeProvider('cuda'), new FakeProvider('cpu')];
    const opener = new FakeOpener({
      tensorrt: [tensorrt, refusal('gone')],
      cuda: [refusal('out of memory'), cuda],
      cpu: [cpu],
    });
    await create(opener).start();
    tensorrt.fails = new Error('CUDA failure 700');
    expect(await frame()).toBe(2);
    await vi.advanceTimersByTimeAsync(1000);
    expect(await frame()).toBe(1);
  });

  test('where no other one is left, the error is the frame’s', async () => {
    const cpu = new FakeProvider('cpu');
    await create(new FakeOpener({ cpu: [cpu] })).start();
    cpu.fails = new Error('bad');
    await expect(frame()).rejects.toThrow('bad');
    cpu.fails = undefined;
    expect(await frame()).toBe(2);
    expect(runner.status().demotions).toBe(0);
  });

  test('a required one is not replaced', async () => {
    const trt = new FakeProvider('tensorrt');
    const opener = new FakeOpener({ tensorrt: [trt], cpu: [new FakeProvider('cpu')] });
    await create(opener, { require: 'tensorrt' }).start();
    trt.fails = new Error('CUDA failure 700');
    await expect(frame()).rejects.toThrow('CUDA failure 700');
    expect(opener.asked).toEqual(['tensorrt']);
  });
});
