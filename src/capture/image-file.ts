import { readFile, writeFile } from 'node:fs/promises';
import type { Metadata, SharpOptions } from 'sharp';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { inputError } from './faults.js';
import type { Pixels } from './frame-reader.js';
import { MOST_PIXELS } from './frame-size.js';
import { imageFormat } from './image-format.js';

/** Loaded with the first picture: a camera needs none, and the library takes 10 MiB. */
async function open(input: Uint8Array | Uint16Array, options: SharpOptions) {
  const { default: sharp } = await import('sharp');
  // One small picture at a time: libvips' own threads would take cores from the inference, and its cache would only hold memory.
  sharp.cache(false);
  sharp.concurrency(1);
  return sharp(input, { limitInputPixels: MOST_PIXELS, ...options });
}

const SPACES = new Set(['b-w', 'grey16', 'srgb', 'rgb', 'rgb16']);

/**
 * Reads an 8- or 16-bit PNG or TIFF as counts, exactly as stored: no colour profile, no rotation, no scaling. Colour becomes luma
 * (Rec. 601, which keeps equal channels as they are); an alpha channel is ignored. `bits` is 8 or 16.
 *
 * Throws `INPUT_NOT_FOUND`, `INPUT_UNREADABLE`, `IMAGE_UNREADABLE` (damaged, cut short, no image), `IMAGE_UNSUPPORTED`.
 */
export async function readGreyImage(path: string): Promise<Pixels> {
  const file = await readFile(path).catch((error: unknown) => {
    throw inputError(path, error);
  });
  const format = imageFormat(file);
  if (format === undefined) throw unreadable(path, new Error('it does not begin as a PNG or TIFF'));
  if (format !== 'png' && format !== 'tiff') throw unsupported(path, `its format is ${format}`);
  const meta = await metadata(path, file);
  if (meta.depth !== 'uchar' && meta.depth !== 'ushort')
    throw unsupported(path, `its samples are of type ${meta.depth}`);
  if (!SPACES.has(meta.space ?? '')) throw unsupported(path, `its colour space is ${meta.space}`);
  if ((meta.pages ?? 1) > 1) throw unsupported(path, `it holds ${meta.pages} pages`, 'Split it into one file a frame.');
  const wide = meta.depth === 'ushort';
  const colour = (meta.channels ?? 1) >= 3;
  // Without a 16-bit colour space sharp converts to 8-bit sRGB: https://sharp.pixelplumbing.com/api-colour#tocolourspace
  const space = colour ? (wide ? 'rgb16' : 'srgb') : wide ? 'grey16' : 'b-w';
  const picture = await open(file, { failOn: 'error', ignoreIcc: true });
  const { data, info } = await picture
    .removeAlpha()
    .toColourspace(space)
    .raw({ depth: wide ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true })
    .catch((error: unknown) => {
      throw unreadable(path, error);
    });
  const { width, height, channels } = info;
  const samples = wide ? words(data) : bytes(data);
  if (samples.length !== width * height * channels || (channels !== 1 && channels !== 3)) {
    throw unreadable(path, new Error(`${samples.length} samples for ${width}x${height}x${channels}`));
  }
  return { width, height, bits: wide ? 16 : 8, data: channels === 1 ? samples : luma(samples) };
}

/** Writes counts as an 8- or 16-bit grey PNG, exactly. Throws `OUTPUT_NOT_WRITABLE`, `OUTPUT_FAILED`. */
export async function writeGreyPng(
  path: string,
  image: { width: number; height: number; data: Uint8Array | Uint16Array },
): Promise<void> {
  const { width, height, data } = image;
  const picture = await open(data, { raw: { width, height, channels: 1 } });
  const png = await picture
    .toColourspace(data instanceof Uint16Array ? 'grey16' : 'b-w')
    .png()
    .toBuffer();
  await writeFile(path, png).catch((cause: unknown) => {
    const code = errno(cause);
    const what = `${path} cannot be written: ${code ?? String(cause)}`;
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EIO')
      throw new EdgeError('OUTPUT_FAILED', what, {
        hint: 'Free some space on the disk.',
        exitCode: EXIT.ioError,
        cause,
      });
    throw new EdgeError('OUTPUT_NOT_WRITABLE', what, {
      hint: 'Check that the folder exists and may be written to.',
      exitCode: EXIT.cannotCreate,
      cause,
    });
  });
}

async function metadata(path: string, file: Buffer): Promise<Metadata> {
  try {
    return await (await open(file, {})).metadata();
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): EdgeError {
  const reason = (error instanceof Error ? error.message : String(error)).split('\n')[0]!.trim();
  return new EdgeError('IMAGE_UNREADABLE', `${path} cannot be decoded: ${reason}`, {
    hint: 'The file is damaged, cut short or no PNG/TIFF; copy or record it again.',
    cause: error,
    exitCode: EXIT.dataError,
  });
}

function unsupported(path: string, what: string, hint = 'Store it as an 8- or 16-bit grey PNG or TIFF.'): EdgeError {
  return new EdgeError('IMAGE_UNSUPPORTED', `${path} is not supported: ${what}`, { hint, exitCode: EXIT.dataError });
}

function bytes(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

function words(buffer: Buffer): Uint16Array {
  // A view needs an even offset; a small buffer may lie anywhere in Node's pool.
  const aligned = buffer.byteOffset % 2 === 0 ? buffer : Buffer.from(new Uint8Array(buffer).buffer);
  return new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.length >> 1);
}

/** Rec. 601 in fixed point, as most image libraries do it (Pillow's `L`): white stays white and grey stays the same grey. */
function luma<T extends Uint8Array | Uint16Array>(rgb: T): T {
  const n = rgb.length / 3;
  const out = (rgb instanceof Uint16Array ? new Uint16Array(n) : new Uint8Array(n)) as T;
  for (let i = 0, j = 0; i < n; i++, j += 3) {
    // Above 2^31 for 16 bits, so no shift of a 32-bit integer.
    out[i] = Math.floor((rgb[j]! * 19595 + rgb[j + 1]! * 38470 + rgb[j + 2]! * 7471 + 32768) / 65536);
  }
  return out;
}
