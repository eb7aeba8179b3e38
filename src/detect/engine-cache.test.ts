import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EngineCache, type EngineFacts, engineCacheState, engineDirectory, engineKey } from './engine-cache.js';
import { cudaVersion, parseTegraRelease, tensorrtVersion } from './platform.js';

const facts: EngineFacts = {
  provider: 'tensorrt',
  backend: 'libonnxruntime',
  library: 'libonnxruntime 1.23.0',
  model: 'a'.repeat(64),
  width: 320,
  height: 256,
  options: { b: '1', a: '2' },
  tensorrt: '10.3.0',
  cuda: '12.6',
  computeCapability: '8.7',
  board: 'NVIDIA Jetson Orin Nano Developer Kit',
  l4t: '36.4.3',
};
const key = engineKey(facts);

let dir: string;
let cache: EngineCache;
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'irst-engines-'));
  cache = new EngineCache(dir);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function build(content = 'the engine', name = 'x.engine'): Promise<void> {
  const staged = await cache.stage(key);
  await writeFile(path.join(staged, name), content);
  await cache.commit(key, staged, { facts, kind: 'library', buildSeconds: 12.34 });
}

describe('the key', () => {
  test('does not depend on the order of the facts, and on each of them', () => {
    const { options, ...rest } = facts;
    expect(engineKey({ options: { a: '2', b: '1' }, ...rest })).toBe(key);
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    const changes: Partial<EngineFacts>[] = [
      { model: 'b'.repeat(64) },
      { tensorrt: '10.3.1' },
      { cuda: '12.2' },
      { computeCapability: '7.2' },
      { board: 'other' },
      { l4t: '36.4.4' },
      { library: 'libonnxruntime 1.24.0' },
      { width: 384 },
      { options: { a: '3', b: '1' } },
    ];
    const keys = new Set([key, ...changes.map((change) => engineKey({ ...facts, ...change }))]);
    expect(keys.size).toBe(changes.length + 1);
  });
});

test('a folder that cannot be made is refused at once', async () => {
  const nowhere = new EngineCache('/proc/nope/engines');
  await expect(nowhere.stage(key)).rejects.toMatchObject({ code: 'ENGINE_CACHE_UNUSABLE' });
  await expect(nowhere.lock(key)).rejects.toMatchObject({ code: 'ENGINE_CACHE_UNUSABLE' });
});

describe('an entry', () => {
  test('is there once it is committed, whole, and its files are checked', async () => {
    expect(await cache.lookup(key)).toBeUndefined();
    await build();
    const found = await cache.lookup(key);
    expect(found).toMatchObject({
      folder: path.join(dir, key),
      entry: { key, kind: 'library', buildSeconds: 12.3, facts: { tensorrt: '10.3.0' } },
    });
    expect(await readdir(dir)).toEqual([key]);
    await build('another');
    expect(await readFile(path.join(dir, key, 'x.engine'), 'utf8')).toBe('another');
    expect(await readdir(dir)).toEqual([key]);
  });

  test.each<[string, (folder: string) => Promise<unknown>, string]>([
    ['a changed file', (f) => writeFile(path.join(f, 'x.engine'), 'the Engine'), 'x.engine is not the file'],
    ['a file cut short', (f) => writeFile(path.join(f, 'x.engine'), 'the'), 'x.engine is not the file'],
    ['a missing file', (f) => rm(path.join(f, 'x.engine')), 'x.engine is missing'],
    ['no list', (f) => rm(path.join(f, 'engine.json')), 'engine.json is missing'],
    ['a damaged list', (f) => writeFile(path.join(f, 'engine.json'), '{'), 'engine.json is damaged'],
  ])('%s is a problem', async (_, harm, problem) => {
    await build();
    await harm(path.join(dir, key));
    expect(await cache.lookup(key)).toEqual({ problem: expect.stringContaining(problem) });
    expect((await cache.state()).entries).toMatchObject([{ key, problem: expect.stringContaining(problem) }]);
    await cache.discard(key);
    expect(await cache.lookup(key)).toBeUndefined();
    await cache.discard(key);
  });

  test('that names a file elsewhere is a problem', async () => {
    await build();
    const list = path.join(dir, key, 'engine.json');
    await writeFile(list, (await readFile(list, 'utf8')).replace('x.engine', '../x.engine'));
    expect(await cache.lookup(key)).toMatchObject({ problem: expect.stringContaining('../x.engine') });
  });

  test('the oldest go beyond sixteen, and so do old leftovers', async () => {
    const old = new Date(Date.now() - 48 * 3_600_000);
    for (let i = 0; i < 16; i++) {
      const folder = path.join(dir, i.toString(16).padStart(64, '0'));
      await mkdir(folder);
      await utimes(folder, old, new Date(old.getTime() + 1000 * i));
    }
    await mkdir(path.join(dir, '.x.tmp'));
    await utimes(path.join(dir, '.x.tmp'), old, old);
    await build();
    const names = await readdir(dir);
    expect(names).toHaveLength(16);
    expect(names).not.toContain('0'.repeat(64));
    expect(names).not.toContain('.x.tmp');
  });
});

describe('building', () => {
  test('one at a time; a lock that nobody keeps alive is taken over', async () => {
    const lock = await cache.lock(key);
    expect(lock).toBeDefined();
    expect(await cache.lock(key)).toBeUndefined();
    expect((await cache.state()).building).toBe(1);
    await lock!.release();
    const dead = await cache.lock(key);
    const old = new Date(Date.now() - 120_000);
    await utimes(path.join(dir, `${key}.lock`), old, old);
    const taken = await cache.lock(key);
    expect(taken).toBeDefined();
    await taken!.release();
    await dead!.release();
  });

  test('timings are kept for the platform and stay out of the entry', async () => {
    const platform = { tensorrt: '10.3.0', computeCapability: '8.7' };
    const first = await cache.stage(key);
    await writeFile(path.join(first, 'sm87.timing'), 't');
    await writeFile(path.join(first, 'x.engine'), 'e');
    await cache.takeTimings(platform, first);
    expect(await readdir(first)).toEqual(['x.engine']);
    const second = await cache.stage(key);
    await cache.copyTimings({ computeCapability: '8.7', tensorrt: '10.3.0' }, second, 'in');
    expect(await readdir(second)).toEqual(['sm87.timing']);
    const other = await cache.stage(key);
    await cache.copyTimings({ tensorrt: '10.7.0' }, other, 'in');
    expect(await readdir(other)).toEqual([]);
  });

  test('a load that another process did not survive is remembered; one of this process is another camera', async () => {
    await cache.noteLoad(key);
    expect(await cache.crashes(key)).toBe(0);
    const note = path.join(dir, `${key}.loading`);
    const dead = (earlier: number) => writeFile(note, JSON.stringify({ process: '1 12345', earlier }));
    await dead(0);
    expect(await cache.crashes(key)).toBe(1);
    await cache.noteLoad(key);
    expect(JSON.parse(await readFile(note, 'utf8'))).toMatchObject({ earlier: 1 });
    await dead(1);
    expect(await cache.crashes(key)).toBe(2);
    await cache.noteLoaded(key);
    expect(await cache.crashes(key)).toBe(0);
  });

  test("a load that this process was told to end is nobody's crash", async () => {
    const note = path.join(dir, `${key}.loading`);
    await cache.noteLoad(key);
    await cache.forgetLoads();
    expect(await readdir(dir)).not.toContain(`${key}.loading`);
    // One crash before, of another process; then the load under way.
    await writeFile(note, JSON.stringify({ process: '1 12345', earlier: 0 }));
    await cache.noteLoad(key);
    await cache.forgetLoads();
    expect(JSON.parse(await readFile(note, 'utf8'))).toMatchObject({ earlier: 0 });
    await writeFile(note, JSON.stringify({ process: '1 12345', earlier: 1 }));
    await cache.forgetLoads();
    expect(await cache.crashes(key)).toBe(2);
    await new EngineCache(path.join(dir, 'none')).forgetLoads();
  });

  test('a lock that nobody keeps alive is no build under way', async () => {
    const lock = await cache.lock(key);
    expect((await cache.state()).building).toBe(1);
    const long = new Date(Date.now() - 600_000);
    await utimes(path.join(dir, `${key}.lock`), long, long);
    expect((await cache.state()).building).toBe(0);
    await lock?.release();
  });

  test('where it cannot be written it says so', async () => {
    await writeFile(path.join(dir, 'file'), '');
    const blocked = new EngineCache(path.join(dir, 'file'));
    await expect(blocked.stage(key)).rejects.toMatchObject({ code: 'ENGINE_CACHE_UNUSABLE', exitCode: 74 });
    await expect(blocked.lock(key)).rejects.toMatchObject({ code: 'ENGINE_CACHE_UNUSABLE' });
  });
});

test('where engines are kept', async () => {
  expect(engineDirectory('/x', {})).toBe('/x');
  expect(engineDirectory(undefined, { CACHE_DIRECTORY: '/var/cache/irst-edge:/other' })).toBe(
    '/var/cache/irst-edge/engines',
  );
  expect(engineDirectory(undefined, { XDG_CACHE_HOME: '/c', HOME: '/h' })).toBe('/c/irst-edge/engines');
  expect(engineDirectory(undefined, { HOME: '/h' })).toBe('/h/.cache/irst-edge/engines');
  // Nothing is made by asking.
  const state = await engineCacheState(path.join(dir, 'not', 'yet'));
  expect(state).toEqual({ directory: path.join(dir, 'not', 'yet'), writable: true, entries: [], building: 0 });
  expect(await readdir(dir)).toEqual([]);
});

test('versions as NVIDIA writes them', () => {
  expect([100300, 101600, 110401, 8502, 8602].map(tensorrtVersion)).toEqual([
    '10.3.0',
    '10.16.0',
    '11.4.1',
    '8.5.2',
    '8.6.2',
  ]);
  expect([11040, 12060, 13020].map(cudaVersion)).toEqual(['11.4', '12.6', '13.2']);
  expect(parseTegraRelease('# R35 (release), REVISION: 5.0, GCID: 35550185, BOARD: t186ref, EABI: aarch64')).toBe(
    '35.5.0',
  );
  expect(parseTegraRelease('something else')).toBeUndefined();
});
