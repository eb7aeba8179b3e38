import { describe, expect, test } from 'vitest';
import { BUNDLED_MANIFEST, loadModel, readManifest } from './manifest.js';
import { modelCost } from './model-cost.js';
import { readGraph } from './onnx-graph.js';
import { encodeModel } from './onnx-proto.js';

const manifest = await readManifest(BUNDLED_MANIFEST);
const load = async (name: string) =>
  (await loadModel(BUNDLED_MANIFEST, manifest, manifest.files.find(({ file }) => file === name)!)).bytes;

describe('the bundled network', () => {
  test('as many operations as the training package counted', async () => {
    for (const precision of ['fp32', 'fp16']) {
      const { flops } = modelCost(await load(`p2p-lite_256x256_${precision}.onnx`), { width: 256, height: 256 }, 2);
      expect(flops / 1e9).toBeCloseTo(manifest.gigaFlops256, 2);
    }
  });
  test('the file for any size costs the same, and costs grow with the picture', async () => {
    const any = await load('p2p-lite_any_fp32.onnx');
    const small = modelCost(any, { width: 256, height: 256 }, 4);
    const fixed = modelCost(await load('p2p-lite_256x256_fp32.onnx'), { width: 256, height: 256 }, 4);
    expect(small).toEqual(fixed);
    const large = modelCost(any, { width: 512, height: 512 }, 4);
    // Kernels made from the picture cost the same at any size.
    expect(large.flops / small.flops).toBeGreaterThan(3.9);
    expect(large.flops / small.flops).toBeLessThanOrEqual(4);
    expect(large.launches).toEqual(small.launches);
  });
  test('fusing saves traffic and launches; FP16 halves the traffic', async () => {
    const bytes = await load('p2p-lite_256x256_fp32.onnx');
    const size = { width: 256, height: 256 };
    const [four, two] = [modelCost(bytes, size, 4), modelCost(bytes, size, 2)];
    expect(four.bytes.fused).toBeLessThan(four.bytes.unfused);
    expect(four.launches.fused).toBeLessThan(four.launches.unfused);
    expect(two.bytes.fused).toBe(four.bytes.fused / 2);
    expect(two.flops).toBe(four.flops);
  });
});

test('a network by hand: the numbers of its formulas', () => {
  const model = encodeModel({
    irVersion: 9,
    opsets: { '': 17 },
    name: 'hand',
    nodes: [
      {
        type: 'MaxPool',
        inputs: ['image'],
        outputs: ['a'],
        attributes: { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] },
      },
      { type: 'Relu', inputs: ['a'], outputs: ['b'] },
      { type: 'Concat', inputs: ['a', 'b'], outputs: ['c'], attributes: { axis: 1 } },
      { type: 'GlobalAveragePool', inputs: ['c'], outputs: ['d'] },
      { type: 'Mul', inputs: ['c', 'd'], outputs: ['out'] },
    ],
    inputs: [{ name: 'image', shape: [1, 1, 16, 32] }],
    outputs: [{ name: 'out', shape: [1, 2, 8, 16] }],
  });
  expect(readGraph(model)).toMatchObject({
    input: 'image',
    outputs: ['out'],
    nodes: [{ type: 'MaxPool' }, {}, {}, {}, {}],
  });
  const [image, half] = [16 * 32, 8 * 16];
  // Pool, average pool; the rest is fused.
  expect(modelCost(model, { width: 32, height: 16 }, 2)).toEqual({
    flops: 0,
    bytes: {
      fused: 2 * (image + half + (2 * half + 2)),
      unfused: 2 * (image + half + 2 * half + 4 * half + (2 * half + 2) + (2 * half + 2 + 2 * half)),
    },
    launches: { fused: 2, unfused: 5 },
  });
});

test('what cannot be read or counted is said', () => {
  const one = (type: string) =>
    encodeModel({
      irVersion: 9,
      opsets: { '': 17 },
      name: 'x',
      nodes: [{ type, inputs: ['image'], outputs: ['out'] }],
      inputs: [{ name: 'image', shape: [1, 1, 8, 8] }],
      outputs: [],
    });
  expect(() => modelCost(one('NonMaxSuppression'), { width: 8, height: 8 }, 2)).toThrow(
    'NonMaxSuppression is not counted',
  );
  expect(() => readGraph(new Uint8Array([0x3a, 0x7f]))).toThrow('cut short');
  expect(() => readGraph(new Uint8Array())).toThrow('no graph');
});
