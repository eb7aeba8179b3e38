import { existsSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { open, type RootDatabase } from 'lmdb';
import { readFrame, writeFrame } from './store-frames.js';

// A process of its own that keeps records in an LMDB file, driven over pipes by `EventStore`. Not a thread: LMDB maps
// its file into memory, and a damaged one, a failing disk or a file cut short ends the process that touches it with SIGBUS,
// SIGSEGV or an assertion (all three seen). It must not be the one that raises alerts.

/**
 * Of the store as a whole; that of a record is in the record. Rises when what is in it changes so that an older program would misread or
 * lose it; then `MIGRATIONS` leads up from each older one.
 */
export const STORE_VERSION = 1;

/** By the version that they start from; each brings the store to the next one, within a transaction. */
const MIGRATIONS: Readonly<Record<number, (db: RootDatabase<Uint8Array, string>) => void>> = {};
const VERSION_KEY = '\u{1}store';
/** Records sent to the parent at a time. */
const CHUNK = 256;

/** Requests come by standard input; what else might be printed must not mix with the answers. */
const REQUESTS = 0;
const REPLIES = 3;

export type StoreRequest =
  | { type: 'commit'; number: number; puts: [key: string, value: Uint8Array][]; removes: string[] }
  | { type: 'close' };

export type StoreReply =
  /** What was found in the file, before `opened`. */
  | { type: 'records'; records: [key: string, value: Uint8Array][] }
  | { type: 'opened' }
  /** It cannot be opened: `code` is an errno, or negative for one of LMDB's. Or it is of another version. */
  | { type: 'refused'; code: number; message: string; version?: unknown; newer?: true }
  /** On disk: written and synced. */
  | { type: 'done'; number: number; ms: number }
  | { type: 'failed'; number: number; code: number; message: string };

function main(path: string): void {
  let db: RootDatabase<Uint8Array, string> | undefined;
  try {
    db = openStore(path);
  } catch (error) {
    reply({ type: 'refused', ...plain(error) });
    return;
  }
  if (db === undefined) return;
  for (;;) {
    const request = readFrame(REQUESTS) as StoreRequest | undefined;
    // The parent is gone: nothing waits for the file to be closed.
    if (request === undefined) process.exit(0);
    if (request.type === 'close') {
      void db.close().finally(() => process.exit(0));
      return;
    }
    const start = performance.now();
    try {
      // Synchronous: returns after fdatasync, throws where it fails. LMDB's asynchronous writes reject promises that nobody
      // can reach when the disk is full (lmdb 3.5.6, write.js, rejectCommit), which ends the process.
      db.transactionSync(() => {
        for (const key of request.removes) db.remove(key);
        for (const [key, value] of request.puts) db.put(key, value);
      });
    } catch (error) {
      reply({ type: 'failed', number: request.number, ...plain(error) });
      continue;
    }
    reply({ type: 'done', number: request.number, ms: performance.now() - start });
  }
}

/** Undefined: refused, and said so. */
function openStore(path: string): RootDatabase<Uint8Array, string> | undefined {
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
  if (text === undefined && (fresh || db.getKeysCount({ limit: 1 }) === 0)) {
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
  } else {
    let chunk: [string, Uint8Array][] = [];
    for (const { key, value } of db.getRange()) {
      if (key === VERSION_KEY) continue;
      // A key that is no string is none of ours.
      chunk.push([typeof key === 'string' ? key : '', Buffer.from(value)]);
      if (chunk.length < CHUNK) continue;
      reply({ type: 'records', records: chunk });
      chunk = [];
    }
    reply({ type: 'records', records: chunk });
    // Touches the list of free pages, so that a damaged one shows now; a full disk is no damage.
    try {
      db.transactionSync(() => void db.put(VERSION_KEY, Buffer.from(String(STORE_VERSION))));
    } catch (error) {
      if (plain(error).code < 0) throw error;
    }
  }
  reply({ type: 'opened' });
  return db;
}

/** Brings an older store to this program's version, all or nothing. False: there is no way from its version. */
function bringUp(db: RootDatabase<Uint8Array, string>, version: number): boolean {
  const steps: ((db: RootDatabase<Uint8Array, string>) => void)[] = [];
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
    writeFrame(REPLIES, message);
  } catch {
    // The parent is gone.
    process.exit(0);
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
