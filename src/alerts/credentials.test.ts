import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { passwordSource } from './credentials.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-credentials-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

describe('passwordSource', () => {
  it('reads the first line of the file, anew each time', async () => {
    const file = join(dir, 'p');
    await writeFile(file, 'first \r\nrest\n');
    const source = passwordSource({ file });
    expect(source?.()).toBe('first ');
    await writeFile(file, 'second');
    expect(source?.()).toBe('second');
  });

  it('takes the systemd credential where no file is named', async () => {
    await writeFile(join(dir, 'mqtt-password'), 'secret\n');
    await writeFile(join(dir, 'other'), 'named\n');
    expect(passwordSource({ credentialsDirectory: dir })?.()).toBe('secret');
    expect(passwordSource({ credentialsDirectory: dir, file: join(dir, 'other') })?.()).toBe('named');
    expect(passwordSource({ credentialsDirectory: join(dir, 'none') })).toBeUndefined();
    expect(passwordSource({ credentialsDirectory: '' })).toBeUndefined();
  });

  it.each([
    ['is missing', undefined],
    ['is empty', ''],
    ['begins with an empty line', '\nsecret'],
  ])('says which file %s, and nothing of its content', async (_, content) => {
    const file = join(dir, 'p');
    if (content !== undefined) await writeFile(file, content);
    expect(passwordSource({ file })).toThrow(
      expect.objectContaining({
        code: 'CREDENTIAL_UNREADABLE',
        exitCode: 78,
        message: expect.stringMatching(/^password file .*\/p: (ENOENT|its first line is empty)$/),
      }),
    );
  });
});
