import { execFile } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
// @ts-expect-error: a script without types
import { tooNew } from '../../scripts/symbol-versions.mjs';
import { ADDON_PATHS, loadFirst } from '../../src/native.js';
import type { EdgeError } from '../../src/types/errors.js';
import { VERSION } from '../../src/version.js';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BUILT = join(ROOT, 'native/build/Release/irst_edge.node');
const HERE = `linux-${process.arch}`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'irst-prebuilt-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The package as it is installed: no checkout, a prebuilt addon for this machine, as `addon` says. */
function installed(name: string, addon: 'good' | 'broken' | 'none' | 'old'): string {
  const where = join(folder, name);
  mkdirSync(join(where, 'native'), { recursive: true });
  mkdirSync(join(where, 'prebuilds', HERE), { recursive: true });
  copyFileSync(join(ROOT, 'native/prebuilt.mjs'), join(where, 'native/prebuilt.mjs'));
  writeFileSync(join(where, 'package.json'), JSON.stringify({ version: addon === 'old' ? '99.0.0' : VERSION }));
  const target = join(where, 'prebuilds', HERE, 'irst_edge.node');
  if (addon === 'broken') writeFileSync(target, 'not a library');
  else if (addon !== 'none') cpSync(BUILT, target);
  return where;
}

async function asksForCompiler(where: string): Promise<{ compile: boolean; said: string }> {
  try {
    const { stderr } = await run(process.execPath, [join(where, 'native/prebuilt.mjs')]);
    return { compile: false, said: stderr };
  } catch (error) {
    return { compile: true, said: String((error as { stderr: string }).stderr) };
  }
}

describe('the install script', () => {
  it('does not compile where the prebuilt addon loads', async () => {
    expect(await asksForCompiler(installed('good', 'good'))).toEqual({ compile: false, said: '' });
  });

  it('compiles where there is none, and where it is of another version', async () => {
    expect(await asksForCompiler(installed('none', 'none'))).toEqual({ compile: true, said: '' });
    expect(await asksForCompiler(installed('old', 'old'))).toMatchObject({ compile: true });
  });

  it('says why a prebuilt addon is not taken', async () => {
    const { compile, said } = await asksForCompiler(installed('broken', 'broken'));
    expect(compile).toBe(true);
    expect(said).toContain('irst-edge: the prebuilt addon does not load: ');
  });

  it('compiles in a checkout, whatever was packed there, unless what was compiled there is newer than its sources', async () => {
    const where = installed('checkout', 'good');
    writeFileSync(join(where, '.git'), 'gitdir: elsewhere');
    mkdirSync(join(where, 'native/src'));
    const sources = ['native/binding.gyp', 'native/src/addon.cc', 'native/src/addon.h'].map((name) =>
      join(where, name),
    );
    for (const source of sources) writeFileSync(source, '');
    expect(await asksForCompiler(where)).toMatchObject({ compile: true });
    const built = join(where, 'native/build/Release/irst_edge.node');
    mkdirSync(dirname(built), { recursive: true });
    cpSync(BUILT, built);
    const [now, after] = [60, 120].map((s) => new Date(Date.now() + 1000 * s)) as [Date, Date];
    utimesSync(built, now, now);
    expect(await asksForCompiler(where)).toEqual({ compile: false, said: '' });
    utimesSync(sources[2] as string, after, after);
    expect(await asksForCompiler(where)).toMatchObject({ compile: true });
    // Old, but it has just come.
    const justNow = new Date(Date.now() - 1000);
    utimesSync(built, justNow, justNow);
    utimesSync(sources[2] as string, new Date(0), new Date(0));
    expect(await asksForCompiler(where)).toMatchObject({ compile: true });
    utimesSync(built, now, now);
    expect(await asksForCompiler(where)).toMatchObject({ compile: false });
    writeFileSync(built, 'not a library');
    expect(await asksForCompiler(where)).toMatchObject({ compile: true });
  });
});

describe('the loader', () => {
  it('looks for what was compiled here, then for what came with the package', () => {
    expect(ADDON_PATHS).toEqual([BUILT, join(ROOT, 'prebuilds', HERE, 'irst_edge.node')]);
  });

  it('takes the first that loads', () => {
    const broken = join(folder, 'broken.node');
    writeFileSync(broken, 'not a library');
    expect(loadFirst([broken, BUILT]).version).toBe(VERSION);
    expect(loadFirst([join(folder, 'nowhere.node'), BUILT]).version).toBe(VERSION);
  });

  it('tells the reason of each when none loads', () => {
    const broken = join(folder, 'broken.node');
    writeFileSync(broken, 'not a library');
    const failure = (): EdgeError => {
      try {
        loadFirst([join(folder, 'nowhere.node'), broken]);
      } catch (error) {
        return error as EdgeError;
      }
      throw new Error('did not throw');
    };
    const { code, message, hint } = failure();
    expect(code).toBe('ADDON_MISSING');
    expect(message).toContain('nowhere.node');
    expect(message).toContain('broken.node');
    expect(message.match(/does not load/g)).toHaveLength(1);
    expect(hint).toContain('npm run build:native');
  });
});

describe('symbol versions', () => {
  it('the addon needs no newer glibc or libstdc++ than is promised', () => {
    expect(tooNew(BUILT)).toEqual([]);
  });

  it('nor does any library that comes from npm, but for that of lmdb, which scripts/build-lmdb compiles for the Debian package', () => {
    const libraries = (readdirSync(join(ROOT, 'node_modules'), { recursive: true }) as string[]).filter(
      (file) => /\.(node|so(\.[0-9]+)*)$/.test(file) && file.includes(process.arch) && !/musl|win32|darwin/.test(file),
    );
    const names = (found: string[]) => [...new Set(found.map((file) => file.split('/').slice(0, 2).join('/')))].sort();
    expect(names(libraries)).toEqual(
      expect.arrayContaining([`@img/sharp-linux-${process.arch}`, 'onnxruntime-node/bin']),
    );
    const tooNewOnes = libraries.filter((file) => tooNew(join(ROOT, 'node_modules', file)).length > 0);
    expect(names(tooNewOnes)).toEqual([`@lmdb/lmdb-linux-${process.arch}`]);
  });

  it('finds a library that does', async () => {
    const source = join(folder, 'new.c');
    const library = join(folder, 'new.so');
    // dlsym is of glibc 2.34 since libdl became part of libc.
    writeFileSync(source, '#include <dlfcn.h>\nvoid *f(void) { return dlsym(0, "x"); }\n');
    await run('cc', ['-shared', '-fPIC', '-o', library, source]);
    const found = tooNew(library) as { symbol: string; version: string }[];
    const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime: string } }).header;
    const has = Number(glibcVersionRuntime.split('.')[1]) >= 34;
    expect(found.map(({ symbol }) => symbol)).toEqual(has ? ['dlsym'] : []);
  });
});
