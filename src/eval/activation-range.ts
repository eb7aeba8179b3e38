import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { createSource } from '../capture/create-source.js';
import { type ActivationPeak, ActivationProbe, FLOAT16_MAX } from '../detect/activations.js';
import { chooseFile, loadModel, paddedSize, readManifest } from '../detect/manifest.js';
import { EdgeError, EXIT, errno } from '../types/errors.js';

/** No activation of the FP32 network may pass this, so that FP16 has room for scenes that were not looked at. */
export const ACTIVATION_LIMIT = FLOAT16_MAX / 4;
const TOP = 8;

export interface RangeReport {
  /** Recordings and pictures looked at, and frames of them. */
  inputs: number;
  frames: number;
  /** Smallest and largest count of the frames. */
  counts: { low: number; high: number };
  tensors: number;
  limit: number;
  /** Largest value of any tensor of the FP32 network (no unit). */
  largest: number;
  /** The largest tensors. */
  top: ActivationPeak[];
  withinLimit: boolean;
}

export interface RangeOptions {
  manifest: string;
  /** Frames taken of each recording, evenly spread over it; of a shorter one, all. */
  framesEach: number;
  onProgress?: (input: string, done: number, all: number) => void;
}

/**
 * The largest activations of the FP32 network on raw frames: .y16 recordings and 16-bit pictures.
 * @param data one of them, or a folder of them
 * @throws EdgeError INPUT_NOT_FOUND, and those of the recordings
 */
export async function activationRange(data: string, options: RangeOptions): Promise<RangeReport> {
  const manifest = await readManifest(options.manifest);
  const inputs = await listInputs(data);
  const peaks = new Map<string, ActivationPeak>();
  const counts = { low: 65_535, high: 0 };
  let frames = 0;
  for (const [index, input] of inputs.entries()) {
    options.onProgress?.(path.basename(input), index, inputs.length);
    // Every frame is read, and some are worked: a recording cannot be entered in its middle.
    const source = createSource({ kind: 'recording', path: input, rate: 'fast' });
    let probe: ActivationProbe | undefined;
    try {
      const info = await source.start(new AbortController().signal);
      const file = chooseFile(manifest, info.width, info.height, 'fp32');
      const least = paddedSize(manifest, info.width, info.height);
      const size = { width: file.width ?? least.width, height: file.height ?? least.height };
      probe = await ActivationProbe.create(await loadModel(options.manifest, manifest, file), size);
      const all = info.frames ?? 1;
      for (let frame = await source.next(); frame !== null; frame = await source.next()) {
        if (!isTaken(frame.sequence, all, options.framesEach)) continue;
        for (const value of frame.data) {
          if (value < counts.low) counts.low = value;
          if (value > counts.high) counts.high = value;
        }
        await probe.look(frame.data, frame.width, frame.height);
        frames++;
      }
      for (const peak of probe.result) {
        const known = peaks.get(peak.name);
        if (known === undefined || peak.largest > known.largest) peaks.set(peak.name, peak);
      }
    } finally {
      await probe?.close();
      await source.stop();
    }
  }
  const top = [...peaks.values()].sort((a, b) => b.largest - a.largest);
  const largest = top[0]?.largest ?? 0;
  return {
    inputs: inputs.length,
    frames,
    counts,
    tensors: peaks.size,
    limit: ACTIVATION_LIMIT,
    largest,
    top: top.slice(0, TOP),
    withinLimit: largest <= ACTIVATION_LIMIT,
  };
}

/** Is it one of `count` frames evenly spread over `all` of them, the first one among them? */
export function isTaken(frame: number, all: number, count: number): boolean {
  return (frame * count) % all < count;
}

async function listInputs(data: string): Promise<string[]> {
  try {
    if (!(await stat(data)).isDirectory()) return [data];
    const found = (await readdir(data)).filter((name) => /\.(y16|png|tiff?)$/i.test(name)).sort();
    if (found.length > 0) return found.map((name) => path.join(data, name));
  } catch (cause) {
    throw notFound(`cannot read ${data} (${errno(cause) ?? (cause as Error).message})`);
  }
  throw notFound(`${data} holds no .y16, PNG or TIFF`);
}

function notFound(message: string): EdgeError {
  return new EdgeError('INPUT_NOT_FOUND', message, {
    hint: 'give a .y16 recording, a 16-bit picture, or a folder of them',
    exitCode: EXIT.noInput,
  });
}
