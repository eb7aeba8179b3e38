/** What one inference writes: `heat` (0..1) and `logsig` (ln of the target's sigma in cells), `rows` x `cols` each. */
export interface HeatMaps {
  heat: Float32Array;
  logsig: Float32Array;
  rows: number;
  cols: number;
}

/** A network loaded for one input size. Not thread-safe: one run at a time. `run` blocks its thread while it computes. */
export interface InferenceBackend {
  /** Which library runs it: `onnxruntime-node 1.30.0`. */
  readonly library: string;
  /** The execution provider that really runs, lower case: `cpu`. */
  readonly provider: string;
  /** `input`: float32 [1, 1, height, width], row by row. The result's arrays are overwritten by the next run. */
  run(input: Float32Array): Promise<HeatMaps>;
  close(): Promise<void>;
}

export interface BackendOptions {
  width: number;
  height: number;
  /** Threads inside one inference. */
  threads: number;
}
