import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from './outbox-record.js';

/** What one commit writes and removes. */
export interface LogEntry {
  puts: readonly (readonly [key: string, value: Uint8Array])[];
  removes: readonly string[];
}

/** Bytes of the file, all of them written when it is made: later writes change no length and no map of blocks, only data. */
export const LOG_BYTES = 1024 * 1024;
/** Records begin at multiples of it, so that a write never touches the sectors of an earlier record. */
const SECTOR = 512;
/** `irL1` */
const MAGIC = 0x314c7269;
/** Magic, generation, length of the body, CRC-32 of generation, length and body; u32le each. */
const HEAD = 16;

/**
 * A write-ahead log of fixed size: what is appended is on disk when `append` returns, after a single write (`O_DSYNC`, open(2)). A
 * commit of LMDB takes two, and pages besides. Its records carry a generation; `restart` with another one makes all of them void
 * at once, without a write. Which generation holds is kept elsewhere, where the records went.
 *
 * `magic, generation, length, crc; length of the JSON head u32le; {"puts": [[key, bytes], ...], "removes": [key, ...]}; values`
 */
export class StoreLog {
  readonly #fd: number;
  readonly #bytes: number;
  #generation = 0;
  #position = 0;

  private constructor(fd: number, bytes: number) {
    this.#fd = fd;
    this.#bytes = bytes;
  }

  /** Makes the file where it is missing or shorter. @throws an errno; then nothing half made is left */
  static open(path: string, bytes = LOG_BYTES): StoreLog {
    // NOFOLLOW as for everything in a directory that others might write to.
    const { O_RDWR, O_CREAT, O_DSYNC, O_NOFOLLOW } = constants;
    const fd = openSync(path, O_RDWR | O_CREAT | O_DSYNC | O_NOFOLLOW, 0o600);
    const { size } = fstatSync(fd);
    try {
      if (size < bytes) {
        writeAll(fd, Buffer.alloc(bytes - size), size);
        fsyncSync(fd);
        const folder = openSync(dirname(path), 'r');
        fsyncSync(folder);
        closeSync(folder);
      }
      return new StoreLog(fd, bytes);
    } catch (error) {
      closeSync(fd);
      // A disk that is nearly full needs this room for the records themselves. One that was whole before keeps what it holds.
      if (size === 0) rmSync(path, { force: true });
      throw error;
    }
  }

  get generation(): number {
    return this.#generation;
  }

  /**
   * The entries of a generation, oldest first; what is appended comes after them. Records that are damaged are left out and counted:
   * the last one may be half written by a crash, any other is the disk's doing. `undefined`: the generation of the first record.
   */
  replay(generation: number | undefined): { entries: LogEntry[]; damaged: number } {
    const all = Buffer.alloc(this.#bytes);
    for (let done = 0; done < all.length; ) {
      const got = readSync(this.#fd, all, done, all.length - done, done);
      if (got === 0) break;
      done += got;
    }
    const wanted = generation ?? (all.readUInt32LE(0) === MAGIC ? all.readUInt32LE(4) : 1);
    const entries: LogEntry[] = [];
    let damaged = 0;
    this.restart(wanted);
    for (let at = 0; at + HEAD <= all.length; ) {
      if (all.readUInt32LE(at) !== MAGIC || all.readUInt32LE(at + 4) !== wanted) {
        at += SECTOR;
        continue;
      }
      const entry = decode(all, at);
      if (entry === undefined) {
        damaged += 1;
        at += SECTOR;
        continue;
      }
      entries.push(entry);
      at += sectors(HEAD + all.readUInt32LE(at + 8));
      this.#position = at;
    }
    return { entries, damaged };
  }

  /** @returns false where there is no room; nothing is written then. @throws an errno: it is not known what is on disk */
  append(entry: LogEntry): boolean {
    const record = encode(entry, this.#generation);
    if (this.#position + record.length > this.#bytes) return false;
    writeAll(this.#fd, record, this.#position);
    this.#position += record.length;
    return true;
  }

  /** All records so far are void, once `generation` is what the next `replay` is asked for. */
  restart(generation: number): void {
    this.#generation = generation;
    this.#position = 0;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

const sectors = (bytes: number): number => Math.ceil(bytes / SECTOR) * SECTOR;

function encode({ puts, removes }: LogEntry, generation: number): Buffer {
  const head = Buffer.from(JSON.stringify({ puts: puts.map(([key, value]) => [key, value.length]), removes }));
  const length = 4 + head.length + puts.reduce((sum, [, value]) => sum + value.length, 0);
  const record = Buffer.alloc(sectors(HEAD + length));
  record.writeUInt32LE(MAGIC, 0);
  record.writeUInt32LE(generation, 4);
  record.writeUInt32LE(length, 8);
  record.writeUInt32LE(head.length, HEAD);
  let at = HEAD + 4 + head.copy(record, HEAD + 4);
  for (const [, value] of puts) {
    record.set(value, at);
    at += value.length;
  }
  record.writeUInt32LE(checksum(record, 0, length), 12);
  return record;
}

/** Undefined: damaged. */
function decode(all: Buffer, at: number): LogEntry | undefined {
  const length = all.readUInt32LE(at + 8);
  const end = at + HEAD + length;
  if (length < 4 || end > all.length || checksum(all, at, length) !== all.readUInt32LE(at + 12)) return undefined;
  const values = at + HEAD + 4 + all.readUInt32LE(at + HEAD);
  const head = JSON.parse(all.toString('utf8', at + HEAD + 4, values)) as {
    puts: [key: string, bytes: number][];
    removes: string[];
  };
  let from = values;
  const puts = head.puts.map(([key, bytes]) => {
    from += bytes;
    return [key, Buffer.from(all.subarray(from - bytes, from))] as const;
  });
  return { puts, removes: head.removes };
}

/** Of a record's generation and length, and its body. */
function checksum(buffer: Buffer, at: number, length: number): number {
  return (crc32(buffer.subarray(at + 4, at + 12)) ^ crc32(buffer.subarray(at + HEAD, at + HEAD + length))) >>> 0;
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
