import { open } from 'node:fs/promises';
import { EdgeError, EXIT } from '../types/errors.js';
import { inputError } from './faults.js';
import { frameBytes, type SampleFrames } from './profile-proposal.js';
import { readY16Sidecar } from './sidecar.js';

/** Frames taken of a recording, and bytes of them at most: evenly over its length, so that the scene has changed between them. */
const FRAMES = 24;
const MOST_BYTES = 128 * 1024 * 1024;

export interface RawRecording {
  /** A file of delivered frames back to back, without a header, as `v4l2-ctl --stream-to` writes it. */
  path: string;
  /** Default `Y16 `. */
  fourcc?: string;
  /** Of a delivered frame, px. Default: what `NAME.json` beside `NAME.y16` says. */
  size?: { width: number; height: number };
  /** From one row to the next, bytes. Default: no gap. */
  bytesPerLine?: number;
}

/** V4L2's four characters from what a user types: `Y16`, `GREY`, `Y16-BE`, `Y16 -BE`. */
export function fourccOf(text: string): string {
  const big = /-BE$/.test(text);
  const four = text.replace(/-BE$/, '').trimEnd().padEnd(4, ' ');
  return big ? `${four}-BE` : four;
}

/**
 * A few frames of a raw recording, and what of the file is no whole frame, bytes.
 * @throws EdgeError INPUT_NOT_FOUND, INPUT_UNREADABLE, RECORDING_EMPTY, and for the sidecar RECORDING_SIDECAR_...
 */
export async function readRawSample(recording: RawRecording): Promise<{ sample: SampleFrames; left: number }> {
  const { path, fourcc = 'Y16 ', bytesPerLine } = recording;
  const file = await open(path, 'r').catch((error: unknown) => {
    throw inputError(path, error);
  });
  try {
    const sidecar = recording.size ?? (await readY16Sidecar(path.replace(/\.[^./]*$/, '.json')));
    const { width, height } = sidecar;
    const fps = 'fps' in sidecar ? (sidecar.fps as number | undefined) : undefined;
    const each = bytesPerLine === undefined ? frameBytes(fourcc, width, height) : bytesPerLine * height;
    const { size } = await file.stat();
    const count = Math.floor(size / each);
    if (count === 0) {
      throw new EdgeError(
        'RECORDING_EMPTY',
        `${path} holds no frame: ${size} bytes, a frame of ${width}x${height} "${fourcc}" has ${each}`,
        { hint: 'Check --size and --fourcc, or record again.', exitCode: EXIT.dataError },
      );
    }
    const taken = Math.max(1, Math.min(FRAMES, count, Math.floor(MOST_BYTES / each)));
    const frames: Uint8Array[] = [];
    for (let i = 0; i < taken; i++) {
      const frame = new Uint8Array(each);
      const index = Math.floor((i * count) / taken);
      const { bytesRead } = await file.read(frame, 0, each, index * each);
      // Cut while it was read.
      if (bytesRead === each) frames.push(frame);
    }
    const sample: SampleFrames = {
      fourcc,
      width,
      height,
      ...(bytesPerLine !== undefined && { bytesPerLine }),
      frames,
      ...(fps !== undefined && { fps }),
    };
    return { sample, left: size - count * each };
  } catch (error) {
    throw error instanceof EdgeError ? error : inputError(path, error);
  } finally {
    await file.close();
  }
}
