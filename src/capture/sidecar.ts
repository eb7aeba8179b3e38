import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { inputError } from './faults.js';
import { MOST_PIXELS } from './frame-size.js';

const fps = z.number().positive().max(1e6);
const bits = z.number().int().min(8).max(16);

// Loose: recorders add what they like (sensor, site, smallest and largest count).
const y16Sidecar = z
  .looseObject({
    width: z.number().int().min(1).max(16384),
    height: z.number().int().min(1).max(16384),
    frames: z.number().int().min(0).optional(),
    fps: fps.optional(),
    bits: bits.optional(),
  })
  .refine(({ width, height }) => width * height <= MOST_PIXELS, `width times height is more than ${MOST_PIXELS}`);
const folderSidecar = z.looseObject({ fps: fps.optional(), bits: bits.optional() });

export type Y16Sidecar = z.infer<typeof y16Sidecar>;
export type FolderSidecar = z.infer<typeof folderSidecar>;

/** `NAME.json` beside `NAME.y16`: at least `{"width", "height"}`. */
export async function readY16Sidecar(path: string): Promise<Y16Sidecar> {
  const found = await readSidecar(path, y16Sidecar);
  if (found !== undefined) return found;
  throw new EdgeError('RECORDING_SIDECAR_MISSING', `${path} is missing: it gives the size of the frames`, {
    hint: 'Write it with at least {"width": 160, "height": 120}; "frames", "fps" and "bits" are optional.',
    exitCode: EXIT.noInput,
  });
}

/** `recording.json` in a folder of images; may be absent. */
export async function readFolderSidecar(path: string): Promise<FolderSidecar> {
  return (await readSidecar(path, folderSidecar)) ?? {};
}

async function readSidecar<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errno(error) === 'ENOENT') return undefined;
    throw inputError(path, error);
  }
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw invalid(path, 'it is no JSON', error);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`);
  throw invalid(path, issues.join('; '), parsed.error);
}

function invalid(path: string, what: string, cause: unknown): EdgeError {
  return new EdgeError('RECORDING_SIDECAR_INVALID', `${path} is not valid: ${what}`, {
    hint: 'It is a JSON object; sizes and "frames" are whole numbers, "fps" is above 0, "bits" is 8 to 16.',
    cause,
    exitCode: EXIT.dataError,
  });
}
