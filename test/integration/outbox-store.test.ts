import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { open as openLmdb } from 'lmdb';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  DurableOutbox,
  type DurableOutboxOptions,
  type EventKind,
  type OutboxRecord,
} from '../../src/alerts/durable-outbox.js';
import { encodeRecord } from '../../src/alerts/outbox-record.js';
import { uniform } from '../../src/capture/random.js';
import type { EdgeError } from '../../src/types/errors.js';
import { compileModule } from './compile.js';
import { waiting } from './until.js';

const until = waiting(20_000);

const run = promisify(execFile);
let storeProcess: string;
let removeModule: () => Promise<void>;
let dir: string;
const cleanup: (() => unknown)[] = [];

beforeAll(async () => {
  const module = await compileModule('alerts/store-process');
  storeProcess = module.file;
  removeModule = module.remove;
  dir = await mkdtemp(join(tmpdir(), 'irst-outbox-'));
});
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});
afterAll(async () => {
  await removeModule();
  await rm(dir, { recursive: true, force: true });
});

function outbox(directory: string, options: Partial<DurableOutboxOptions> = {}) {
  const box = new DurableOutbox({ directory, storeProcess, retryMs: 100, ...options });
  const problems: EdgeError[] = [];
  box.on('problem', (error) => problems.push(error));
  cleanup.push(() => box.stop(5_000));
  return { box, problems };
}

let seq = 0;
function record(id: string, kind: EventKind = 'new', more: Partial<OutboxRecord> = {}): OutboxRecord {
  seq += 1;
  return {
    id,
    seq,
    kind,
    severity: 1,
    topic: 't/events',
    payload: Buffer.from(JSON.stringify({ id, kind, pad: 'x'.repeat(800) })),
    createdAtMs: Date.now(),
    expiresAtMs: Date.now() + 3_600_000,
    ...more,
  };
}

const all = (box: DurableOutbox) => {
  const out: string[] = [];
  for (let item = box.take(); item !== undefined; item = box.take()) {
    out.push(`${item.record.id} ${item.record.kind}`);
    box.done(item);
  }
  return out;
};

function balanced(box: DurableOutbox) {
  const c = box.counters();
  const sum = (o: Record<string, number>) => Object.values(o).reduce((a, b) => a + b, 0);
  expect(sum(c.published) + c.coalesced + sum(c.dropped) + c.kept + c.waiting + c.inFlight).toBe(
    sum(c.accepted) + c.recovered,
  );
  return c;
}

/** Process id of the store's process that has a file of this folder open by its command line. */
function storePid(directory: string): number {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').includes(join(directory, 'outbox.mdb')))
        return Number(name);
    } catch {
      // It ended meanwhile.
    }
  }
  throw new Error('no store process');
}

/** A store with 300 events that were offered and 100 that were removed again. */
let sample: string;
beforeAll(async () => {
  sample = join(dir, 'sample');
  const box = new DurableOutbox({ directory: sample, storeProcess });
  await box.start();
  for (let i = 0; i < 400; i++) box.offer(record(`e${String(i).padStart(3, '0')}`));
  expect(await box.flush(20_000)).toBe(true);
  for (let i = 0; i < 100; i++) {
    const item = box.take();
    if (item !== undefined) box.done(item);
  }
  await box.flush(20_000);
  await box.stop();
  expect(box.counters()).toMatchObject({ kept: 300, waiting: 0 });
});

async function copyOfSample(): Promise<string> {
  const directory = await mkdtemp(join(dir, 'copy-'));
  await cp(join(sample, 'outbox.mdb'), join(directory, 'outbox.mdb'));
  return directory;
}

describe('the store of events', () => {
  it('offers nothing before it is on disk, and removes it after the acknowledgement', async () => {
    const directory = await mkdtemp(join(dir, 'plain-'));
    const { box } = outbox(directory);
    await box.start();
    box.offer(record('a'));
    box.offer(record('b', 'update'));
    // The update has nothing to wait for; the `new` waits for the disk.
    expect(all(box)).toEqual(['b update']);
    await until('written', () => box.next() !== undefined);
    const item = box.take();
    expect(item?.stored).toBe('yes');
    const { box: other, problems } = outbox(directory);
    await expect(other.start()).rejects.toMatchObject({ code: 'STATE_IN_USE', exitCode: 69 });
    expect(problems).toEqual([]);
    box.offer(record('c', 'end'));
    await box.flush(20_000);
    if (item !== undefined) box.done(item);
    await box.stop();
    expect(balanced(box)).toMatchObject({ kept: 1, store: { mode: 'disk', memoryOnly: 0 } });

    const { box: next } = outbox(directory);
    await next.start();
    expect(next.counters()).toMatchObject({ recovered: 1, store: { skipped: { corrupt: 0, unknown_version: 0 } } });
    expect(all(next)).toEqual(['c end']);
    expect(await readdir(directory)).toContain('lock');
    await next.stop();
    expect(await readdir(directory)).not.toContain('lock');
    balanced(next);
  });

  it('comes back with everything, the newest first, and leaves out what expired', async () => {
    const directory = await copyOfSample();
    const { box } = outbox(directory);
    box.offer(record('early'));
    await box.start();
    expect(balanced(box)).toMatchObject({ recovered: 300, waiting: 301 });
    await until('written', () => box.counters().store.written === 1);
    box.online();
    box.offer(record('fresh', 'new', { severity: 0 }));
    await box.flush(20_000);
    const order = all(box);
    expect(order[0]).toBe('fresh new');
    expect(order[1]).toBe('early new');
    expect(order[2]).toBe('e299 new');
    expect(order.length).toBe(302);
    await box.stop();
    expect(balanced(box).kept).toBe(0);

    const { box: late } = outbox(await copyOfSample(), { now: () => Date.now() + 4_000_000 });
    await late.start();
    expect(balanced(late)).toMatchObject({ recovered: 300, waiting: 0, dropped: { expired: 300 } });
  });

  it('keeps what was raised before the clock was set, over a start after it', async () => {
    const directory = await mkdtemp(join(dir, 'undated-'));
    /** Stores events by a clock that says `ms`. */
    const began = async (ms: number, ids: Record<string, Partial<OutboxRecord>>) => {
      const { box } = outbox(directory, { now: () => ms });
      await box.start();
      for (const [id, more] of Object.entries(ids)) {
        box.offer(record(id, 'new', { createdAtMs: ms, expiresAtMs: ms + 3_600_000, ...more }));
      }
      await until('written', () => box.counters().store.written === Object.keys(ids).length);
      await box.stop();
    };
    // With chrony, PTP or no time service at all nobody says that the clock is not set; 1970 does.
    await began(0, { y1970: {} });
    await began(Date.UTC(2026, 0, 2), { undated: { undated: true }, dated: {} });

    const { box: next } = outbox(directory);
    await next.start();
    next.online();
    expect(all(next).sort()).toEqual(['undated new', 'y1970 new']);
    expect(balanced(next)).toMatchObject({ recovered: 3, dropped: { expired: 1 } });
    await next.stop();
  });

  it('sends no end of an event whose beginning grew too old while the program was away', async () => {
    const hour = 3_600_000;
    const directory = await mkdtemp(join(dir, 'too-old-'));
    const { box } = outbox(directory, { now: () => Date.now() - 23 * hour });
    await box.start();
    const at = (hours: number) => ({
      createdAtMs: Date.now() - hours * hour,
      expiresAtMs: Date.now() + (24 - hours) * hour,
    });
    box.offer(record('old', 'new', at(24.9)));
    box.offer(record('old', 'end', at(23)));
    // Its clock was set back between the two.
    box.offer(record('back', 'end', at(24.5)));
    box.offer(record('back', 'new', at(23)));
    await until('written', () => box.counters().store.written === 4);
    await box.stop();

    const { box: next } = outbox(directory);
    await next.start();
    next.online();
    expect(all(next)).toEqual(['back new']);
    expect(balanced(next)).toMatchObject({ recovered: 4, waiting: 0, dropped: { expired: 3 } });
    await next.flush(20_000);
    await next.stop();
    const { box: last } = outbox(directory);
    await last.start();
    expect(last.counters().recovered).toBe(0);
  });

  // What each does to a process that reads it, seen with lmdb 3.5.6: SIGBUS, SIGBUS, SIGABRT, SIGSEGV, SIGSEGV, an error.
  it.each<[string, (file: string) => Promise<void>]>([
    ['cut short to its first pages', (file) => truncate(file, 8_192)],
    ['cut in half', async (file) => truncate(file, Math.floor((await stat(file)).size / 8192) * 4_096)],
    ['with zeros in the middle', (file) => overwrite(file, 4 * 4_096, Buffer.alloc(60 * 4_096))],
    ['without its first pages', (file) => overwrite(file, 0, noise(8_192))],
    ['of random bytes', (file) => writeFile(file, noise(500_000))],
    ['of text', (file) => writeFile(file, 'not a database\n'.repeat(2_000))],
  ])('survives a file %s: moves it aside, counts it, goes on', async (_, damage) => {
    const directory = await copyOfSample();
    await damage(join(directory, 'outbox.mdb'));
    const { box, problems } = outbox(directory);
    await box.start();
    const { recovered, store } = box.counters();
    expect(store).toMatchObject({ mode: 'disk', movedAside: 1, starts: 2 });
    expect(problems.map((e) => e.code)).toEqual(['OUTBOX_DAMAGED']);
    box.offer(record('after'));
    await box.flush(20_000);
    await box.stop();
    expect(balanced(box)).toMatchObject({ kept: recovered + 1 });
    expect((await readdir(directory)).filter((name) => name.startsWith('outbox-damaged-')).length).toBe(1);
  });

  it.each([1, 2, 3])('survives random damage, seed %i', async (seed) => {
    const random = uniform(seed);
    const directory = await copyOfSample();
    const file = join(directory, 'outbox.mdb');
    const pages = Math.floor((await stat(file)).size / 4_096);
    for (let i = 0; i < 10; i++) {
      await overwrite(file, Math.floor(random() * pages) * 4_096, noise(4_096, random));
    }
    const { box } = outbox(directory);
    await box.start();
    box.offer(record('after'));
    expect(await box.flush(20_000)).toBe(true);
    expect(all(box)).toContain('after new');
    balanced(box);
  });

  it('starts from an empty file, and from none', async () => {
    const directory = await mkdtemp(join(dir, 'empty-'));
    await writeFile(join(directory, 'outbox.mdb'), '');
    const { box, problems } = outbox(directory);
    await box.start();
    box.offer(record('a'));
    expect(await box.flush(20_000)).toBe(true);
    expect(problems).toEqual([]);
  });

  it('skips and counts single records that are damaged, half written, of another version or in a wrong place', async () => {
    const directory = await copyOfSample();
    const db = openLmdb<Uint8Array, string>({
      path: join(directory, 'outbox.mdb'),
      encoding: 'binary',
      noSubdir: true,
      maxDbs: 1,
      overlappingSync: false,
    });
    const good = encodeRecord(record('x'));
    const flipped = Buffer.from(good);
    flipped[100] = (flipped[100] as number) ^ 1;
    const other = Buffer.from(good);
    other[0] = 9;
    await db.put('x/end', good);
    await db.put('flipped/new', flipped);
    await db.put('half/new', good.subarray(0, 200));
    await db.put('none/new', Buffer.from([1]));
    await db.put('other/new', other);
    await db.close();
    const { box, problems } = outbox(directory);
    await box.start();
    expect(balanced(box)).toMatchObject({
      recovered: 300,
      waiting: 300,
      store: { movedAside: 0, skipped: { corrupt: 4, unknown_version: 1 } },
    });
    expect(problems).toEqual([]);
    await box.flush(20_000);
    await box.stop();
    // They are gone.
    const { box: next } = outbox(directory);
    await next.start();
    expect(next.counters().store.skipped).toEqual({ corrupt: 0, unknown_version: 0 });
  });

  async function storeOfVersion(version: string): Promise<{ directory: string; path: string }> {
    const directory = await mkdtemp(join(dir, 'version-'));
    const path = join(directory, 'outbox.mdb');
    const db = openLmdb<Uint8Array, string>({ path, encoding: 'binary', noSubdir: true, maxDbs: 1 });
    await db.put('\u{1}store', Buffer.from(version));
    await db.put('x/new', Buffer.from('of a kind that is not known here'));
    await db.close();
    return { directory, path };
  }

  it('leaves the store of a newer program as it is, says so once, and goes on in memory', async () => {
    const { directory, path } = await storeOfVersion('7');
    const before = await readFile(path);
    const { box, problems } = outbox(directory, { retryMs: 20 });
    await box.start();
    box.offer(record('a'));
    expect(all(box)).toEqual(['a new']);
    await delay(200);
    expect(problems).toMatchObject([{ code: 'STATE_TOO_NEW', message: expect.stringContaining('version 7') }]);
    expect(box.counters().store).toMatchObject({ mode: 'degraded', fault: 'too_new', movedAside: 0, starts: 1 });
    await box.stop();
    expect((await readFile(path)).equals(before)).toBe(true);
    expect((await readdir(directory)).filter((name) => name.startsWith('outbox-damaged'))).toEqual([]);
  });

  it('takes over the store of a version that had no log', async () => {
    const directory = await copyOfSample();
    const path = join(directory, 'outbox.mdb');
    const db = openLmdb<Uint8Array, string>({ path, encoding: 'binary', noSubdir: true, maxDbs: 1 });
    await db.put('\u{1}store', Buffer.from('1'));
    await db.remove('\u{1}log');
    await db.close();
    const { box, problems } = outbox(directory);
    await box.start();
    expect(box.counters()).toMatchObject({ recovered: 300, store: { mode: 'disk', movedAside: 0 } });
    expect(problems).toEqual([]);
  });

  it.each(['0', 'soon', ''])('moves a store of a version that never was aside: %j', async (version) => {
    const { directory } = await storeOfVersion(version);
    const { box, problems } = outbox(directory);
    await box.start();
    expect(problems.map((e) => e.message)).toEqual([expect.stringContaining(`version ${version} of the store`)]);
    expect(box.counters().store).toMatchObject({ mode: 'disk', movedAside: 1 });
  });

  /** A store's process that ends by `signal` the first `times` times, and is the real one then. */
  async function failingProcess(signal: NodeJS.Signals, times: number): Promise<string> {
    const folder = await mkdtemp(join(dir, 'failing-'));
    const file = join(folder, 'store.mjs');
    await writeFile(
      file,
      `import { appendFileSync, readFileSync } from 'node:fs';
      appendFileSync(${JSON.stringify(join(folder, 'starts'))}, '.');
      if (readFileSync(${JSON.stringify(join(folder, 'starts'))}).length <= ${times}) process.kill(process.pid, '${signal}');
      process.argv[1] = ${JSON.stringify(storeProcess)};
      await import(process.argv[1]);`,
    );
    return file;
  }

  it.each<[signal: NodeJS.Signals, times: number, starts: number]>([
    // Out of memory at boot: nothing is wrong with the file.
    ['SIGKILL', 3, 4],
    // As a damaged file would, but the fresh one does not work either.
    ['SIGABRT', 2, 3],
  ])('keeps a sound file: %s, %i times', async (signal, times, starts) => {
    const directory = await mkdtemp(join(dir, 'sound-'));
    const { box } = outbox(directory);
    await box.start();
    for (let i = 0; i < 500; i++) box.offer(record(`e${i}`));
    expect(await box.flush(20_000)).toBe(true);
    await box.stop(5_000);

    const { box: next, problems } = outbox(directory, {
      retryMs: 10,
      storeProcess: await failingProcess(signal, times),
    });
    await next.start();
    await until('opened', () => next.counters().store.mode === 'disk');
    expect(balanced(next)).toMatchObject({ recovered: 500, waiting: 500, store: { movedAside: 0, starts } });
    expect(new Set(problems.map((e) => e.code))).toEqual(new Set(['OUTBOX_DEGRADED']));
    expect((await readdir(directory)).filter((name) => name.startsWith('outbox-damaged'))).toEqual([]);
  });

  describe('with a log ahead of it', () => {
    /** A store whose process was killed: 40 records in the file, and in the log 3 more, of which one is removed, and one of the file. */
    async function killed(): Promise<string> {
      const directory = await mkdtemp(join(dir, 'log-'));
      const { box } = outbox(directory, { removeDelayMs: 10 });
      await box.start();
      for (let i = 0; i < 40; i++) box.offer(record(`file${i}`));
      await box.flush(20_000);
      await box.stop();
      const { box: next } = outbox(directory, { removeDelayMs: 10 });
      await next.start();
      for (const id of ['log0', 'log1', 'log2']) next.offer(record(id, 'new', { severity: 2 }));
      await next.flush(20_000);
      for (const _ of [1, 2]) {
        const item = next.take();
        if (item !== undefined) next.done(item);
      }
      next.offer(record('log3', 'new', { severity: 0 }));
      await next.flush(20_000);
      process.kill(storePid(directory), 'SIGKILL');
      await next.stop();
      await rm(join(directory, 'lock'), { force: true });
      return directory;
    }
    const kept = ['log0', 'log3', ...Array.from({ length: 40 }, (_, i) => `file${i}`)].map((id) => `${id} new`).sort();

    it('comes back after a kill with what only the log has, and without what only the log knows to be gone', async () => {
      const directory = await killed();
      // The file has not seen them.
      const db = openLmdb<Uint8Array, string>({
        path: join(directory, 'outbox.mdb'),
        encoding: 'binary',
        noSubdir: true,
      });
      expect([...db.getKeys()].filter((key) => key.startsWith('log'))).toEqual([]);
      await db.close();
      const { box } = outbox(directory);
      await box.start();
      expect(box.counters()).toMatchObject({ recovered: 42, store: { skipped: { corrupt: 0 }, movedAside: 0 } });
      expect(all(box).sort()).toEqual(kept);
    });

    it('has all that the log has when the file is damaged', async () => {
      const directory = await killed();
      await overwrite(join(directory, 'outbox.mdb'), 0, noise(8_192));
      const { box, problems } = outbox(directory);
      await box.start();
      expect(problems.map((e) => e.code)).toEqual(['OUTBOX_DAMAGED']);
      expect(all(box)).toEqual(expect.arrayContaining(['log0 new', 'log3 new']));
      await box.flush(20_000);
      await box.stop();
      const { box: next } = outbox(directory);
      await next.start();
      expect(next.counters().recovered).toBe(0);
    });

    it('skips and counts a damaged record of the log, and starts where the log is no log or a folder', async () => {
      const directory = await killed();
      await overwrite(join(directory, 'outbox.log'), 100, noise(20));
      const { box } = outbox(directory);
      await box.start();
      expect(box.counters().store.skipped.corrupt).toBe(1);
      expect(all(box)).toContain('log3 new');
      await box.stop();
      for (const { spoil, unlogged } of [
        { spoil: () => writeFile(join(directory, 'outbox.log'), 'not a log\n'.repeat(2_000)), unlogged: 0 },
        {
          spoil: async () => {
            await rm(join(directory, 'outbox.log'));
            await mkdir(join(directory, 'outbox.log'));
          },
          unlogged: 1,
        },
      ]) {
        await spoil();
        const { box: next, problems } = outbox(directory);
        await next.start();
        next.offer(record('after'));
        expect(await next.flush(20_000)).toBe(true);
        expect(all(next)).toEqual(['after new']);
        expect(next.counters().store.unlogged).toBe(unlogged);
        expect(problems).toEqual([]);
        await next.stop();
      }
    });

    it('empties the log into the file when it is full', async () => {
      const directory = await mkdtemp(join(dir, 'full-log-'));
      const { box } = outbox(directory);
      await box.start();
      for (let i = 0; i < 120; i++) {
        box.offer(record(`e${i}`, 'new', { payload: Buffer.alloc(60_000, 'x') }));
        await box.flush(20_000);
      }
      process.kill(storePid(directory), 'SIGKILL');
      expect((await stat(join(directory, 'outbox.log'))).size).toBe(4 * 1024 * 1024);
      await box.stop();
      const { box: next } = outbox(directory);
      await next.start();
      expect(new Set(all(next)).size).toBe(120);
    });
  });

  describe('an event that is open when the program ends', () => {
    /** As a message of an event brings it along. */
    const ending =
      (id: string, more: Partial<OutboxRecord> = {}) =>
      () =>
        record(id, 'end', { payload: Buffer.from(`${id} interrupted`), ...more });
    const payloads = (box: DurableOutbox) => {
      const out: string[] = [];
      for (let item = box.take(); item !== undefined; item = box.take()) {
        out.push(item.record.payload.toString());
        box.done(item);
      }
      return out;
    };

    it('gets its end at the next start, once, however long ago it began', async () => {
      const directory = await mkdtemp(join(dir, 'open-'));
      const { box } = outbox(directory);
      await box.start();
      box.offer(record('gone', 'new', { payload: Buffer.from('gone new') }), ending('gone'));
      await until('written', () => box.next() !== undefined);
      expect(payloads(box)).toEqual(['gone new']);
      box.offer(record('here', 'new', { payload: Buffer.from('here new') }), ending('here'));
      await box.flush(20_000);
      await box.stop();
      expect(balanced(box)).toMatchObject({ kept: 1, published: { new: 1, end: 0 } });

      // Two hours later; an end that was made lives for one.
      const { box: next } = outbox(directory, { now: () => Date.now() + 7_200_000 });
      await next.start();
      expect(next.counters()).toMatchObject({ recovered: 3, dropped: { expired: 2 } });
      expect(payloads(next)).toEqual(['gone interrupted']);
      await next.stop();
      expect(balanced(next)).toMatchObject({ kept: 0 });
      const { box: third } = outbox(directory);
      await third.start();
      expect(third.counters().recovered).toBe(0);
    });

    it('has none beside its real one, nor without its beginning', async () => {
      const directory = await mkdtemp(join(dir, 'ended-'));
      const { box } = outbox(directory, { maxCount: 2 });
      await box.start();
      box.offer(record('sent'), ending('sent'));
      await box.flush(20_000);
      expect(all(box)).toEqual(['sent new']);
      box.offer(record('sent', 'end'));
      // A second one takes nothing away.
      expect(box.offer(record('sent', 'end'))).toBe(false);
      await box.flush(20_000);
      box.offer(record('weak', 'new', { severity: 0 }), ending('weak', { severity: 0 }));
      await box.flush(20_000);
      box.offer(record('strong', 'new', { severity: 2 }), ending('strong', { severity: 2 }));
      expect(box.counters().dropped.overflow).toBe(1);
      box.offer(record('strong', 'end', { severity: 2, payload: Buffer.alloc(300_000) }));
      expect(box.counters().dropped.oversized).toBe(1);
      await box.flush(20_000);
      await box.stop();
      const { box: next } = outbox(directory);
      await next.start();
      expect(all(next).sort()).toEqual(['sent end', 'strong new']);
      await next.stop();
      expect(balanced(next).recovered).toBe(2);
    });

    it('has none after an end that was sent while the disk did not work', async () => {
      const directory = await mkdtemp(join(dir, 'ended-in-memory-'));
      const { box } = outbox(directory, { retryMs: 300 });
      await box.start();
      for (const id of ['over', 'open']) box.offer(record(id), ending(id));
      await box.flush(20_000);
      expect(all(box).sort()).toEqual(['open new', 'over new']);
      await box.flush(20_000);
      process.kill(storePid(directory), 'SIGKILL');
      box.offer(record('over', 'end'));
      box.offer(record('late'), ending('late'));
      await until('the end from memory', () => box.next() !== undefined && box.counters().store.mode === 'degraded');
      expect(all(box).sort()).toEqual(['late new', 'over end']);
      await until('back', () => box.counters().store.mode === 'disk');
      expect(await box.flush(20_000)).toBe(true);
      await box.stop();
      const { box: next } = outbox(directory);
      await next.start();
      expect(payloads(next).sort()).toEqual(['late interrupted', 'open interrupted']);
    });

    it('has none after an end that was sent before a stop while the disk was full', async () => {
      if (process.getuid?.() !== 0) throw new Error('this test mounts a small tmpfs: run it as root');
      const disk = join(dir, 'disk3');
      await mkdir(disk);
      await run('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', disk]);
      try {
        const { box } = outbox(join(disk, 'state'), { retryMs: 600_000 });
        await box.start();
        box.offer(record('over', 'new', { severity: 2 }), ending('over', { severity: 2 }));
        await box.flush(20_000);
        expect(all(box)).toEqual(['over new']);
        for (let i = 0; i < 1_000; i++) box.offer(record(`e${i}`), ending(`e${i}`));
        await until('full', () => box.counters().store.fault === 'disk_full');
        box.offer(record('over', 'end', { severity: 2 }));
        const item = box.take();
        expect(item?.record).toMatchObject({ id: 'over', kind: 'end' });
        if (item !== undefined) box.done(item);
        await box.stop(5_000);
        await run('mount', ['-o', 'remount,size=16m', disk]);
        const { box: next } = outbox(join(disk, 'state'));
        await next.start();
        const left = all(next);
        expect(left).toContain('e0 new');
        // Nothing of an event without its beginning, and each with its end.
        expect(left.filter((text) => text.startsWith('over'))).toEqual([]);
        expect(left.filter((text) => text.endsWith('end')).length).toBe(left.length / 2);
        await next.stop(5_000);
      } finally {
        await run('umount', ['-l', disk]);
      }
    });

    it('gets older at each start that does not get it away', async () => {
      const directory = await mkdtemp(join(dir, 'older-'));
      const { box } = outbox(directory);
      await box.start();
      box.offer(record('a'), ending('a'));
      await box.flush(20_000);
      expect(all(box)).toEqual(['a new']);
      await box.stop();
      for (const [minutes, recovered, expired] of [
        [30, 1, 0],
        [80, 1, 0],
        [100, 1, 1],
      ] as const) {
        const { box: next } = outbox(directory, { now: () => Date.now() + minutes * 60_000 });
        await next.start();
        expect(next.counters()).toMatchObject({ recovered, dropped: { expired } });
        expect(await next.flush(20_000)).toBe(true);
        await next.stop();
        expect(balanced(next).kept).toBe(recovered - expired);
      }
    });

    it('ends with the highest severity that it came to, and is written for that alone', async () => {
      const directory = await mkdtemp(join(dir, 'rising-'));
      const { box } = outbox(directory);
      await box.start();
      box.offer(record('a'), ending('a'));
      await box.flush(20_000);
      const { commits } = box.counters().store;
      box.offer(record('a', 'update'), ending('a', { payload: Buffer.from('as severe') }));
      expect(await box.flush(20_000)).toBe(true);
      expect(box.counters().store.commits).toBe(commits);
      box.offer(
        record('a', 'update', { severity: 2 }),
        ending('a', { severity: 2, payload: Buffer.from('more severe') }),
      );
      expect(await box.flush(20_000)).toBe(true);
      expect(box.counters().store.commits).toBe(commits + 1);
      await box.stop();
      const { box: next } = outbox(directory);
      await next.start();
      expect(payloads(next)).toContain('more severe');
    });
  });

  it('goes on in memory when its process is killed, and writes everything again', async () => {
    const directory = await mkdtemp(join(dir, 'killed-'));
    const { box, problems } = outbox(directory, { retryMs: 50 });
    await box.start();
    for (let i = 0; i < 50; i++) box.offer(record(`a${i}`));
    await box.flush(20_000);
    process.kill(storePid(directory), 'SIGKILL');
    for (let i = 0; i < 50; i++) box.offer(record(`b${i}`));
    await until('written again', () => box.counters().store.starts === 2 && box.counters().store.mode === 'disk');
    expect(await box.flush(20_000)).toBe(true);
    expect(problems.every((e) => e.code === 'OUTBOX_DEGRADED')).toBe(true);
    await box.stop();
    expect(balanced(box)).toMatchObject({ kept: 100 });
    const { box: next } = outbox(directory);
    await next.start();
    expect(new Set(all(next)).size).toBe(100);
  });

  it('starts its process again when that was killed with nothing to do', async () => {
    const directory = await mkdtemp(join(dir, 'idle-'));
    const { box, problems } = outbox(directory);
    await box.start();
    box.offer(record('before'));
    await box.flush(20_000);
    const pid = storePid(directory);
    process.kill(pid, 'SIGKILL');
    await until('its end', () => {
      try {
        return storePid(directory) !== pid;
      } catch {
        return true;
      }
    });
    // Its end is known here too.
    await delay(200);
    box.offer(record('after'));
    expect(await box.flush(20_000)).toBe(true);
    expect(balanced(box).store).toMatchObject({ mode: 'disk', starts: 2, memoryOnly: 0 });
    expect(problems).toEqual([]);
    await box.stop();
    const { box: next } = outbox(directory);
    await next.start();
    expect(new Set(all(next))).toEqual(new Set(['before new', 'after new']));
  });

  it('does not wait for a disk that hangs, and takes it back when it answers', async () => {
    const directory = await mkdtemp(join(dir, 'hang-'));
    const { box, problems } = outbox(directory, { maxDiskWaitMs: 100 });
    await box.start();
    const pid = storePid(directory);
    process.kill(pid, 'SIGSTOP');
    cleanup.push(() => {
      try {
        process.kill(pid, 'SIGCONT');
      } catch {
        // It ended.
      }
    });
    box.offer(record('a'));
    expect(box.next()).toBeUndefined();
    await until('sent from memory', () => box.next() !== undefined);
    expect(balanced(box).store).toMatchObject({ mode: 'degraded', fault: 'slow_disk', memoryOnly: 1 });
    expect(problems.map((e) => e.code)).toEqual(['OUTBOX_DEGRADED']);
    box.offer(record('b'));
    expect(box.take()?.record.id).toBe('b');
    process.kill(pid, 'SIGCONT');
    await until('back', () => box.counters().store.mode === 'disk');
  });

  it('goes on in memory where the directory cannot be used, and says so', async () => {
    const file = join(dir, 'file');
    await writeFile(file, '');
    const { box, problems } = outbox(join(file, 'state'), { retryMs: 50 });
    await box.start();
    box.offer(record('a'));
    expect(all(box)).toEqual(['a new']);
    expect(balanced(box).store).toMatchObject({ mode: 'degraded', fault: 'disk_error', memoryOnly: 1 });
    expect(problems.map((e) => e.code)).toEqual(['OUTBOX_DEGRADED']);
    // Mended while it runs.
    await rm(file);
    await until('back', () => box.counters().store.mode === 'disk');
    box.offer(record('b'));
    expect(await box.flush(20_000)).toBe(true);
  });

  it('goes on in memory where the file system has no new folders', async () => {
    const { box, problems } = outbox('/proc/nope/outbox');
    await box.start();
    box.offer(record('a'));
    expect(all(box)).toEqual(['a new']);
    expect(problems).toMatchObject([{ code: 'OUTBOX_DEGRADED', message: expect.stringContaining('ENOENT') }]);
  });

  it('goes on in memory while the disk is full, and recovers when there is room', async () => {
    if (process.getuid?.() !== 0) throw new Error('this test mounts a small tmpfs: run it as root');
    const disk = join(dir, 'disk');
    await mkdir(disk);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', disk]);
    try {
      const directory = join(disk, 'state');
      const { box, problems } = outbox(directory, { retryMs: 50 });
      let recovered = 0;
      box.on('recovered', () => {
        recovered += 1;
      });
      await box.start();
      const ids: string[] = [];
      for (let i = 0; i < 1_000; i++) {
        const id = `e${i}`;
        ids.push(`${id} new`);
        box.offer(record(id));
        if (i % 50 === 0) await delay(5);
      }
      await until('full', () => box.counters().store.fault === 'disk_full');
      expect(new Set(problems.map((e) => e.code))).toEqual(new Set(['OUTBOX_DEGRADED']));
      expect(problems.at(-1)?.message).toContain('the disk is full');
      await until('offered from memory', () => box.counters().store.memoryOnly > 0);
      expect(balanced(box).waiting).toBe(1_000);
      await run('mount', ['-o', 'remount,size=16m', disk]);
      await until('recovered', () => recovered > 0);
      expect(await box.flush(20_000)).toBe(true);
      expect(box.counters().store.mode).toBe('disk');
      await box.stop();
      expect(balanced(box).kept).toBe(1_000);
      const { box: next } = outbox(directory);
      await next.start();
      expect(new Set(all(next))).toEqual(new Set(ids));
      await next.stop(5_000);
    } finally {
      await run('umount', ['-l', disk]);
    }
  });

  it('on a full disk frees space as events are acknowledged', async () => {
    if (process.getuid?.() !== 0) throw new Error('this test mounts a small tmpfs: run it as root');
    const disk = join(dir, 'disk2');
    await mkdir(disk);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', disk]);
    try {
      const { box } = outbox(join(disk, 'state'), { retryMs: 50 });
      await box.start();
      for (let i = 0; i < 1_000; i++) box.offer(record(`e${i}`));
      await until('full', () => box.counters().store.fault === 'disk_full');
      await until('sendable', () => box.next() !== undefined);
      expect(new Set(all(box)).size).toBe(1_000);
      await until('recovered', () => box.counters().store.mode === 'disk');
      box.offer(record('again'));
      expect(await box.flush(20_000)).toBe(true);
      await box.stop(5_000);
      expect(balanced(box).kept).toBe(1);
    } finally {
      await run('umount', ['-l', disk]);
    }
  });

  it('says so where no process can be started for want of file descriptors', async () => {
    const module = await compileModule('alerts/event-store');
    cleanup.push(module.remove);
    const program = `
      const { EventStore } = await import(${JSON.stringify(module.file)});
      const { openSync } = await import('node:fs');
      const store = new EventStore({ directory: ${JSON.stringify(join(dir, 'no-descriptors'))} });
      store.lock();
      try { for (;;) openSync('/dev/null'); } catch {}
      await store.open().catch((error) => console.log(error.constructor.name, error.fault));
      process.exit(0);`;
    const command = 'ulimit -n 64; exec "$0" --input-type=module --eval "$1"';
    const { stdout } = await run('bash', ['-c', command, process.execPath, program]);
    expect(stdout).toBe('StoreError process_ended\n');
  });

  it('gives way to the next process when the last one was killed', async () => {
    const directory = await mkdtemp(join(dir, 'stale-'));
    await writeFile(join(directory, 'lock'), `${process.pid} 1 another-boot`);
    const { box } = outbox(directory);
    await box.start();
    expect(readFileSync(join(directory, 'lock'), 'utf8')).toMatch(new RegExp(`^${process.pid} \\d+ [0-9a-f-]{36}$`));
    // Nothing of the making of the lock is left.
    expect((await readdir(directory)).filter((name) => name.startsWith('lock.'))).toEqual([]);
    expect(dirname(storeProcess)).toContain('irst-test-');
  });
});

/** The same at each run, so that a failure comes again. */
function noise(length: number, random = uniform(1)): Uint8Array {
  return Uint8Array.from({ length }, () => 256 * random());
}

async function overwrite(file: string, at: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'r+');
  const { size } = await handle.stat();
  await handle.write(bytes, 0, Math.min(bytes.length, size - at), at);
  await handle.close();
}
