import { execFile } from 'node:child_process';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const source = (name: string) => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** The real places of the functions in `struct OrtApi`, from the header (scripts/ort-api-places.mjs), not from the table under test. */
const PLACES = JSON.parse(await readFile(source('places.json'), 'utf8')) as Record<string, number>;

export const FAKE_TRTEXEC = source('trtexec.mjs');

/**
 * Compiles the fake library and gives it the (empty) files of its providers, which are only looked for.
 * @returns its path
 */
export async function buildFakeLibrary(
  folder: string,
  { version = '1.23.0', api = 23, providers = ['tensorrt', 'cuda'] } = {},
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, 'libonnxruntime.so');
  const places = Object.entries(PLACES).map(([name, i]) => `-DIDX_${name}=${i}`);
  const constants = [`-DFAKE_VERSION="${version}"`, `-DFAKE_API=${api}`];
  await run('g++', [
    '-std=c++17',
    '-shared',
    '-fPIC',
    '-pthread',
    ...places,
    ...constants,
    source('fake-onnxruntime.cc'),
    '-o',
    file,
  ]);
  for (const provider of providers) await writeFile(path.join(folder, `libonnxruntime_providers_${provider}.so`), '');
  return file;
}

/** Only the entry of a library: its version, and a table of functions that may not be called. */
export async function buildFakeBase(file: string, version: string, api: number): Promise<string> {
  const constants = [`-DFAKE_VERSION="${version}"`, `-DFAKE_API=${api}`];
  await run('gcc', ['-shared', '-fPIC', ...constants, source('fake-base.c'), '-o', file]);
  return file;
}

/** A root with the files of an Orin, and a folder with NVIDIA's libraries. */
export async function buildFakePlatform(folder: string): Promise<{ root: string; libraries: string }> {
  const root = path.join(folder, 'root');
  const libraries = path.join(folder, 'nvidia');
  for (const dir of [path.join(root, 'proc/device-tree'), path.join(root, 'etc'), libraries])
    await mkdir(dir, { recursive: true });
  await writeFile(path.join(root, 'proc/device-tree/model'), 'NVIDIA Jetson Orin Nano Developer Kit\0');
  await writeFile(
    path.join(root, 'etc/nv_tegra_release'),
    '# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n',
  );
  const first = path.join(libraries, 'libnvinfer.so.10');
  await run('g++', ['-shared', '-fPIC', source('fake-nvidia.cc'), '-o', first]);
  for (const name of ['libcudart.so.12', 'libcuda.so.1']) await copyFile(first, path.join(libraries, name));
  return { root, libraries };
}
