import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { errno } from '../types/errors.js';
import { crc32 } from './outbox-record.js';
import { decodeEntry, type LogEntry } from './store-entry.js';

// The types of Node have it not.
declare const WebAssembly: { Memory: new (size: { initial: number }) => { readonly buffer: ArrayBuffer } };

// NOFOLLOW as for everything in a directory that others might write to.
const { O_RDWR, O_RDONLY, O_WRONLY, O_CREAT, O_DSYNC, O_NOFOLLOW, O_DIRECT } = constants;

/** Bytes of the file, all of them written when it is made: later writes change no length and no map of blocks, only data. */
export const LOG_BYTES = 4 * 1024 * 1024;
/** Records begin at multiples of it: a write never touches a block of an earlier record, and needs no page cache. */
export const LOG_BLOCK = 4096;
/** Longest record. */
const MAX_RECORD = 128 * 1024;
/** `irL1` */
const MAGIC = 0x314c7269;
/** Magic, generation, length of the body, CRC-32 of generation, length and body; u32le each. */
const HEAD = 16;

/**
 * A write-ahead log of fixed size: what is appended is on disk when `append` returns, after a single write (`O_DSYNC`, open(2)). A
 * commit of LMDB takes two, and pages besides. The write goes past the page cache (`O_DIRECT`) where the file system can: a tenth quicker,
 * and its slowest in a hundred half as long. Its records carry a generation; `restart` with another one makes all of them void
 * at once, without a write. Which generation holds is kept elsewhere, where the records went.
 *
 * `magic, generation, length, crc; the entry`, see `store-entry.ts`
 */
export class StoreLog {
  #fd: number;
  #direct: boolean;
  readonly #path: string;
  readonly #bytes: number;
  /** What is written past the page cache must begin at a block in memory too; the memory of WebAssembly begins at a page. */
  readonly #record = Buffer.from(new WebAssembly.Memory({ initial: MAX_RECORD / 65_536 }).buffer);
  #generation = 0;
  #position = 0;

  private constructor(path: string, bytes: number) {
    this.#path = path;
    this.#bytes = bytes;
    [this.#fd, this.#direct] = openForWriting(path);
  }

  /** Makes the file where it is missing or shorter. @throws an errno; then nothing half made is left */
  static open(path: string, bytes = LOG_BYTES): StoreLog {
    const fd = openSync(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
    const { size } = fstatSync(fd);
    try {
      if (size < bytes) {
        writeAll(fd, Buffer.alloc(bytes - size), size);
        fsyncSync(fd);
        const folder = openSync(dirname(path), 'r');
        fsyncSync(folder);
        closeSync(folder);
      }
      return new StoreLog(path, bytes);
    } catch (error) {
      // A disk that is nearly full needs this room for the records themselves. One that was whole before keeps what it holds.
      if (size === 0) rmSync(path, { force: true });
      throw error;
    } finally {
      closeSync(fd);
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
    const fd = openSync(this.#path, O_RDONLY | O_NOFOLLOW);
    try {
      for (let done = 0; done < all.length; ) {
        const got = readSync(fd, all, done, all.length - done, done);
        if (got === 0) break;
        done += got;
      }
    } finally {
      closeSync(fd);
    }
    const wanted = generation ?? (all.readUInt32LE(0) === MAGIC ? all.readUInt32LE(4) : 1);
    const entries: LogEntry[] = [];
    let damaged = 0;
    this.restart(wanted);
    for (let at = 0; at + HEAD <= all.length; ) {
      if (all.readUInt32LE(at) !== MAGIC || all.readUInt32LE(at + 4) !== wanted) {
        at += LOG_BLOCK;
        continue;
      }
      const entry = decode(all, at);
      if (entry === undefined) {
        damaged += 1;
        at += LOG_BLOCK;
        continue;
      }
      entries.push(entry);
      at += blocks(HEAD + all.readUInt32LE(at + 8));
      this.#position = at;
    }
    return { entries, damaged };
  }

  /**
   * @param entry as of `encodeEntry`
   * @returns false where there is no room; nothing is written then. @throws an errno: it is not known what is on disk
   */
  append(entry: Uint8Array): boolean {
    const length = encode(entry, this.#generation, this.#record);
    if (length === 0 || this.#position + length > this.#bytes) return false;
    const record = this.#record.subarray(0, length);
    try {
      writeAll(this.#fd, record, this.#position);
    } catch (error) {
      // Some file systems open a file so, and then refuse.
      if (!this.#direct || errno(error) !== 'EINVAL') throw error;
      closeSync(this.#fd);
      [this.#fd, this.#direct] = openForWriting(this.#path, 0);
      writeAll(this.#fd, record, this.#position);
    }
    this.#position += length;
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

const blocks = (bytes: number): number => Math.ceil(bytes / LOG_BLOCK) * LOG_BLOCK;

function openForWriting(path: string, direct: number = O_DIRECT): [fd: number, direct: boolean] {
  try {
    return [openSync(path, O_WRONLY | O_DSYNC | O_NOFOLLOW | direct), direct !== 0];
  } catch (error) {
    if (direct === 0 || errno(error) !== 'EINVAL') throw error;
    return openForWriting(path, 0);
  }
}

/** @returns bytes of the record, whole blocks; 0: it is longer than `record` */
function encode(entry: Uint8Array, generation: number, record: Buffer): number {
  const all = blocks(HEAD + entry.length);
  if (all > record.length) return 0;
  record.writeUInt32LE(MAGIC, 0);
  record.writeUInt32LE(generation, 4);
  record.writeUInt32LE(entry.length, 8);
  record.set(entry, HEAD);
  record.fill(0, HEAD + entry.length, all);
  record.writeUInt32LE(checksum(record, 0, entry.length), 12);
  return all;
}

/** Undefined: damaged. */
function decode(all: Buffer, at: number): LogEntry | undefined {
  const length = all.readUInt32LE(at + 8);
  const end = at + HEAD + length;
  if (end > all.length || checksum(all, at, length) !== all.readUInt32LE(at + 12)) return undefined;
  try {
    return decodeEntry(all.subarray(at + HEAD, end));
  } catch {
    return undefined;
  }
}

/** Of a record's generation and length, and its body. */
function checksum(buffer: Buffer, at: number, length: number): number {
  return (crc32(buffer.subarray(at + 4, at + 12)) ^ crc32(buffer.subarray(at + HEAD, at + HEAD + length))) >>> 0;
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
