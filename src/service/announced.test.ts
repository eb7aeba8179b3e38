import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { EdgeError } from '../types/errors.js';
import { Announced } from './announced.js';

const A = 'homeassistant/device/irst_sedge/config';
const B = 'ha/device/irst_sedge/config';

let dir: string;
let problems: EdgeError[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-announced-'));
  problems = [];
});
afterEach(() => rm(dir, { recursive: true, force: true }));
const announced = (directory: string | undefined = dir) => new Announced(directory, (error) => problems.push(error));

test('a topic that is not announced any more is to be taken back, until it is', async () => {
  expect(await announced().now([A])).toEqual([]);
  expect(await announced().now([A])).toEqual([]);
  // Another prefix; and switched off, with the first still to do.
  expect(await announced().now([B])).toEqual([A]);
  expect(await announced().now([])).toEqual([B, A]);
  const last = announced();
  expect(await last.now([])).toEqual([B, A]);
  await last.forget(A);
  await last.forget('irst/irst-edge/status');
  expect(await announced().now([])).toEqual([B]);
  await last.forget(B);
  expect(await announced().now([])).toEqual([]);
  expect(await readdir(dir)).toEqual([]);
  expect(problems).toEqual([]);
});

test('remembers nothing without a directory, and where there was nothing to announce writes nothing', async () => {
  expect(await announced(join(dir, 'none', 'yet')).now([])).toEqual([]);
  expect(await readdir(dir)).toEqual([]);
  expect(await new Announced(undefined, (error) => problems.push(error)).now([A])).toEqual([]);
  expect(problems).toEqual([]);
});

test('takes nothing back that is no discovery topic, and goes on where it cannot write', async () => {
  const file = join(dir, 'announced.json');
  for (const text of ['{', '{}', '["irst/irst-edge/status", 7, "a/+/config"]', '']) {
    await writeFile(file, text);
    expect(await announced().now([])).toEqual([]);
  }
  expect(problems).toEqual([]);
  // A file where a folder should be.
  expect(await announced(file).now([A])).toEqual([]);
  expect(problems.map(({ code, exitCode }) => [code, exitCode])).toContainEqual(['STATE_NOT_WRITTEN', 74]);
  expect(await readFile(file, 'utf8')).toBe('');
});
