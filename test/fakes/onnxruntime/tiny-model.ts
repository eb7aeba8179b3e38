import { encodeModel } from '../../../src/detect/onnx-proto.js';

/** A network of the detector's shape that only averages 2x2 pixels: both maps are the mean of the image. */
export function tinyModel(width: number, height: number): Buffer {
  const pool = (output: string) => ({
    type: 'AveragePool',
    inputs: ['image'],
    outputs: [output],
    attributes: { kernel_shape: [2, 2], strides: [2, 2] },
  });
  const cells = [1, 1, height / 2, width / 2];
  return encodeModel({
    irVersion: 9,
    opsets: { '': 17 },
    name: 'tiny',
    nodes: [pool('heat'), pool('logsig')],
    inputs: [{ name: 'image', shape: [1, 1, height, width] }],
    outputs: [
      { name: 'heat', shape: cells },
      { name: 'logsig', shape: cells },
    ],
  });
}
