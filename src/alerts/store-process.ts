import { existsSync, realpathSync, statfsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open, type RootDatabase } from 'lmdb';
import { decodeEntry, type LogEntry } from './store-entry.js';
import { readRequest, type StoreReply, writeReply } from './store-frames.js';
import { StoreLog } from './store-log.js';

// A process of its own that keeps records in an LMDB file, driven over pipes by `EventStore`. Not a thread: LMDB maps
// its file into memory, and a damaged one, a failing disk or a file cut short ends the process that touches it with SIGBUS,
// SIGSEGV or an assertion (all three seen). It must not be the one that raises alerts. And a disk that hangs keeps whoever
// waits for it from ending, even by SIGKILL.
//
// Small commits go to a write-ahead log, one short write each, and from there into LMDB together: when the log is full, before
// a large commit, at the end. Most events are acknowledged before that and never get there.

type Db = RootDatabase<Uint8Array, string>;

/**
 * Of the store as a whole; that of a record is in the record. Rises when what is in it changes so that an older program would misread or
 * lose it; then `MIGRATIONS` leads up from each older one.
 */
export const STORE_VERSION = 2;

/** By the version that they start from; each brings the store to the next one, within a transaction. */
const MIGRATIONS: Readonly<Record<number, (db: Db) => void>> = {
  // 2 has a log beside the file.
  1: () => {},
};
const VERSION_KEY = '\u{1}store';
/** The generation of the log's records that are not in the file. */
const LOG_KEY = '\u{1}log';
const MAX_GENERATION = 0xffff_ffff;
/** Larger commits go to the file at once, with all that is in the log: written twice they would take longer. */
const MAX_LOGGED_BYTES = 64 * 1024;
const MAX_LOGGED_KEYS = 64;
/** Most keys that differ between log and file: bringing them to the file keeps a fresh event waiting. */
const MAX_PENDING = 1_024;
/** Records sent to the parent at a time. */
const CHUNK = 256;

/** Requests come by standard input; what else might be printed must not mix with the answers. */
const REQUESTS = 0;
const REPLIES = 3;

const { EIO, ENOSPC } = constants.errno;
/** A commit may need as much. */
const NEARLY_FULL_BYTES = 1024 * 1024;

/** The file, and the log ahead of it. */
class Store {
  /** What the log holds and the file does not: values, or undefined for what is removed. */
  readonly pending = new Map<string, Uint8Array | undefined>();
  readonly #db: Db;
  #log: StoreLog | undefined;
  /** The last commit, where it went to the log and is not in `pending` yet. */
  #logged: Buffer | undefined;

  constructor(db: Db, path: string) {
    this.#db = db;
    try {
      this.#log = StoreLog.open(path);
    } catch {
      // No room, or no permission: every commit goes to the file, as it did before there was a log.
    }
  }

  /** Reads the log. @returns how many of its records are damaged */
  replay(): number {
    // A fresh file in place of a damaged one has no mark: then the newest generation of which there is anything counts, void or not. It
    // may bring back what was acknowledged; a second copy costs less than a lost event.
    const mark = Number(Buffer.from(this.#db.get(LOG_KEY) ?? '').toString());
    try {
      const found = this.#log?.replay(mark >= 1 && mark <= MAX_GENERATION ? mark : undefined);
      for (const entry of found?.entries ?? []) this.#note(entry);
      return found?.damaged ?? 0;
    } catch {
      this.#log = undefined;
      return 1;
    }
  }

  /**
   * Returns when everything is on disk. @throws what LMDB throws; nothing is changed then
   *
   * @param bytes as of `encodeEntry`
   * @param keys that it writes and removes
   * @returns false where the log should have taken it and could not be opened or written; then it is in the file
   */
  commit(bytes: Buffer, keys: number): boolean {
    const small = bytes.length <= MAX_LOGGED_BYTES && keys <= MAX_LOGGED_KEYS;
    const appended = small && this.pending.size < MAX_PENDING ? this.#append(bytes) : 'full';
    if (appended === 'yes') {
      this.#logged = bytes;
      return true;
    }
    const entry = decodeEntry(bytes);
    try {
      this.checkpoint(entry);
    } catch (error) {
      if (entry.puts.length > 0 || this.pending.size === 0) throw error;
      // A full disk has no room for the log's records, but what is removed makes some, there or here.
      this.#write(entry);
      for (const key of entry.removes) if (this.pending.has(key)) this.pending.set(key, undefined);
    }
    return appended === 'full';
  }

  /** To be called after each commit, when it has been answered: nobody waits for it. */
  note(): void {
    if (this.#logged !== undefined) this.#note(decodeEntry(this.#logged));
    this.#logged = undefined;
  }

  /** Brings everything into the file, in one transaction; the log is empty then. */
  checkpoint(entry: LogEntry = { puts: [], removes: [] }): void {
    const next = ((this.#log?.generation ?? 0) % MAX_GENERATION) + 1;
    this.#db.transactionSync(() => {
      for (const [key, value] of this.pending) value === undefined ? this.#db.remove(key) : this.#db.put(key, value);
      this.#write(entry);
      if (this.#log !== undefined) this.#db.put(LOG_KEY, Buffer.from(String(next)));
    });
    this.pending.clear();
    this.#log?.restart(next);
  }

  /** All records, those of the log before those of the file. */
  *records(): Generator<[string, Uint8Array]> {
    for (const [key, value] of this.pending) if (value !== undefined) yield [key, value];
    for (const { key, value } of this.#db.getRange()) {
      if (key === VERSION_KEY || key === LOG_KEY || this.pending.has(key)) continue;
      // A key that is no string is none of ours.
      yield [typeof key === 'string' ? key : '', Buffer.from(value)];
    }
  }

  #write({ puts, removes }: LogEntry): void {
    // Synchronous: returns after fdatasync, throws where it fails. LMDB's asynchronous writes reject promises that nobody
    // can reach when the disk is full (lmdb 3.5.6, write.js, rejectCommit), which ends the process.
    this.#db.transactionSync(() => {
      for (const key of removes) this.#db.remove(key);
      for (const [key, value] of puts) this.#db.put(key, value as Uint8Array);
    });
  }

  #append(entry: Buffer): 'yes' | 'full' | 'failed' {
    try {
      if (this.#log !== undefined) return this.#log.append(entry) ? 'yes' : 'full';
    } catch {
      // The disk is at fault here; the file may lie where it is not. What the log holds is in `pending` too, and goes there with it.
    }
    return 'failed';
  }

  #note({ puts, removes }: LogEntry): void {
    for (const key of removes) this.pending.set(key, undefined);
    for (const [key, value] of puts) this.pending.set(key, value);
  }
}

function main(path: string): void {
  let opened: { db: Db; store: Store } | undefined;
  try {
    opened = openStore(path);
  } catch (error) {
    reply({ type: 'refused', ...plain(error) });
    return;
  }
  if (opened === undefined) return;
  const { db, store } = opened;
  for (;;) {
    const request = readRequest(REQUESTS);
    // The parent is gone: nothing waits for the file to be closed.
    if (request === undefined) process.exit(0);
    if (request.type === 'close') {
      try {
        if (store.pending.size > 0) store.checkpoint();
      } catch {
        // It stays in the log.
      }
      void db.close().finally(() => process.exit(0));
      return;
    }
    const start = performance.now();
    let logged: boolean;
    try {
      logged = store.commit(request.entry, request.keys);
    } catch (error) {
      reply({ type: 'failed', number: request.number, ...fullOrPlain(error, path) });
      continue;
    }
    reply({ type: 'done', number: request.number, ms: performance.now() - start, unlogged: !logged });
    store.note();
  }
}

/** Undefined: refused, and said so. */
function openStore(path: string): { db: Db; store: Store } | undefined {
  const fresh = !existsSync(path);
  const db = open<Uint8Array, string>({
    path,
    encoding: 'binary',
    noSubdir: true,
    maxDbs: 1,
    // Commit means synced: nothing is told to be on disk before it is.
    overlappingSync: false,
    // Address space, not disk: saves growing the map on the way.
    mapSize: 256 * 1024 * 1024,
  });
  const text = db.get(VERSION_KEY);
  const empty = text === undefined && (fresh || db.getKeysCount({ limit: 1 }) === 0);
  if (empty) {
    db.transactionSync(() => void db.put(VERSION_KEY, Buffer.from(String(STORE_VERSION))));
  } else if (text === undefined || !bringUp(db, Number(Buffer.from(text).toString()))) {
    const version = text === undefined ? 'none' : Buffer.from(text).toString().slice(0, 20);
    const newer = Number(version) > STORE_VERSION;
    const known = newer ? `is newer than ${STORE_VERSION}, which this program knows` : 'is not known';
    reply({
      type: 'refused',
      code: 0,
      message: `version ${version} of the store ${known}`,
      version,
      ...(newer && { newer }),
    });
    return undefined;
  }
  const store = new Store(db, `${path.replace(/\.mdb$/, '')}.log`);
  const damaged = store.replay();
  // Of a damaged file that was moved aside the parent has records that the log knows to be gone.
  const removed = [...store.pending].filter(([, value]) => value === undefined).map(([key]) => key);
  // Damaged records of the log have no key; the parent counts what it cannot read.
  let chunk: [string, Uint8Array][] = Array.from({ length: damaged }, () => ['', new Uint8Array()]);
  for (const record of store.records()) {
    chunk.push(record);
    if (chunk.length < CHUNK) continue;
    reply({ type: 'records', records: chunk });
    chunk = [];
  }
  reply({ type: 'records', records: chunk, removed });
  // Touches the list of free pages, so that a damaged one shows now; a full disk is no damage, and the log keeps what it has.
  try {
    store.checkpoint();
  } catch (error) {
    if (plain(error).code < 0) throw error;
  }
  reply({ type: 'opened' });
  return { db, store };
}

/** Brings an older store to this program's version, all or nothing. False: there is no way from its version. */
function bringUp(db: Db, version: number): boolean {
  const steps: ((db: Db) => void)[] = [];
  for (let from = version; from !== STORE_VERSION; from++) {
    const step = MIGRATIONS[from];
    if (step === undefined) return false;
    steps.push(step);
  }
  if (steps.length === 0) return true;
  db.transactionSync(() => {
    for (const step of steps) step(db);
    db.put(VERSION_KEY, Buffer.from(String(STORE_VERSION)));
  });
  return true;
}

function reply(message: StoreReply): void {
  try {
    writeReply(REPLIES, message);
  } catch {
    // The parent is gone.
    process.exit(0);
  }
}

/** LMDB calls a write that the disk had room for only in part an I/O error (mdb.c, mdb_page_flush). */
function fullOrPlain(error: unknown, path: string): { code: number; message: string } {
  const { code, message } = plain(error);
  if (code !== EIO) return { code, message };
  try {
    const { bavail, bsize } = statfsSync(dirname(path));
    return bavail * bsize < NEARLY_FULL_BYTES
      ? { code: ENOSPC, message: `${message}; no space left` }
      : { code, message };
  } catch {
    return { code, message };
  }
}

function plain(error: unknown): { code: number; message: string } {
  const { code, errno, message } = error as { code?: unknown; errno?: unknown; message?: unknown };
  // Node's own errors have a negative errno and a text as code.
  const number = typeof code === 'number' ? code : typeof errno === 'number' ? Math.abs(errno) : 0;
  return { code: number, message: String(message).split('\n')[0]?.slice(0, 200) ?? '' };
}

const [, self = '', path] = process.argv;
if (path !== undefined && realpathSync(self) === fileURLToPath(import.meta.url)) {
  // Ctrl-C and systemd signal every process of the group: the parent says when to end, or is gone.
  process.on('SIGTERM', () => {});
  process.on('SIGINT', () => {});
  process.on('SIGHUP', () => {});
  main(path);
}
