import * as ort from 'onnxruntime-node';
import type { Provider } from '../types/provider.js';
import { forbidTelemetry } from '../util/no-telemetry.js';
import { type BackendOptions, type HeatMaps, type InferenceBackend, unavailable, unusable } from './backend.js';
import type { LoadedModel } from './manifest.js';

/**
 * onnxruntime-node, on the CPU; on TensorRT or CUDA where its binding and library were built with them.
 *
 * `session.run` of onnxruntime-node 1.30 blocks the event loop of its thread and must not be interrupted by
 * `worker.terminate()` (it aborts the process), so the pipeline's worker is asked to stop instead. It passes no provider options on.
 */
export class OrtNodeBackend implements InferenceBackend {
  readonly library = `onnxruntime-node ${ort.env.versions.node ?? ort.env.versions.common}`;
  readonly runsApart = false;
  private closed: Promise<void> | undefined;

  private constructor(
    readonly provider: Provider,
    private readonly session: ort.InferenceSession,
    private readonly feeds: { image: ort.Tensor },
    private readonly fetches: { heat: ort.Tensor; logsig: ort.Tensor },
    private readonly maps: HeatMaps,
  ) {}

  /** @throws EdgeError PROVIDER_UNAVAILABLE; MODEL_UNUSABLE when the library refuses the file or its inputs and outputs are not ours */
  static async create(model: LoadedModel, options: BackendOptions): Promise<OrtNodeBackend> {
    forbidTelemetry();
    const { provider = 'cpu' } = options;
    let session: ort.InferenceSession;
    try {
      session = await ort.InferenceSession.create(model.bytes, {
        executionProviders: [provider],
        intraOpNumThreads: options.threads,
        interOpNumThreads: 1,
        graphOptimizationLevel: 'all',
        // Planned blocks of memory cost 20 MiB and save no time that can be measured: docs/runtime.md.
        enableMemPattern: false,
        logSeverityLevel: 3,
        extra: {
          session: {
            // Spinning threads save nothing here and cost 16 % of CPU at low frame rates.
            intra_op: { allow_spinning: '0' },
            // A part of the network that silently lands on the CPU would pass for the whole on the GPU.
            ...(provider !== 'cpu' && { disable_cpu_ep_fallback: '1' }),
          },
        },
      });
    } catch (cause) {
      if (provider !== 'cpu') throw unavailable(provider, (cause as Error).message, { cause });
      throw unusable(model, (cause as Error).message, cause);
    }
    const names = `${session.inputNames.join(',')} -> ${session.outputNames.join(',')}`;
    if (names !== 'image -> heat,logsig') throw unusable(model, `inputs and outputs are ${names}`);
    const { width, height } = options;
    const rows = height / model.manifest.output.stride;
    const cols = width / model.manifest.output.stride;
    const maps = { heat: new Float32Array(rows * cols), logsig: new Float32Array(rows * cols), rows, cols };
    const dims = [1, 1, rows, cols];
    const input = options.input?.length === width * height ? options.input : new Float32Array(width * height);
    return new OrtNodeBackend(
      provider,
      session,
      { image: new ort.Tensor('float32', input, [1, 1, height, width]) },
      { heat: new ort.Tensor('float32', maps.heat, dims), logsig: new ort.Tensor('float32', maps.logsig, dims) },
      maps,
    );
  }

  async run(input: Float32Array): Promise<HeatMaps> {
    if (input !== this.feeds.image.data) (this.feeds.image.data as Float32Array).set(input);
    // Preallocated outputs: the library writes into our arrays and returns copies, which are ignored.
    await this.session.run(this.feeds, this.fetches);
    return this.maps;
  }

  close(): Promise<void> {
    this.closed ??= this.session.release();
    return this.closed;
  }
}
