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
    faintSmooth(...args) {
      kernel.faintSmooth(...args);
      seen.push(args[9].slice());
    },
    faintSettle(...args) {
      kernel.faintSettle(...args);
      seen.push(...[args[3], args[4], args[5], args[6], args[11], args[12]].map((a) => a.slice()));
    },
  };
}

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
          expect(theirs).toEqual(own);
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
  const smooth = (change: Record<number, unknown>) => {
    const args = [new Uint16Array(200), 20, 10, 5, d(4), f(600), f(400), f(400), d(20), f(200)];
    for (const [i, value] of Object.entries(change)) args[Number(i)] = value as never;
    return () => (loadNative().faintSmooth as (...a: unknown[]) => void)(...args);
  };
  const settle = (change: Record<number, unknown>) => {
    const args = [20, 10, 16, f(200), f(200), f(200), f(200), d(2), d(2), new Uint8Array(2), 0.01, d(2), d(2)];
    for (const [i, value] of Object.entries(change)) args[Number(i)] = value as never;
    return () => (loadNative().faintSettle as (...a: unknown[]) => void)(...args);
  };

  test('nothing that is right', () => {
    expect(smooth({})).not.toThrow();
    expect(smooth({ 0: new Uint8Array(200) })).not.toThrow();
    expect(settle({})).not.toThrow();
  });

  test.each([0, 4, 5, 6, 7, 8, 9])('a frame whose array %i is too short, of another kind, or none', (i) => {
    for (const value of [f(1), new Int16Array(400), undefined, {}]) expect(smooth({ [i]: value })).toThrow(TypeError);
  });

  test.each([3, 4, 5, 6, 7, 8, 9, 11, 12])('squares whose array %i is too short, of another kind, or none', (i) => {
    for (const value of [f(1), new Int16Array(400), undefined, {}]) expect(settle({ [i]: value })).toThrow(TypeError);
  });

  test('sizes that are none', () => {
    for (const value of [0, -1, 1.5, 40_000, Number.NaN, '20', undefined]) {
      for (const i of [1, 2, 3]) expect(smooth({ [i]: value })).toThrow(RangeError);
      for (const i of [0, 1, 2]) expect(settle({ [i]: value })).toThrow(RangeError);
    }
    expect(smooth({ 3: 2 })).toThrow(RangeError);
    expect(settle({ 10: 'much' })).toThrow(TypeError);
  });
});
