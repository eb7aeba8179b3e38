import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CameraConfig, configSchema } from '../config/schema.js';
import type { EdgeError } from '../types/errors.js';
import { Served } from './served.js';

let dir: string;
let problems: EdgeError[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-served-'));
  problems = [];
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function served(directory: string | undefined = dir): Promise<Served> {
  const made = new Served(directory, (error) => problems.push(error));
  await made.read();
  return made;
}
const camera = (id: string, device: string): CameraConfig =>
  configSchema.parse({ cameras: [{ id, source: { kind: 'v4l2', device } }] }).cameras[0]!;

test('a camera that has served is known at the next start, as long as its source stays what it was', async () => {
  const first = await served();
  expect(first.has(camera('a', '/dev/video0'))).toBe(false);
  await Promise.all([first.add(camera('a', '/dev/video0')), first.add(camera('b', '/dev/video2'))]);
  const next = await served();
  expect(next.has(camera('a', '/dev/video0'))).toBe(true);
  expect(next.has(camera('b', '/dev/video2'))).toBe(true);
  expect(next.has(camera('a', '/dev/video2'))).toBe(false);
  expect(problems).toEqual([]);
});

test('of many cameras the newest are remembered', async () => {
  const first = await served();
  for (let i = 0; i < 40; i++) await first.add(camera('a', `/dev/video${i}`));
  const next = await served();
  expect([0, 7, 8, 39].map((i) => next.has(camera('a', `/dev/video${i}`)))).toEqual([false, false, true, true]);
});

test('a damaged file is none, and where it cannot be written that is said', async () => {
  const file = join(dir, 'served.json');
  for (const text of ['{', '{}', '[7, null]', '', `["${'x'.repeat(5000)}"]`]) {
    await writeFile(file, text);
    expect((await served()).has(camera('a', '/dev/video0'))).toBe(false);
  }
  expect(problems).toEqual([]);
  // A file where a folder should be.
  await (await served(file)).add(camera('a', '/dev/video0'));
  expect(problems.map(({ code }) => code)).toContain('STATE_NOT_WRITTEN');
  expect(await readFile(file, 'utf8')).toContain('xxx');
  const none = new Served(undefined, (error) => problems.push(error));
  await none.add(camera('a', '/dev/video0'));
  expect(none.has(camera('a', '/dev/video0'))).toBe(false);
});
