import { readFile } from 'node:fs/promises';
import { loadShared, type SharedLibrary } from './ort-api.js';

/** What an engine is bound to; absent: not there, or not to be learnt. */
export interface Platform {
  /** `10.3.0` */
  tensorrt?: string;
  /** Of the run-time library: `12.6`. */
  cuda?: string;
  /** `8.7` */
  computeCapability?: string;
  /** As the device tree says: `NVIDIA Jetson Orin Nano Developer Kit`. */
  board?: string;
  /** Linux for Tegra: `36.4.3`. */
  l4t?: string;
}

/** Newest first; the unversioned names come with the development packages only. */
const TENSORRT = ['libnvinfer.so.11', 'libnvinfer.so.10', 'libnvinfer.so.8', 'libnvinfer.so'];
const CUDA_RUNTIME = ['libcudart.so.13', 'libcudart.so.12', 'libcudart.so.11.0', 'libcudart.so'];
const CUDA_DRIVER = ['libcuda.so.1'];
const CAPABILITY_MAJOR = 75;
const CAPABILITY_MINOR = 76;

export interface PlatformSources {
  /** Where /proc and /etc are looked for. Default: `/`. */
  root?: string;
  /** Folder of the NVIDIA libraries. Default: the loader's own search. */
  libraries?: string;
}

/** Asks NVIDIA's libraries and the device files. Never throws: what is not there stays absent. */
export async function readPlatform({ root = '/', libraries }: PlatformSources = {}): Promise<Platform> {
  const [board, release] = await Promise.all([
    text(`${root}/proc/device-tree/model`),
    text(`${root}/etc/nv_tegra_release`),
  ]);
  const l4t = release === undefined ? undefined : parseTegraRelease(release);
  return {
    ...(await nvidia(libraries).catch(() => ({}))),
    ...(board ? { board } : {}),
    ...(l4t === undefined ? {} : { l4t }),
  };
}

/** `# R36 (release), REVISION: 4.3, GCID: ...` to `36.4.3`. */
export function parseTegraRelease(release: string): string | undefined {
  const [, major, revision] = /^# R(\d+) \(release\), REVISION: ([\d.]+)/.exec(release) ?? [];
  return major === undefined ? undefined : `${major}.${revision}`;
}

/** 100300 is 10.3.0; up to TensorRT 9 8502 is 8.5.2. */
export function tensorrtVersion(number: number): string {
  const [major, minor] = number >= 10_000 ? [10_000, 100] : [1000, 100];
  return [Math.floor(number / major), Math.floor((number % major) / minor), number % minor].join('.');
}

/** 12060 is 12.6. */
export function cudaVersion(number: number): string {
  return `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`;
}

async function nvidia(folder: string | undefined): Promise<Platform> {
  const load = async (names: readonly string[]): Promise<SharedLibrary | undefined> => {
    for (const name of names) {
      try {
        return await loadShared(folder === undefined ? name : `${folder}/${name}`);
      } catch {
        // The next one.
      }
    }
    return undefined;
  };
  const platform: Platform = {};
  const version = (await load(TENSORRT))?.func('getInferLibVersion', 'int', [])();
  if (typeof version === 'number' && version > 0) platform.tensorrt = tensorrtVersion(version);
  const out = [0];
  const runtime = (await load(CUDA_RUNTIME))?.func('cudaRuntimeGetVersion', 'int', ['_Out_ int *']);
  if (runtime?.(out) === 0) platform.cuda = cudaVersion(out[0]!);
  const driver = await load(CUDA_DRIVER);
  if (driver?.func('cuInit', 'int', ['uint32_t'])(0) === 0) {
    const attribute = driver.func('cuDeviceGetAttribute', 'int', ['_Out_ int *', 'int', 'int']);
    const ask = (which: number) => (attribute(out, which, 0) === 0 ? out[0]! : undefined);
    const [major, minor] = [ask(CAPABILITY_MAJOR), ask(CAPABILITY_MINOR)];
    if (major !== undefined && minor !== undefined) platform.computeCapability = `${major}.${minor}`;
  }
  return platform;
}

/** Without the NUL that the device tree ends its strings with. */
async function text(file: string): Promise<string | undefined> {
  const content = await readFile(file, 'utf8').catch(() => undefined);
  return content?.replaceAll('\0', '').trim();
}
