import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildFakeBase } from '../../test/fakes/onnxruntime/build.js';
import { tinyModel } from '../../test/fakes/onnxruntime/tiny-model.js';
import { readGreyImage } from '../capture/image-file.js';
import { LibOnnxruntimeBackend } from './libonnxruntime.js';
import { BUNDLED_MANIFEST, chooseFile, type LoadedModel, loadModel, readManifest } from './manifest.js';
import { Normaliser } from './normalise.js';
import { encodeModel } from './onnx-proto.js';
import { API_VERSIONS, ORT_API, OrtFailure, OrtLibrary } from './ort-api.js';
import { findLibrary, missingProviderFile, nodeLibraryFolder } from './ort-library-path.js';
import { OrtNodeBackend } from './ort-node.js';

const LIBRARY = path.join(nodeLibraryFolder(), 'libonnxruntime.so.1');
const CLIP = fileURLToPath(new URL('../../test/fixtures/drone-sky/', import.meta.url));
const manifest = await readManifest(BUNDLED_MANIFEST);
const size = { width: 320, height: 256, threads: 1 };

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'irst-libort-'));
});
afterAll(() => rm(dir, { recursive: true }));

const load = (precision: 'fp32' | 'fp16' = 'fp32'): Promise<LoadedModel> =>
  loadModel(BUNDLED_MANIFEST, manifest, chooseFile(manifest, 320, 256, precision));
const withBytes = (bytes: Uint8Array): LoadedModel => ({
  manifest,
  file: manifest.files[0]!,
  path: '/models/x.onnx',
  bytes,
});

describe('on the CPU, with the library that onnxruntime-node ships', () => {
  test.each(['fp32', 'fp16'] as const)('%s: the same maps as onnxruntime-node, bit for bit', async (precision) => {
    const model = await load(precision);
    const node = await OrtNodeBackend.create(model, size);
    const lib = await LibOnnxruntimeBackend.create(LIBRARY, model, size);
    expect(lib.library).toMatch(/^libonnxruntime 1\.\d+\.\d+$/);
    const { data, width, height } = await readGreyImage(path.join(CLIP, '050.png'));
    const input = new Float32Array(width * height);
    new Normaliser(manifest.input.normalisation).run(data, width, height, input, width, height);
    for (const frame of [input, input.map((z) => -z)]) {
      const one = await node.run(frame);
      const other = await lib.run(frame);
      expect(Buffer.from(other.heat.buffer).equals(Buffer.from(one.heat.buffer))).toBe(true);
      expect(Buffer.from(other.logsig.buffer).equals(Buffer.from(one.logsig.buffer))).toBe(true);
    }
    expect(Math.max(...(await lib.run(input)).heat)).toBeGreaterThan(0.5);
    await Promise.all([node.close(), lib.close()]);
  });

  test('takes the given input where it lies, and any other by copying', async () => {
    const input = new Float32Array(16 * 8).fill(2);
    const backend = await LibOnnxruntimeBackend.create(LIBRARY, withBytes(tinyModel(16, 8)), {
      width: 16,
      height: 8,
      threads: 1,
      input,
    });
    const maps = await backend.run(input);
    expect([maps.rows, maps.cols, maps.heat[0]]).toEqual([4, 8, 2]);
    input.fill(3);
    expect((await backend.run(input)).heat.every((h) => h === 3)).toBe(true);
    expect((await backend.run(new Float32Array(16 * 8).fill(4))).heat[31]).toBe(4);
    expect(input[0]).toBe(4);
    await expect(backend.run(new Float32Array(3))).rejects.toThrow('input of 3 values, expected 128');
    await backend.close();
    await backend.close();
    await expect(backend.run(input)).rejects.toThrow('the session is closed');
  });

  test('leaves the event loop free, runs one at a time, and closes after the run under way', async () => {
    const backend = await LibOnnxruntimeBackend.create(LIBRARY, await load(), size);
    const run = backend.run(new Float32Array(320 * 256));
    await expect(backend.run(new Float32Array(320 * 256))).rejects.toThrow('a run is under way');
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const closing = backend.close();
    await run;
    clearInterval(timer);
    await closing;
    // An inference takes tens of milliseconds; a blocked loop would not tick once.
    expect(ticks).toBeGreaterThan(1);
  });

  test('thousands of runs and hundreds of sessions do not grow', async () => {
    const model = withBytes(tinyModel(64, 64));
    const options = { width: 64, height: 64, threads: 1 };
    const input = new Float32Array(64 * 64).fill(1);
    const rounds = async (sessions: number, runs: number) => {
      for (let i = 0; i < sessions; i++) {
        const backend = await LibOnnxruntimeBackend.create(LIBRARY, model, options);
        for (let k = 0; k < runs; k++) await backend.run(input);
        await backend.close();
      }
    };
    await rounds(30, 50);
    const before = process.memoryUsage().rss;
    await rounds(1, 5000);
    await rounds(100, 5);
    // A leak of the 16 KiB input alone would be 90 MB.
    expect(process.memoryUsage().rss - before).toBeLessThan(30e6);
  });
});

describe('the table of functions', () => {
  const places = JSON.parse(
    readFileSync(new URL('../../test/fakes/onnxruntime/places.json', import.meta.url), 'utf8'),
  ) as Record<string, number>;

  test('has the places of the C header', () => {
    expect(Object.fromEntries(Object.entries(ORT_API).map(([name, [place]]) => [name, place]))).toEqual(places);
  });

  test.each([
    ['TensorRT', 'trt_fp16_enable'],
    ['CUDA', 'device_id'],
  ] as const)('the options of %s reach the real library, which lacks only the provider', async (kind, key) => {
    const ort = await OrtLibrary.open(LIBRARY);
    const [name, value] = [Buffer.from(`${key}\0`), Buffer.from('1\0')];
    const options = ort.get(`Create${kind}ProviderOptions`);
    const update = () =>
      ort.call(
        `Update${kind}ProviderOptions`,
        options,
        BigUint64Array.of(ort.addressOf(name)),
        BigUint64Array.of(ort.addressOf(value)),
        1,
      );
    expect(update).toThrow(OrtFailure);
    expect(update).toThrow(/libonnxruntime_providers_shared\.so/);
    ort.call(`Release${kind}ProviderOptions`, options);
  });

  test('a failed call gives code and text, and frees the status', async () => {
    const ort = await OrtLibrary.open(LIBRARY);
    const settings = ort.get('CreateSessionOptions');
    expect(() => ort.call('SetSessionGraphOptimizationLevel', settings, 12345)).toThrow(
      'graph_optimization_level is not valid',
    );
    ort.call('ReleaseSessionOptions', settings);
  });
});

describe('what cannot be used', () => {
  const create = (library: string, model: LoadedModel, change = {}) =>
    LibOnnxruntimeBackend.create(library, model, { ...size, ...change });

  test('no library, no ONNX Runtime, too old a version of the API', async () => {
    const model = withBytes(tinyModel(320, 256));
    await expect(create(path.join(dir, 'none.so'), model)).rejects.toMatchObject({
      code: 'RUNTIME_LIBRARY_UNUSABLE',
      exitCode: 78,
      hint: expect.stringContaining('runtime.libonnxruntime'),
    });
    const text = path.join(dir, 'text.so');
    await writeFile(text, 'no library');
    await expect(create(text, model)).rejects.toMatchObject({ code: 'RUNTIME_LIBRARY_UNUSABLE' });
    const other = path.join(dir, 'other.so');
    const source = path.join(dir, 'other.c');
    await writeFile(source, 'int something_else(void) { return 1; }');
    await promisify(execFile)('gcc', ['-shared', '-fPIC', source, '-o', other]);
    await expect(create(other, model)).rejects.toMatchObject({
      code: 'RUNTIME_LIBRARY_UNUSABLE',
      message: expect.stringContaining('OrtGetApiBase'),
    });
    const old = await buildFakeBase(path.join(dir, 'old.so'), '1.9.1', 9);
    await expect(create(old, model)).rejects.toMatchObject({
      code: 'RUNTIME_LIBRARY_TOO_OLD',
      exitCode: 78,
      message: expect.stringContaining('ONNX Runtime 1.9.1'),
    });
  });

  test('the newest common version of the API is taken, and none that the library lacks is asked for', async () => {
    for (const [version, api] of [
      ['1.19.2', 19],
      ['1.40.0', 40],
    ] as const) {
      // The fake ends the process when it is asked for a version that it lacks.
      const library = await buildFakeBase(path.join(dir, `${version}.so`), version, api);
      expect((await OrtLibrary.open(library)).apiVersion).toBe(Math.min(api, API_VERSIONS.newest));
    }
  });

  test('bad models, wrong names, wrong sizes, wrong types', async () => {
    const rejected = async (bytes: Uint8Array) => {
      const error = await create(LIBRARY, withBytes(bytes)).catch((e) => e);
      expect(error).toMatchObject({ code: 'MODEL_UNUSABLE', exitCode: 65 });
      return error.message as string;
    };
    expect(await rejected(Buffer.from('not a model at all'))).toContain('/models/x.onnx');
    expect(await rejected((await load()).bytes.subarray(0, 5000))).toContain('/models/x.onnx');
    expect(await rejected(tinyModel(64, 64))).toContain('inputs are image [1,1,64,64], not image [1,1,256,320]');
    const wrongOutput = encodeModel({
      irVersion: 9,
      opsets: { '': 17 },
      name: 'x',
      nodes: [{ type: 'Relu', inputs: ['image'], outputs: ['heat'] }],
      inputs: [{ name: 'image', shape: [1, 1, 256, 320] }],
      outputs: [{ name: 'heat', shape: [1, 1, 256, 320] }],
    });
    expect(await rejected(wrongOutput)).toContain('outputs are heat [1,1,256,320], not heat [1,1,128,160], logsig');
  });

  test('a GPU provider without its file: its own words', async () => {
    for (const provider of ['tensorrt', 'cuda'] as const) {
      await expect(create(LIBRARY, await load('fp16'), { provider })).rejects.toMatchObject({
        code: 'PROVIDER_UNAVAILABLE',
        exitCode: 69,
        message: expect.stringMatching(new RegExp(`^${provider}: .+`)),
      });
    }
  });
});

describe('where the library is looked for', () => {
  test('configured file or folder, then ORT_LIB, then the usual places; a named one that is missing is an error', async () => {
    const folder = path.join(dir, 'usual', 'python3.11', 'capi');
    await mkdir(folder, { recursive: true });
    for (const name of ['libonnxruntime.so.1.23.0', 'libonnxruntime.so.1', 'libonnxruntime_providers_shared.so'])
      await writeFile(path.join(folder, name), '');
    const places = [path.join(dir, 'nowhere'), path.join(dir, 'usual', 'python3*', 'capi')];
    const found = path.join(folder, 'libonnxruntime.so.1');
    expect(await findLibrary(undefined, places, {})).toBe(found);
    expect(await findLibrary(undefined, [path.join(dir, 'nowhere')], {})).toBeUndefined();
    expect(await findLibrary(folder, [], {})).toBe(found);
    expect(await findLibrary(LIBRARY, places, { ORT_LIB: '/none' })).toBe(LIBRARY);
    expect(await findLibrary(undefined, [], { ORT_LIB: LIBRARY })).toBe(LIBRARY);
    await expect(findLibrary('/none/lib.so', places, {})).rejects.toMatchObject({
      code: 'RUNTIME_LIBRARY_NOT_FOUND',
      exitCode: 66,
      message: expect.stringContaining('runtime.libonnxruntime'),
    });
    expect(await missingProviderFile('libonnxruntime', found, 'tensorrt')).toBe('libonnxruntime_providers_tensorrt.so');
    expect(await missingProviderFile('libonnxruntime', found, 'cpu')).toBeUndefined();
  });
});
