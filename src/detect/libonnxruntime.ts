import type { Provider } from '../types/provider.js';
import { forbidTelemetry } from '../util/no-telemetry.js';
import { type BackendOptions, type HeatMaps, type InferenceBackend, unavailable, unusable } from './backend.js';
import type { LoadedModel } from './manifest.js';
import { OrtFailure, OrtLibrary, type Pointer } from './ort-api.js';

/** `OrtErrorCode` of a file that is no model, or one of a kind that the library does not know. */
const MODEL_FAULTS = [2, 3, 7, 9, 10];
const FLOAT = 1;
const ALL_OPTIMIZATIONS = 99;
const ERRORS_ONLY = 3;

const INPUT = 'image';
const OUTPUTS = ['heat', 'logsig'] as const;

/**
 * Any libonnxruntime.so through its C API: every option of every provider, our own arrays as its inputs and outputs, and an inference
 * that runs beside the thread's event loop.
 */
export class LibOnnxruntimeBackend implements InferenceBackend {
  readonly runsApart = true;
  private running: Promise<void> | undefined;
  private closed: Promise<void> | undefined;

  private constructor(
    readonly library: string,
    readonly provider: Provider,
    private readonly ort: OrtLibrary,
    private readonly session: Session,
    private readonly input: Float32Array,
    private readonly maps: HeatMaps,
    private readonly tensors: Tensors,
  ) {}

  /**
   * @param path of the libonnxruntime.so
   * @throws EdgeError RUNTIME_LIBRARY_*, PROVIDER_UNAVAILABLE, MODEL_UNUSABLE
   */
  static async create(path: string, model: LoadedModel, options: BackendOptions): Promise<LibOnnxruntimeBackend> {
    forbidTelemetry();
    const ort = await OrtLibrary.open(path);
    const { width, height, provider = 'cpu' } = options;
    const session = await Session.create(ort, model, provider, options);
    try {
      const { stride } = model.manifest.output;
      const [rows, cols] = [height / stride, width / stride];
      session.expect(model, 'Input', [[INPUT, [1, 1, height, width]]]);
      session.expect(
        model,
        'Output',
        OUTPUTS.map((name) => [name, [1, 1, rows, cols]]),
      );
      const cells = rows * cols;
      // Memory of an ArrayBuffer of its own never moves; that of a small typed array may.
      const given = options.input;
      const input = given?.length === width * height ? given : floats(width * height);
      const maps = { heat: floats(cells), logsig: floats(cells), rows, cols };
      const tensors = new Tensors(ort, input, [1, 1, height, width], [maps.heat, maps.logsig], [1, 1, rows, cols]);
      return new LibOnnxruntimeBackend(`libonnxruntime ${ort.version}`, provider, ort, session, input, maps, tensors);
    } catch (error) {
      session.release();
      throw error;
    }
  }

  async run(input: Float32Array): Promise<HeatMaps> {
    if (this.closed !== undefined) throw new Error('the session is closed');
    if (this.running !== undefined) throw new Error('a run is under way');
    if (input.length !== this.input.length) {
      throw new RangeError(`input of ${input.length} values, expected ${this.input.length}`);
    }
    if (input !== this.input) this.input.set(input);
    const { names, values } = this.tensors;
    this.running = this.ort.callAsync(
      'Run',
      this.session.pointer,
      null,
      names.inputs,
      values.inputs,
      1,
      names.outputs,
      OUTPUTS.length,
      values.outputs,
    );
    try {
      await this.running;
    } finally {
      this.running = undefined;
    }
    return this.maps;
  }

  /** Waits for a run under way. */
  close(): Promise<void> {
    this.closed ??= (async () => {
      await this.running?.catch(() => {});
      this.tensors.release();
      this.session.release();
    })();
    return this.closed;
  }
}

function floats(length: number): Float32Array {
  return new Float32Array(new ArrayBuffer(4 * length));
}

/** A session and what belongs to it. */
class Session {
  private constructor(
    private readonly ort: OrtLibrary,
    readonly pointer: Pointer,
    private readonly options: Pointer,
    /** The model's bytes: an engine inside may be read where it lies. */
    readonly bytes: Uint8Array,
  ) {}

  static async create(
    ort: OrtLibrary,
    model: LoadedModel,
    provider: Provider,
    options: BackendOptions,
  ): Promise<Session> {
    const settings = ort.get('CreateSessionOptions');
    try {
      ort.call('SetIntraOpNumThreads', settings, options.threads);
      ort.call('SetInterOpNumThreads', settings, 1);
      ort.call('SetSessionGraphOptimizationLevel', settings, ALL_OPTIMIZATIONS);
      ort.call('SetSessionLogSeverityLevel', settings, ERRORS_ONLY);
      // Spinning threads save nothing here and cost 16 % of CPU at low frame rates.
      ort.call('AddSessionConfigEntry', settings, 'session.intra_op.allow_spinning', '0');
      if (provider !== 'cpu') {
        // A part of the network that silently lands on the CPU would pass for the whole on the GPU.
        ort.call('AddSessionConfigEntry', settings, 'session.disable_cpu_ep_fallback', '1');
        appendProvider(ort, settings, provider, options.providerOptions ?? {});
      }
      const out: (Pointer | null)[] = [null];
      const { bytes } = model;
      try {
        await ort.callAsync('CreateSessionFromArray', ort.env, bytes, bytes.byteLength, settings, out);
      } catch (cause) {
        if (!(cause instanceof OrtFailure)) throw cause;
        if (provider === 'cpu' || MODEL_FAULTS.includes(cause.ortCode)) throw unusable(model, cause.message, cause);
        throw unavailable(provider, cause.message, { cause });
      }
      return new Session(ort, out[0]!, settings, bytes);
    } catch (error) {
      ort.call('ReleaseSessionOptions', settings);
      throw error;
    }
  }

  /** @throws EdgeError MODEL_UNUSABLE unless the names, types and sizes are these */
  expect(
    model: LoadedModel,
    side: 'Input' | 'Output',
    wanted: readonly [name: string, shape: readonly number[]][],
  ): void {
    const { ort } = this;
    const count = Number(ort.get<number>(`SessionGet${side}Count`, this.pointer));
    const allocator = ort.get('GetAllocatorWithDefaultOptions');
    const found = Array.from({ length: count }, (_, i) => {
      const name = ort.takeString(ort.get(`SessionGet${side}Name`, this.pointer, i, allocator), allocator);
      const info = ort.get(`SessionGet${side}TypeInfo`, this.pointer, i);
      try {
        return { name, ...this.tensorInfo(info) };
      } finally {
        ort.call('ReleaseTypeInfo', info);
      }
    });
    // A free dimension fits any size.
    const fits =
      found.length === wanted.length &&
      found.every(({ name, type, shape }, i) => {
        const [wantedName, wantedShape] = wanted[i]!;
        const sizes = shape.length === wantedShape.length && shape.every((d, k) => d === -1 || d === wantedShape[k]);
        return name === wantedName && type === FLOAT && sizes;
      });
    if (fits) return;
    const list = (of: readonly { name: string; shape: readonly number[] }[]) =>
      of.map((t) => `${t.name} [${t.shape.join(',')}]`).join(', ');
    const types = found.some((f) => f.type !== FLOAT) ? ' (not all float32)' : '';
    throw unusable(
      model,
      `its ${side.toLowerCase()}s are ${list(found)}${types}, not ${list(wanted.map(([name, shape]) => ({ name, shape })))}`,
    );
  }

  private tensorInfo(info: Pointer): { type: number; shape: number[] } {
    const { ort } = this;
    const tensor = ort.get<Pointer>('CastTypeInfoToTensorInfo', info);
    // No tensor at all: a sequence or a map.
    if (tensor === null) return { type: 0, shape: [] };
    const rank = Number(ort.get<number>('GetDimensionsCount', tensor));
    const sizes = new BigInt64Array(rank);
    if (rank > 0) ort.call('GetDimensions', tensor, sizes, rank);
    return { type: ort.get<number>('GetTensorElementType', tensor), shape: Array.from(sizes, Number) };
  }

  release(): void {
    this.ort.call('ReleaseSession', this.pointer);
    this.ort.call('ReleaseSessionOptions', this.options);
  }
}

/** Our arrays as the library's tensors, and the tables of names and tensors that a run is called with. Holds all of it in memory. */
class Tensors {
  readonly names: { inputs: BigUint64Array; outputs: BigUint64Array };
  readonly values: { inputs: BigUint64Array; outputs: BigUint64Array };
  private readonly memory: Pointer;
  private readonly owned: Pointer[] = [];
  private readonly kept: NodeJS.TypedArray[];

  constructor(
    private readonly ort: OrtLibrary,
    input: Float32Array,
    inputShape: readonly number[],
    outputs: readonly Float32Array[],
    outputShape: readonly number[],
  ) {
    // 0, 0: the device's own allocator, default memory.
    this.memory = ort.get('CreateCpuMemoryInfo', 0, 0);
    const texts = [INPUT, ...OUTPUTS].map((name) => Buffer.from(`${name}\0`));
    this.kept = [input, ...outputs, ...texts];
    const [inputName, ...outputNames] = texts.map((text) => ort.addressOf(text));
    this.names = { inputs: BigUint64Array.of(inputName!), outputs: BigUint64Array.from(outputNames) };
    try {
      this.values = {
        inputs: BigUint64Array.of(this.tensor(input, inputShape)),
        outputs: BigUint64Array.from(outputs, (array) => this.tensor(array, outputShape)),
      };
    } catch (error) {
      this.release();
      throw error;
    }
  }

  private tensor(array: Float32Array, shape: readonly number[]): Pointer {
    const sizes = BigInt64Array.from(shape, BigInt);
    const { ort } = this;
    const value = ort.get(
      'CreateTensorWithDataAsOrtValue',
      this.memory,
      array,
      array.byteLength,
      sizes,
      sizes.length,
      FLOAT,
    );
    this.owned.push(value);
    return value;
  }

  release(): void {
    for (const value of this.owned.splice(0)) this.ort.call('ReleaseValue', value);
    this.ort.call('ReleaseMemoryInfo', this.memory);
    this.kept.length = 0;
  }
}

/** Options under the library's own names, then the provider with them. @throws EdgeError PROVIDER_UNAVAILABLE */
function appendProvider(
  ort: OrtLibrary,
  settings: Pointer,
  provider: Exclude<Provider, 'cpu'>,
  wanted: Readonly<Record<string, string>>,
): void {
  const calls = {
    tensorrt: [
      'CreateTensorRTProviderOptions',
      'UpdateTensorRTProviderOptions',
      'SessionOptionsAppendExecutionProvider_TensorRT_V2',
      'ReleaseTensorRTProviderOptions',
    ],
    cuda: [
      'CreateCUDAProviderOptions',
      'UpdateCUDAProviderOptions',
      'SessionOptionsAppendExecutionProvider_CUDA_V2',
      'ReleaseCUDAProviderOptions',
    ],
  } as const;
  const [create, update, append, release] = calls[provider];
  try {
    const options = ort.get(create);
    try {
      const keys = Object.keys(wanted).map((key) => Buffer.from(`${key}\0`));
      const values = Object.values(wanted).map((value) => Buffer.from(`${value}\0`));
      const table = (texts: Buffer[]) => BigUint64Array.from(texts, (text) => ort.addressOf(text));
      if (keys.length > 0) ort.call(update, options, table(keys), table(values), keys.length);
      // The library has copied them; until then they had to stay.
      keys.length = values.length = 0;
      ort.call(append, settings, options);
    } finally {
      ort.call(release, options);
    }
  } catch (cause) {
    if (!(cause instanceof OrtFailure)) throw cause;
    throw unavailable(provider, cause.message, { cause });
  }
}
