import { readFile } from 'node:fs/promises';
import { EdgeError, EXIT } from '../types/errors.js';
import type { ModelIdentity } from '../types/model.js';
import type { BackendKind, Provider } from '../types/provider.js';
import { type InferenceBackend, oneLine, unavailable } from './backend.js';
import { cpuBlock } from './cpu-block.js';
import { EngineBuilder } from './engine-builder.js';
import { EngineCache, type EngineFacts, engineDirectory, engineKey } from './engine-cache.js';
import { cacheOptions, contextModel, type EngineJob, goldenTruth, openBackend } from './engine-job.js';
import {
  type Golden,
  type GoldenOutput,
  type GoldenResult,
  goldenOutput,
  loadGolden,
  proveGolden,
  smallestGolden,
} from './golden.js';
import {
  BUNDLED_MANIFEST,
  blockedFile,
  chooseFile,
  type LoadedModel,
  loadModel,
  type Manifest,
  paddedSize,
} from './manifest.js';
import { OrtLibrary } from './ort-api.js';
import { findLibrary, missingProviderFile } from './ort-library-path.js';
import { type Platform, type PlatformSources, readPlatform } from './platform.js';

/** What runs the network, and how it is chosen. Plain data. */
export interface RuntimeOptions {
  /** The most wanted first. */
  providers: readonly Provider[];
  /** Only this one may serve. */
  require?: Provider;
  /** auto: `libonnxruntime` for GPUs where one is found, else `onnxruntime-node`. */
  backend: BackendKind | 'auto';
  /** File or folder; absent: the usual places. */
  libonnxruntime?: string;
  /** Folder of the engines. */
  cacheDirectory?: string;
  /** By the libraries' own names: `trt_builder_optimization_level`. */
  tensorrtOptions?: Readonly<Record<string, string>>;
  cudaOptions?: Readonly<Record<string, string>>;
  /** What builds TensorRT engines. auto: the library, where it takes options; else trtexec. */
  engineBuilder: 'auto' | 'library' | 'trtexec';
  trtexec: string;
  /** Longest time of a build. */
  buildTimeoutMs: number;
  /** First and longest wait before a provider that failed is tried again. */
  retryMinMs: number;
  retryMaxMs: number;
}

/** Those that may serve, the most wanted first. */
export function wantedProviders({
  providers,
  require,
}: Pick<RuntimeOptions, 'providers' | 'require'>): readonly Provider[] {
  return require === undefined ? providers : [require];
}

export const RUNTIME_DEFAULTS: RuntimeOptions = {
  providers: ['tensorrt', 'cuda', 'cpu'],
  backend: 'auto',
  engineBuilder: 'auto',
  trtexec: '/usr/src/tensorrt/bin/trtexec',
  buildTimeoutMs: 30 * 60_000,
  retryMinMs: 30_000,
  retryMaxMs: 3_600_000,
};

export interface OpenerModel {
  manifestPath: string;
  /** Of minisign: the manifest must be signed with it, also where another process reads it again. */
  publicKey?: string;
  manifest: Manifest;
  /** auto: FP16 on a GPU, FP32 on a CPU, which only converts FP16 back and forth. */
  precision: 'auto' | 'fp32' | 'fp16';
  threads: number;
  /** Of the frames, px. */
  width: number;
  height: number;
  /** False: the CPU runs the standard build of the network, not the one in its own order of channels. Default: true. */
  blocked?: boolean;
}

/** A provider that computed the golden frame's truth. */
export interface Opened {
  provider: Provider;
  backend: InferenceBackend;
  identity: ModelIdentity;
  /** The network's input: `backend` takes it where it lies. */
  input: Float32Array;
  /** Absent: the FP32 network on the CPU, at a size for which the model brings no truth; it is the truth. */
  golden?: GoldenResult;
  /** Channels a block, where the CPU runs the build made for its own; absent: the standard one. */
  block?: number;
  /** Why that build does not run, where there is one. */
  blockedRefused?: string;
}

/** A provider that first needs an engine built, or a first trial, in another process. */
export interface Pending {
  pending: true;
  provider: Exclude<Provider, 'cpu'>;
  key: string;
  facts: EngineFacts;
  how: EngineJob['how'];
  libraryPath?: string;
  model: LoadedModel;
  /** Why there is none, where there was one. */
  because?: string;
}

/** What tests replace. */
export interface OpenerParts {
  builder?: EngineBuilder;
  platform?: PlatformSources;
  /** Instead of the usual places. */
  places?: readonly string[];
  /** Timed runs of the golden frame on the CPU; 0: it is not run there. */
  cpuRuns?: number;
}

/** Blocked builds that were tried in this process, by sha256, each with what came of it. */
const PROVEN = new Map<string, Promise<void>>();

/** Loading an engine may end this process so often before it is not loaded any more. */
const MAX_CRASHES = 2;
const LOCK_POLL_MS = 500;
/** Timed runs of the golden frame after the first: a CPU takes long for each, and a stop has to wait for it. */
const CPU_RUNS = 0;
export const GPU_RUNS = 5;

/** Opens providers one by one, for one model and size: finds library and engine, opens, and proves with the golden frame. */
export class ProviderOpener {
  /** Of the network's input, px. */
  readonly size: { width: number; height: number };
  readonly cache: EngineCache;
  private readonly builder: EngineBuilder;
  private golden: Promise<Golden> | undefined;
  private truth: GoldenOutput | undefined;
  private platform: Promise<Platform> | undefined;
  /** Engines that did not load and were built once more. */
  private readonly rebuilt = new Set<string>();

  constructor(
    private readonly runtime: RuntimeOptions,
    private readonly model: OpenerModel,
    private readonly parts: OpenerParts = {},
  ) {
    const file = chooseFile(model.manifest, model.width, model.height, this.precisionOn('cpu'));
    const least = paddedSize(model.manifest, model.width, model.height);
    this.size = { width: file.width ?? least.width, height: file.height ?? least.height };
    this.cache = new EngineCache(engineDirectory(runtime.cacheDirectory));
    this.builder = parts.builder ?? new EngineBuilder(runtime.buildTimeoutMs);
  }

  /**
   * @param keep an engine that is damaged or does not load stays where it is: to look, not to mend
   * @throws EdgeError why it does not serve
   */
  async open(provider: Provider, keep = false): Promise<Opened | Pending> {
    const { kind, libraryPath } = await this.libraryFor(provider);
    const model = await this.load(provider);
    if (provider === 'cpu') return this.openCpu(kind, libraryPath, model);
    const library = await this.libraryName(kind, libraryPath);
    const platform = await this.readPlatform();
    const how = this.howToBuild(provider, kind);
    const options = this.providerOptions(provider, platform, model);
    const { width, height } = this.size;
    const facts: EngineFacts = {
      ...platform,
      provider,
      backend: kind,
      library,
      model: model.file.sha256,
      width,
      height,
      options: { ...options, builder: how },
    };
    const key = engineKey(facts);
    const pending: Pending = { pending: true, provider, key, facts, how, model, ...(libraryPath && { libraryPath }) };
    const found = await this.cache.lookup(key);
    if (found === undefined) return pending;
    if ('problem' in found) {
      if (!keep) await this.cache.discard(key);
      return { ...pending, because: `the engine in the cache is damaged (${found.problem})` };
    }
    const crashes = await this.cache.crashes(key);
    if (crashes >= MAX_CRASHES) {
      throw new EdgeError('ENGINE_CRASHED', `${provider}: loading its engine ended this process ${crashes} times`, {
        hint: `remove ${this.cache.folder(key)}.loading to try again`,
        exitCode: EXIT.unavailable,
      });
    }
    try {
      await this.cache.noteLoad(key);
      const fromContext = found.entry.kind === 'context';
      const opened = await this.prove(
        provider,
        kind,
        libraryPath,
        fromContext ? await contextModel(model, found.folder) : model,
        { ...options, ...(found.entry.kind === 'library' && cacheOptions(found.folder, false)) },
      );
      return opened;
    } catch (cause) {
      // Once: an engine that does not load may be of a driver that was updated, or damaged in a way that its sum does not show.
      if (keep || this.rebuilt.has(key)) throw cause;
      this.rebuilt.add(key);
      await this.cache.discard(key);
      return { ...pending, because: `the engine did not load (${(cause as Error).message})` };
    } finally {
      await this.cache.noteLoaded(key);
    }
  }

  /** In this CPU's own order of channels where that computes the same; else as everywhere. */
  private async openCpu(kind: BackendKind, libraryPath: string | undefined, plain: LoadedModel): Promise<Opened> {
    const { manifest, manifestPath, blocked = true } = this.model;
    const prove = (model: LoadedModel) => this.prove('cpu', kind, libraryPath, model, {});
    if (!blocked || kind !== 'onnxruntime-node' || plain.file.precision !== 'fp32') return prove(plain);
    const block = await cpuBlock();
    const file = block === undefined ? undefined : blockedFile(manifest, block);
    if (block === undefined || file === undefined) return prove(plain);
    try {
      const model = await loadModel(manifestPath, manifest, file);
      await this.proveBlocked(model);
      return { ...(await prove(model)), block };
    } catch (cause) {
      return { ...(await prove(plain)), blockedRefused: oneLine((cause as Error).message) };
    }
  }

  /**
   * Once a process: the file is for one library on one kind of CPU, so it must show that it computes the same. It serves any
   * size, so the smallest golden frame that has a truth tells.
   * @throws EdgeError
   */
  private proveBlocked(model: LoadedModel): Promise<void> {
    const { sha256 } = model.file;
    const known = PROVEN.get(sha256);
    if (known !== undefined) return known;
    const { manifestPath, manifest } = this.model;
    const proof = (async () => {
      const golden = await smallestGolden(manifestPath, manifest);
      if (golden === undefined) throw new Error('the model has no golden frame that could prove it');
      const { width, height, expected } = golden;
      const backend = await openBackend('onnxruntime-node', undefined, model, { width, height, threads: 1 });
      try {
        await proveGolden(backend, golden, expected, 0);
      } finally {
        await backend.close();
      }
    })();
    PROVEN.set(sha256, proof);
    return proof;
  }

  /** Builds in another process what `open` asked for; then `open` finds it. @throws EdgeError */
  async build(
    pending: Pending,
    hooks: {
      onPhase?(phase: 'waiting' | 'building' | 'proving'): void;
      onDetail?(text: string): void;
      signal?: AbortSignal;
    } = {},
  ): Promise<void> {
    const { key, facts, provider, how, model, libraryPath } = pending;
    const started = performance.now();
    let lock = await this.cache.lock(key);
    if (lock === undefined) hooks.onPhase?.('waiting');
    while (lock === undefined) {
      await sleep(LOCK_POLL_MS, hooks.signal);
      const found = await this.cache.lookup(key);
      if (found !== undefined && !('problem' in found)) return;
      lock = await this.cache.lock(key);
    }
    let staged: string | undefined;
    try {
      // Somebody may have built it between the look and the lock.
      const found = await this.cache.lookup(key);
      if (found !== undefined && !('problem' in found)) return;
      staged = await this.cache.stage(key);
      const platform = await this.readPlatform();
      await this.cache.copyTimings(platform, staged, 'in');
      const job: EngineJob = {
        how,
        provider,
        backend: facts.backend,
        manifestPath: this.model.manifestPath,
        ...(this.model.publicKey !== undefined && { publicKey: this.model.publicKey }),
        file: model.file,
        ...this.size,
        threads: this.model.threads,
        folder: staged,
        providerOptions: this.providerOptions(provider, platform, model),
        ...(libraryPath === undefined ? {} : { libraryPath }),
        ...(how === 'trtexec' && {
          trtexec: { program: this.runtime.trtexec, args: this.trtexecArgs(platform, model) },
        }),
        ...(platform.computeCapability && { computeCapability: platform.computeCapability }),
      };
      await this.builder.build(job, hooks);
      await this.cache.takeTimings(platform, staged);
      await this.cache.commit(key, staged, {
        facts,
        kind: provider === 'cuda' ? 'proof' : how === 'trtexec' ? 'context' : 'library',
        buildSeconds: (performance.now() - started) / 1000,
      });
    } finally {
      if (staged !== undefined) await this.cache.dropStaged(staged);
      await lock.release();
    }
  }

  /** The file for a provider, at the one size that all of them take. */
  private async load(provider: Provider): Promise<LoadedModel> {
    const { manifestPath, manifest } = this.model;
    const { width, height } = this.size;
    const wanted = this.precisionOn(provider);
    const fits = (precision: 'fp32' | 'fp16') => {
      const file = chooseFile(manifest, width, height, precision);
      return (file.width ?? width) === width && (file.height ?? height) === height ? file : undefined;
    };
    const file = fits(wanted);
    if (file === undefined) {
      throw new EdgeError('MODEL_NO_SIZE', `model ${manifest.name} has no ${wanted} file of ${width}x${height}`, {
        hint: 'export the same sizes in both precisions',
        exitCode: EXIT.config,
      });
    }
    return loadModel(manifestPath, manifest, file);
  }

  private precisionOn(provider: Provider): 'fp32' | 'fp16' {
    const { precision, manifest } = this.model;
    if (precision !== 'auto') return precision;
    return provider !== 'cpu' && manifest.files.some((f) => f.precision === 'fp16') ? 'fp16' : 'fp32';
  }

  /** The library for a provider. @throws EdgeError PROVIDER_UNAVAILABLE, RUNTIME_LIBRARY_NOT_FOUND */
  private async libraryFor(provider: Provider): Promise<{ kind: BackendKind; libraryPath?: string }> {
    const { backend, libonnxruntime } = this.runtime;
    const node = { kind: 'onnxruntime-node' } as const;
    if (backend === 'auto' && provider === 'cpu') return node;
    const missing: string[] = [];
    if (backend !== 'onnxruntime-node') {
      const libraryPath = await findLibrary(libonnxruntime, this.parts.places);
      if (libraryPath === undefined) missing.push('no libonnxruntime.so in the usual places');
      else {
        const lacks = await missingProviderFile('libonnxruntime', libraryPath, provider);
        if (lacks === undefined) return { kind: 'libonnxruntime', libraryPath };
        missing.push(`${lacks} is not beside ${libraryPath}`);
      }
    }
    if (backend !== 'libonnxruntime') {
      const lacks = await missingProviderFile('onnxruntime-node', undefined, provider);
      if (lacks === undefined) return node;
      missing.push(`onnxruntime-node comes without ${lacks}`);
    }
    throw unavailable(provider, missing.join('; '), { hint: 'install ONNX Runtime with it; docs/runtime.md' });
  }

  private async libraryName(kind: BackendKind, libraryPath: string | undefined): Promise<string> {
    if (kind === 'onnxruntime-node' || libraryPath === undefined) return nodeLibraryName();
    return `libonnxruntime ${(await OrtLibrary.open(libraryPath)).version}`;
  }

  private howToBuild(provider: Exclude<Provider, 'cpu'>, kind: BackendKind): EngineJob['how'] {
    if (provider === 'cuda') return 'library';
    // onnxruntime-node passes no options on, so its TensorRT would build anew at every start.
    const auto = kind === 'onnxruntime-node' ? 'trtexec' : 'library';
    return this.runtime.engineBuilder === 'auto' ? auto : this.runtime.engineBuilder;
  }

  private providerOptions(
    provider: Exclude<Provider, 'cpu'>,
    platform: Platform,
    model: LoadedModel,
  ): Record<string, string> {
    if (provider === 'cuda') return { ...this.runtime.cudaOptions };
    const { width, height } = this.size;
    const shape = `image:1x1x${height}x${width}`;
    return {
      // All of the memory by default, which is too much where the CPU shares it.
      trt_max_workspace_size: String(512 * 1024 * 1024),
      // From TensorRT 10 on the types of the file are obeyed, and this option would end that.
      ...(model.file.precision === 'fp16' && weaklyTyped(platform) && { trt_fp16_enable: '1' }),
      ...(model.file.width === null && {
        trt_profile_min_shapes: shape,
        trt_profile_opt_shapes: shape,
        trt_profile_max_shapes: shape,
      }),
      ...this.runtime.tensorrtOptions,
    };
  }

  private trtexecArgs(platform: Platform, model: LoadedModel): string[] {
    const { width, height } = this.size;
    const fp16 = model.file.precision === 'fp16';
    return [
      ...(weaklyTyped(platform) ? (fp16 ? ['--fp16'] : []) : ['--stronglyTyped']),
      // TensorRT 8.5 has it under its old name only.
      platform.tensorrt?.startsWith('8.5') ? '--buildOnly' : '--skipInference',
      '--memPoolSize=workspace:512',
      ...(model.file.width === null ? [`--shapes=image:1x1x${height}x${width}`] : []),
    ];
  }

  private readPlatform(): Promise<Platform> {
    this.platform ??= readPlatform(this.parts.platform);
    return this.platform;
  }

  private async prove(
    provider: Provider,
    kind: BackendKind,
    libraryPath: string | undefined,
    model: LoadedModel,
    providerOptions: Readonly<Record<string, string>>,
  ): Promise<Opened> {
    const { manifestPath, manifest, threads } = this.model;
    const { width, height } = this.size;
    const input = new Float32Array(new ArrayBuffer(4 * width * height));
    const identity = { name: manifest.name, sha256: model.file.sha256, precision: model.file.precision };
    const options = { ...this.size, threads, provider, providerOptions, input };
    if (provider === 'cpu' && this.parts.cpuRuns === 0) {
      const backend = await openBackend(kind, libraryPath, model, options);
      try {
        // The first run allocates and prepares; let no frame pay for it.
        await backend.run(input);
        return { provider, backend, identity, input };
      } catch (error) {
        await backend.close();
        throw error;
      }
    }
    // Where nothing else has computed the truth yet, the FP32 network on the CPU is it.
    this.golden ??= loadGolden(manifestPath, BUNDLED_MANIFEST, manifest, this.size);
    const golden = await this.golden;
    const isTruth = provider === 'cpu' && identity.precision === 'fp32' && golden.expected === undefined;
    if (!isTruth) this.truth ??= golden.expected ?? (await goldenTruth(manifestPath, manifest, this.size)).expected;
    const backend = await openBackend(kind, libraryPath, model, options);
    try {
      if (isTruth) {
        this.truth = goldenOutput(await backend.run(golden.input));
        // Nothing to compare with; only who asks for times gets them.
        if (this.parts.cpuRuns === undefined) return { provider, backend, identity, input };
      }
      const runs = provider === 'cpu' ? (this.parts.cpuRuns ?? CPU_RUNS) : GPU_RUNS;
      return { provider, backend, identity, input, golden: await proveGolden(backend, golden, this.truth!, runs) };
    } catch (error) {
      await backend.close();
      throw error;
    }
  }
}

/** TensorRT before 10 takes precisions as wishes, one by one. An unknown version counts as new. */
const weaklyTyped = ({ tensorrt }: Platform): boolean => tensorrt !== undefined && Number.parseInt(tensorrt, 10) < 10;

async function nodeLibraryName(): Promise<string> {
  const file = new URL(import.meta.resolve('onnxruntime-node/package.json'));
  return `onnxruntime-node ${(JSON.parse(await readFile(file, 'utf8')) as { version: string }).version}`;
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(
        new EdgeError('ENGINE_BUILD_FAILED', 'the wait for an engine was stopped', { exitCode: EXIT.unavailable }),
      );
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
    if (signal?.aborted) stop();
  });
}
