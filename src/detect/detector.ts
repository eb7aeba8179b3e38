import type { Frame } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import type { ProviderChange, ProviderStatus } from '../types/provider.js';
import type { HeatMaps } from './backend.js';
import { type Manifest, readManifest } from './manifest.js';
import { ModelRunner } from './model-runner.js';
import { Normaliser } from './normalise.js';
import { ProviderOpener, RUNTIME_DEFAULTS, type RuntimeOptions } from './provider-opener.js';

export interface DetectorOptions {
  /** Path of a model's manifest.json. */
  manifest: string;
  /** auto: FP16 on a GPU, FP32 on a CPU. */
  precision: 'auto' | 'fp32' | 'fp16';
  threads: number;
  /** minisign public key with which the manifest must be signed; absent: it need not be. */
  publicKey?: string;
  /** What runs the network; absent: onnxruntime-node on the CPU. */
  runtime?: Partial<RuntimeOptions>;
  /** False: the CPU runs the standard build of the network, also where the model has one for it alone. Default: true. */
  blocked?: boolean;
}

export interface DetectorHooks {
  /** Told of every step of the provider, also before `create` resolves. */
  onChange?(change: ProviderChange, status: ProviderStatus): void;
  /** Ends a wait for an engine. */
  signal?: AbortSignal;
}

const CPU_ONLY: Partial<RuntimeOptions> = { providers: ['cpu'], backend: 'onnxruntime-node' };

/** Time a stage took, ms. */
export interface DetectTimings {
  normalise: number;
  infer: number;
}

type Size = { width: number; height: number };

/** Frames to heat maps: normalise, pad to a multiple of 8, run the network. One frame size a detector. */
export class Detector {
  private constructor(
    readonly manifest: Manifest,
    private readonly size: Size,
    private readonly padded: Size,
    private readonly normaliser: Normaliser,
    private readonly runner: ModelRunner,
  ) {}

  /**
   * Loads and proves the model for frames of one size.
   * @throws EdgeError MODEL_*, PROVIDER_NONE, PROVIDER_REQUIRED
   */
  static async create(
    options: DetectorOptions,
    size: Size,
    { onChange, signal }: DetectorHooks = {},
  ): Promise<Detector> {
    const manifest = await readManifest(options.manifest, options.publicKey);
    const { manifest: manifestPath, precision, threads } = options;
    const { width, height } = size;
    const runtime = { ...RUNTIME_DEFAULTS, ...(options.runtime ?? CPU_ONLY) };
    const { publicKey, blocked = true } = options;
    const signed = publicKey === undefined ? {} : { publicKey };
    const model = { manifestPath, ...signed, manifest, precision, threads, width, height, blocked };
    // Where the CPU was asked for and nothing else, there is nothing to prove.
    const opener = new ProviderOpener(runtime, model, options.runtime === undefined ? { cpuRuns: 0 } : {});
    const runner: ModelRunner = new ModelRunner(opener, {
      ...runtime,
      onChange: (change) => onChange?.(change, runner.status()),
    });
    const stop = () => void runner.close();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      await runner.start();
    } catch (error) {
      await runner.close();
      throw error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    return new Detector(manifest, { width, height }, opener.size, new Normaliser(manifest.input.normalisation), runner);
  }

  /** The model that runs now: another precision may come with another provider. */
  get identity(): ModelIdentity {
    return this.runner.identity;
  }

  get provider(): string {
    return this.runner.provider;
  }

  get library(): string {
    return this.runner.library;
  }

  /** Whether the network runs on another thread: what needs no heat map can be computed meanwhile. */
  get runsApart(): boolean {
    return this.runner.runsApart;
  }

  get status(): ProviderStatus {
    return this.runner.status();
  }

  /** Heat maps of one frame; cells beyond the frame (padding) may hold peaks that the decoder drops. */
  async run(frame: Frame, timings: DetectTimings): Promise<HeatMaps> {
    if (frame.width !== this.size.width || frame.height !== this.size.height) {
      throw new RangeError(
        `frame is ${frame.width}x${frame.height}, detector was made for ${this.size.width}x${this.size.height}`,
      );
    }
    const start = performance.now();
    const { input } = this.runner;
    this.normaliser.run(frame.data, frame.width, frame.height, input, this.padded.width, this.padded.height);
    const normalised = performance.now();
    const maps = await this.runner.run(input);
    timings.normalise = normalised - start;
    timings.infer = performance.now() - normalised;
    return maps;
  }

  async close(): Promise<void> {
    await this.runner.close();
  }
}
