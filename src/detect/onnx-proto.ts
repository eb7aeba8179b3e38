/**
 * As much of ONNX's protobuf as is written and read here.
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, https://protobuf.dev/programming-guides/encoding/
 */

/** `TensorProto.DataType` */
export const FLOAT = 1;
/** `AttributeProto.AttributeType` */
const ATTRIBUTE = { int: 2, string: 3, ints: 7 } as const;

type Value = number | bigint | string | Uint8Array;

function varint(value: number | bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Buffer.from(bytes);
}

/** One field: numbers as varints, text and bytes (also of a message) with their length. */
export function field(number: number, value: Value): Buffer {
  if (typeof value === 'number' || typeof value === 'bigint')
    return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

const message = (...fields: Buffer[]): Buffer => Buffer.concat(fields);

export type Attribute = number | string | Uint8Array | readonly number[];

function attribute(name: string, value: Attribute): Buffer {
  const named = field(1, name);
  if (typeof value === 'number') return message(named, field(3, value), field(20, ATTRIBUTE.int));
  if (typeof value === 'string' || value instanceof Uint8Array)
    return message(named, field(4, value), field(20, ATTRIBUTE.string));
  return message(named, ...value.map((v) => field(8, v)), field(20, ATTRIBUTE.ints));
}

export interface NodeSpec {
  type: string;
  inputs: readonly string[];
  outputs: readonly string[];
  name?: string;
  /** Absent: ONNX's own. */
  domain?: string;
  attributes?: Readonly<Record<string, Attribute>>;
}

export interface ValueSpec {
  name: string;
  shape: readonly number[];
}

export interface ModelSpec {
  irVersion: number;
  /** Version of the operators by domain; '' is ONNX's own. */
  opsets: Readonly<Record<string, number>>;
  name: string;
  nodes: readonly NodeSpec[];
  /** float32 tensors. */
  inputs: readonly ValueSpec[];
  outputs: readonly ValueSpec[];
}

function node({ type, inputs, outputs, name, domain, attributes = {} }: NodeSpec): Buffer {
  return message(
    ...inputs.map((i) => field(1, i)),
    ...outputs.map((o) => field(2, o)),
    ...(name === undefined ? [] : [field(3, name)]),
    field(4, type),
    ...Object.entries(attributes).map(([key, value]) => field(5, attribute(key, value))),
    ...(domain === undefined ? [] : [field(7, domain)]),
  );
}

function value({ name, shape }: ValueSpec): Buffer {
  const dims = shape.map((size) => field(1, field(1, size)));
  const tensor = message(field(1, FLOAT), field(2, message(...dims)));
  return message(field(1, name), field(2, field(1, tensor)));
}

/** The bytes of an .onnx file. */
export function encodeModel(model: ModelSpec): Buffer {
  const graph = message(
    ...model.nodes.map((n) => field(1, node(n))),
    field(2, model.name),
    ...model.inputs.map((i) => field(11, value(i))),
    ...model.outputs.map((o) => field(12, value(o))),
  );
  const opsets = Object.entries(model.opsets).map(([domain, version]) =>
    field(8, message(...(domain === '' ? [] : [field(1, domain)]), field(2, version))),
  );
  return message(field(1, model.irVersion), field(2, 'irst-edge'), field(7, graph), ...opsets);
}

interface RawField {
  number: number;
  wire: number;
  /** The field's bytes, key and all. */
  whole: Uint8Array;
  /** What is inside, of a field with a length. */
  inner: Uint8Array;
}

function* fields(bytes: Uint8Array): Generator<RawField> {
  let at = 0;
  const read = (): number => {
    let result = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeError('the protobuf is cut short');
      result += (byte & 0x7f) * scale;
      if (byte < 0x80) return result;
    }
  };
  while (at < bytes.length) {
    const start = at;
    const key = read();
    const wire = key & 7;
    let inner = bytes.subarray(0, 0);
    if (wire === 0) read();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = read();
      inner = bytes.subarray(at, at + length);
      at += length;
    } else throw new RangeError(`wire type ${wire} is unknown`);
    if (at > bytes.length) throw new RangeError('the protobuf is cut short');
    yield { number: Math.floor(key / 8), wire, whole: bytes.subarray(start, at), inner };
  }
}

export interface NodeOutput {
  /** Of the tensor. */
  name: string;
  /** Of the node that makes it: `Conv`. */
  type: string;
}

/** Every tensor that a node of the model makes, in the order of the nodes. */
export function nodeOutputs(model: Uint8Array): NodeOutput[] {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  const found: NodeOutput[] = [];
  for (const top of fields(model)) {
    if (top.number !== 7) continue;
    for (const part of fields(top.inner)) {
      if (part.number !== 1) continue;
      const inside = [...fields(part.inner)];
      const type = text(inside.find((f) => f.number === 4)?.inner ?? new Uint8Array());
      for (const f of inside) if (f.number === 2 && f.inner.length > 0) found.push({ name: text(f.inner), type });
    }
  }
  return found;
}

/** The model with more of its tensors as outputs; ONNX Runtime infers their types. */
export function withOutputs(model: Uint8Array, names: readonly string[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const top of fields(model)) {
    if (top.number !== 7) {
      parts.push(top.whole);
      continue;
    }
    const more = names.map((name) => field(12, field(1, name)));
    parts.push(field(7, Buffer.concat([top.inner, ...more])));
  }
  return Buffer.concat(parts);
}
