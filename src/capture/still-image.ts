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
  // An 8-bit file has 8 whatever the sidecar says.
  if (image.bits !== 16) return image;
  const { bits = image.bits } = await readFolderSidecar(join(dirname(path), 'recording.json'));
  return { ...image, bits };
}
