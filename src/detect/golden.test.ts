import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HeatMaps } from './backend.js';
import {
  compareGolden,
  fitFrame,
  GOLDEN_FILE,
  GOLDEN_LIMITS,
  type Golden,
  type GoldenOutput,
  loadGolden,
  proveGolden,
} from './golden.js';
import { BUNDLED_MANIFEST, chooseFile, loadModel, readManifest } from './manifest.js';
import { OrtNodeBackend } from './ort-node.js';

const manifest = await readManifest(BUNDLED_MANIFEST);
const size = { width: 160, height: 120 };

let dir: string;
let golden: Golden;
let expected: GoldenOutput;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'irst-golden-'));
  golden = await loadGolden(BUNDLED_MANIFEST, BUNDLED_MANIFEST, manifest, size);
  expected = golden.expected!;
});
afterAll(() => rm(dir, { recursive: true }));

/** What a network gives that computes the truth but for a change. */
function maps(change: (heat: Float32Array, logsig: Float32Array) => void = () => {}): HeatMaps {
  const heat = expected.heat.slice();
  const logsig = new Float32Array(heat.length).fill(expected.logSigma);
  change(heat, logsig);
  return { heat, logsig, rows: expected.rows, cols: expected.cols };
}
const prove = (out: HeatMaps) =>
  proveGolden({ provider: 'tensorrt', library: 'fake', run: async () => out }, golden, expected);

describe('the golden frame of the bundled model', () => {
  test('is there for every static size, of these weights, with a clear target', async () => {
    for (const { width, height } of manifest.files.filter((f) => f.width !== null && f.precision === 'fp32')) {
      const { expected: truth, input } = await loadGolden(BUNDLED_MANIFEST, BUNDLED_MANIFEST, manifest, {
        width: width!,
        height: height!,
      });
      // Absent: the weights were changed. Write it again: node scripts/make-golden.mjs
      expect(truth).toBeDefined();
      expect(Math.max(...truth!.heat)).toBeGreaterThan(0.6);
      expect(input.every(Number.isFinite)).toBe(true);
    }
  });

  test('is computed by FP32 and FP16 on the CPU alike', async () => {
    for (const precision of ['fp32', 'fp16'] as const) {
      const model = await loadModel(BUNDLED_MANIFEST, manifest, chooseFile(manifest, 160, 120, precision));
      const backend = await OrtNodeBackend.create(model, { ...size, threads: 1 });
      const result = await proveGolden(backend, golden, expected);
      expect(result.heatError).toBeLessThan(0.01);
      expect(result.peakErrorPx).toBeLessThan(0.05);
      expect(result.latencyMs).toBeGreaterThan(0);
      await backend.close();
    }
  });

  test('other sizes have no truth, nor have other weights', async () => {
    const odd = await loadGolden(BUNDLED_MANIFEST, BUNDLED_MANIFEST, manifest, { width: 200, height: 104 });
    expect([odd.expected, odd.input.length]).toEqual([undefined, 200 * 104]);
    const changed = structuredClone(manifest);
    for (const file of changed.files) file.sha256 = 'f'.repeat(64);
    expect((await loadGolden(BUNDLED_MANIFEST, BUNDLED_MANIFEST, changed, size)).expected).toBeUndefined();
    // A model that brings none gets the frame of the bundled one.
    const other = await loadGolden(path.join(dir, 'manifest.json'), BUNDLED_MANIFEST, manifest, size);
    expect(other.input).toEqual(golden.input);
  });

  test('a damaged file says so', async () => {
    await cp(BUNDLED_MANIFEST, path.join(dir, 'manifest.json'));
    const own = path.join(dir, GOLDEN_FILE);
    const text = await readFile(path.join(path.dirname(BUNDLED_MANIFEST), GOLDEN_FILE), 'utf8');
    const load = () => loadGolden(path.join(dir, 'manifest.json'), BUNDLED_MANIFEST, manifest, size);
    for (const bad of [
      text.slice(0, 1000),
      '{"schema": "irst-edge/golden/1"}',
      text.replace('"counts": "', '"counts": "AAAA'),
    ]) {
      await writeFile(own, bad);
      await expect(load()).rejects.toMatchObject({ code: 'GOLDEN_INVALID', exitCode: 65 });
    }
    await rm(own);
  });
});

describe('a network that computes something else', () => {
  test('a little noise passes; its size is told', async () => {
    const result = await prove(
      maps((heat) => {
        heat[7]! += 0.01;
      }),
    );
    expect(result.heatError).toBeCloseTo(0.01, 5);
    expect(result.peakErrorPx).toBe(0);
  });

  const peak = () => expected.heat.indexOf(Math.max(...expected.heat));
  test.each<[string, (heat: Float32Array, logsig: Float32Array) => void]>([
    ['all zero', (heat) => heat.fill(0)],
    ['NaN somewhere', (heat) => heat.fill(Number.NaN, 100, 101)],
    ['a second peak', (heat) => heat.fill(0.9, 5, 6)],
    ['a shift by one cell', (heat) => heat.copyWithin(1, 0)],
    ['another size of the target', (_, logsig) => logsig.fill(expected.logSigma + 0.2)],
    ['NaN as the size', (_, logsig) => logsig.fill(Number.NaN)],
  ])('%s is refused', async (_, change) => {
    await expect(prove(maps(change))).rejects.toMatchObject({
      code: 'GOLDEN_MISMATCH',
      message: expect.stringContaining('tensorrt of fake'),
    });
  });

  test('the peak may move by less than a tenth of a pixel', () => {
    // A slope across the peak moves its vertex and little else.
    const tilted = (slope: number) =>
      compareGolden(
        maps((heat) => {
          heat[peak() + 1]! += slope;
          heat[peak() - 1]! -= slope;
        }),
        expected,
      );
    expect(tilted(0.002).peakErrorPx).toBeLessThan(GOLDEN_LIMITS.peakPx);
    expect(tilted(0.002).peakErrorPx).toBeGreaterThan(0);
    expect(tilted(0.1).peakErrorPx).toBeGreaterThan(GOLDEN_LIMITS.peakPx);
  });

  test('another shape is no match', () => {
    expect(compareGolden({ ...maps(), rows: 1 }, expected).peakErrorPx).toBe(Number.POSITIVE_INFINITY);
  });
});

test('a frame is cut or mirrored round its target', () => {
  const from = { width: 4, height: 1, target: { x: 1, y: 0 } };
  const line = Uint8Array.of(10, 11, 12, 13);
  expect([...fitFrame(line, from, { width: 2, height: 1 })]).toEqual([10, 11]);
  expect([...fitFrame(line, from, { width: 8, height: 1 })]).toEqual([13, 12, 11, 10, 11, 12, 13, 12]);
  expect(fitFrame(line, from, { width: 8, height: 1 })[4]).toBe(11);
});
