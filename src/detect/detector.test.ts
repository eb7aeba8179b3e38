import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readGreyImage } from '../capture/image-file.js';
import { Decoder } from '../decode/decoder.js';
import { stillFrame } from '../eval/evaluate.js';
import { Detector } from './detector.js';
import { BUNDLED_MANIFEST, chooseFile, everyFile, loadModel, type Manifest, readManifest } from './manifest.js';

const CLIP = fileURLToPath(new URL('../../test/fixtures/drone-sky/', import.meta.url));
const bundled = { manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 1 } as const;
const timings = { normalise: 0, infer: 0 };

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'irst-model-'));
});
afterAll(() => rm(dir, { recursive: true }));

/** A manifest in `dir` with one file, of these bytes. */
async function oneFileModel(
  name: string,
  bytes: Uint8Array,
  change: (m: Manifest) => void = () => {},
): Promise<string> {
  const manifest = await readManifest(BUNDLED_MANIFEST);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  manifest.files = [
    { file: `${name}.onnx`, precision: 'fp32', width: null, height: null, bytes: bytes.length, sha256 },
  ];
  change(manifest);
  await writeFile(path.join(dir, `${name}.onnx`), bytes);
  const file = path.join(dir, `${name}.json`);
  await writeFile(file, JSON.stringify(manifest));
  return file;
}

describe('the bundled model', () => {
  test('every file is the one that the manifest names', async () => {
    const manifest = await readManifest(BUNDLED_MANIFEST);
    expect(manifest.parameters).toBeLessThanOrEqual(240_000);
    expect(manifest.gigaFlops256).toBeLessThanOrEqual(1.53);
    for (const file of everyFile(manifest)) {
      expect((await loadModel(BUNDLED_MANIFEST, manifest, file)).bytes.length).toBeLessThanOrEqual(1_000_000);
    }
  });

  test('finds the drone of the bundled clip at its published place, in FP32 and in FP16 alike', async () => {
    const image = await readGreyImage(path.join(CLIP, '050.png'));
    const truth = (JSON.parse(await readFile(path.join(CLIP, 'points.json'), 'utf8')) as Record<string, number[][]>)[
      '050.png'
    ]![0]!;
    const frame = stillFrame(0, image);
    const heats: Float32Array[] = [];
    for (const precision of ['fp32', 'fp16'] as const) {
      const detector = await Detector.create({ ...bundled, precision }, image);
      const maps = await detector.run(frame, timings);
      const { detections } = new Decoder({ threshold: detector.manifest.decode.threshold }).run(maps, frame);
      const near = detections.filter((d) => Math.hypot(d.x - truth[0]!, d.y - truth[1]!) <= 5);
      expect(near).toHaveLength(1);
      heats.push(maps.heat.slice());
      await detector.close();
    }
    const worst = heats[0]!.reduce((m, h, i) => Math.max(m, Math.abs(h - heats[1]![i]!)), 0);
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThan(0.02);
  });

  test('an all-equal frame holds nothing, at any size', async () => {
    for (const [width, height] of [
      [160, 120],
      [61, 43],
    ] as const) {
      const frame = stillFrame(0, { width, height, bits: 16, data: new Uint16Array(width * height).fill(7000) });
      const detector = await Detector.create(bundled, frame);
      const maps = await detector.run(frame, timings);
      expect(maps.heat.every(Number.isFinite)).toBe(true);
      expect(new Decoder({ threshold: detector.manifest.decode.threshold }).run(maps, frame).detections).toEqual([]);
      await detector.close();
    }
  });

  test('the static and the free file give the same map', async () => {
    const image = await readGreyImage(path.join(CLIP, '000.png'));
    const manifest = await readManifest(BUNDLED_MANIFEST);
    const free = manifest.files.filter((f) => f.width === null);
    const copy = path.join(dir, 'free.json');
    await writeFile(copy, JSON.stringify({ ...manifest, files: free }));
    for (const f of free) await cp(path.join(path.dirname(BUNDLED_MANIFEST), f.file), path.join(dir, f.file));
    const [a, b] = await Promise.all([
      Detector.create(bundled, image),
      Detector.create({ ...bundled, manifest: copy }, image),
    ]);
    expect(a.identity.sha256).not.toBe(b.identity.sha256);
    const frame = stillFrame(0, image);
    const one = (await a.run(frame, timings)).heat.slice();
    const other = (await b.run(frame, timings)).heat;
    expect(one.every((h, i) => Math.abs(h - other[i]!) < 1e-5)).toBe(true);
    await Promise.all([a.close(), b.close()]);
  });

  test('a frame of another size is refused', async () => {
    const detector = await Detector.create(bundled, { width: 64, height: 48 });
    const frame = stillFrame(0, { width: 48, height: 64, bits: 8, data: new Uint8Array(48 * 64) });
    await expect(detector.run(frame, timings)).rejects.toThrow('frame is 48x64, detector was made for 64x48');
    await detector.close();
  });

  test('may be closed twice', async () => {
    const detector = await Detector.create(bundled, { width: 64, height: 48 });
    await Promise.all([detector.close(), detector.close()]);
    await detector.close();
  });
});

describe('choice of the file', () => {
  test('exact, else free, else the smallest that holds the frame, else a clear error', async () => {
    const manifest = await readManifest(BUNDLED_MANIFEST);
    expect(chooseFile(manifest, 320, 256, 'fp32').file).toContain('320x256_fp32');
    expect(chooseFile(manifest, 636, 508, 'fp16').file).toContain('640x512_fp16');
    expect(chooseFile(manifest, 333, 222, 'fp32').file).toContain('any_fp32');
    const fixed = { ...manifest, files: manifest.files.filter((f) => f.width !== null) };
    expect(chooseFile(fixed, 200, 100, 'fp32').file).toContain('256x256');
    expect(() => chooseFile(fixed, 2000, 100, 'fp32')).toThrow(/no fp32 file for 2000x100 frames/);
  });
});

describe('a model that is no good', () => {
  const rejected = (manifest: string) => Detector.create({ ...bundled, manifest }, { width: 64, height: 64 });

  test('missing manifest and missing file', async () => {
    await expect(rejected(path.join(dir, 'none.json'))).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      exitCode: 66,
    });
    const manifest = await oneFileModel('gone', Uint8Array.of(1));
    await rm(path.join(dir, 'gone.onnx'));
    await expect(rejected(manifest)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' });
  });

  test('manifest that is no manifest', async () => {
    const file = path.join(dir, 'bad.json');
    await writeFile(file, '{"schema": "irst-edge/model/1"');
    await expect(rejected(file)).rejects.toMatchObject({ code: 'MODEL_MANIFEST_INVALID', exitCode: 65 });
    await writeFile(file, '{"schema": "something else"}');
    await expect(rejected(file)).rejects.toMatchObject({ code: 'MODEL_MANIFEST_INVALID' });
  });

  test('changed, cut or foreign bytes', async () => {
    const manifest = await readManifest(BUNDLED_MANIFEST);
    const free = manifest.files.find((f) => f.width === null && f.precision === 'fp32')!;
    const bytes = await readFile(path.join(path.dirname(BUNDLED_MANIFEST), free.file));
    const changed = await oneFileModel('changed', bytes);
    bytes[1000]! ^= 1;
    await writeFile(path.join(dir, 'changed.onnx'), bytes);
    await expect(rejected(changed)).rejects.toMatchObject({ code: 'MODEL_SHA_MISMATCH', exitCode: 65 });
    const cut = await oneFileModel('cut', bytes.subarray(0, 5000));
    await expect(rejected(cut)).rejects.toMatchObject({ code: 'MODEL_UNUSABLE', exitCode: 65 });
    const foreign = await oneFileModel('foreign', Buffer.from('not a model at all'));
    await expect(rejected(foreign)).rejects.toMatchObject({ code: 'MODEL_UNUSABLE' });
  });
});
