import { EdgeError, EXIT } from '../types/errors.js';

/**
 * The functions of ONNX Runtime's C API that are used here: place in `struct OrtApi`, result, arguments. The struct only ever grows
 * at its end, so a place holds for every later version; `scripts/check-ort-api.mjs HEADER` checks this table against an
 * onnxruntime_c_api.h, and libonnxruntime.test.ts calls each function of a real library.
 *
 * https://onnxruntime.ai/docs/api/c/struct_ort_api.html
 */
export const ORT_API = {
  GetErrorCode: [1, 'int', ['void *']],
  GetErrorMessage: [2, 'str', ['void *']],
  CreateEnv: [3, 'void *', ['int', 'str', '_Out_ void **']],
  CreateSessionFromArray: [8, 'void *', ['void *', 'void *', 'size_t', 'void *', '_Out_ void **']],
  Run: [9, 'void *', ['void *', 'void *', 'void *', 'void *', 'size_t', 'void *', 'size_t', 'void *']],
  CreateSessionOptions: [10, 'void *', ['_Out_ void **']],
  SetSessionLogSeverityLevel: [22, 'void *', ['void *', 'int']],
  SetSessionGraphOptimizationLevel: [23, 'void *', ['void *', 'int']],
  SetIntraOpNumThreads: [24, 'void *', ['void *', 'int']],
  SetInterOpNumThreads: [25, 'void *', ['void *', 'int']],
  SessionGetInputCount: [30, 'void *', ['void *', '_Out_ size_t *']],
  SessionGetOutputCount: [31, 'void *', ['void *', '_Out_ size_t *']],
  SessionGetInputTypeInfo: [33, 'void *', ['void *', 'size_t', '_Out_ void **']],
  SessionGetOutputTypeInfo: [34, 'void *', ['void *', 'size_t', '_Out_ void **']],
  SessionGetInputName: [36, 'void *', ['void *', 'size_t', 'void *', '_Out_ void **']],
  SessionGetOutputName: [37, 'void *', ['void *', 'size_t', 'void *', '_Out_ void **']],
  CreateTensorWithDataAsOrtValue: [
    49,
    'void *',
    ['void *', 'void *', 'size_t', 'void *', 'size_t', 'int', '_Out_ void **'],
  ],
  CastTypeInfoToTensorInfo: [55, 'void *', ['void *', '_Out_ void **']],
  GetTensorElementType: [60, 'void *', ['void *', '_Out_ int *']],
  GetDimensionsCount: [61, 'void *', ['void *', '_Out_ size_t *']],
  GetDimensions: [62, 'void *', ['void *', 'void *', 'size_t']],
  CreateCpuMemoryInfo: [69, 'void *', ['int', 'int', '_Out_ void **']],
  AllocatorFree: [76, 'void *', ['void *', 'void *']],
  GetAllocatorWithDefaultOptions: [78, 'void *', ['_Out_ void **']],
  ReleaseStatus: [93, 'void', ['void *']],
  ReleaseMemoryInfo: [94, 'void', ['void *']],
  ReleaseSession: [95, 'void', ['void *']],
  ReleaseValue: [96, 'void', ['void *']],
  ReleaseTypeInfo: [98, 'void', ['void *']],
  ReleaseSessionOptions: [100, 'void', ['void *']],
  AddSessionConfigEntry: [130, 'void *', ['void *', 'str', 'str']],
  SessionOptionsAppendExecutionProvider_TensorRT_V2: [170, 'void *', ['void *', 'void *']],
  CreateTensorRTProviderOptions: [171, 'void *', ['_Out_ void **']],
  UpdateTensorRTProviderOptions: [172, 'void *', ['void *', 'void *', 'void *', 'size_t']],
  ReleaseTensorRTProviderOptions: [174, 'void', ['void *']],
  SessionOptionsAppendExecutionProvider_CUDA_V2: [204, 'void *', ['void *', 'void *']],
  CreateCUDAProviderOptions: [205, 'void *', ['_Out_ void **']],
  UpdateCUDAProviderOptions: [206, 'void *', ['void *', 'void *', 'void *', 'size_t']],
  ReleaseCUDAProviderOptions: [208, 'void', ['void *']],
} as const satisfies Record<string, readonly [index: number, result: string, args: readonly string[]]>;

export type OrtFunction = keyof typeof ORT_API;

/** Versions of the C API that are asked for, newest first. From 14 on (ONNX Runtime 1.14) all of the above is there. */
export const API_VERSIONS = { newest: 22, oldest: 14 } as const;

/** An address; koffi hands pointers over as such. */
export type Pointer = bigint;
/** What a C function takes here: addresses, memory of our own, numbers, strings. */
export type CArgument = Pointer | number | string | null | NodeJS.TypedArray | Out[];
type Out = Pointer | number | null;

/** A function of the library, callable on this thread or, with `async`, on another one. */
export interface CFunction {
  (...args: CArgument[]): unknown;
  async(...args: [...CArgument[], (error: Error | null, result: unknown) => void]): void;
}

/** What a function of the library said of its failure. */
export class OrtFailure extends Error {
  override readonly name = 'OrtFailure';
  constructor(
    /** `OrtErrorCode`. */
    readonly ortCode: number,
    message: string,
  ) {
    super(message);
  }
}

export interface SharedLibrary {
  func(name: string, result: string, args: readonly string[]): (...args: unknown[]) => unknown;
}

interface Koffi {
  load(path: string): SharedLibrary;
  proto(name: string, result: string, args: readonly string[]): unknown;
  decode(pointer: unknown, offset: number, type: unknown): unknown;
  decode(pointer: unknown, type: unknown, length?: number): unknown;
  address(memory: NodeJS.TypedArray): Pointer;
}

let koffi: Koffi | undefined;
const prototypes = new Map<string, unknown>();
const opened = new Map<string, OrtLibrary>();

/** Libraries in use: koffi unloads what is garbage-collected, and addresses of their functions would lead nowhere. */
const held = new Set<SharedLibrary>();

/** Loads a shared library for as long as the process lives. @throws Error what the loader says */
export async function loadShared(path: string): Promise<SharedLibrary> {
  const library = (await foreign()).load(path);
  held.add(library);
  return library;
}

/** Foreign functions, loaded only where they are used. */
async function foreign(): Promise<Koffi> {
  koffi ??= (await import('koffi')).default as unknown as Koffi;
  return koffi;
}

function prototype(ffi: Koffi, name: string, result: string, args: readonly string[]): unknown {
  let known = prototypes.get(name);
  if (known === undefined) {
    // Names of prototypes live as long as koffi does.
    known = ffi.proto(`irst_edge_${name}`, result, args);
    prototypes.set(name, known);
  }
  return known;
}

/**
 * A libonnxruntime.so with the functions of `ORT_API`. Opened once a thread and never closed: a library with threads and static state
 * cannot be unloaded safely.
 */
export class OrtLibrary {
  private readonly functions: Record<OrtFunction, CFunction>;
  private environment: Pointer | undefined;

  private constructor(
    private readonly ffi: Koffi,
    readonly path: string,
    /** `1.30.0` */
    readonly version: string,
    /** Version of the C API that was agreed on. */
    readonly apiVersion: number,
    api: Pointer,
  ) {
    this.functions = Object.fromEntries(
      Object.entries(ORT_API).map(([name, [index, result, args]]) => [
        name,
        ffi.decode(ffi.decode(api, 8 * index, 'void *'), prototype(ffi, name, result, args)) as CFunction,
      ]),
    ) as Record<OrtFunction, CFunction>;
  }

  /** @throws EdgeError RUNTIME_LIBRARY_UNUSABLE, RUNTIME_LIBRARY_TOO_OLD */
  static async open(path: string): Promise<OrtLibrary> {
    const known = opened.get(path);
    if (known !== undefined) return known;
    const ffi = await foreign();
    let base: unknown;
    try {
      base = (await loadShared(path)).func('OrtGetApiBase', 'void *', [])();
    } catch (cause) {
      throw libraryUnusable(path, (cause as Error).message, cause);
    }
    if (typeof base !== 'bigint') throw libraryUnusable(path, 'OrtGetApiBase gives nothing');
    const getApi = ffi.decode(ffi.decode(base, 0, 'void *'), prototype(ffi, 'GetApi', 'void *', ['uint32_t'])) as (
      version: number,
    ) => Pointer | null;
    const getVersion = ffi.decode(
      ffi.decode(base, 8, 'void *'),
      prototype(ffi, 'GetVersionString', 'str', []),
    ) as () => string;
    const version = getVersion();
    const { apiVersion, api } = negotiate(getApi, version);
    if (api === null) {
      throw new EdgeError(
        'RUNTIME_LIBRARY_TOO_OLD',
        `${path} is ONNX Runtime ${version}: it has none of the versions ${API_VERSIONS.oldest} to ${API_VERSIONS.newest} of the C API`,
        { hint: `install ONNX Runtime 1.${API_VERSIONS.oldest} or newer`, exitCode: EXIT.config },
      );
    }
    const library = new OrtLibrary(ffi, path, version, apiVersion, api);
    opened.set(path, library);
    return library;
  }

  /** Calls a function that gives a status or nothing. @throws OrtFailure */
  call(name: OrtFunction, ...args: CArgument[]): void {
    this.check(this.functions[name](...args));
  }

  /** The same on another thread; what `args` point to must stay until it is over. */
  async callAsync(name: OrtFunction, ...args: CArgument[]): Promise<void> {
    const status = await new Promise((resolve, reject) => {
      this.functions[name].async(...args, (error, result) => (error ? reject(error) : resolve(result)));
    });
    this.check(status);
  }

  /** A function whose last argument is where its result goes. @throws OrtFailure */
  get<T extends Pointer | number = Pointer>(name: OrtFunction, ...args: CArgument[]): T {
    const out: Out[] = [null];
    this.call(name, ...args, out);
    return out[0] as T;
  }

  /** The process's environment of the library; lives as long as the library. */
  get env(): Pointer {
    // 3: errors only. They come back as statuses; the library's own lines on standard error would only repeat them.
    this.environment ??= this.get('CreateEnv', 3, 'irst-edge');
    return this.environment;
  }

  /** Text that the library allocated; it is freed. */
  takeString(pointer: Pointer, allocator: Pointer): string {
    const text = this.ffi.decode(pointer, 'char', -1) as string;
    this.call('AllocatorFree', allocator, pointer);
    return text;
  }

  addressOf(memory: NodeJS.TypedArray): Pointer {
    return this.ffi.address(memory);
  }

  private check(status: unknown): void {
    if (status === null || status === undefined) return;
    const code = this.functions.GetErrorCode(status as Pointer) as number;
    const message = this.functions.GetErrorMessage(status as Pointer) as string;
    this.functions.ReleaseStatus(status as Pointer);
    throw new OrtFailure(code, message);
  }
}

/**
 * The newest version of the C API that both sides know. ONNX Runtime 1.N has the versions up to N; it answers a higher one with null,
 * but also with a line on standard error, so it is not asked for one.
 */
function negotiate(
  getApi: (version: number) => Pointer | null,
  library: string,
): { apiVersion: number; api: Pointer | null } {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(library) ?? [];
  const newest = major === '1' ? Math.min(API_VERSIONS.newest, Number(minor)) : API_VERSIONS.newest;
  for (let apiVersion = newest; apiVersion >= API_VERSIONS.oldest; apiVersion--) {
    const api = getApi(apiVersion);
    if (api !== null) return { apiVersion, api };
  }
  return { apiVersion: 0, api: null };
}

function libraryUnusable(path: string, why: string, cause?: unknown): EdgeError {
  return new EdgeError('RUNTIME_LIBRARY_UNUSABLE', `${path} is no ONNX Runtime that runs here: ${why}`, {
    hint: 'name a libonnxruntime.so of this processor in runtime.libonnxruntime; ldd shows what it misses',
    exitCode: EXIT.config,
    cause,
  });
}
