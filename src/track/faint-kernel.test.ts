import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gaussianTable } from '../capture/random.js';
import { loadNative, type NativeAddon, nativeFaintKernel } from '../native.js';
import { FaintFilter } from './faint-filter.js';
import { type FaintKernel, PLAIN_KERNEL } from './faint-kernel.js';

const noise = gaussianTable(1 << 18, 11);

/** Frame k: a slope, noise, an edge that moves through a corner, and a point that does through the middle. */
function frame(width: number, height: number, wide: boolean, k: number) {
  const data = wide ? new Uint16Array(width * height) : new Uint8Array(width * height);
  for (let i = 0; i < data.length; i++) {
    const x = i % width;
    const y = Math.floor(i / width);
    const point = 40 * Math.exp(-((x - 5 - k / 3) ** 2 + (y - height / 2) ** 2) / 2);
    const edge = x < k / 3 && y < 12 ? 60 : 0;
    const value = 60 + x / 4 + edge + point + 4 * noise[(k * 104_729 + i * 7) % noise.length]!;
    data[i] = Math.round(Math.max(0, value)) * (wide ? 200 : 1);
  }
  return { width, height, data };
}

/** The kernel's arrays after each call. */
function spied(kernel: FaintKernel, seen: ArrayBufferView[]): FaintKernel {
  return {
    faintSmooth(data, maps) {
      kernel.faintSmooth(data, maps);
      seen.push(maps.filtered.slice());
    },
    faintSettle(maps) {
      kernel.faintSettle(maps);
      const { filtered, previous, still, variance, rests, steps } = maps;
      seen.push(...[filtered, previous, still, variance, rests, steps].map((a) => a.slice()));
    },
  };
}

/** Compared at once: an assertion on each element takes twenty seconds. */
const bytes = (arrays: readonly ArrayBufferView[]) =>
  Buffer.concat(arrays.map((a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength)));

describe('the addon computes what TypeScript does', () => {
  test('to the last bit, whatever the size and the counts', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 50 }),
        fc.boolean(),
        (width, height, wide) => {
          const [own, theirs]: [ArrayBufferView[], ArrayBufferView[]] = [[], []];
          const plain = new FaintFilter(width, height, spied(PLAIN_KERNEL, own));
          const native = new FaintFilter(width, height, spied(loadNative(), theirs));
          // Past the frame from which squares may be restless.
          for (let k = 0; k < 45; k++) {
            const picture = frame(width, height, wide, k);
            expect(native.run(picture, 3.3, 50)).toEqual(plain.run(picture, 3.3, 50));
          }
          expect(bytes(theirs).equals(bytes(own))).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('and both find the point, and squares that are restless', () => {
    const filter = new FaintFilter(70, 50, loadNative());
    let found = 0;
    let restless = 0;
    for (let k = 0; k < 45; k++) {
      found += filter.run(frame(70, 50, true, k), 3.3, 50).length;
      restless += filter.restlessBlocks;
    }
    expect(found).toBeGreaterThan(2);
    expect(restless).toBeGreaterThan(0);
  });

  test('counts at their largest: sums of eleven are exact', () => {
    const data = new Uint16Array(40 * 30).fill(65_535);
    data[615] = 0;
    const [own, theirs]: [ArrayBufferView[], ArrayBufferView[]] = [[], []];
    new FaintFilter(40, 30, spied(PLAIN_KERNEL, own)).run({ width: 40, height: 30, data }, 3.3, 50);
    new FaintFilter(40, 30, spied(loadNative(), theirs)).run({ width: 40, height: 30, data }, 3.3, 50);
    expect(theirs).toEqual(own);
  });
});

describe('what the search takes', () => {
  test('the addon, which is there after an installation', () => {
    expect(nativeFaintKernel()).toBe(loadNative());
  });

  test('nothing of an addon of an older version, or where none loads', () => {
    expect(nativeFaintKernel(() => ({ version: '0.1.0' }) as unknown as NativeAddon)).toBeUndefined();
    expect(
      nativeFaintKernel(() => {
        throw new Error('does not load');
      }),
    ).toBeUndefined();
  });
});

describe('the addon refuses', () => {
  const f = (n: number) => new Float32Array(n);
  const d = (n: number) => new Float64Array(n);
  const smooth = (change: object, data: unknown = new Uint16Array(200)) => {
    const [width, height, radius] = [20, 10, 5];
    const scratch = { taps: d(4), padded: f(600), rows: f(400), sums: f(400), column: d(20) };
    const maps = { width, height, radius, ...scratch, filtered: f(200), ...change };
    return () => loadNative().faintSmooth(data as Uint16Array, maps);
  };
  const settle = (change: object) => {
    const frames = { filtered: f(200), previous: f(200), still: f(200), variance: f(200) };
    const squares = {
      shares: d(2),
      mosts: d(2),
      restless: new Uint8Array(2),
      pixelShare: 0.01,
      rests: d(2),
      steps: d(2),
    };
    return () => loadNative().faintSettle({ width: 20, height: 10, block: 16, ...frames, ...squares, ...change });
  };
  const wrong = () => [f(1), new Int16Array(400), undefined, {}];

  test('nothing that is right', () => {
    expect(smooth({})).not.toThrow();
    expect(smooth({}, new Uint8Array(200))).not.toThrow();
    expect(settle({})).not.toThrow();
  });

  test('a frame that is too short, of another kind, or none', () => {
    for (const value of [f(1), new Int16Array(200), null, {}]) expect(smooth({}, value)).toThrow(/^data must be/);
  });

  test.each(['taps', 'padded', 'rows', 'sums', 'column', 'filtered'])(
    'to smooth with an array %s that is too short, of another kind, or none',
    (name) => {
      for (const value of wrong()) expect(smooth({ [name]: value })).toThrow(new RegExp(`^${name} must be`));
    },
  );

  test.each(['filtered', 'previous', 'still', 'variance', 'shares', 'mosts', 'restless', 'rests', 'steps'])(
    'to settle with an array %s that is too short, of another kind, or none',
    (name) => {
      for (const value of wrong()) expect(settle({ [name]: value })).toThrow(new RegExp(`^${name} must be`));
    },
  );

  test('sizes that are none', () => {
    for (const value of [0, -1, 1.5, 40_000, Number.NaN, '20', undefined]) {
      for (const name of ['width', 'height', 'radius']) expect(smooth({ [name]: value })).toThrow(RangeError);
      for (const name of ['width', 'height', 'block']) expect(settle({ [name]: value })).toThrow(RangeError);
    }
    expect(smooth({ radius: 2 })).toThrow(RangeError);
    expect(settle({ pixelShare: 'much' })).toThrow(TypeError);
  });

  test('no maps at all', () => {
    const { faintSmooth, faintSettle } = loadNative() as unknown as Record<string, (...args: unknown[]) => void>;
    for (const value of [undefined, null, 3]) {
      expect(() => faintSmooth!(new Uint16Array(200), value)).toThrow(TypeError);
      expect(() => faintSettle!(value)).toThrow(TypeError);
    }
  });
});
