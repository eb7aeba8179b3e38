import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeGreyPng } from './image-file.js';
import { openImageFile } from './image-recording.js';
import { readStillImage } from './still-image.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-still-'));
  await writeGreyPng(join(dir, 'wide.png'), { width: 3, height: 2, data: Uint16Array.of(0, 1, 2, 16_383, 9, 7) });
  await writeGreyPng(join(dir, 'narrow.png'), { width: 3, height: 2, data: Uint8Array.of(0, 1, 2, 255, 9, 7) });
});
afterEach(() => rm(dir, { recursive: true }));

const bits = async (name: string) => (await readStillImage(join(dir, name))).bits;

test('a picture without a sidecar has the bits of its file', async () => {
  expect([await bits('wide.png'), await bits('narrow.png')]).toEqual([16, 8]);
});

test("the folder's recording.json says how many bits the camera had", async () => {
  await writeFile(join(dir, 'recording.json'), '{"bits": 14, "fps": 25}');
  expect([await bits('wide.png'), await bits('narrow.png')]).toEqual([14, 8]);
  await writeFile(join(dir, 'recording.json'), '{"fps": 25}');
  expect(await bits('wide.png')).toBe(16);
});

test('and so does a recording of one picture, which plays', async () => {
  await writeFile(join(dir, 'recording.json'), '{"bits": 14}');
  const reader = await openImageFile(join(dir, 'wide.png'));
  expect(reader.bits).toBe(14);
  expect(await reader.read(0)).toMatchObject({ ok: true, pixels: { bits: 14, width: 3, height: 2 } });
});

test('a sidecar that is not valid is told', async () => {
  await writeFile(join(dir, 'recording.json'), '{"bits": 99}');
  await expect(readStillImage(join(dir, 'wide.png'))).rejects.toMatchObject({ code: 'RECORDING_SIDECAR_INVALID' });
});
