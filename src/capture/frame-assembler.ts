import type { Clock } from './pacing.js';

export interface AssembledFrame {
  sequence: number;
  /** When its last byte arrived. */
  captureMonotonicNs: bigint;
  capturedAtMs: number;
  bytes: Uint8Array;
}

/**
 * Cuts a stream of bytes into frames and keeps one finished frame for the consumer, in three buffers that are used over and over.
 *
 * Newest wins: a newer frame takes the place of the one that waits; `onReplaced` is told. Otherwise nothing is replaced: once a
 * frame waits, further bytes are held unread, and `push` answers false so that the caller stops the stream.
 */
export class FrameAssembler {
  /** Whole frames seen so far. */
  completed = 0;
  private readonly free: Uint8Array[];
  private filling: Uint8Array;
  private filled = 0;
  private waiting: AssembledFrame | undefined;
  private handed: Uint8Array | undefined;
  private held: Uint8Array[] = [];

  constructor(
    private readonly frameBytes: number,
    private readonly newestWins: boolean,
    private readonly clock: Clock,
    private readonly onReplaced: () => void,
  ) {
    this.filling = new Uint8Array(frameBytes);
    this.free = [new Uint8Array(frameBytes), new Uint8Array(frameBytes)];
  }

  /** Bytes of a frame that is not whole yet. */
  get partial(): number {
    return this.filled;
  }

  get hasFrame(): boolean {
    return this.waiting !== undefined;
  }

  /** Takes bytes; false: bring no more until `take`. */
  push(chunk: Uint8Array): boolean {
    if (this.held.length > 0) this.held.push(chunk);
    else this.consume(chunk);
    return this.held.length === 0 && (this.newestWins || !this.hasFrame);
  }

  /** The frame that waits, its bytes valid until the next `take`. */
  take(): AssembledFrame | undefined {
    const frame = this.waiting;
    if (frame === undefined) return undefined;
    if (this.handed !== undefined) this.free.push(this.handed);
    this.handed = frame.bytes;
    this.waiting = undefined;
    const held = this.held;
    this.held = [];
    for (const chunk of held) this.push(chunk);
    return frame;
  }

  private consume(chunk: Uint8Array): void {
    let from = 0;
    while (from < chunk.length) {
      if (this.hasFrame && !this.newestWins) {
        this.held.push(chunk.subarray(from));
        return;
      }
      const count = Math.min(chunk.length - from, this.frameBytes - this.filled);
      this.filling.set(chunk.subarray(from, from + count), this.filled);
      this.filled += count;
      from += count;
      if (this.filled === this.frameBytes) this.complete();
    }
  }

  private complete(): void {
    if (this.waiting !== undefined) {
      this.free.push(this.waiting.bytes);
      this.onReplaced();
    }
    this.waiting = {
      sequence: this.completed++,
      captureMonotonicNs: this.clock.monotonicNs(),
      capturedAtMs: this.clock.wallMs(),
      bytes: this.filling,
    };
    // Of the three one waits and at most one is with the consumer.
    this.filling = this.free.pop()!;
    this.filled = 0;
  }
}
