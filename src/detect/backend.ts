import type { EdgeErrorOptions } from '../types/errors.js';
import { EdgeError, EXIT } from '../types/errors.js';
import type { Provider } from '../types/provider.js';
import type { LoadedModel } from './manifest.js';

/** What one inference writes: `heat` (0..1) and `logsig` (ln of the target's sigma in cells), `rows` x `cols` each. */
export interface HeatMaps {
  heat: Float32Array;
  logsig: Float32Array;
  rows: number;
  cols: number;
}

/** A network loaded for one input size. Not thread-safe: one run at a time. */
export interface InferenceBackend {
  /** Which library runs it: `onnxruntime-node 1.30.0`. */
  readonly library: string;
  /** The execution provider that it was made for; the golden frame proves that it computes what it should. */
  readonly provider: Provider;
  /** Whether a run leaves the calling thread free until it is over. */
  readonly runsApart: boolean;
  /** `input`: float32 [1, 1, height, width], row by row. The result's arrays are overwritten by the next run. */
  run(input: Float32Array): Promise<HeatMaps>;
  close(): Promise<void>;
}

export interface BackendOptions {
  width: number;
  height: number;
  /** Threads inside one inference. */
  threads: number;
  /** Default: cpu. */
  provider?: Provider;
  /** Options of the provider by the library's own names: `trt_engine_cache_path`, `device_id`. */
  providerOptions?: Readonly<Record<string, string>>;
  /** The array that `run` will be given (not shared memory): used where it lies. Any other one is copied. */
  input?: Float32Array;
}

/** A model that the library refuses, or whose inputs and outputs are not a detector's. */
export function unusable(model: Pick<LoadedModel, 'path'>, why: string, cause?: unknown): EdgeError {
  return new EdgeError('MODEL_UNUSABLE', `${model.path}: ${oneLine(why)}`, {
    hint: 'the file is whole but is no model of this program; export it again',
    exitCode: EXIT.dataError,
    cause,
  });
}

/** A provider that the library does not have, or that does not start here. */
export function unavailable(provider: Provider, why: string, options: EdgeErrorOptions = {}): EdgeError {
  return new EdgeError('PROVIDER_UNAVAILABLE', `${provider}: ${oneLine(why)}`, {
    hint: 'docs/runtime.md lists what each provider needs',
    exitCode: EXIT.unavailable,
    ...options,
  });
}

export function oneLine(text: string): string {
  return text.split('\n', 1)[0]!.trim().slice(0, 400);
}
