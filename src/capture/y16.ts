import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { EdgeError, EXIT } from '../types/errors.js';
import { inputError } from './faults.js';
import type { FrameReader, ReadResult } from './frame-reader.js';
import { readY16Sidecar } from './sidecar.js';

/**
 * `NAME.y16`: little-endian 16-bit counts, row by row, frames back to back, without a header; `NAME.json` beside it gives the size.
 * Read frame by frame. A last frame that is not whole, and frames that the sidecar promises but the file lacks, are `missing`.
 */
export async function openY16(path: string): Promise<FrameReader> {
  const sidecarPath = path.replace(/\.[^.]*$/, '.json');
  const file = await open(path, 'r').catch((error: unknown) => {
    throw inputError(path, error);
  });
  try {
    const sidecar = await readY16Sidecar(sidecarPath);
    const { width, height } = sidecar;
    const frameBytes = width * height * 2;
    const { size } = await file.stat();
    const whole = Math.floor(size / frameBytes);
    const begun = Math.ceil(size / frameBytes);
    if (whole === 0) {
      throw new EdgeError(
        'RECORDING_EMPTY',
        `${path} holds no frame: ${size} bytes, a frame of ${width}x${height} has ${frameBytes}`,
        { hint: `Record again, or correct the size in ${basename(sidecarPath)}.`, exitCode: EXIT.dataError },
      );
    }
    if (sidecar.frames !== undefined && size > sidecar.frames * frameBytes) {
      // More data than promised: a wrong width or height would turn every frame into noise, so do not guess.
      throw new EdgeError(
        'RECORDING_SIZE_MISMATCH',
        `${path} has ${size} bytes, but ${sidecar.frames} frames of ${width}x${height} have ${sidecar.frames * frameBytes}`,
        { hint: `Correct width, height or frames in ${basename(sidecarPath)}.`, exitCode: EXIT.dataError },
      );
    }
    const bits = sidecar.bits ?? 16;
    return new Y16Reader(path, file, width, height, bits, sidecar.fps, whole, (sidecar.frames ?? begun) - whole);
  } catch (error) {
    await file.close();
    throw error;
  }
}

class Y16Reader implements FrameReader {
  readonly description: string;
  readonly fps?: number;

  constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    readonly width: number,
    readonly height: number,
    readonly bits: number,
    fps: number | undefined,
    readonly frames: number,
    readonly missing: number,
  ) {
    if (fps !== undefined) this.fps = fps;
    this.description = `recording ${path} (${frames} frames, ${width}x${height}, ${bits} bit)`;
  }

  async read(index: number): Promise<ReadResult> {
    const { width, height, bits } = this;
    // Read straight into the counts: Jetson and x86 are little-endian like the file.
    const data = new Uint16Array(width * height);
    try {
      let done = 0;
      while (done < data.byteLength) {
        const left = data.byteLength - done;
        const target = new Uint8Array(data.buffer, done, left);
        const { bytesRead } = await this.file.read(target, 0, left, index * data.byteLength + done);
        if (bytesRead === 0) {
          const error = new EdgeError('RECORDING_SHORT', `frame ${index} of ${this.path} ends after ${done} bytes`, {
            exitCode: EXIT.dataError,
          });
          return { ok: false, reason: 'short', error };
        }
        done += bytesRead;
      }
    } catch (error) {
      return { ok: false, reason: 'corrupt', error: inputError(this.path, error) };
    }
    return { ok: true, pixels: { width, height, bits, data } };
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}
