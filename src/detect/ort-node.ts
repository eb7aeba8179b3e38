import * as ort from 'onnxruntime-node';
import { EdgeError, EXIT } from '../types/errors.js';
import type { BackendOptions, HeatMaps, InferenceBackend } from './backend.js';
import type { LoadedModel } from './manifest.js';

/**
 * onnxruntime-node on the CPU execution provider.
 *
 * `session.run` of onnxruntime-node 1.30 blocks the event loop of its thread and must not be interrupted by
 * `worker.terminate()` (it aborts the process), so the pipeline's worker is asked to stop instead.
 */
export class OrtNodeBackend implements InferenceBackend {
  readonly library = `onnxruntime-node ${ort.env.versions.node ?? ort.env.versions.common}`;
  readonly provider = 'cpu';

  private constructor(
    private readonly session: ort.InferenceSession,
    private readonly feeds: { image: ort.Tensor },
    private readonly fetches: { heat: ort.Tensor; logsig: ort.Tensor },
    private readonly maps: HeatMaps,
  ) {}

  /** @throws EdgeError MODEL_UNUSABLE when the library refuses the file or its inputs and outputs are not ours */
  static async create(model: LoadedModel, options: BackendOptions): Promise<OrtNodeBackend> {
    let session: ort.InferenceSession;
    try {
      session = await ort.InferenceSession.create(model.bytes, {
        executionProviders: ['cpu'],
        intraOpNumThreads: options.threads,
        interOpNumThreads: 1,
        graphOptimizationLevel: 'all',
        logSeverityLevel: 3,
        // Spinning threads save nothing here and cost 16 % of CPU at low frame rates.
        extra: { session: { intra_op: { allow_spinning: '0' } } },
      });
    } catch (cause) {
      throw unusable(model, (cause as Error).message, cause);
    }
    const names = `${session.inputNames.join(',')} -> ${session.outputNames.join(',')}`;
    if (names !== 'image -> heat,logsig') throw unusable(model, `inputs and outputs are ${names}`);
    const { width, height } = options;
    const rows = height / model.manifest.output.stride;
    const cols = width / model.manifest.output.stride;
    const maps = { heat: new Float32Array(rows * cols), logsig: new Float32Array(rows * cols), rows, cols };
    const dims = [1, 1, rows, cols];
    return new OrtNodeBackend(
      session,
      { image: new ort.Tensor('float32', new Float32Array(width * height), [1, 1, height, width]) },
      { heat: new ort.Tensor('float32', maps.heat, dims), logsig: new ort.Tensor('float32', maps.logsig, dims) },
      maps,
    );
  }

  async run(input: Float32Array): Promise<HeatMaps> {
    (this.feeds.image.data as Float32Array).set(input);
    // Preallocated outputs: the library writes into our arrays and returns copies, which are ignored.
    await this.session.run(this.feeds, this.fetches);
    return this.maps;
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}

function unusable(model: LoadedModel, why: string, cause?: unknown): EdgeError {
  return new EdgeError('MODEL_UNUSABLE', `${model.path}: ${why.split('\n')[0]}`, {
    hint: 'the file is whole but is no model of this program; export it again',
    exitCode: EXIT.dataError,
    cause,
  });
}
