import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUNDLED_MANIFEST, readManifest } from '../detect/manifest.js';
import { encodeModel, type NodeSpec } from '../detect/onnx-proto.js';
import { ACTIVATION_LIMIT, activationRange } from './activation-range.js';
import { readDataset } from './dataset.js';
import { comparePrecisions } from './precision.js';

const CLIP = fileURLToPath(new URL('../../test/fixtures/drone-sky/', import.meta.url));

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'irst-precision-'));
});
afterAll(() => rm(dir, { recursive: true }));

test('FP16 finds what FP32 finds, at the same places', async () => {
  const list = path.join(dir, 'list.txt');
  await writeFile(list, '010.png\n050.png\n');
  const report = await comparePrecisions(await readDataset(CLIP, list), {
    detector: { manifest: BUNDLED_MANIFEST, threads: 1 },
    radius: 5,
  });
  expect(report).toMatchObject({ images: 2, f1Difference: 0, onlyFp32: 0, onlyFp16: 0, heat: { invalidCells: 0 } });
  expect(report.fp32.tp).toBeGreaterThan(0);
  expect(report.fp16.tp).toBe(report.fp32.tp);
  expect(report.pairs.count).toBeGreaterThanOrEqual(report.fp32.tp);
  // Two builds that differ, a little.
  expect(report.heat.max).toBeGreaterThan(0);
  expect(report.heat.max).toBeLessThan(0.02);
  expect(report.heat.mean).toBeLessThan(report.heat.max);
  expect(report.pairs.maxPx).toBeLessThan(0.1);
});

describe('the range of activations', () => {
  const WIDTH = 64;
  const HEIGHT = 48;

  /** A 16-bit recording: noise, and one pixel that is far hotter. */
  async function recording(): Promise<string> {
    const counts = Uint16Array.from({ length: 2 * WIDTH * HEIGHT }, (_, i) => 30_000 + ((i * 7919) % 41));
    counts[1000] = 65_535;
    const file = path.join(dir, 'hot.y16');
    await writeFile(file, Buffer.from(counts.buffer));
    await writeFile(path.join(dir, 'hot.json'), JSON.stringify({ width: WIDTH, height: HEIGHT }));
    return file;
  }

  /** A model that squares its input so often, and then averages. */
  async function squaring(times: number): Promise<string> {
    const nodes: NodeSpec[] = [];
    let last = 'image';
    for (let i = 0; i < times; i++) {
      nodes.push({ type: 'Mul', inputs: [last, last], outputs: [`square${i}`] });
      last = `square${i}`;
    }
    for (const output of ['heat', 'logsig']) {
      const attributes = { kernel_shape: [2, 2], strides: [2, 2] };
      nodes.push({ type: 'AveragePool', inputs: [last], outputs: [output], attributes });
    }
    const cells = [1, 1, HEIGHT / 2, WIDTH / 2];
    const bytes = encodeModel({
      irVersion: 9,
      opsets: { '': 17 },
      name: 'squares',
      nodes,
      inputs: [{ name: 'image', shape: [1, 1, HEIGHT, WIDTH] }],
      outputs: [
        { name: 'heat', shape: cells },
        { name: 'logsig', shape: cells },
      ],
    });
    const name = `squares${times}`;
    await writeFile(path.join(dir, `${name}.onnx`), bytes);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const file = { file: `${name}.onnx`, precision: 'fp32', width: WIDTH, height: HEIGHT, bytes: bytes.length, sha256 };
    const manifest = { ...(await readManifest(BUNDLED_MANIFEST)), files: [file] };
    await writeFile(path.join(dir, `${name}.json`), JSON.stringify(manifest));
    return path.join(dir, `${name}.json`);
  }

  test('the largest value of any tensor is found, and too large a one is told', async () => {
    const file = await recording();
    // A normalised pixel is at most 24.
    const one = await activationRange(file, { manifest: await squaring(1), framesEach: 2 });
    expect(one).toMatchObject({
      inputs: 1,
      frames: 2,
      counts: { low: 30_000, high: 65_535 },
      tensors: 3,
      largest: 576,
      withinLimit: true,
    });
    expect(one.top[0]).toEqual({ name: 'square0', type: 'Mul', largest: 576 });
    const three = await activationRange(file, { manifest: await squaring(2), framesEach: 1 });
    expect(three).toMatchObject({ largest: 331_776, limit: ACTIVATION_LIMIT, withinLimit: false });
  });

  test('the bundled model has room on a hot 16-bit frame', async () => {
    const report = await activationRange(await recording(), { manifest: BUNDLED_MANIFEST, framesEach: 1 });
    expect(report.tensors).toBeGreaterThan(100);
    expect(report.withinLimit).toBe(true);
    expect(report.largest).toBeGreaterThan(24);
  });

  test('nothing to look at is an error', async () => {
    const options = { manifest: BUNDLED_MANIFEST, framesEach: 1 };
    await expect(activationRange('/none', options)).rejects.toMatchObject({ code: 'INPUT_NOT_FOUND', exitCode: 66 });
  });
});
