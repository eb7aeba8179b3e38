import type { EdgeError } from '../types/errors.js';
import type { DropReason } from '../types/frame.js';

export interface Pixels {
  width: number;
  height: number;
  bits: number;
  data: Uint8Array | Uint16Array;
}

export type ReadResult = { ok: true; pixels: Pixels } | { ok: false; reason: DropReason; error: EdgeError };

/** Frames by number, from something that can be read in any order. */
export interface FrameReader {
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  /** Hz, when it is known. */
  readonly fps?: number;
  /** How many can be asked for; Infinity when there is no end. */
  readonly frames: number;
  /** Frames that should follow the last but are not there, or not whole. Counted as `short` after each pass. */
  readonly missing: number;
  /** Frame `index` below `frames`. A frame that is bad is a result, not an exception. Its data is valid until the next call. */
  read(index: number): ReadResult | Promise<ReadResult>;
  close(): Promise<void>;
}

/**
 * Starts reading the next few frames while the consumer works on one. Holds at most `depth` frames besides the one handed out,
 * so the wrapped reader must give each frame its own memory.
 */
export class ReadAhead implements FrameReader {
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly fps?: number;
  readonly frames: number;
  readonly missing: number;
  private readonly ahead = new Map<number, Promise<ReadResult>>();

  constructor(
    private readonly reader: FrameReader,
    private readonly depth: number,
    private readonly wrap: boolean,
  ) {
    this.description = reader.description;
    this.width = reader.width;
    this.height = reader.height;
    this.bits = reader.bits;
    if (reader.fps !== undefined) this.fps = reader.fps;
    this.frames = reader.frames;
    this.missing = reader.missing;
  }

  async read(index: number): Promise<ReadResult> {
    const wanted = [index];
    for (let i = 1; i <= Math.min(this.depth, this.frames - 1); i++) {
      if (index + i < this.frames) wanted.push(index + i);
      else if (this.wrap) wanted.push((index + i) % this.frames);
    }
    // Frames that were jumped over are let go; their reads end on their own.
    for (const held of this.ahead.keys()) if (!wanted.includes(held)) this.ahead.delete(held);
    for (const each of wanted) if (!this.ahead.has(each)) this.ahead.set(each, this.begin(each));
    const result = this.ahead.get(index)!;
    this.ahead.delete(index);
    return result;
  }

  async close(): Promise<void> {
    const pending = [...this.ahead.values()];
    this.ahead.clear();
    // A file must not be closed under a read; each of these ends by itself.
    await Promise.allSettled(pending);
    await this.reader.close();
  }

  private begin(index: number): Promise<ReadResult> {
    const reading = Promise.resolve(this.reader.read(index));
    // One that is never asked for must not end the process as an unhandled rejection.
    reading.catch(() => {});
    return reading;
  }
}
