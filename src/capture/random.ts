/** Well-mixed 32-bit hash of up to four integers (murmur3's finaliser over a running state): the same everywhere. */
export function hash(a: number, b = 0, c = 0, d = 0): number {
  let h = 0x9e3779b9;
  for (const value of [a, b, c, d]) h = mix(Math.imul(h, 0x01000193) ^ value);
  return h >>> 0;
}

/** Finaliser of MurmurHash3: https://github.com/aappleby/smhasher/blob/master/src/MurmurHash3.cpp */
export function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** mulberry32: a small fast generator with a period of 2^32; uniform in [0, 1). */
export function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** `count` normal deviates (Box-Muller), shifted and scaled so that their mean is 0 and their variance 1 exactly. */
export function gaussianTable(count: number, seed: number): Float32Array {
  const random = uniform(seed);
  const table = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    table[i] = radius * Math.cos(angle);
    if (i + 1 < count) table[i + 1] = radius * Math.sin(angle);
  }
  return Float32Array.from(standardise(table));
}

/** Shifts and scales in place to mean 0 and variance 1; leaves a constant at 0. */
export function standardise(values: Float64Array): Float64Array {
  let sum = 0;
  for (const value of values) sum += value;
  const mean = sum / values.length;
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  const deviation = Math.sqrt(squares / values.length);
  const scale = deviation > 1e-12 ? 1 / deviation : 0;
  for (let i = 0; i < values.length; i++) values[i] = (values[i]! - mean) * scale;
  return values;
}
