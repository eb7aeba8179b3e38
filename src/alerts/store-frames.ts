import { readSync, writeSync } from 'node:fs';
import { deserialize, serialize } from 'node:v8';
import { encodeEntry, type LogEntry } from './store-entry.js';

// Messages between `EventStore` and the store's process, over pipes. Not Node's IPC channel: a process that waits in read(2) answers
// sooner than one that waits in an event loop, and every `new` event waits for it. For the same reason a commit and its answer have a
// form of their own, which nothing has to be parsed of before the disk has it; all else is V8's own serialisation.
//
// Four bytes of length (little-endian), then a byte that tells the form:
// 0  V8's serialisation of the message
// 1  to the store: a commit. 1 byte unused, number of keys u16, number u32, the entry as in `store-entry.ts`
//    from the store: done. 1 byte `unlogged`, 2 bytes unused, number u32, ms float64

export type StoreRequest = { type: 'commit'; number: number; entry: LogEntry } | { type: 'close' };
/** What the store's process sees of it. `keys`: that the entry writes and removes, at most 65 535. */
export type ReceivedRequest = { type: 'commit'; number: number; keys: number; entry: Buffer } | { type: 'close' };

export type StoreReply =
  /**
   * What was found, before `opened`. `removed`: keys of which the log says that they are gone, though an older state of the file
   * may have them.
   */
  | { type: 'records'; records: [key: string, value: Uint8Array][]; removed?: string[] }
  | { type: 'opened' }
  /** It cannot be opened: `code` is an errno, or negative for one of LMDB's. Or it is of another version. */
  | { type: 'refused'; code: number; message: string; version?: unknown; newer?: true }
  /** On disk: written and synced. `unlogged`: by the long way, since the log could not be opened or written. */
  | { type: 'done'; number: number; ms: number; unlogged: boolean }
  | { type: 'failed'; number: number; code: number; message: string };

const HEAD = 4;
const SERIALISED = 0;
const PLAIN = 1;
const COMMIT_HEAD = 8;
const DONE_BYTES = 16;
/** Longer ones are no message of ours. */
const LONGEST = 128 * 1024 * 1024;

export function encodeRequest(request: StoreRequest): Buffer {
  if (request.type !== 'commit') return frame(serialised(request));
  const { puts, removes } = request.entry;
  const head = Buffer.alloc(COMMIT_HEAD);
  head[0] = PLAIN;
  head.writeUInt16LE(Math.min(puts.length + removes.length, 0xffff), 2);
  head.writeUInt32LE(request.number, 4);
  return frame(head, ...encodeEntry(request.entry));
}

/** Waits for a request, in read(2). Undefined: the other side is gone, or does not talk like this. */
export function readRequest(fd: number): ReceivedRequest | undefined {
  const head = readAll(fd, HEAD);
  const body = head && readAll(fd, head.readUInt32LE(0));
  if (body === undefined || body.length === 0) return undefined;
  if (body[0] !== PLAIN) return deserialize(body.subarray(1)) as ReceivedRequest;
  return {
    type: 'commit',
    keys: body.readUInt16LE(2),
    number: body.readUInt32LE(4),
    entry: body.subarray(COMMIT_HEAD),
  };
}

/** @throws an errno where the other side is gone */
export function writeReply(fd: number, reply: StoreReply): void {
  const bytes = encodeReply(reply);
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
}

export function encodeReply(reply: StoreReply): Buffer {
  if (reply.type !== 'done') return frame(serialised(reply));
  const bytes = Buffer.alloc(DONE_BYTES);
  bytes[0] = PLAIN;
  bytes[1] = reply.unlogged ? 1 : 0;
  bytes.writeUInt32LE(reply.number, 4);
  bytes.writeDoubleLE(reply.ms, 8);
  return frame(bytes);
}

/** Puts replies together from the pieces in which they come. */
export class ReplyReader {
  private pieces: Buffer[] = [];
  private held = 0;
  private wanted: number | undefined;

  /** The replies that are complete now. @throws RangeError, and what `v8.deserialize` throws: what comes is no reply */
  push(piece: Buffer): StoreReply[] {
    this.pieces.push(piece);
    this.held += piece.length;
    const replies: StoreReply[] = [];
    for (;;) {
      if (this.wanted === undefined && this.held >= HEAD) {
        this.wanted = this.take(HEAD).readUInt32LE(0);
        if (this.wanted > LONGEST) throw new RangeError(`a message of ${this.wanted} bytes`);
      }
      if (this.wanted === undefined || this.held < this.wanted) return replies;
      const body = this.take(this.wanted);
      this.wanted = undefined;
      replies.push(body[0] === PLAIN ? decodeDone(body) : (deserialize(body.subarray(1)) as StoreReply));
    }
  }

  private take(bytes: number): Buffer {
    const all = this.pieces.length === 1 ? this.pieces[0]! : Buffer.concat(this.pieces);
    this.pieces = all.length > bytes ? [all.subarray(bytes)] : [];
    this.held -= bytes;
    return all.subarray(0, bytes);
  }
}

function decodeDone(body: Buffer): StoreReply {
  return { type: 'done', number: body.readUInt32LE(4), ms: body.readDoubleLE(8), unlogged: body[1] === 1 };
}

function serialised(message: unknown): Buffer {
  return Buffer.concat([Buffer.of(SERIALISED), serialize(message)]);
}

function frame(...parts: readonly Uint8Array[]): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeUInt32LE(
    parts.reduce((sum, part) => sum + part.length, 0),
    0,
  );
  return Buffer.concat([head, ...parts]);
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
