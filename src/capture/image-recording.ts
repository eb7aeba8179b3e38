import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { EdgeError, EXIT } from '../types/errors.js';
import { inputError, stoppedError } from './faults.js';
import type { FrameReader, Pixels, ReadResult } from './frame-reader.js';
import { readGreyImage } from './image-file.js';
import { readFolderSidecar } from './sidecar.js';
import { bitsOf, sidecarOf } from './still-image.js';

export const IMAGE_NAME = /\.(png|tiff?)$/i;

/** `img2.png` before `img10.png`; names that are equal but for that are in code-unit order, so the order never varies. */
export function naturalSort(names: string[]): string[] {
  const collator = new Intl.Collator('en', { numeric: true });
  return names.sort((a, b) => collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0));
}

/** A folder of PNG/TIFF files in natural order of their names; other files and hidden ones are ignored. */
export async function openImageFolder(path: string, signal: AbortSignal): Promise<FrameReader> {
  const entries = await readdir(path).catch((error: unknown) => {
    throw inputError(path, error);
  });
  const names = naturalSort(entries.filter((name) => IMAGE_NAME.test(name) && !name.startsWith('.')));
  if (names.length === 0) {
    const raw = entries.find((name) => /\.y16$/i.test(name));
    const hint =
      raw === undefined ? 'Put the frames there as PNG or TIFF files.' : `Give ${join(path, raw)} as the path.`;
    throw new EdgeError('RECORDING_EMPTY', `${path} holds no PNG or TIFF file`, { hint, exitCode: EXIT.dataError });
  }
  const sidecar = await readFolderSidecar(join(path, 'recording.json'));
  const first = await firstReadable(path, names, signal);
  return new ImageReader(path, join(path, '/'), names, first, sidecar.bits, sidecar.fps);
}

/** One PNG or TIFF file: a recording of one frame. */
export async function openImageFile(path: string): Promise<FrameReader> {
  const image = await readGreyImage(path);
  const { bits } = await readFolderSidecar(sidecarOf(path));
  return new ImageReader(path, '', [path], image, bits, undefined);
}

/** The size of the recording: that of the first file that can be decoded. */
async function firstReadable(folder: string, names: string[], signal: AbortSignal): Promise<Pixels> {
  let last: unknown;
  for (const name of names) {
    if (signal.aborted) throw stoppedError();
    try {
      return await readGreyImage(join(folder, name));
    } catch (error) {
      last = error;
    }
  }
  throw new EdgeError(
    'RECORDING_UNREADABLE',
    `none of the ${names.length} images in ${folder} can be read: ${last instanceof Error ? last.message : String(last)}`,
    { hint: 'Check that the files are whole; record or copy them again.', cause: last, exitCode: EXIT.dataError },
  );
}

class ImageReader implements FrameReader {
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly fps?: number;
  readonly frames: number;
  readonly missing = 0;
  private readonly wide: boolean;

  constructor(
    path: string,
    private readonly folder: string,
    private readonly names: string[],
    first: Pixels,
    bits: number | undefined,
    fps: number | undefined,
  ) {
    this.width = first.width;
    this.height = first.height;
    this.wide = first.bits === 16;
    this.bits = bitsOf(first, bits);
    if (fps !== undefined) this.fps = fps;
    this.frames = names.length;
    const count = `${this.frames} ${this.frames === 1 ? 'frame' : 'frames'}`;
    this.description = `recording ${path} (${count}, ${this.width}x${this.height}, ${this.bits} bit)`;
  }

  async read(index: number): Promise<ReadResult> {
    const path = this.folder + this.names[index]!;
    let image: Pixels;
    try {
      image = await readGreyImage(path);
    } catch (error) {
      return { ok: false, reason: 'corrupt', error: error instanceof EdgeError ? error : inputError(path, error) };
    }
    const { width, height, wide } = this;
    if (image.width !== width || image.height !== height || (image.bits === 16) !== wide) {
      const was = `${image.width}x${image.height} of ${image.bits} bit`;
      const error = new EdgeError('FRAME_SIZE', `${path} is ${was}, not ${width}x${height} of ${wide ? 16 : 8} bit`, {
        hint: 'Keep frames of one size and sample type in a folder.',
        exitCode: EXIT.dataError,
      });
      return { ok: false, reason: 'size', error };
    }
    return { ok: true, pixels: { ...image, bits: this.bits } };
  }

  async close(): Promise<void> {}
}
