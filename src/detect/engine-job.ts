import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { EdgeError, EXIT } from '../types/errors.js';
import type { BackendKind, Provider } from '../types/provider.js';
import { type BackendOptions, type InferenceBackend, unavailable } from './backend.js';
import { epContextModel } from './ep-context.js';
import { type Golden, type GoldenOutput, type GoldenResult, goldenOutput, loadGolden, proveGolden } from './golden.js';
import { LibOnnxruntimeBackend } from './libonnxruntime.js';
import {
  BUNDLED_MANIFEST,
  chooseFile,
  type LoadedModel,
  loadModel,
  type Manifest,
  type ModelFile,
  readManifest,
} from './manifest.js';

/** An engine built by trtexec, as an ONNX model. */
export const CONTEXT_FILE = 'engine.onnx';

/** What the process that builds an engine is told. Plain data. */
export interface EngineJob {
  /** `library`: ONNX Runtime builds while it opens the session; `trtexec`: NVIDIA's program does. */
  how: 'library' | 'trtexec';
  provider: Exclude<Provider, 'cpu'>;
  backend: BackendKind;
  libraryPath?: string;
  manifestPath: string;
  /** As of `readManifest`. */
  publicKey?: string;
  file: ModelFile;
  width: number;
  height: number;
  threads: number;
  /** Where the files of the engine go. */
  folder: string;
  providerOptions: Record<string, string>;
  /** For `trtexec`: the program and its arguments, without those that name files. */
  trtexec?: { program: string; args: readonly string[] };
  computeCapability?: string;
}

export type EngineJobEvent =
  | { type: 'phase'; phase: 'building' | 'proving' }
  /** The builder's latest line. */
  | { type: 'detail'; text: string }
  | { type: 'done'; golden: GoldenResult }
  | { type: 'failed'; error: { code: string; message: string; hint?: string } };

/** Opens a network on one provider. */
export async function openBackend(
  kind: BackendKind,
  libraryPath: string | undefined,
  model: LoadedModel,
  options: BackendOptions,
): Promise<InferenceBackend> {
  if (kind === 'onnxruntime-node') {
    // Loaded where it is wanted: its library is large, and an engine build may do without.
    const { OrtNodeBackend } = await import('./ort-node.js');
    return OrtNodeBackend.create(model, options);
  }
  if (libraryPath === undefined) throw unavailable(options.provider ?? 'cpu', 'no libonnxruntime.so is known');
  return LibOnnxruntimeBackend.create(libraryPath, model, options);
}

/** The golden frame, and the truth: the model's own, else what the FP32 network gives on the CPU here and now. */
export async function goldenTruth(
  manifestPath: string,
  manifest: Manifest,
  size: { width: number; height: number },
): Promise<{ golden: Golden; expected: GoldenOutput }> {
  const golden = await loadGolden(manifestPath, BUNDLED_MANIFEST, manifest, size);
  if (golden.expected !== undefined) return { golden, expected: golden.expected };
  const file = chooseFile(manifest, size.width, size.height, 'fp32');
  const model = await loadModel(manifestPath, manifest, file);
  const reference = await openBackend('onnxruntime-node', undefined, model, { ...size, threads: 1 });
  try {
    return { golden, expected: goldenOutput(await reference.run(golden.input)) };
  } finally {
    await reference.close();
  }
}

/** Where ONNX Runtime's TensorRT provider keeps its engines. */
export function cacheOptions(folder: string, timings: boolean): Record<string, string> {
  return {
    trt_engine_cache_enable: '1',
    trt_engine_cache_path: folder,
    ...(timings && { trt_timing_cache_enable: '1', trt_timing_cache_path: folder }),
  };
}

/** Builds an engine and proves it, in this process. @throws EdgeError */
export async function runEngineJob(job: EngineJob, tell: (event: EngineJobEvent) => void): Promise<GoldenResult> {
  const manifest = await readManifest(job.manifestPath, job.publicKey);
  const plain = await loadModel(job.manifestPath, manifest, job.file);
  const { width, height, threads, provider } = job;
  tell({ type: 'phase', phase: 'building' });
  let model = plain;
  let providerOptions = job.providerOptions;
  if (job.how === 'trtexec') {
    await runTrtexec(job, plain.path, (text) => tell({ type: 'detail', text }));
    model = await contextModel(plain, job.folder);
  } else if (provider === 'tensorrt') {
    providerOptions = { ...providerOptions, ...cacheOptions(job.folder, true) };
  }
  const { golden, expected } = await goldenTruth(job.manifestPath, manifest, { width, height });
  const options: BackendOptions = { width, height, threads, provider, providerOptions };
  const backend = await openBackend(job.backend, job.libraryPath, model, options);
  try {
    tell({ type: 'phase', phase: 'proving' });
    return await proveGolden(backend, golden, expected);
  } finally {
    await backend.close();
  }
}

/** The model that holds the engine in `folder`. */
export async function contextModel(plain: LoadedModel, folder: string): Promise<LoadedModel> {
  const file = path.join(folder, CONTEXT_FILE);
  return { ...plain, path: file, bytes: await readFile(file) };
}

/** @throws EdgeError ENGINE_BUILD_FAILED */
async function runTrtexec(job: EngineJob, onnx: string, onLine: (text: string) => void): Promise<void> {
  const { program, args } = job.trtexec ?? { program: 'trtexec', args: [] };
  const plan = path.join(job.folder, 'engine.plan');
  const files = [
    `--onnx=${onnx}`,
    `--saveEngine=${plan}`,
    `--timingCacheFile=${path.join(job.folder, 'trtexec.timingcache')}`,
  ];
  const failed = (why: string, cause?: unknown) =>
    new EdgeError('ENGINE_BUILD_FAILED', `${program}: ${why}`, {
      hint: 'run scripts/build-engine by hand to see all that it prints',
      exitCode: EXIT.unavailable,
      cause,
    });
  const child = spawn(program, [...files, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let rest = '';
  let last = '';
  let lastError = '';
  const take = (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n');
    // A line without an end must not grow for ever.
    rest = lines.pop()!.slice(-4096);
    for (const line of lines) {
      // `[11/25/2026-10:00:00] [I] text`
      const [, level, text] = /^\[[^\]]*\] \[([A-Z])\] (.*)$/.exec(line) ?? [undefined, '', line];
      if (text.trim() === '') continue;
      last = text.trim().slice(0, 200);
      if (level === 'E') lastError = last;
      onLine(last);
    }
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  await new Promise<void>((resolve, reject) => {
    child.once('error', (cause) => reject(failed(`cannot be started: ${cause.message}`, cause)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(failed(`${signal === null ? `ended with ${code}` : `was ended by ${signal}`}: ${lastError || last}`));
    });
  });
  let engine: Buffer;
  try {
    engine = await readFile(plan);
  } catch (cause) {
    throw failed('ended well but left no engine', cause);
  }
  if (engine.length === 0) throw failed('left an empty engine');
  const { width, height, computeCapability } = job;
  const wrapper = { engine, width, height, stride: 2, ...(computeCapability && { computeCapability }) };
  await writeFile(path.join(job.folder, CONTEXT_FILE), epContextModel(wrapper));
  await rm(plan);
}
