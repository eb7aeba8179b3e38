import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { readGreyImage } from './image-file.js';
import { imageFormat } from './image-format.js';

/** The decoder sees nothing in these tests but what it is counted for. */
const decoder = vi.hoisted(() => ({ opened: 0 }));
vi.mock('sharp', () => ({
  default: Object.assign(
    () => {
      decoder.opened++;
      throw new Error('nothing to see');
    },
    { cache: () => {}, concurrency: () => {} },
  ),
}));

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-format-'));
});
beforeEach(() => {
  decoder.opened = 0;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function read(content: string): Promise<{ code: string; hint: string; message: string }> {
  const path = join(folder, 'x.png');
  await writeFile(path, content, 'latin1');
  return readGreyImage(path).then(
    () => expect.fail('it was read'),
    (error) => error,
  );
}

it.each([
  ['svg', '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'],
  ['svg', '\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a < b -->\n<SVG/>'],
  ['gif', 'GIF89a\x08\x00'],
  ['jpeg', '\xff\xd8\xff\xdb\x00\x43'],
  ['webp', 'RIFF\x24\x00\x00\x00WEBPVP8 '],
  ['heif', '\x00\x00\x00\x1cftypavif'],
])('%s, whatever its name, is refused without a decoder', async (format, content) => {
  expect(await read(content)).toMatchObject({
    code: 'IMAGE_UNSUPPORTED',
    message: expect.stringContaining(`its format is ${format}`),
    hint: 'Store it as an 8- or 16-bit grey PNG or TIFF.',
  });
  expect(decoder.opened).toBe(0);
});

it.each(['', 'no picture at all', '\x1f\x8b\x08gzip', '\x89PNG', 'II\0*', '%PDF-1.7'])(
  'what is no picture is unreadable, without a decoder: %j',
  async (content) => {
    expect(await read(content)).toMatchObject({
      code: 'IMAGE_UNREADABLE',
      hint: 'The file is damaged, cut short or no PNG/TIFF; copy or record it again.',
    });
    expect(decoder.opened).toBe(0);
  },
);

it.each([
  ['png', '\x89PNG\r\n\x1a\n'],
  ['tiff', 'II*\0'],
  ['tiff', 'MM\0*'],
  ['tiff', 'II+\0'],
  ['tiff', 'MM\0+'],
])('%s is opened: %j', async (format, content) => {
  expect(imageFormat(Buffer.from(content, 'latin1'))).toBe(format);
  expect(await read(content)).toMatchObject({
    code: 'IMAGE_UNREADABLE',
    message: expect.stringContaining('nothing to see'),
  });
  expect(decoder.opened).toBe(1);
});
