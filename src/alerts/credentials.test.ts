import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { brokerPassword, passwordSource, readPem } from './credentials.js';

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
    // Its file system may be mounted late: the service is started again.
    ['is missing', undefined, 69],
    ['is empty', '', 78],
    ['begins with an empty line', '\nsecret', 78],
  ])('says which file %s, and nothing of its content', async (_, content, exitCode) => {
    const file = join(dir, 'p');
    if (content !== undefined) await writeFile(file, content);
    expect(passwordSource({ file })).toThrow(
      expect.objectContaining({
        code: 'CREDENTIAL_UNREADABLE',
        exitCode,
        message: expect.stringMatching(/^password file .*\/p: (ENOENT|its first line is empty)$/),
      }),
    );
  });
});

describe('readPem', () => {
  it('tells a file that is not there yet from one that cannot be read', async () => {
    const [missing, folder] = [join(dir, 'none'), dir];
    await expect(readPem(missing, 'mqtt.ca')).rejects.toMatchObject({ code: 'CREDENTIAL_UNREADABLE', exitCode: 69 });
    await expect(readPem(folder, 'mqtt.ca')).rejects.toMatchObject({ code: 'CREDENTIAL_UNREADABLE', exitCode: 78 });
  });
});

describe('brokerPassword', () => {
  it.each([
    [{ url: 'mqtt://h', username: 'u' }, 'secret'],
    [{ url: 'mqtt://u@h' }, 'secret'],
    [{ url: 'mqtt://h' }, undefined],
  ])('of %j is %s: none without a user name, and it says so', async (mqtt, expected) => {
    await writeFile(join(dir, 'mqtt-password'), 'secret\n');
    const { password, unused } = brokerPassword(mqtt, { credentialsDirectory: dir });
    expect(password?.()).toBe(expected);
    expect(unused?.code).toBe(expected === undefined ? 'PASSWORD_WITHOUT_USER' : undefined);
  });

  it('is none, without a word, where none is given', () => {
    expect(brokerPassword({ url: 'mqtt://h' }, { credentialsDirectory: dir })).toEqual({});
  });
});
