import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { distrust } from './file-trust.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'irst-trust-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, mode = 0o644): string {
  const path = join(folder, name);
  writeFileSync(path, 'x');
  chmodSync(path, mode);
  return path;
}

describe('distrust', () => {
  it('has nothing against own files, also where a group may write, in a temporary folder', async () => {
    expect(await distrust(file('own', 0o644))).toBeUndefined();
    expect(await distrust(file('group', 0o664))).toBeUndefined();
    expect(await distrust(file('secret', 0o600), { secret: true })).toBeUndefined();
    expect(await distrust(file('shared', 0o640), { secret: true })).toBeUndefined();
  });

  it('names a file that everyone may write to, or read where it is secret', async () => {
    const open = file('open', 0o646);
    expect(await distrust(open)).toEqual({ at: open, why: 'everyone may write to it' });
    const read = file('read', 0o644);
    expect(await distrust(read, { secret: true })).toEqual({ at: read, why: 'everyone may read it' });
  });

  it('names the folder above it, however far', async () => {
    const outer = join(folder, 'outer');
    mkdirSync(join(outer, 'inner'), { recursive: true });
    const path = join(outer, 'inner', 'file');
    writeFileSync(path, 'x');
    chmodSync(outer, 0o777);
    expect(await distrust(path)).toEqual({ at: outer, why: 'everyone may write to it' });
    // As /tmp.
    chmodSync(outer, 0o1777);
    expect(await distrust(path)).toBeUndefined();
  });

  it('looks at what a link leads to', async () => {
    const link = join(folder, 'link');
    const target = file('target', 0o666);
    symlinkSync(target, link);
    expect(await distrust(link)).toEqual({ at: target, why: 'everyone may write to it' });
  });

  it('looks at the folder of a link, and at linked folders', async () => {
    const outer = join(folder, 'loose');
    mkdirSync(outer);
    const target = file('good');
    symlinkSync(target, join(outer, 'link'));
    symlinkSync('loose', join(folder, 'alias'));
    symlinkSync('../good', join(outer, 'relative'));
    for (const name of ['loose/link', 'alias/link', 'loose/relative'])
      expect(await distrust(join(folder, name))).toBeUndefined();
    chmodSync(outer, 0o777);
    for (const name of ['loose/link', 'alias/link', 'loose/relative'])
      expect(await distrust(join(folder, name))).toEqual({ at: outer, why: 'everyone may write to it' });
    symlinkSync('circle', join(folder, 'circle'));
    expect(await distrust(join(folder, 'circle'))).toBeUndefined();
  });

  it('names a file of another user, but not one of root', async () => {
    const path = file('theirs');
    const mine = process.geteuid!();
    const seen = await distrust(path, { uid: mine + 1 });
    if (mine === 0) expect(seen).toBeUndefined();
    else expect(seen?.why).toBe(`it belongs to user ${mine}`);
    expect(await distrust('/etc/passwd', { uid: 4_000_000 })).toBeUndefined();
  });

  it('says nothing of what is not there', async () => {
    expect(await distrust(join(folder, 'nothing'))).toBeUndefined();
  });
});
