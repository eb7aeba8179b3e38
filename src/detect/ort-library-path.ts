import { readdir, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { EdgeError, EXIT } from '../types/errors.js';
import type { BackendKind, Provider } from '../types/provider.js';
import { namedLibrary } from '../util/named-library.js';

/** Where builds, packages and wheels of ONNX Runtime put it; `*` is one folder of any name. */
export const USUAL_PLACES = [
  '/opt/irst-edge/onnxruntime/lib',
  '/opt/onnxruntime/lib',
  '/usr/local/lib',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib',
  '/usr/local/lib/python3*/dist-packages/onnxruntime/capi',
  '/usr/lib/python3/dist-packages/onnxruntime/capi',
  '/opt/venv/lib/python3*/site-packages/onnxruntime/capi',
] as const;

const NAME = /^libonnxruntime\.so(\.\d+)*$/;

/**
 * The libonnxruntime.so to use: the configured file or folder, else `ORT_LIB`, else the first of the usual places that has one;
 * undefined: none.
 * @throws EdgeError RUNTIME_LIBRARY_NOT_FOUND when one was named and is not there
 */
export async function findLibrary(
  configured: string | undefined,
  places: readonly string[] = USUAL_PLACES,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string | undefined> {
  const named = namedLibrary(configured, environment);
  if (named !== undefined) {
    const found = await libraryAt(named.library);
    if (found !== undefined) return found;
    throw new EdgeError(
      'RUNTIME_LIBRARY_NOT_FOUND',
      `${named.library} (${named.by}) is no file, and no folder with a libonnxruntime.so`,
      {
        hint: 'docs/jetson.md says how to install ONNX Runtime with TensorRT',
        exitCode: EXIT.noInput,
      },
    );
  }
  for (const place of places) {
    for (const folder of await expand(place)) {
      const found = await libraryIn(folder);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

async function libraryAt(named: string): Promise<string | undefined> {
  const about = await stat(named).catch(() => undefined);
  return about?.isDirectory() ? libraryIn(named) : about?.isFile() ? path.resolve(named) : undefined;
}

/** The plain name first, then the shortest version, then the longest. */
async function libraryIn(folder: string): Promise<string | undefined> {
  const names = (await readdir(folder).catch(() => [] as string[])).filter((name) => NAME.test(name));
  names.sort((a, b) => a.length - b.length || b.localeCompare(a));
  for (const name of names) {
    const full = path.join(folder, name);
    if ((await stat(full).catch(() => undefined))?.isFile()) return full;
  }
  return undefined;
}

async function expand(place: string): Promise<string[]> {
  const [before, after] = [place.slice(0, place.indexOf('*')), place.slice(place.indexOf('*') + 1)];
  if (!place.includes('*')) return [place];
  const parent = path.dirname(`${before}x`);
  const start = path.basename(`${before}x`).slice(0, -1);
  const names = (await readdir(parent).catch(() => [] as string[])).filter((name) => name.startsWith(start)).sort();
  return names.reverse().map((name) => path.join(parent, name + after));
}

/** The folder of the library that onnxruntime-node ships for this machine. */
export function nodeLibraryFolder(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  return path.join(main, '..', '..', 'bin', 'napi-v6', process.platform, process.arch);
}

/**
 * ONNX Runtime loads the providers of GPUs from beside itself. Undefined: their file is there; else what is missing. Asking the
 * library costs a second and lines on standard error; its list of providers only says what it was compiled for.
 */
export async function missingProviderFile(
  kind: BackendKind,
  library: string | undefined,
  provider: Provider,
): Promise<string | undefined> {
  if (provider === 'cpu') return undefined;
  const folder = kind === 'libonnxruntime' && library !== undefined ? path.dirname(library) : nodeLibraryFolder();
  const name = `libonnxruntime_providers_${provider}.so`;
  const there = (await stat(path.join(folder, name)).catch(() => undefined))?.isFile() === true;
  return there ? undefined : name;
}
