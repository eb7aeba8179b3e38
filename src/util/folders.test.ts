import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeFolders, makeFoldersSync } from './folders.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'irst-folders-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe.each([
  ['makeFolders', makeFolders],
  ['makeFoldersSync', async (directory: string, mode?: number) => makeFoldersSync(directory, mode)],
])('%s', (_, make) => {
  test('makes what is missing, and leaves what is there', async () => {
    mkdirSync(join(dir, 'a'), 0o700);
    await make(join(dir, 'a/b/c'), 0o750);
    await make(join(dir, 'a/b/c'));
    const modes = ['a', 'a/b', 'a/b/c'].map((name) => statSync(join(dir, name)).mode & 0o777);
    expect(modes).toEqual([0o700, 0o750, 0o750]);
    await make('/');
  });

  test('says where a file is in the way', async () => {
    writeFileSync(join(dir, 'file'), '');
    await expect(make(join(dir, 'file/a/b'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  test('ends where the file system does not know new folders', async () => {
    await expect(make('/proc/nope')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(make('/proc/nope/a/b')).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
