import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, copyFile, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import type { BackendKind, Provider } from '../types/provider.js';
import { makeFolders } from '../util/folders.js';
import type { Platform } from './platform.js';

/** All that an engine depends on. */
export interface EngineFacts extends Platform {
  provider: Provider;
  backend: BackendKind;
  /** `libonnxruntime 1.23.0` */
  library: string;
  /** sha256 of the .onnx file. */
  model: string;
  width: number;
  height: number;
  /** Options of the provider that change the engine. */
  options: Readonly<Record<string, string>>;
}

const ENTRY_FILE = 'engine.json';
const MAX_ENTRIES = 16;
/** A lock that was not touched for so long belongs to a builder that is gone. */
const LOCK_STALE_MS = 60_000;
/** What a builder that is gone left behind is swept away after so long. */
const LEFTOVER_MS = 24 * 3_600_000;

const entrySchema = z.object({
  schema: z.literal('irst-edge/engine/1'),
  key: z.string(),
  facts: z.looseObject({ provider: z.string(), library: z.string(), model: z.string() }),
  /** `library`: the cache of ONNX Runtime's TensorRT provider; `context`: an EPContext model; `proof`: nothing but the proof. */
  kind: z.enum(['library', 'context', 'proof']),
  builtAt: z.string(),
  buildSeconds: z.number(),
  files: z.array(z.object({ name: z.string(), bytes: z.number(), sha256: z.string() })),
});
export type EngineEntry = z.infer<typeof entrySchema>;

/** An entry as `engineCacheState` tells of it. */
export interface EngineCacheEntryState {
  key: string;
  provider: string;
  library: string;
  model: string;
  kind: string;
  builtAt: string;
  buildSeconds: number;
  bytes: number;
  /** What is wrong with it; absent: every file is the one that was built. */
  problem?: string;
}

export interface EngineCacheState {
  directory: string;
  /** Whether this user may write there. */
  writable: boolean;
  entries: EngineCacheEntryState[];
  /** Builds under way, by their locks. */
  building: number;
}

/** The folder for engines: as configured, else below systemd's CacheDirectory, else below the user's cache. */
export function engineDirectory(configured: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  if (configured !== undefined) return configured;
  // systemd may name several, separated by colons (systemd.exec(5)); ours is one.
  const systemd = env.CACHE_DIRECTORY?.split(':')[0];
  if (systemd) return path.join(systemd, 'engines');
  return path.join(env.XDG_CACHE_HOME || path.join(env.HOME || os.tmpdir(), '.cache'), 'irst-edge', 'engines');
}

/** The name of an engine: what it depends on, hashed. A change of any of it is another engine. */
export function engineKey(facts: EngineFacts): string {
  return createHash('sha256').update(canonical(facts)).digest('hex');
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, v: unknown) =>
    typeof v === 'object' && v !== null && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );
}

/**
 * Engines on disk, a folder each: written beside and renamed, so that an entry is whole or not there; every file's sha256 is checked
 * before it is used. One builder an entry at a time, across processes.
 */
export class EngineCache {
  constructor(readonly directory: string) {}

  folder(key: string): string {
    return path.join(this.directory, key);
  }

  /** The entry, every file of it checked; `problem`: it is there and damaged; undefined: it is not there. */
  async lookup(key: string): Promise<{ entry: EngineEntry; folder: string } | { problem: string } | undefined> {
    const folder = this.folder(key);
    let text: string;
    try {
      text = await readFile(path.join(folder, ENTRY_FILE), 'utf8');
    } catch (cause) {
      if (errno(cause) !== 'ENOENT') return { problem: `${ENTRY_FILE} cannot be read: ${errno(cause)}` };
      return (await stat(folder).catch(() => undefined)) === undefined
        ? undefined
        : { problem: `${ENTRY_FILE} is missing` };
    }
    let entry: EngineEntry;
    try {
      entry = entrySchema.parse(JSON.parse(text));
    } catch {
      return { problem: `${ENTRY_FILE} is damaged` };
    }
    if (entry.key !== key) return { problem: `${ENTRY_FILE} is of another engine` };
    for (const { name, bytes, sha256 } of entry.files) {
      if (path.basename(name) !== name) return { problem: `${ENTRY_FILE} names ${name}` };
      const found = await digest(path.join(folder, name)).catch(() => undefined);
      if (found === undefined) return { problem: `${name} is missing` };
      if (found.bytes !== bytes || found.sha256 !== sha256)
        return { problem: `${name} is not the file that was built` };
    }
    return { entry, folder };
  }

  /** An empty folder to build in, in the same file system as the cache. @throws EdgeError ENGINE_CACHE_UNUSABLE */
  async stage(key: string): Promise<string> {
    const folder = path.join(this.directory, `.${key}.${randomBytes(6).toString('hex')}.tmp`);
    try {
      await makeFolders(folder);
    } catch (cause) {
      throw this.unusable(cause);
    }
    return folder;
  }

  /** Makes what lies in `staged` the entry. @throws EdgeError ENGINE_CACHE_UNUSABLE */
  async commit(
    key: string,
    staged: string,
    about: { facts: EngineFacts; kind: EngineEntry['kind']; buildSeconds: number },
  ): Promise<EngineEntry> {
    try {
      const names = (await readdir(staged)).filter((name) => name !== ENTRY_FILE).sort();
      const files: EngineEntry['files'] = [];
      for (const name of names) {
        const file = path.join(staged, name);
        await sync(file);
        files.push({ name, ...(await digest(file)) });
      }
      const entry: EngineEntry = {
        schema: 'irst-edge/engine/1',
        key,
        facts: { ...about.facts },
        kind: about.kind,
        builtAt: new Date().toISOString(),
        buildSeconds: Math.round(10 * about.buildSeconds) / 10,
        files,
      };
      await writeFile(path.join(staged, ENTRY_FILE), `${JSON.stringify(entry, null, 2)}\n`);
      await sync(path.join(staged, ENTRY_FILE));
      await this.discard(key);
      await rename(staged, this.folder(key));
      await sync(this.directory);
      await this.sweep();
      return entry;
    } catch (cause) {
      throw this.unusable(cause);
    }
  }

  /** What was staged and not committed. */
  async dropStaged(staged: string): Promise<void> {
    await rm(staged, { recursive: true, force: true }).catch(() => {});
  }

  async discard(key: string): Promise<void> {
    // Renamed first: half an entry must never be found.
    const gone = path.join(this.directory, `.${key}.${randomBytes(6).toString('hex')}.tmp`);
    try {
      await rename(this.folder(key), gone);
    } catch (cause) {
      if (errno(cause) === 'ENOENT') return;
      throw this.unusable(cause);
    }
    await rm(gone, { recursive: true, force: true });
  }

  /** How often a process died while it loaded this engine, since it was last loaded well. */
  async crashes(key: string): Promise<number> {
    const note = await this.note(key);
    // A note of this process is of another camera that loads the same engine just now.
    return note === undefined || note.process === (await thisProcess()) ? (note?.earlier ?? 0) : note.earlier + 1;
  }

  /** An engine is about to be loaded in this process. */
  async noteLoad(key: string): Promise<void> {
    const note = { process: await thisProcess(), earlier: await this.crashes(key) };
    await writeFile(this.noteFile(key), JSON.stringify(note)).catch(() => {});
  }

  /** It was, or was refused in good order. */
  async noteLoaded(key: string): Promise<void> {
    await rm(this.noteFile(key), { force: true }).catch(() => {});
  }

  /** This process ends while it loads engines because it was told to: no engine's fault. */
  async forgetLoads(): Promise<void> {
    const names = await readdir(this.directory).catch(() => []);
    for (const key of names
      .filter((name) => name.endsWith('.loading'))
      .map((name) => name.slice(0, -'.loading'.length))) {
      const note = await this.note(key);
      if (note?.process !== (await thisProcess())) continue;
      if (note.earlier === 0) await this.noteLoaded(key);
      else await writeFile(this.noteFile(key), JSON.stringify({ ...note, earlier: note.earlier - 1 })).catch(() => {});
    }
  }

  private noteFile(key: string): string {
    return path.join(this.directory, `${key}.loading`);
  }

  private async note(key: string): Promise<{ process: string; earlier: number } | undefined> {
    try {
      const note = JSON.parse(await readFile(this.noteFile(key), 'utf8'));
      return typeof note.process === 'string' && Number.isInteger(note.earlier) ? note : undefined;
    } catch {
      return undefined;
    }
  }

  /** The right to build an entry; undefined: somebody else builds it. */
  async lock(key: string): Promise<{ release(): Promise<void> } | undefined> {
    const file = path.join(this.directory, `${key}.lock`);
    try {
      await makeFolders(this.directory);
      for (let attempt = 0; ; attempt++) {
        try {
          await (await open(file, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY)).close();
          break;
        } catch (cause) {
          if (errno(cause) !== 'EEXIST') throw cause;
          if (attempt > 0 || (await isKept(file))) return undefined;
          await rm(file, { force: true });
        }
      }
    } catch (cause) {
      throw this.unusable(cause);
    }
    const beat = setInterval(() => {
      const now = new Date();
      utimes(file, now, now).catch(() => {});
    }, LOCK_STALE_MS / 6);
    beat.unref();
    return {
      release: async () => {
        clearInterval(beat);
        await rm(file, { force: true });
      },
    };
  }

  /** TensorRT's timings of its kernels: of a platform, not of a model; copied in before a build and out after it. */
  async copyTimings(platform: Platform, staged: string, way: 'in' | 'out'): Promise<void> {
    const kept = path.join(
      this.directory,
      `timings-${createHash('sha256').update(canonical(platform)).digest('hex').slice(0, 16)}`,
    );
    const [from, to] = way === 'in' ? [kept, staged] : [staged, kept];
    const names = (await readdir(from).catch(() => [] as string[])).filter((name) => isTimings(name));
    if (names.length === 0) return;
    await makeFolders(to);
    for (const name of names) {
      // Beside and renamed: another build may be reading it.
      const temporary = path.join(to, `.${name}.${randomBytes(6).toString('hex')}.tmp`);
      await copyFile(path.join(from, name), temporary);
      await rename(temporary, path.join(to, name));
    }
  }

  /** Keeps the timings of a build, and takes them out of what becomes the entry. */
  async takeTimings(platform: Platform, staged: string): Promise<void> {
    await this.copyTimings(platform, staged, 'out');
    for (const name of (await readdir(staged)).filter(isTimings)) await rm(path.join(staged, name), { force: true });
  }

  async state(): Promise<EngineCacheState> {
    const names = await readdir(this.directory).catch(() => [] as string[]);
    const entries: EngineCacheEntryState[] = [];
    for (const key of names.filter((name) => /^[0-9a-f]{64}$/.test(name)).sort()) {
      const found = await this.lookup(key);
      if (found === undefined) continue;
      if ('problem' in found) {
        const unknown = { provider: '', library: '', model: '', kind: '', builtAt: '', buildSeconds: 0, bytes: 0 };
        entries.push({ key, ...unknown, problem: found.problem });
        continue;
      }
      const { facts, kind, builtAt, buildSeconds, files } = found.entry;
      const { provider, library, model } = facts;
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      entries.push({ key, provider, library, model, kind, builtAt, buildSeconds, bytes });
    }
    let building = 0;
    for (const name of names.filter((n) => n.endsWith('.lock'))) {
      if (await isKept(path.join(this.directory, name))) building++;
    }
    return { directory: this.directory, writable: await this.writable(), entries, building };
  }

  /** Asked of the folder, or of the nearest one above it that is there; nothing is made. */
  private async writable(): Promise<boolean> {
    for (let folder = path.resolve(this.directory); ; folder = path.dirname(folder)) {
      try {
        await access(folder, constants.W_OK | constants.X_OK);
        return true;
      } catch (error) {
        if (errno(error) !== 'ENOENT' || folder === path.dirname(folder)) return false;
      }
    }
  }

  /** Old leftovers of builders that died, and the oldest entries beyond the number that is kept. */
  private async sweep(): Promise<void> {
    const aged = await Promise.all(
      (await readdir(this.directory)).map(async (name) => {
        const about = await stat(path.join(this.directory, name)).catch(() => undefined);
        return { name, mtimeMs: about?.mtimeMs ?? Date.now() };
      }),
    );
    const left = aged.filter(({ name, mtimeMs }) => name.endsWith('.tmp') && Date.now() - mtimeMs > LEFTOVER_MS);
    const entries = aged.filter(({ name }) => /^[0-9a-f]{64}$/.test(name)).sort((a, b) => b.mtimeMs - a.mtimeMs);
    for (const { name } of [...left, ...entries.slice(MAX_ENTRIES)]) {
      await rm(path.join(this.directory, name), { recursive: true, force: true });
    }
  }

  private unusable(cause: unknown): EdgeError {
    if (cause instanceof EdgeError) return cause;
    const code = errno(cause) ?? (cause as Error).message;
    return new EdgeError('ENGINE_CACHE_UNUSABLE', `the engine cache ${this.directory} cannot be written: ${code}`, {
      hint: 'set runtime.cacheDirectory to a folder where this user may write, or free some space',
      exitCode: EXIT.ioError,
      cause,
    });
  }
}

/** What lies in the engine cache, each file checked. Never throws. */
export function engineCacheState(configured: string | undefined): Promise<EngineCacheState> {
  return new EngineCache(engineDirectory(configured)).state();
}

const isTimings = (name: string) =>
  !name.startsWith('.') && (name.endsWith('.timing') || name.endsWith('.timingcache'));

/** A lock that a builder keeps alive; others were left by a build that the power or a signal ended. */
async function isKept(lock: string): Promise<boolean> {
  const about = await stat(lock).catch(() => undefined);
  return about !== undefined && Date.now() - about.mtimeMs < LOCK_STALE_MS;
}

/** Tells this process from an earlier one of the same number: proc(5), field 22 is its start. */
async function thisProcess(): Promise<string> {
  const about = await readFile('/proc/self/stat', 'utf8').catch(() => '');
  return `${process.pid} ${about.slice(about.lastIndexOf(')') + 2).split(' ')[19] ?? ''}`;
}

async function digest(file: string): Promise<{ bytes: number; sha256: string }> {
  const content = await readFile(file);
  return { bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
}

async function sync(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
