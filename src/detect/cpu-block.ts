import * as ort from 'onnxruntime-node';
import { forbidTelemetry } from '../util/no-telemetry.js';
import { encodeModel } from './onnx-proto.js';

/** Domain of the operators that ONNX Runtime's optimiser makes for tensors whose channels lie in blocks. */
const DOMAIN = 'com.microsoft.nchwc';
/** More than any CPU's block, and a multiple of each. */
const CHANNELS = 32;

let known: Promise<number | undefined> | undefined;

/**
 * Channels a block in the fast convolutions of onnxruntime-node on this CPU (16 with AVX-512, 8 with AVX); absent where it has
 * none. The library itself tells, by reordering a known tensor: it must not be guessed, for convolutions in blocks of another
 * length compute something else or end the process. Asked once a process.
 */
export function cpuBlock(): Promise<number | undefined> {
  known ??= askLibrary().catch(() => undefined);
  return known;
}

async function askLibrary(): Promise<number | undefined> {
  forbidTelemetry();
  // Two pixels of 32 channels, channel by channel: pixel 0 is even, pixel 1 is odd. Blocks lie pixel by pixel.
  const model = encodeModel({
    irVersion: 9,
    opsets: { '': 17, [DOMAIN]: 1 },
    name: 'block',
    nodes: [{ type: 'ReorderInput', domain: DOMAIN, name: 'block', inputs: ['x'], outputs: ['y'], attributes: {} }],
    inputs: [{ name: 'x', shape: [1, CHANNELS, 1, 2] }],
    outputs: [{ name: 'y', shape: [1, CHANNELS, 1, 2] }],
  });
  // The library refuses the operator on CPUs for which it has no blocks.
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 4 });
  try {
    const values = Float32Array.from({ length: 2 * CHANNELS }, (_, i) => i);
    const { y } = await session.run({ x: new ort.Tensor('float32', values, [1, CHANNELS, 1, 2]) });
    const block = (y!.data as Float32Array).findIndex((value) => value % 2 === 1);
    return block > 1 ? block : undefined;
  } finally {
    await session.release();
  }
}
