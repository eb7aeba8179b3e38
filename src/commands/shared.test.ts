import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigInvalidError } from '../config/issue.js';
import { EdgeError, EXIT } from '../types/errors.js';
import { createProgram, formatError, outputError, usageError, writeOutputFile } from './shared.js';

const plain = { json: false, verbose: false };

describe('formatError', () => {
  const error = new EdgeError('BROKER_GONE', 'no answer\n  from host', { hint: 'start it' });

  it('is one line and a hint for people', () => {
    expect(formatError(error, plain)).toBe('irst-edge: BROKER_GONE: no answer from host\n  hint: start it');
    expect(formatError(new EdgeError('X', 'y'), plain)).toBe('irst-edge: X: y');
  });

  it('is one JSON object for machines', () => {
    const text = formatError(error, { json: true, verbose: false });
    expect(text).not.toContain('\n');
    expect(JSON.parse(text)).toEqual({
      error: { code: 'BROKER_GONE', message: 'no answer from host', hint: 'start it' },
    });
    expect(JSON.parse(formatError(error, { json: true, verbose: true })).error.stack).toContain('shared.test');
  });

  it('shows stacks and causes only with verbose', () => {
    const outer = new EdgeError('OUTER', 'outer', { cause: new Error('inner', { cause: 'root' }) });
    expect(formatError(outer, plain)).not.toContain('inner');
    const text = formatError(outer, { json: false, verbose: true });
    expect(text).toContain('    at ');
    expect(text).toContain('caused by: Error: inner');
    expect(text).toContain('caused by: root');
  });

  it('ends with causes that go in a circle', () => {
    const circle = new Error('circle');
    circle.cause = circle;
    expect(formatError(circle, { json: false, verbose: true })).toContain('INTERNAL');
  });

  it.each([[new TypeError('x is not a function')], ['a text'], [undefined], [null]])('takes anything: %s', (thrown) => {
    expect(formatError(thrown, plain)).toMatch(/^irst-edge: INTERNAL: .+\n {2}hint: .*--verbose/);
  });

  it('lists the issues of a configuration, a single one only once', () => {
    const one = { path: 'a', message: 'wrong', line: 3 };
    expect(formatError(new ConfigInvalidError('f', [one]), plain).split('\n')).toEqual([
      'irst-edge: CONFIG_INVALID: f: a (line 3): wrong',
      expect.stringContaining('  hint: '),
    ]);
    const two = new ConfigInvalidError('f', [one, { path: 'b', message: 'worse', variable: 'V' }]);
    expect(formatError(two, plain).split('\n').slice(0, 3)).toEqual([
      'irst-edge: CONFIG_INVALID: f: 2 errors, the first: a (line 3): wrong',
      '  a (line 3): wrong',
      '  b (V): worse',
    ]);
    expect(JSON.parse(formatError(two, { json: true, verbose: false })).error.issues).toHaveLength(2);
  });
});

describe('writeOutputFile', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'irst-output-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('makes the folder, replaces the file, leaves nothing else', async () => {
    const file = join(folder, 'a/b/out.txt');
    await writeOutputFile(file, 'one');
    await writeOutputFile(file, 'two');
    expect(await readFile(file, 'utf8')).toBe('two');
    expect(await readdir(join(folder, 'a/b'))).toEqual(['out.txt']);
  });

  it('keeps a link, and writes into what is no file', async () => {
    const [target, link, pipe] = ['target', 'link', 'pipe'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    await writeFile(target, 'old');
    await symlink(target, link);
    await writeOutputFile(link, 'new');
    expect([await readFile(target, 'utf8'), (await lstat(link)).isSymbolicLink()]).toEqual(['new', true]);
    execFileSync('mkfifo', [pipe]);
    const [read] = await Promise.all([readFile(pipe, 'utf8'), writeOutputFile(pipe, 'through')]);
    expect([read, (await lstat(pipe)).isFIFO()]).toEqual(['through', true]);
  });

  it('says what is wrong and leaves nothing behind', async () => {
    await writeFile(join(folder, 'file'), '');
    await expect(writeOutputFile(join(folder, 'file/below'), 'x')).rejects.toMatchObject({
      code: 'OUTPUT_NOT_WRITABLE',
      exitCode: EXIT.cannotCreate,
    });
    const taken = join(folder, 'taken');
    await mkdir(join(taken, 'out'), { recursive: true });
    await expect(writeOutputFile(join(taken, 'out'), 'x')).rejects.toMatchObject({ code: 'OUTPUT_NOT_WRITABLE' });
    expect(await readdir(taken)).toEqual(['out']);
  });

  it('tells a full disk from a wrong place', () => {
    expect(outputError('f', Object.assign(new Error(), { code: 'ENOSPC' }))).toMatchObject({
      code: 'OUTPUT_FAILED',
      message: 'f: writing failed: ENOSPC',
      exitCode: EXIT.ioError,
    });
    expect(outputError('f', Object.assign(new Error(), { code: 'EACCES' })).exitCode).toBe(EXIT.cannotCreate);
  });
});

describe('createProgram', () => {
  it('documents every exit code', () => {
    let text = '';
    const program = createProgram();
    program.configureOutput({ writeOut: (s) => (text += s) });
    program.outputHelp();
    for (const code of Object.values(EXIT)) expect(text).toMatch(new RegExp(`^ {2}${code} +\\S`, 'm'));
  });
});

describe('docs/errors.md', () => {
  it('has every exit code, and the errors of this folder and of the configuration', async () => {
    const text = await readFile(new URL('../../docs/errors.md', import.meta.url), 'utf8');
    for (const code of Object.values(EXIT)) expect(text).toMatch(new RegExp(`^\\| ${code} \\|`, 'm'));
    for (const error of [
      usageError('x'),
      outputError('f', Object.assign(new Error(), { code: 'ENOSPC' })),
      outputError('f', Object.assign(new Error(), { code: 'EACCES' })),
      new ConfigInvalidError('f', []),
    ]) {
      expect(text).toContain(`| \`${error.code}\` | ${error.exitCode} |`);
    }
    for (const code of ['CONFIG_NOT_FOUND', 'CONFIG_UNREADABLE', 'CONFIG_SYNTAX', 'ADDON_MISSING', 'INTERNAL']) {
      expect(text).toContain(`| \`${code}\` |`);
    }
  });
});
