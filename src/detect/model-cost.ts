import { type Graph, type GraphNode, readGraph } from './onnx-graph.js';

/** What one inference costs, counted from the network's graph. */
export interface ModelCost {
  /** Operations of convolutions and matrix products; a multiply-accumulate counts two. */
  flops: number;
  /**
   * Bytes to and from memory: with all element-wise steps fused into the step before (`fused`), as a good engine does, and with none
   * (`unfused`).
   */
  bytes: { fused: number; unfused: number };
  /** Kernels to start, counted the same two ways. */
  launches: { fused: number; unfused: number };
}

type Shape = readonly number[];

/** Only another view of the same numbers. */
const VIEWS = new Set(['Reshape', 'Split', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity', 'Constant', 'Transpose']);
/** Fused into what computes their input; a concatenation is written in place. */
const FUSED = new Set([
  'Relu',
  'Sigmoid',
  'Mul',
  'Add',
  'Sub',
  'Div',
  'Clip',
  'Cast',
  'HardSwish',
  'HardSigmoid',
  'Concat',
]);

const size = (shape: Shape): number => shape.reduce((n, d) => n * d, 1);

/**
 * Counts what a network costs at one input size.
 *
 * @param model the bytes of the .onnx file
 * @param input [height, width], px
 * @param elementBytes of the numbers inside: 2 for FP16, 4 for FP32
 * @throws RangeError for an operator that this does not know
 */
export function modelCost(
  model: Uint8Array,
  input: { width: number; height: number },
  elementBytes: number,
): ModelCost {
  const graph = readGraph(model);
  const shapes = new Map<string, Shape>([[graph.input, [1, 1, input.height, input.width]]]);
  for (const [name, { dims }] of graph.constants) shapes.set(name, dims);
  const cost: ModelCost = { flops: 0, bytes: { fused: 0, unfused: 0 }, launches: { fused: 0, unfused: 0 } };
  for (const node of graph.nodes) {
    const outputs = outputShapes(node, graph, shapes);
    node.outputs.forEach((name, i) => {
      shapes.set(name, outputs[i]!);
    });
    if (VIEWS.has(node.type)) continue;
    cost.flops += flopsOf(node, shapes, outputs[0]!);
    const read = node.inputs.reduce((n, name) => n + (name === '' ? 0 : size(shapes.get(name) ?? [0])), 0);
    const written = outputs.reduce((n, shape) => n + size(shape), 0);
    const bytes = elementBytes * (read + written);
    cost.bytes.unfused += bytes;
    cost.launches.unfused++;
    if (FUSED.has(node.type)) continue;
    cost.bytes.fused += bytes;
    cost.launches.fused++;
  }
  return cost;
}

function flopsOf(node: GraphNode, shapes: ReadonlyMap<string, Shape>, output: Shape): number {
  switch (node.type) {
    case 'Conv': {
      // [out, in / groups, kernel height, kernel width].
      const [, ...kernel] = shapes.get(node.inputs[1]!)!;
      return 2 * size(output) * size(kernel);
    }
    case 'Gemm': {
      const a = shapes.get(node.inputs[0]!)!;
      return 2 * size(output) * a[node.ints.transA?.[0] === 1 ? 0 : 1]!;
    }
    case 'MatMul':
      return 2 * size(output) * shapes.get(node.inputs[0]!)!.at(-1)!;
    default:
      return 0;
  }
}

function outputShapes(node: GraphNode, graph: Graph, shapes: ReadonlyMap<string, Shape>): Shape[] {
  const { type, inputs, outputs, ints } = node;
  const of = (i: number): Shape => {
    const shape = shapes.get(inputs[i] ?? '');
    if (shape === undefined) throw new RangeError(`${type}: the shape of ${inputs[i]} is not known`);
    return shape;
  };
  const values = (i: number): readonly number[] => {
    const found = graph.constants.get(inputs[i] ?? '')?.values;
    if (found === undefined) throw new RangeError(`${type}: ${inputs[i] ?? 'an input'} is no constant`);
    return found;
  };
  const axis = (rank: number): number => {
    const at = ints.axis?.[0] ?? 0;
    return at < 0 ? at + rank : at;
  };
  switch (type) {
    case 'Relu':
    case 'Sigmoid':
    case 'Clip':
    case 'Cast':
    case 'Softmax':
    case 'HardSwish':
    case 'HardSigmoid':
    case 'Identity':
      return [of(0)];
    case 'Mul':
    case 'Add':
    case 'Sub':
    case 'Div':
      return [broadcast(of(0), of(1))];
    case 'Conv':
    case 'MaxPool':
    case 'AveragePool': {
      const [batch, channels, ...spatial] = of(0);
      const kernel = type === 'Conv' ? of(1).slice(2) : (ints.kernel_shape ?? []);
      const out = spatial.map((n, i) => {
        const pads = (ints.pads?.[i] ?? 0) + (ints.pads?.[i + spatial.length] ?? 0);
        const reach = (kernel[i]! - 1) * (ints.dilations?.[i] ?? 1) + 1;
        return Math.floor((n + pads - reach) / (ints.strides?.[i] ?? 1)) + 1;
      });
      return [[batch!, type === 'Conv' ? of(1)[0]! : channels!, ...out]];
    }
    case 'GlobalAveragePool':
    case 'GlobalMaxPool':
      return [of(0).map((d, i) => (i < 2 ? d : 1))];
    case 'Gemm': {
      const [a, b] = [of(0), of(1)];
      return [[a[ints.transA?.[0] === 1 ? 1 : 0]!, b[ints.transB?.[0] === 1 ? 0 : 1]!]];
    }
    case 'MatMul': {
      const [a, b] = [of(0), of(1)];
      return [[...broadcast(a.slice(0, -2), b.slice(0, -2)), a.at(-2)!, b.at(-1)!]];
    }
    case 'Concat': {
      const at = axis(of(0).length);
      const along = inputs.reduce((n, _, i) => n + of(i)[at]!, 0);
      return [of(0).map((d, i) => (i === at ? along : d))];
    }
    case 'Split': {
      const at = axis(of(0).length);
      const parts = inputs[1] === undefined ? outputs.map(() => of(0)[at]! / outputs.length) : values(1);
      return outputs.map((_, k) => of(0).map((d, i) => (i === at ? parts[k]! : d)));
    }
    case 'Reshape': {
      const wanted = values(1).map((d, i) => (d === 0 ? of(0)[i]! : d));
      const known = wanted.reduce((n, d) => (d === -1 ? n : n * d), 1);
      return [wanted.map((d) => (d === -1 ? size(of(0)) / known : d))];
    }
    case 'Resize': {
      // Scales, or sizes.
      if (inputs[3] !== undefined && inputs[3] !== '') return [values(3)];
      const scales = values(2);
      return [of(0).map((d, i) => Math.floor(d * scales[i]!))];
    }
    default:
      throw new RangeError(`the operator ${type} is not counted`);
  }
}

function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const at = (shape: Shape, i: number) => shape[i - (rank - shape.length)] ?? 1;
  return Array.from({ length: rank }, (_, i) => Math.max(at(a, i), at(b, i)));
}
