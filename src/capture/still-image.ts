import { dirname, join } from 'node:path';
import type { Pixels } from './frame-reader.js';
import { readGreyImage } from './image-file.js';
import { readFolderSidecar } from './sidecar.js';

/**
 * One picture of a folder, alone, as a recording of the folder would play it: 16-bit files have the `bits` of its `recording.json`, so that
 * pixels at the end of the camera's range are known as clipped.
 *
 * Throws what `readGreyImage` and `readFolderSidecar` do.
 */
export async function readStillImage(path: string): Promise<Pixels> {
  const image = await readGreyImage(path);
  const { bits } = await readFolderSidecar(sidecarOf(path));
  return { ...image, bits: bitsOf(image, bits) };
}

/** What tells of the pictures of a picture's folder. */
export function sidecarOf(path: string): string {
  return join(dirname(path), 'recording.json');
}

/** Camera counts of 14 bits in a 16-bit file; an 8-bit file has 8 whatever the sidecar says. */
export function bitsOf(file: Pick<Pixels, 'bits'>, sidecarBits: number | undefined): number {
  return file.bits === 16 ? (sidecarBits ?? 16) : 8;
}
