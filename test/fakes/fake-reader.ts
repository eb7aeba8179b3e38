import type { FrameReader, ReadResult } from '../../src/capture/frame-reader.js';
import { EdgeError } from '../../src/types/errors.js';
import type { DropReason } from '../../src/types/frame.js';

/** Frames of 2 x 2 counts, all equal to their index; those in `bad` cannot be read. Records what was read. */
export class FakeReader implements FrameReader {
  readonly description = 'fake';
  readonly width = 2;
  readonly height = 2;
  readonly bits = 16;
  readonly reads: number[] = [];
  readonly bad = new Map<number, DropReason>();
  /** Runs while a frame is being read. */
  during: (index: number) => void | Promise<void> = () => {};
  underWay = 0;
  mostUnderWay = 0;
  closed = 0;

  constructor(
    readonly frames: number,
    readonly missing = 0,
  ) {}

  async read(index: number): Promise<ReadResult> {
    this.reads.push(index);
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    await this.during(index);
    this.underWay--;
    const reason = this.bad.get(index);
    if (reason !== undefined) return { ok: false, reason, error: new EdgeError('BAD', `frame ${index} is bad`) };
    return { ok: true, pixels: { width: 2, height: 2, bits: 16, data: new Uint16Array(4).fill(index) } };
  }

  async close(): Promise<void> {
    this.closed++;
  }
}
