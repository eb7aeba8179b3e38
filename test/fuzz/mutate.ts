import fc from 'fast-check';

/** Values at the edges of what formats count with. */
const EDGES = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

interface Edit {
  kind: 'flip' | 'edge' | 'cut' | 'drop' | 'double' | 'insert';
  at: number;
  length: number;
  value: number;
}

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom<Edit['kind'][]>('flip', 'edge', 'cut', 'drop', 'double', 'insert'),
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.integer({ min: 1, max: 32 }),
  value: fc.integer({ min: 0, max: 255 }),
});

/** Damaged copies of a valid input: bits flipped, bytes at the edge of their range, cut off, left out, doubled, put in. */
export function mutated(seeds: readonly Uint8Array[], most = 8): fc.Arbitrary<Buffer> {
  return fc
    .tuple(fc.constantFrom(...seeds), fc.array(edit, { minLength: 0, maxLength: most }))
    .map(([seed, edits]) => edits.reduce<Buffer>((bytes, e) => apply(bytes, e), Buffer.from(seed)));
}

function apply(bytes: Buffer, { kind, at, length, value }: Edit): Buffer {
  const from = Math.min(bytes.length, Math.floor(at * (bytes.length + 1)));
  const to = Math.min(bytes.length, from + length);
  switch (kind) {
    case 'flip':
      if (from < bytes.length) bytes[from]! ^= 1 << (value & 7);
      return bytes;
    case 'edge':
      if (from < bytes.length) bytes[from] = EDGES[value % EDGES.length]!;
      return bytes;
    case 'cut':
      return bytes.subarray(0, from);
    case 'drop':
      return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
    case 'double':
      return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
    case 'insert':
      return Buffer.concat([bytes.subarray(0, from), Buffer.alloc(length, value), bytes.subarray(from)]);
  }
}

/** A JSON document with one value anywhere replaced by any other, or removed. */
export function changedJson(seeds: readonly unknown[]): fc.Arbitrary<unknown> {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom(-1, 0, 0.5, 1e308, -1e308, 2 ** 31, 2 ** 32, 2 ** 53, '', '\0', '../../etc/passwd', '__proto__'),
    fc.string({ maxLength: 64 }),
  );
  const change = fc.tuple(fc.nat(), value, fc.boolean(), fc.constantFrom('', '__proto__', 'constructor', 'more'));
  return fc
    .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 0, maxLength: 4 }))
    .map(([seed, changes]) => {
      let root = structuredClone(seed);
      for (const [n, replacement, remove, extra] of changes) {
        const places = placesOf(root);
        const place = places[n % places.length];
        if (place === undefined) root = replacement;
        else if (extra !== '' && !Array.isArray(place.holder))
          Object.defineProperty(place.holder, extra, own(replacement));
        else if (remove) Reflect.deleteProperty(place.holder, place.key);
        else Object.defineProperty(place.holder, place.key, own(replacement));
      }
      return root;
    });
}

/** Not an assignment, so that `__proto__` becomes a key, as with JSON.parse. */
function own(value: unknown): PropertyDescriptor {
  return { value, enumerable: true, configurable: true, writable: true };
}

function placesOf(value: unknown): { holder: object; key: string }[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) => [{ holder: value, key }, ...placesOf(child)]);
}
