import { readSync, writeSync } from 'node:fs';
import { deserialize, serialize } from 'node:v8';

// Messages between `EventStore` and the store's process, over pipes: four bytes of length (little-endian), then V8's own
// serialisation. Not Node's IPC channel: a process that waits in read(2) answers sooner than one that waits in an event loop,
// and every `new` event waits for it.

const HEAD = 4;
/** Longer ones are no message of ours. */
const LONGEST = 128 * 1024 * 1024;

export function encodeFrame(message: unknown): Buffer {
  const body = serialize(message);
  const frame = Buffer.allocUnsafe(HEAD + body.length);
  frame.writeUInt32LE(body.length, 0);
  body.copy(frame, HEAD);
  return frame;
}

/** Puts messages together from the pieces in which they come. */
export class FrameReader {
  private pieces: Buffer[] = [];
  private held = 0;
  private wanted: number | undefined;

  /** The messages that are complete now. @throws RangeError, and what `v8.deserialize` throws: what comes is no message */
  push(piece: Buffer): unknown[] {
    this.pieces.push(piece);
    this.held += piece.length;
    const messages: unknown[] = [];
    for (;;) {
      if (this.wanted === undefined && this.held >= HEAD) {
        this.wanted = this.take(HEAD).readUInt32LE(0);
        if (this.wanted > LONGEST) throw new RangeError(`a message of ${this.wanted} bytes`);
      }
      if (this.wanted === undefined || this.held < this.wanted) return messages;
      messages.push(deserialize(this.take(this.wanted)));
      this.wanted = undefined;
    }
  }

  private take(bytes: number): Buffer {
    const all = this.pieces.length === 1 ? this.pieces[0]! : Buffer.concat(this.pieces);
    this.pieces = all.length > bytes ? [all.subarray(bytes)] : [];
    this.held -= bytes;
    return all.subarray(0, bytes);
  }
}

/** Waits for a message, in read(2). Undefined: the other side is gone. */
export function readFrame(fd: number): unknown {
  const head = readAll(fd, HEAD);
  const body = head && readAll(fd, head.readUInt32LE(0));
  return body && deserialize(body);
}

/** @throws an errno where the other side is gone */
export function writeFrame(fd: number, message: unknown): void {
  const frame = encodeFrame(message);
  for (let done = 0; done < frame.length; ) done += writeSync(fd, frame, done);
}

function readAll(fd: number, bytes: number): Buffer | undefined {
  if (bytes > LONGEST) return undefined;
  const buffer = Buffer.allocUnsafe(bytes);
  for (let done = 0; done < bytes; ) {
    const got = readSync(fd, buffer, done, bytes - done, null);
    if (got === 0) return undefined;
    done += got;
  }
  return buffer;
}
