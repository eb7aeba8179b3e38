import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readGreyImage } from '../capture/image-file.js';
import { LibOnnxruntimeBackend } from './libonnxruntime.js';
import { BUNDLED_MANIFEST, chooseFile, type LoadedModel, loadModel, readManifest } from './manifest.js';
import { Normaliser } from './normalise.js';
import { API_VERSIONS, ORT_API, OrtFailure, type OrtFunction, OrtLibrary } from './ort-api.js';
import { findLibrary, missingProviderFile, nodeLibraryFolder } from './ort-library-path.js';
import { OrtNodeBackend } from './ort-node.js';

const LIBRARY = path.join(nodeLibraryFolder(), 'libonnxruntime.so.1');
const CLIP = fileURLToPath(new URL('../../test/fixtures/drone-sky/', import.meta.url));
const manifest = await readManifest(BUNDLED_MANIFEST);

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'irst-libort-'));
});
afterAll(() => rm(dir, { recursive: true }));

const load = (width: number, height: number, precision: 'fp32' | 'fp16' = 'fp32'): Promise<LoadedModel> =>
  loadModel(BUNDLED_MANIFEST, manifest, chooseFile(manifest, width, height, precision));

async function pictures(): Promise<Float32Array[]> {
  const normaliser = new Normaliser(manifest.input.normalisation);
  return Promise.all(
    ['000.png', '050.png', '100.png'].map(async (name) => {
      const { data, width, height } = await readGreyImage(path.join(CLIP, name));
      const input = new Float32Array(width * height);
      normaliser.run(data, width, height, input, width, height);
      return input;
    }),
  );
}

describe('on the CPU, with the library that onnxruntime-node ships', () => {
  test.each(['fp32', 'fp16'] as const)('%s: the same maps as onnxruntime-node, bit for bit', async (precision) => {
    const model = await load(320, 256, precision);
    const options = { width: 320, height: 256, threads: 1 };
    const [node, lib] = await Promise.all([
      OrtNodeBackend.create(model, options),
      LibOnnxruntimeBackend.create(LIBRARY, model, options),
    ]);
    expect(lib.library).toMatch(/^libonnxruntime 1\.\d+\.\d+$/);
    for (const input of await pictures()) {
      const one = await node.run(input);
      const other = await lib.run(input);
      expect(Buffer.from(other.heat.buffer).equals(Buffer.from(one.heat.buffer))).toBe(true);
      expect(Buffer.from(other.logsig.buffer).equals(Buffer.from(one.logsig.buffer))).toBe(true);
      expect(Math.max(...other.heat)).toBeGreaterThan(0.3);
    }
    await Promise.all([node.close(), lib.close()]);
  });
});
