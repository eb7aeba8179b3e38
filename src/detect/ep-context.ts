import { encodeModel } from './onnx-proto.js';

export interface EpContext {
  /** The serialised TensorRT engine. */
  engine: Uint8Array;
  width: number;
  height: number;
  /** Image pixels a heat-map cell. */
  stride: number;
  /** `8.7`: the GPU that the engine was built for. */
  computeCapability?: string;
}

/**
 * A model whose only node holds a TensorRT engine: ONNX Runtime's TensorRT provider runs the engine as it is, without parsing or
 * building anything. The other providers refuse it.
 *
 * https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html
 */
export function epContextModel({ engine, width, height, stride, computeCapability }: EpContext): Buffer {
  const cells = [1, 1, height / stride, width / stride];
  return encodeModel({
    irVersion: 9,
    opsets: { '': 17, 'com.microsoft': 1 },
    name: 'irst-edge-engine',
    nodes: [
      {
        type: 'EPContext',
        domain: 'com.microsoft',
        name: 'engine',
        inputs: ['image'],
        outputs: ['heat', 'logsig'],
        attributes: {
          main_context: 1,
          // 1: the engine itself, not the name of its file.
          embed_mode: 1,
          ep_cache_context: engine,
          source: 'TensorrtExecutionProvider',
          // ONNX Runtime warns where it is another GPU's: `87` of 8.7.
          ...(computeCapability === undefined ? {} : { hardware_architecture: computeCapability.replace('.', '') }),
        },
      },
    ],
    inputs: [{ name: 'image', shape: [1, 1, height, width] }],
    outputs: [
      { name: 'heat', shape: cells },
      { name: 'logsig', shape: cells },
    ],
  });
}
