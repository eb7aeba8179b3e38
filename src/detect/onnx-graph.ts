/**
 * Reads as much of an .onnx file as tells what a network costs: nodes, their attributes, and the shapes and integer values of its
 * constants. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, https://protobuf.dev/programming-guides/encoding/
 */

export interface GraphNode {
  /** `Conv`. */
  type: string;
  inputs: string[];
  outputs: string[];
  /** Integers only: `strides`, `group`, `axis`. */
  ints: Readonly<Record<string, readonly number[]>>;
}

export interface GraphConstant {
  dims: number[];
  /** Of integers and of float32 numbers; absent for long ones (weights). */
  values?: number[];
}

export interface Graph {
  nodes: GraphNode[];
  constants: Map<string, GraphConstant>;
  /** Name of the (first) input. */
  input: string;
  outputs: string[];
}

/** Constants longer than this are weights, whose values nobody needs. */
const MOST_VALUES = 64;

/** `TensorProto.DataType`. */
const TYPE = { float: 1, int32: 6, int64: 7 } as const;

type Field = { number: number; value: number; bytes: Uint8Array };

const NOTHING = new Uint8Array(0);

function* fields(bytes: Uint8Array): Generator<Field> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const varint = (): number => {
    let result = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) break;
      result |= BigInt(byte & 0x7f) << shift;
      // Negative numbers are written as 64 bits.
      if (byte < 0x80) return Number(BigInt.asIntN(64, result));
    }
    throw new RangeError('the protobuf is cut short');
  };
  while (at < bytes.length) {
    const key = varint();
    const field: Field = { number: key >>> 3, value: 0, bytes: NOTHING };
    const wire = key & 7;
    if (wire === 0) field.value = varint();
    else if (wire === 1) at += 8;
    else if (wire === 2) {
      const length = varint();
      field.bytes = bytes.subarray(at, at + length);
      at += length;
    } else if (wire === 5) {
      if (at + 4 <= bytes.length) field.value = view.getFloat32(at, true);
      at += 4;
    } else throw new RangeError(`wire type ${wire} is unknown`);
    if (at > bytes.length) throw new RangeError('the protobuf is cut short');
    yield field;
  }
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

/** Repeated integers, one a field or packed into one. */
function* integers({ value, bytes }: Field): Generator<number> {
  if (bytes.length === 0) {
    yield value;
    return;
  }
  let rest = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    rest |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    yield Number(BigInt.asIntN(64, rest));
    rest = 0n;
    shift = 0n;
  }
}

/** @throws RangeError when it is no protobuf, or holds no graph */
export function readGraph(model: Uint8Array): Graph {
  // ModelProto.graph = 7.
  const inside = [...fields(model)].find(({ number }) => number === 7)?.bytes;
  if (inside === undefined) throw new RangeError('the file holds no graph');
  const graph: Graph = { nodes: [], constants: new Map(), input: '', outputs: [] };
  const inputs: string[] = [];
  for (const { number, bytes } of fields(inside)) {
    if (number === 1) graph.nodes.push(readNode(bytes));
    else if (number === 5) {
      const { name, ...constant } = readTensor(bytes);
      graph.constants.set(name, constant);
    } else if (number === 11) inputs.push(nameOf(bytes));
    else if (number === 12) graph.outputs.push(nameOf(bytes));
  }
  graph.input = inputs.find((name) => !graph.constants.has(name)) ?? '';
  return graph;
}

function nameOf(value: Uint8Array): string {
  return text([...fields(value)].find(({ number }) => number === 1)?.bytes ?? NOTHING);
}

function readNode(bytes: Uint8Array): GraphNode {
  const node: GraphNode = { type: '', inputs: [], outputs: [], ints: {} };
  const ints: Record<string, number[]> = {};
  for (const { number, bytes: inner } of fields(bytes)) {
    if (number === 1) node.inputs.push(text(inner));
    else if (number === 2) node.outputs.push(text(inner));
    else if (number === 4) node.type = text(inner);
    else if (number === 5) {
      let name = '';
      const values: number[] = [];
      for (const field of fields(inner)) {
        if (field.number === 1) name = text(field.bytes);
        else if (field.number === 3 || field.number === 8) values.push(...integers(field));
      }
      ints[name] = values;
    }
  }
  node.ints = ints;
  return node;
}

function readTensor(bytes: Uint8Array): GraphConstant & { name: string } {
  const tensor = { name: '', dims: [] as number[] };
  let type = 0;
  let raw: Uint8Array = NOTHING;
  const typed: number[] = [];
  for (const field of fields(bytes)) {
    if (field.number === 1) tensor.dims.push(...integers(field));
    else if (field.number === 2) type = field.value;
    // float_data of an unpacked tensor; int32_data = 5, int64_data = 7.
    else if (field.number === 4 && field.bytes.length === 0) typed.push(field.value);
    else if (field.number === 5 || field.number === 7) typed.push(...integers(field));
    else if (field.number === 8) tensor.name = text(field.bytes);
    else if (field.number === 9) raw = field.bytes;
  }
  const values = raw.length > 0 ? rawValues(raw, type) : typed.length > 0 ? typed : undefined;
  return { ...tensor, ...(values !== undefined && { values }) };
}

function rawValues(raw: Uint8Array, type: number): number[] | undefined {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const size = type === TYPE.int64 ? 8 : 4;
  if (raw.length > MOST_VALUES * size) return undefined;
  const count = Math.floor(raw.length / size);
  if (type === TYPE.int64) return Array.from({ length: count }, (_, i) => Number(view.getBigInt64(8 * i, true)));
  if (type === TYPE.int32) return Array.from({ length: count }, (_, i) => view.getInt32(4 * i, true));
  if (type === TYPE.float) return Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
  return undefined;
}
