import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findProgram, firstLineOf, outputOf } from './programs.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'irst-programs-'));
  await writeFile(join(folder, 'tool'), '#!/bin/sh\necho "$1"; exit "$2"\n');
  await chmod(join(folder, 'tool'), 0o755);
  await writeFile(join(folder, 'data'), '');
});
afterAll(() => rm(folder, { recursive: true }));

test('a program is found on the PATH or by its path, and must be executable', async () => {
  expect(await findProgram('tool', `/none:${folder}`)).toBe(join(folder, 'tool'));
  expect(await findProgram(join(folder, 'tool'))).toBe(join(folder, 'tool'));
  expect(await findProgram('data', folder)).toBeUndefined();
  expect(await findProgram('irst-edge-no-such-program')).toBeUndefined();
});

test('what it prints, unless it fails or hangs', async () => {
  const tool = join(folder, 'tool');
  expect(await outputOf(tool, ['hello', '0'])).toBe('hello\n');
  expect(await outputOf(tool, ['hello', '3'])).toBeUndefined();
  expect(await outputOf('/bin/sleep', ['60'], 50)).toBeUndefined();
  // What it started holds its output open longer than anybody waits.
  expect(await outputOf('/bin/sh', ['-c', 'sleep 60 & wait'], 50)).toBeUndefined();
  expect(await outputOf('irst-edge-no-such-program', [])).toBeUndefined();
});

test('the first line of one that never ends, and nothing of one that says nothing', async () => {
  expect(await firstLineOf('/bin/sh', ['-c', 'echo RAM 1/2MB; echo more; exec sleep 60'])).toBe('RAM 1/2MB');
  expect(await firstLineOf('/bin/sleep', ['60'], 50)).toBeUndefined();
  expect(await firstLineOf('/bin/sh', ['-c', 'printf "no newline"'])).toBeUndefined();
  expect(await firstLineOf('irst-edge-no-such-program', [])).toBeUndefined();
});
