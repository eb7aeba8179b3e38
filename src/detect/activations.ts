import * as ort from 'onnxruntime-node';
import type { LoadedModel } from './manifest.js';
import { Normaliser } from './normalise.js';
import { type NodeOutput, nodeOutputs, withOutputs } from './onnx-proto.js';

/** Largest finite number of float16. */
export const FLOAT16_MAX = 65504;
/** Tensors looked at in one run: all of them at once would take hundreds of megabytes. */
const CHUNK = 24;

/** The largest value of one tensor of the network over all frames so far. */
export interface ActivationPeak extends NodeOutput {
  largest: number;
}

/** Watches the size of everything that a network computes, frame by frame, on the CPU. */
export class ActivationProbe {
  private readonly peaks: ActivationPeak[];
  private readonly sessions: ort.InferenceSession[] = [];
  private readonly normaliser: Normaliser;

  private constructor(
    model: LoadedModel,
    private readonly size: { width: number; height: number },
  ) {
    this.peaks = nodeOutputs(model.bytes).map((output) => ({ ...output, largest: 0 }));
    this.normaliser = new Normaliser(model.manifest.input.normalisation);
  }

  /** For a network of one size; `model` is best the FP32 build, in which nothing overflows. */
  static async create(model: LoadedModel, size: { width: number; height: number }): Promise<ActivationProbe> {
    const probe = new ActivationProbe(model, size);
    const outputs = new Set(['heat', 'logsig']);
    const names = probe.peaks.map((p) => p.name);
    try {
      for (let i = 0; i < names.length; i += CHUNK) {
        const more = names.slice(i, i + CHUNK).filter((name) => !outputs.has(name));
        probe.sessions.push(
          await ort.InferenceSession.create(withOutputs(model.bytes, more), {
            executionProviders: ['cpu'],
            intraOpNumThreads: 1,
            logSeverityLevel: 3,
          }),
        );
      }
    } catch (error) {
      await probe.close();
      throw error;
    }
    return probe;
  }

  /** One frame of counts, `width` x `height`. */
  async look(counts: Uint8Array | Uint16Array, width: number, height: number): Promise<void> {
    const { width: w, height: h } = this.size;
    const input = new Float32Array(w * h);
    this.normaliser.run(counts, width, height, input, w, h);
    const feeds = { image: new ort.Tensor('float32', input, [1, 1, h, w]) };
    const byName = new Map(this.peaks.map((peak) => [peak.name, peak]));
    for (const session of this.sessions) {
      const results = await session.run(feeds);
      for (const [name, tensor] of Object.entries(results)) {
        const peak = byName.get(name);
        // Shapes and indices are whole numbers of another type.
        if (peak === undefined || !(tensor.data instanceof Float32Array)) continue;
        for (const value of tensor.data) {
          // A NaN is as large as can be.
          const size = Number.isNaN(value) ? Number.POSITIVE_INFINITY : Math.abs(value);
          if (size > peak.largest) peak.largest = size;
        }
        tensor.dispose();
      }
    }
  }

  /** By falling size. */
  get result(): ActivationPeak[] {
    return [...this.peaks].sort((a, b) => b.largest - a.largest);
  }

  async close(): Promise<void> {
    for (const session of this.sessions) await session.release();
  }
}
