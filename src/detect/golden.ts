import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { inflate } from 'node:zlib';
import { z } from 'zod';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import type { HeatMaps, InferenceBackend } from './backend.js';
import type { Manifest } from './manifest.js';
import { Normaliser } from './normalise.js';

/** File beside the manifest that holds a model's golden frame. */
export const GOLDEN_FILE = 'golden.json';

/** How far a provider may be from the FP32 network on the CPU and still compute the same thing. */
export const GOLDEN_LIMITS = { heat: 0.03, peakPx: 0.1, logSigma: 0.1 } as const;

/** A heat map is stored in so many steps of 0 to 1. */
export const HEAT_STEPS = 1000;

const base64 = z.string().regex(/^[A-Za-z0-9+/]+=*$/);
const side = z.int().min(8).max(8192);

const goldenSchema = z.strictObject({
  schema: z.literal('irst-edge/golden/1'),
  model: z.string(),
  /** Counts of one frame, row by row, 8 bit, deflated; and the place of its target, px. */
  frame: z.strictObject({
    width: side,
    height: side,
    counts: base64,
    target: z.strictObject({ x: z.int().min(0), y: z.int().min(0) }),
  }),
  /** What the FP32 network gives on the CPU for the frame fitted to each size (`fitFrame`). */
  outputs: z.array(
    z.strictObject({
      width: side,
      height: side,
      /** Of the FP32 file that gave it. */
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
      /** `heat` in steps of 1/1000, 16 bit little-endian, deflated. */
      heat: base64,
      /** `logsig` at the peak. */
      logSigma: z.number(),
    }),
  ),
});
export type GoldenFile = z.infer<typeof goldenSchema>;

/** The golden frame for one size of the network, and the truth where the model has one. */
export interface Golden {
  width: number;
  height: number;
  /** Normalised, [1, 1, height, width]. */
  input: Float32Array;
  /** Absent: the model has none for this size, and the FP32 network on the CPU must be asked. */
  expected?: GoldenOutput;
}

export interface GoldenOutput {
  heat: Float32Array;
  rows: number;
  cols: number;
  logSigma: number;
}

export interface GoldenResult {
  /** Largest difference of any cell of the heat map. */
  heatError: number;
  /** Distance of the peak from its place, px. */
  peakErrorPx: number;
  logSigmaError: number;
  /** Median of a run, ms. */
  latencyMs: number;
}

/**
 * The golden frame of the model whose manifest this is. A model without one, or with one of other weights, gets the frame of the
 * bundled model and no truth.
 * @throws EdgeError GOLDEN_INVALID
 */
export async function loadGolden(
  manifestPath: string,
  bundledManifest: string,
  manifest: Manifest,
  size: { width: number; height: number },
): Promise<Golden> {
  const own = await readGolden(path.join(path.dirname(manifestPath), GOLDEN_FILE));
  const file = own ?? (await readGolden(path.join(path.dirname(bundledManifest), GOLDEN_FILE)));
  if (file === undefined) throw invalid(path.dirname(bundledManifest), 'it is missing');
  return goldenOf(file, manifest, size);
}

/** The frame of `file` fitted to a size, with the truth where the file has one of these weights. */
async function goldenOf(
  file: GoldenFile,
  manifest: Manifest,
  size: { width: number; height: number },
): Promise<Golden> {
  const { width, height } = size;
  const { frame } = file;
  const counts = new Uint8Array(await unpack(frame.counts, frame.width * frame.height));
  const input = new Float32Array(new ArrayBuffer(4 * width * height));
  const fitted = fitFrame(counts, frame, size);
  new Normaliser(manifest.input.normalisation).run(fitted, width, height, input, width, height);
  const weights = truths(manifest);
  const output = file.outputs.find((o) => o.width === width && o.height === height && weights.includes(o.sha256));
  if (output === undefined) return { width, height, input };
  const { stride } = manifest.output;
  const [rows, cols] = [height / stride, width / stride];
  const packed = new DataView(await unpack(output.heat, 2 * rows * cols));
  const heat = Float32Array.from({ length: rows * cols }, (_, i) => packed.getUint16(2 * i, true) / HEAT_STEPS);
  return { width, height, input, expected: { heat, rows, cols, logSigma: output.logSigma } };
}

/** The golden frame of the smallest size for which the model brings a truth of its own weights. @throws EdgeError GOLDEN_INVALID */
export async function smallestGolden(
  manifestPath: string,
  manifest: Manifest,
): Promise<(Golden & { expected: GoldenOutput }) | undefined> {
  const file = await readGolden(path.join(path.dirname(manifestPath), GOLDEN_FILE));
  const [smallest] = (file?.outputs ?? [])
    .filter((o) => truths(manifest).includes(o.sha256))
    .sort((a, b) => a.width * a.height - b.width * b.height);
  if (file === undefined || smallest === undefined) return undefined;
  const golden = await goldenOf(file, manifest, smallest);
  return { ...golden, expected: golden.expected! };
}

/** sha256 of the files whose outputs are the truth. */
const truths = (manifest: Manifest): string[] =>
  manifest.files.filter((f) => f.precision === 'fp32').map((f) => f.sha256);

async function readGolden(file: string): Promise<GoldenFile | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (errno(cause) === 'ENOENT') return undefined;
    throw invalid(file, errno(cause) ?? (cause as Error).message);
  }
  try {
    return goldenSchema.parse(JSON.parse(text));
  } catch (cause) {
    const first = cause instanceof z.ZodError ? cause.issues[0] : undefined;
    throw invalid(file, first ? `${first.path.join('.')}: ${first.message}` : (cause as Error).message);
  }
}

async function unpack(text: string, bytes: number): Promise<ArrayBuffer> {
  const data = await promisify(inflate)(Buffer.from(text, 'base64'), { maxOutputLength: bytes }).catch((cause) => {
    throw invalid(GOLDEN_FILE, (cause as Error).message);
  });
  if (data.length !== bytes) throw invalid(GOLDEN_FILE, `${data.length} bytes where ${bytes} belong`);
  return new Uint8Array(data).buffer;
}

/** A frame of any size with the target in its middle; what lies beyond the given frame is mirrored. */
export function fitFrame(
  counts: Uint8Array,
  from: { width: number; height: number; target: { x: number; y: number } },
  to: { width: number; height: number },
): Uint8Array {
  const out = new Uint8Array(to.width * to.height);
  const [dx, dy] = [(to.width >> 1) - from.target.x, (to.height >> 1) - from.target.y];
  for (let y = 0; y < to.height; y++) {
    const row = mirror(y - dy, from.height) * from.width;
    for (let x = 0; x < to.width; x++) out[y * to.width + x] = counts[row + mirror(x - dx, from.width)]!;
  }
  return out;
}

/** Reflection without repeating the edge pixel: ... 2 1 | 0 1 2 ... n-1 | n-2 ..., for any distance. */
export function mirror(index: number, size: number): number {
  if (size === 1) return 0;
  const period = 2 * (size - 1);
  const i = ((index % period) + period) % period;
  return i < size ? i : period - i;
}

/** What a network gave for the golden frame, as truth for another one. */
export function goldenOutput({ heat, logsig, rows, cols }: HeatMaps): GoldenOutput {
  return { heat: heat.slice(), rows, cols, logSigma: logsig[highest(heat)]! };
}

/** Runs the golden frame and compares. @throws EdgeError GOLDEN_MISMATCH, and whatever the run throws */
export async function proveGolden(
  backend: Pick<InferenceBackend, 'run' | 'provider' | 'library'>,
  golden: Golden,
  expected: GoldenOutput,
  timedRuns = 1,
): Promise<GoldenResult> {
  const times: number[] = [];
  // The first run allocates and prepares: its time counts only where there is no other.
  const first = performance.now();
  let maps = await backend.run(golden.input);
  if (timedRuns === 0) times.push(performance.now() - first);
  for (let i = 0; i < timedRuns; i++) {
    const start = performance.now();
    maps = await backend.run(golden.input);
    times.push(performance.now() - start);
  }
  const result = { ...compareGolden(maps, expected), latencyMs: times.sort((a, b) => a - b)[times.length >> 1]! };
  const { heatError, peakErrorPx, logSigmaError } = result;
  const good =
    heatError <= GOLDEN_LIMITS.heat && peakErrorPx <= GOLDEN_LIMITS.peakPx && logSigmaError <= GOLDEN_LIMITS.logSigma;
  // NaN compares false, so a map of NaN is no match either.
  if (good) return result;
  throw new EdgeError(
    'GOLDEN_MISMATCH',
    `${backend.provider} of ${backend.library} computes something else than the network: on the golden frame the heat is off by ` +
      `${heatError.toFixed(3)} (at most ${GOLDEN_LIMITS.heat}), the peak by ${peakErrorPx.toFixed(2)} px (${GOLDEN_LIMITS.peakPx}), ` +
      `ln sigma by ${logSigmaError.toFixed(2)} (${GOLDEN_LIMITS.logSigma})`,
    {
      hint: 'a library built for another GPU or TensorRT, or damaged engine; docs/runtime.md',
      exitCode: EXIT.unavailable,
    },
  );
}

export function compareGolden(maps: HeatMaps, expected: GoldenOutput): Omit<GoldenResult, 'latencyMs'> {
  const { heat, rows, cols } = expected;
  if (maps.rows !== rows || maps.cols !== cols)
    return { heatError: 1, peakErrorPx: Number.POSITIVE_INFINITY, logSigmaError: Number.POSITIVE_INFINITY };
  let heatError = 0;
  for (let i = 0; i < heat.length; i++) {
    const error = Math.abs(maps.heat[i]! - heat[i]!);
    // A NaN anywhere is as wrong as can be.
    heatError = Math.max(heatError, Number.isNaN(error) ? Number.POSITIVE_INFINITY : error);
  }
  // The same peak: looked for near the place of the true one, for a mirrored frame holds it several times.
  const at = highest(heat);
  const near = highestNear(maps.heat, rows, cols, at, 2);
  const [one, other] = [vertex(heat, rows, cols, at), vertex(maps.heat, rows, cols, near)];
  return {
    heatError,
    peakErrorPx: 2 * Math.hypot(one.u - other.u, one.v - other.v),
    logSigmaError: Math.abs(maps.logsig[at]! - expected.logSigma),
  };
}

function highest(heat: Float32Array): number {
  let best = 0;
  for (let i = 1; i < heat.length; i++) if (heat[i]! > heat[best]!) best = i;
  return best;
}

function highestNear(heat: Float32Array, rows: number, cols: number, at: number, reach: number): number {
  const [v0, u0] = [Math.floor(at / cols), at % cols];
  let best = at;
  for (let v = Math.max(0, v0 - reach); v <= Math.min(rows - 1, v0 + reach); v++) {
    for (let u = Math.max(0, u0 - reach); u <= Math.min(cols - 1, u0 + reach); u++) {
      if (heat[v * cols + u]! > heat[best]!) best = v * cols + u;
    }
  }
  return best;
}

/** Sub-cell place of a peak: the parabola through it and its neighbours, along each axis. */
function vertex(heat: Float32Array, rows: number, cols: number, at: number): { u: number; v: number } {
  const [v, u] = [Math.floor(at / cols), at % cols];
  const along = (before: number | undefined, here: number, after: number | undefined): number => {
    if (before === undefined || after === undefined) return 0;
    const bend = before - 2 * here + after;
    return bend < 0 ? (before - after) / (2 * bend) : 0;
  };
  return {
    u: u + along(u > 0 ? heat[at - 1] : undefined, heat[at]!, u < cols - 1 ? heat[at + 1] : undefined),
    v: v + along(v > 0 ? heat[at - cols] : undefined, heat[at]!, v < rows - 1 ? heat[at + cols] : undefined),
  };
}

function invalid(file: string, why: string): EdgeError {
  return new EdgeError('GOLDEN_INVALID', `the golden frame in ${file} cannot be used: ${why}`, {
    hint: 'restore golden.json from the package, or write it again: node scripts/make-golden.mjs',
    exitCode: EXIT.dataError,
  });
}
