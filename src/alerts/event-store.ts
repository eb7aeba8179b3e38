import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, renameSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EdgeError, errno } from '../types/errors.js';
import { makeFoldersSync } from '../util/folders.js';
import { lockState } from './state-lock.js';
import { encodeRequest, ReplyReader, type StoreReply, type StoreRequest } from './store-frames.js';

export type StoredRecord = [key: string, value: Uint8Array];

export interface EventStoreOptions {
  /** Made where it is missing; used by one process at a time. */
  directory: string;
  /** Longest that opening may take, ms. Default 20 000. */
  openTimeoutMs?: number;
  /** Longest that a commit may take before the store's process is ended, ms. Default 60 000. */
  commitTimeoutMs?: number;
  /** For tests that run from source: the compiled `store-process.js`. */
  process?: string;
}

/** Why the store cannot take records now; the caller tries again later, except with `too_new`: a newer program wrote it. */
export type StoreFault = 'disk_full' | 'disk_error' | 'process_ended' | 'timeout' | 'too_new';

export class StoreError extends Error {
  readonly fault: StoreFault;

  constructor(fault: StoreFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

const FILE = 'outbox.mdb';
/** Damaged files that are kept for a look, the newest. */
const MAX_ASIDE = 3;
/**
 * What a damaged file does to the process that reads it. Any other end, SIGKILL of a system without memory or a slow disk, says nothing
 * of the file, however often it comes: a sound one must never be moved aside.
 */
const FATAL_SIGNALS: readonly string[] = ['SIGBUS', 'SIGSEGV', 'SIGABRT', 'SIGILL', 'SIGFPE'];
const { ENOSPC, EDQUOT } = constants.errno;
const MDB_MAP_FULL = -30792;

/** How long a killed process may take to be gone, ms. */
const KILLED_MS = 200;

/**
 * Records on disk, in an LMDB file and a log ahead of it that a process of its own keeps. `commit` resolves when they are written and synced.
 * A file that is damaged, or of a version that never was, is moved aside, what could be read of it is given back, and a fresh one
 * takes its place; one of a newer program is left as it is. One caller, one commit at a time.
 */
export class EventStore {
  #closed = false;
  readonly #options: Required<EventStoreOptions>;
  readonly #path: string;
  #unlock: (() => void) | undefined;
  #child: ChildProcess | undefined;
  #opened = false;
  #number = 0;
  #settle: { resolve: (ms: number) => void; reject: (error: Error) => void } | undefined;
  /** Files moved aside, so far. */
  movedAside = 0;
  /** Commits that the log ahead of the file should have taken and could not: as safe, but slower. */
  unlogged = 0;
  /** Times that the store's process was started. */
  starts = 0;

  constructor(options: EventStoreOptions) {
    this.#options = {
      directory: options.directory,
      openTimeoutMs: options.openTimeoutMs ?? 20_000,
      commitTimeoutMs: options.commitTimeoutMs ?? 60_000,
      process: options.process ?? fileURLToPath(new URL('./store-process.js', import.meta.url)),
    };
    this.#path = join(options.directory, FILE);
  }

  get isOpen(): boolean {
    return this.#opened;
  }

  /** Takes the directory for this process. Throws `EdgeError` `STATE_IN_USE`, or `StoreError`. */
  lock(): void {
    if (this.#unlock !== undefined) return;
    try {
      makeFoldersSync(this.#options.directory, 0o750);
      this.#unlock = lockState(this.#options.directory);
    } catch (error) {
      if (error instanceof EdgeError) throw error;
      const full = ['ENOSPC', 'EDQUOT'].includes(errno(error) ?? '');
      throw new StoreError(full ? 'disk_full' : 'disk_error', (error as Error).message);
    }
  }

  /**
   * Opens the file and reads it.
   *
   * @returns what was found, in no order; `stored`: the keys of those that the file open now has, after damage not all
   */
  async open(): Promise<{ records: StoredRecord[]; stored: Set<string>; damage?: string }> {
    this.#closed = false;
    this.lock();
    const records: StoredRecord[] = [];
    const damage = await this.#start(records);
    // A process that close() ended says nothing of the file.
    if (this.#closed) throw new StoreError('process_ended', 'the store is closed');
    if (damage === undefined) return { records, stored: keysOf(records) };
    const aside = this.#moveAside();
    const logged: StoredRecord[] = [];
    const removed = new Set<string>();
    try {
      const again = await this.#start(logged, removed);
      if (again !== undefined) throw new StoreError('disk_error', `a fresh store does not work either: ${again}`);
    } catch (error) {
      // Not the file's fault, or not its alone: it stays what the next attempt reads.
      this.#moveBack(aside);
      throw error;
    }
    this.movedAside += 1;
    this.#forgetOldest();
    // The log is newer than the file that was damaged.
    const stored = keysOf(logged);
    const saved = records.filter(([key]) => !removed.has(key) && !stored.has(key));
    return { records: [...saved, ...logged], stored, damage };
  }

  /** Writes and removes in one transaction. Resolves with the time it took, ms; rejects with `StoreError`. */
  commit(puts: StoredRecord[], removes: string[]): Promise<number> {
    const child = this.#child;
    if (child === undefined || !this.#opened || this.#settle !== undefined) {
      return Promise.reject(new StoreError('process_ended', 'the store is not open, or busy'));
    }
    const number = ++this.#number;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        this.#lost(child, new StoreError('timeout', `the disk took more than ${this.#options.commitTimeoutMs} ms`));
      }, this.#options.commitTimeoutMs);
      const settle = () => {
        clearTimeout(timer);
        this.#settle = undefined;
      };
      this.#settle = {
        resolve: (ms) => {
          settle();
          resolve(ms);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      this.#send(child, { type: 'commit', number, entry: { puts, removes } });
    });
  }

  /** Ends the process at once; `open` starts another. For when the file may be at fault. */
  abandon(): void {
    const child = this.#child;
    if (child === undefined) return;
    child.kill('SIGKILL');
    this.#lost(child, new StoreError('process_ended', 'the store is given up'));
  }

  /** Ends the process in good order, within `timeoutMs`, and gives the directory back. */
  async close(timeoutMs: number): Promise<void> {
    const child = this.#child;
    this.#closed = true;
    this.#child = undefined;
    this.#opened = false;
    this.#settle?.reject(new StoreError('process_ended', 'the store is closed'));
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      // Nothing else may keep the program alive now, and a child in uninterruptible I/O does not even die of SIGKILL.
      keepAlive(child, true);
      let kill: NodeJS.Timeout | undefined;
      let giveUp: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        child.once('exit', () => resolve());
        this.#send(child, { type: 'close' });
        kill = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
        giveUp = setTimeout(resolve, timeoutMs + KILLED_MS);
      });
      clearTimeout(kill);
      clearTimeout(giveUp);
      keepAlive(child, false);
    }
    this.#unlock?.();
    this.#unlock = undefined;
  }

  /** Resolves with undefined when open, or with what is wrong with the file. Rejects where the file is not to blame. */
  #start(records: StoredRecord[], removed?: Set<string>): Promise<string | undefined> {
    this.starts += 1;
    const child = spawn(process.execPath, [this.#options.process, this.#path], {
      // LMDB writes its own lines to stderr at each failed write; the failures are counted and reported here.
      stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
      // Nothing of the environment is its business, but where libraries are found.
      env: { PATH: process.env.PATH ?? '', LD_LIBRARY_PATH: process.env.LD_LIBRARY_PATH ?? '' },
    });
    this.#child = child;
    return new Promise((resolve, reject) => {
      let settled = false;
      const settle = (act: () => void) => {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        act();
      };
      const timer = setTimeout(() => {
        settle(() => {
          child.kill('SIGKILL');
          reject(new StoreError('timeout', `not read within ${this.#options.openTimeoutMs} ms`));
        });
      }, this.#options.openTimeoutMs);
      const answer = (reply: StoreReply) => {
        switch (reply.type) {
          case 'records':
            if (settled) break;
            records.push(...reply.records);
            for (const key of reply.removed ?? []) removed?.add(key);
            break;
          case 'opened':
            settle(() => {
              this.#opened = true;
              // While it works, a timer keeps us alive; idle, it must not.
              keepAlive(child, false);
              resolve(undefined);
            });
            break;
          case 'refused':
            settle(() => {
              const { code, message: text } = reply;
              // LMDB's own codes are about the file; an errno is about the disk or the permissions.
              if (reply.newer) reject(new StoreError('too_new', text));
              else if (code < 0 && code !== MDB_MAP_FULL) resolve(text);
              else if (reply.version !== undefined) resolve(text);
              else reject(new StoreError(faultOf(code), text));
            });
            break;
          case 'done':
            if (reply.unlogged) this.unlogged += 1;
            if (reply.number === this.#number) this.#settle?.resolve(reply.ms);
            break;
          case 'failed':
            if (reply.number === this.#number) {
              this.#settle?.reject(new StoreError(faultOf(reply.code), reply.message));
            }
            break;
        }
      };
      const frames = new ReplyReader();
      const [requests, replies] = pipes(child);
      // Where they break, 'exit' says so.
      for (const pipe of [requests, replies]) pipe?.on('error', () => {});
      replies?.on('data', (piece: Buffer) => {
        try {
          for (const reply of frames.push(piece)) answer(reply);
        } catch {
          child.kill('SIGKILL');
        }
      });
      child.on('error', (error) => {
        settle(() => reject(new StoreError('process_ended', error.message)));
        this.#lost(child, new StoreError('process_ended', error.message));
      });
      child.on('exit', (code, signal) => {
        const how = `the store's process ended (${signal ?? `exit code ${code}`})`;
        settle(() => {
          if (signal !== null && FATAL_SIGNALS.includes(signal)) resolve(how);
          else reject(new StoreError('process_ended', how));
        });
        this.#lost(child, new StoreError('process_ended', how));
      });
    });
  }

  #lost(child: ChildProcess, error: StoreError): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    this.#opened = false;
    this.#settle?.reject(error);
  }

  #send(child: ChildProcess, request: StoreRequest): void {
    // Where it does not arrive, 'exit' says so.
    const [requests] = pipes(child);
    if (requests?.writable) requests.write(encodeRequest(request));
  }

  /** @returns where the file is now; undefined: there was none */
  #moveAside(): string | undefined {
    const stamp = new Date().toISOString().replace(/[-:.]/g, '');
    const aside = join(this.#options.directory, `outbox-damaged-${stamp}-${this.movedAside + 1}.mdb`);
    try {
      renameSync(this.#path, aside);
      rmSync(`${this.#path}-lock`, { force: true });
      return aside;
    } catch (error) {
      if (errno(error) === 'ENOENT') return undefined;
      throw new StoreError('disk_error', (error as Error).message);
    }
  }

  /** In place of what the attempt with a fresh file left. What came from the log is in the log still. */
  #moveBack(aside: string | undefined): void {
    if (aside === undefined) return;
    try {
      renameSync(aside, this.#path);
      rmSync(`${this.#path}-lock`, { force: true });
    } catch {
      // The disk takes nothing now; what is aside is not removed, and can be looked at.
    }
  }

  #forgetOldest(): void {
    const { directory } = this.#options;
    try {
      const aside = readdirSync(directory)
        .filter((name) => name.startsWith('outbox-damaged-'))
        .sort();
      for (const name of aside.slice(0, -MAX_ASIDE)) rmSync(join(directory, name), { force: true });
    } catch {
      // One too many is no harm.
    }
  }
}

function keysOf(records: readonly StoredRecord[]): Set<string> {
  return new Set(records.map(([key]) => key));
}

/** Requests and replies; none where the process could not even be started for want of file descriptors. */
function pipes(child: ChildProcess): [requests: Socket | undefined, replies: Socket | undefined] {
  const { stdin, stdio } = child as { stdin?: unknown; stdio?: readonly unknown[] };
  return [stdin as Socket | undefined, stdio?.[3] as Socket | undefined];
}

function keepAlive(child: ChildProcess, yes: boolean): void {
  for (const part of [child, ...pipes(child)]) yes ? part?.ref() : part?.unref();
}

function faultOf(code: number): StoreFault {
  return code === ENOSPC || code === EDQUOT || code === MDB_MAP_FULL ? 'disk_full' : 'disk_error';
}
