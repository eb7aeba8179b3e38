import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { verifyManifest } from './manifest-signature.js';

export { BUNDLED_MANIFEST } from '../util/bundled.js';

const unit = z.number().min(0).max(1);
const size = z.number().int().positive().multipleOf(8).max(8192).nullable();

const fileName = z.string().regex(/^[^/\\]+\.onnx$/, 'a file name beside the manifest');
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const fileSchema = z
  .object({
    file: fileName,
    precision: z.enum(['fp32', 'fp16']),
    /** Both null: any size. */
    height: size,
    width: size,
    bytes: z.number().int().positive(),
    sha256,
  })
  .refine((f) => (f.height === null) === (f.width === null), 'height and width are both null or both numbers');

/** A build for ONNX Runtime's CPU provider alone, FP32, any size: channels in blocks of `block` from image to heat map. */
const blockedSchema = z.object({
  file: fileName,
  block: z.union([z.literal(8), z.literal(16)]),
  bytes: z.number().int().positive(),
  sha256,
});

/** What the runtime must know of a model; other keys (training data, figures) are for people and kept as they are. */
const manifestSchema = z.looseObject({
  schema: z.literal('irst-edge/model/1'),
  name: z.string().min(1),
  input: z.object({
    multiple: z.literal(8),
    normalisation: z.object({
      kind: z.literal('median-mad'),
      madToSigma: z.number().positive(),
      stdShare: z.number().nonnegative(),
      minScale: z.number().positive(),
      zMin: z.number(),
      zMax: z.number(),
    }),
  }),
  output: z.object({ stride: z.literal(2) }),
  decode: z.object({
    threshold: unit,
    /** Least share of a frame's strongest score (`reportable`); absent: 0, any. */
    relativeThreshold: unit.optional(),
    biasX: z.number().optional(),
    biasY: z.number().optional(),
  }),
  parameters: z.number().int().positive(),
  gigaFlops256: z.number().positive(),
  files: z.array(fileSchema).min(1),
  blocked: z.array(blockedSchema).default([]),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type ModelFile = z.infer<typeof fileSchema>;

/** A file of a model, read and proven to be the one that the manifest names. */
export interface LoadedModel {
  manifest: Manifest;
  file: ModelFile;
  path: string;
  bytes: Uint8Array;
}

/**
 * Reads a manifest. With `publicKey` (minisign) it must be signed with that key; as it names the sha256 of every file, so are they.
 * @throws EdgeError MODEL_NOT_FOUND, MODEL_MANIFEST_INVALID, MODEL_UNSIGNED, MODEL_SIGNATURE_INVALID
 */
export async function readManifest(manifestPath: string, publicKey?: string): Promise<Manifest> {
  let content: Buffer;
  try {
    content = await readFile(manifestPath);
  } catch (cause) {
    throw notFound(manifestPath, cause);
  }
  // Before anything of it is believed, and of the very bytes that are parsed.
  if (publicKey !== undefined) await verifyManifest(manifestPath, content, publicKey);
  let data: unknown;
  try {
    data = JSON.parse(content.toString('utf8'));
  } catch (cause) {
    throw new EdgeError(
      'MODEL_MANIFEST_INVALID',
      `${manifestPath} is not JSON: ${(cause as Error).message.replaceAll(/\s+/g, ' ')}`,
      {
        hint: 'give the manifest.json that the training export wrote',
        exitCode: EXIT.dataError,
        cause,
      },
    );
  }
  const parsed = manifestSchema.safeParse(data);
  if (parsed.success) return parsed.data;
  const first = parsed.error.issues[0];
  throw new EdgeError(
    'MODEL_MANIFEST_INVALID',
    `${manifestPath}: ${first?.path.join('.') ?? ''}: ${first?.message ?? 'not a model manifest'}`,
    { hint: 'export the model again', exitCode: EXIT.dataError },
  );
}

/** The least size that the network takes and that holds a frame: both sides rounded up to the model's multiple. */
export function paddedSize(manifest: Manifest, width: number, height: number): { width: number; height: number } {
  const up = (n: number) => Math.ceil(n / manifest.input.multiple) * manifest.input.multiple;
  return { width: up(width), height: up(height) };
}

/**
 * The file for frames of `width` x `height`: the exact static size, else the free one; else the smallest static one that
 * holds the frame with padding. Frames are never rescaled.
 * @throws EdgeError MODEL_NO_SIZE
 */
export function chooseFile(manifest: Manifest, width: number, height: number, precision: 'fp32' | 'fp16'): ModelFile {
  const padded = paddedSize(manifest, width, height);
  const files = manifest.files.filter((f) => f.precision === precision);
  const exact = files.find((f) => f.width === padded.width && f.height === padded.height);
  const free = files.find((f) => f.width === null);
  const holds = files
    .filter((f) => f.width !== null && f.height !== null && f.width >= width && f.height >= height)
    .sort((a, b) => a.width! * a.height! - b.width! * b.height!)[0];
  const file = exact ?? free ?? holds;
  if (file) return file;
  const have = files.map((f) => (f.width === null ? 'any' : `${f.width}x${f.height}`)).join(', ') || 'none';
  throw new EdgeError(
    'MODEL_NO_SIZE',
    `model ${manifest.name} has no ${precision} file for ${width}x${height} frames`,
    {
      hint: `it has: ${have}`,
      exitCode: EXIT.config,
    },
  );
}

/** The build of the network for CPUs that take so many channels a block, where the model has one. */
export function blockedFile(manifest: Manifest, block: number): ModelFile | undefined {
  const found = manifest.blocked.find((f) => f.block === block);
  return found && asFile(found);
}

/** Every file that the manifest names. */
export function everyFile(manifest: Manifest): ModelFile[] {
  return [...manifest.files, ...manifest.blocked.map(asFile)];
}

function asFile({ file, bytes, sha256 }: z.infer<typeof blockedSchema>): ModelFile {
  return { file, bytes, sha256, precision: 'fp32', height: null, width: null };
}

/** Reads the file and checks its length and sha256. @throws EdgeError MODEL_NOT_FOUND, MODEL_SHA_MISMATCH */
export async function loadModel(manifestPath: string, manifest: Manifest, file: ModelFile): Promise<LoadedModel> {
  const full = path.join(path.dirname(manifestPath), file.file);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(full);
  } catch (cause) {
    throw notFound(full, cause);
  }
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (bytes.length !== file.bytes || sha256 !== file.sha256) {
    throw new EdgeError(
      'MODEL_SHA_MISMATCH',
      `${full} is not the file that ${path.basename(manifestPath)} names: ` +
        `sha256 ${sha256.slice(0, 12)} of ${bytes.length} bytes, expected ${file.sha256.slice(0, 12)} of ${file.bytes}`,
      { hint: 'restore the file from the package, or export the model again', exitCode: EXIT.dataError },
    );
  }
  return { manifest, file, path: full, bytes };
}

function notFound(file: string, cause: unknown): EdgeError {
  return new EdgeError('MODEL_NOT_FOUND', `cannot read ${file} (${errno(cause) ?? (cause as Error).message})`, {
    hint: 'check detector.model in the configuration, or --model',
    exitCode: EXIT.noInput,
    cause,
  });
}
