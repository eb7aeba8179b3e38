import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT } from '../types/errors.js';
import { readGreyImage, writeGreyPng } from './image-file.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-file-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const WIDTH = 40;
const HEIGHT = 30;
/** Every kind of 16-bit value: small, radiometric 14-bit counts, both bytes alike, both ends. */
const COUNTS = Uint16Array.from({ length: WIDTH * HEIGHT }, (_, i) =>
  i < 8 ? [0, 1, 255, 256, 257, 16383, 65534, 65535][i]! : 29_000 + ((i * 7919) % 3000),
);
const BYTES = Uint8Array.from({ length: WIDTH * HEIGHT }, (_, i) => (i * 37) & 255);

async function save(name: string, data: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, data);
  return path;
}

interface TiffOptions {
  /** 1 unsigned, 2 signed, 3 float. */
  sampleFormat?: number;
  bitsPerSample?: number;
  pages?: number;
}

/** A little-endian uncompressed grey TIFF with its directory first, as many recorders write it; so its tail is pixel data. */
function tiff(width: number, height: number, pixels: Uint8Array, options: TiffOptions = {}): Buffer {
  const { sampleFormat = 1, bitsPerSample = 16, pages = 1 } = options;
  const directoryBytes = 2 + 10 * 12 + 4;
  const dataStart = 8 + pages * directoryBytes;
  const out = Buffer.alloc(dataStart + pages * pixels.length);
  out.write('II');
  out.writeUInt16LE(42, 2);
  out.writeUInt32LE(8, 4);
  for (let page = 0; page < pages; page++) {
    const start = 8 + page * directoryBytes;
    const data = dataStart + page * pixels.length;
    const entries = [
      [256, width],
      [257, height],
      [258, bitsPerSample],
      [259, 1],
      [262, 1],
      [273, data],
      [277, 1],
      [278, height],
      [279, pixels.length],
      [339, sampleFormat],
    ] as const;
    out.writeUInt16LE(entries.length, start);
    entries.forEach(([tag, value], i) => {
      const at = start + 2 + i * 12;
      out.writeUInt16LE(tag, at);
      out.writeUInt16LE(4, at + 2);
      out.writeUInt32LE(1, at + 4);
      out.writeUInt32LE(value, at + 8);
    });
    out.writeUInt32LE(page + 1 < pages ? start + directoryBytes : 0, start + 2 + entries.length * 12);
    out.set(pixels, data);
  }
  return out;
}

const countBytes = new Uint8Array(COUNTS.buffer);

describe('readGreyImage', () => {
  it('gives back exact 16-bit counts from a PNG', async () => {
    const path = join(folder, 'exact16.png');
    await writeGreyPng(path, { width: WIDTH, height: HEIGHT, data: COUNTS });
    expect(await readGreyImage(path)).toEqual({ width: WIDTH, height: HEIGHT, bits: 16, data: COUNTS });
  });

  it('gives back exact 8-bit counts from a PNG', async () => {
    const path = join(folder, 'exact8.png');
    await writeGreyPng(path, { width: WIDTH, height: HEIGHT, data: BYTES });
    expect(await readGreyImage(path)).toEqual({ width: WIDTH, height: HEIGHT, bits: 8, data: BYTES });
  });

  it.each(['none', 'lzw', 'deflate'] as const)(
    'gives back exact 16-bit counts from a TIFF (%s)',
    async (compression) => {
      const raw = { width: WIDTH, height: HEIGHT, channels: 1 } as const;
      const file = await sharp(COUNTS, { raw }).toColourspace('grey16').tiff({ compression }).toBuffer();
      const image = await readGreyImage(await save(`${compression}.tiff`, file));
      expect(image).toEqual({ width: WIDTH, height: HEIGHT, bits: 16, data: COUNTS });
    },
  );

  it('reads a BigTIFF', async () => {
    const raw = { width: WIDTH, height: HEIGHT, channels: 1 } as const;
    const file = await sharp(COUNTS, { raw })
      .toColourspace('grey16')
      .tiff({ bigtiff: true, compression: 'lzw' })
      .toBuffer();
    const image = await readGreyImage(await save('big.tiff', file));
    expect(image).toEqual({ width: WIDTH, height: HEIGHT, bits: 16, data: COUNTS });
  });

  it('reads a TIFF that another program wrote', async () => {
    const image = await readGreyImage(await save('own.tif', tiff(WIDTH, HEIGHT, countBytes)));
    expect(image).toEqual({ width: WIDTH, height: HEIGHT, bits: 16, data: COUNTS });
    const small = await readGreyImage(await save('own8.tif', tiff(WIDTH, HEIGHT, BYTES, { bitsPerSample: 8 })));
    expect(small).toEqual({ width: WIDTH, height: HEIGHT, bits: 8, data: BYTES });
  });

  it('makes luma of colour, and keeps grey that is stored as colour', async () => {
    const rgb = Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 77, 77, 77, 10, 20, 30]);
    const file = await sharp(rgb, { raw: { width: 6, height: 1, channels: 3 } })
      .png()
      .toBuffer();
    const image = await readGreyImage(await save('rgb.png', file));
    expect(image.bits).toBe(8);
    expect([...image.data]).toEqual([76, 150, 29, 255, 77, 18]);
  });

  it('makes 16-bit luma of 16-bit colour', async () => {
    const rgb = Uint16Array.from([65535, 65535, 65535, 29_123, 29_123, 29_123, 1000, 2000, 3000]);
    const raw = { width: 3, height: 1, channels: 3 } as const;
    const file = await sharp(rgb, { raw }).toColourspace('rgb16').png().toBuffer();
    const image = await readGreyImage(await save('rgb16.png', file));
    expect(image.bits).toBe(16);
    expect([...image.data]).toEqual([65535, 29_123, 1815]);
  });

  it('reads a palette PNG', async () => {
    const raw = { width: WIDTH, height: HEIGHT, channels: 1 } as const;
    const two = BYTES.map((value) => (value > 127 ? 200 : 10));
    const file = await sharp(two, { raw }).png({ palette: true, colours: 2, dither: 0 }).toBuffer();
    const image = await readGreyImage(await save('palette.png', file));
    expect(image).toEqual({ width: WIDTH, height: HEIGHT, bits: 8, data: two });
  });

  it('ignores an alpha channel', async () => {
    const withAlpha = new Uint16Array(COUNTS.length * 2);
    for (let i = 0; i < COUNTS.length; i++) withAlpha.set([COUNTS[i]!, i % 2 === 0 ? 0 : 40_000], 2 * i);
    const raw = { width: WIDTH, height: HEIGHT, channels: 2 } as const;
    const file = await sharp(withAlpha, { raw }).toColourspace('grey16').png().toBuffer();
    expect((await readGreyImage(await save('alpha.png', file))).data).toEqual(COUNTS);
  });

  it('does not apply a colour profile or the orientation', async () => {
    const raw = { width: WIDTH, height: HEIGHT, channels: 1 } as const;
    const file = await sharp(BYTES, { raw }).toColourspace('b-w').withMetadata({ orientation: 6 }).png().toBuffer();
    expect(await readGreyImage(await save('rotated.png', file))).toEqual({
      ...raw,
      channels: undefined,
      bits: 8,
      data: BYTES,
    });
  });
});

describe('readGreyImage on bad files', () => {
  const refused = (path: string, code: string, exitCode: number) =>
    expect(readGreyImage(path)).rejects.toMatchObject({ code, exitCode, message: expect.stringContaining(path) });

  it('says that a file is not there', async () => {
    await refused(join(folder, 'none.png'), 'INPUT_NOT_FOUND', EXIT.noInput);
  });

  it('refuses a folder', async () => {
    await refused(folder, 'INPUT_UNREADABLE', EXIT.ioError);
  });

  it('refuses an empty file and garbage', async () => {
    await refused(await save('empty.png', new Uint8Array()), 'IMAGE_UNREADABLE', EXIT.dataError);
    await refused(await save('garbage.png', Buffer.from('no picture at all')), 'IMAGE_UNREADABLE', EXIT.dataError);
  });

  it.each([0.1, 0.5, 0.95])(
    'refuses a PNG of which only a part (%d) is there, rather than padding it',
    async (part) => {
      const path = join(folder, 'whole.png');
      await writeGreyPng(path, { width: WIDTH, height: HEIGHT, data: COUNTS });
      const whole = await sharp(path).toColourspace('grey16').png().toBuffer();
      const cut = await save(`cut${part}.png`, whole.subarray(0, Math.floor(whole.length * part)));
      await refused(cut, 'IMAGE_UNREADABLE', EXIT.dataError);
    },
  );

  it.each([0.5, 0.99])('refuses a TIFF of which only a part (%d) is there', async (part) => {
    const whole = tiff(WIDTH, HEIGHT, countBytes);
    const cut = await save(`cut${part}.tif`, whole.subarray(0, Math.floor(whole.length * part)));
    await refused(cut, 'IMAGE_UNREADABLE', EXIT.dataError);
  });

  it('refuses a PNG with a flipped bit', async () => {
    const path = join(folder, 'flip.png');
    await writeGreyPng(path, { width: WIDTH, height: HEIGHT, data: COUNTS });
    const file = await sharp(path).toColourspace('grey16').png().toBuffer();
    file[file.length >> 1]! ^= 4;
    await refused(await save('flipped.png', file), 'IMAGE_UNREADABLE', EXIT.dataError);
  });

  it('refuses float and signed samples, stacks of pages, and other formats', async () => {
    const floats = new Uint8Array(new Float32Array(WIDTH * HEIGHT).fill(0.5).buffer);
    const float = tiff(WIDTH, HEIGHT, floats, { bitsPerSample: 32, sampleFormat: 3 });
    await refused(await save('float.tif', float), 'IMAGE_UNSUPPORTED', EXIT.dataError);
    const signed = tiff(WIDTH, HEIGHT, countBytes, { sampleFormat: 2 });
    await refused(await save('signed.tif', signed), 'IMAGE_UNSUPPORTED', EXIT.dataError);
    await refused(
      await save('stack.tif', tiff(WIDTH, HEIGHT, countBytes, { pages: 3 })),
      'IMAGE_UNSUPPORTED',
      EXIT.dataError,
    );
    const jpeg = await sharp(BYTES, { raw: { width: WIDTH, height: HEIGHT, channels: 1 } })
      .jpeg()
      .toBuffer();
    await refused(await save('jpeg.png', jpeg), 'IMAGE_UNSUPPORTED', EXIT.dataError);
  });

  it('keeps the message on one line', async () => {
    // A header that promises a picture, and pixel data that is no zlib stream.
    const path = await save(
      'lines.png',
      Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), deflateSync(Buffer.alloc(99))]),
    );
    const error = await readGreyImage(path).catch((e: unknown) => e as Error);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).not.toContain('\n');
  });
});

describe('writeGreyPng', () => {
  it('says that the disk is full', async () => {
    await expect(writeGreyPng('/dev/full', { width: WIDTH, height: HEIGHT, data: COUNTS })).rejects.toMatchObject({
      code: 'OUTPUT_FAILED',
      exitCode: EXIT.ioError,
    });
  });

  it('says that a file cannot be created', async () => {
    const path = join(folder, 'no-such-folder', 'a.png');
    await expect(writeGreyPng(path, { width: WIDTH, height: HEIGHT, data: BYTES })).rejects.toMatchObject({
      code: 'OUTPUT_NOT_WRITABLE',
      exitCode: EXIT.cannotCreate,
      message: expect.stringContaining(path),
    });
  });
});
