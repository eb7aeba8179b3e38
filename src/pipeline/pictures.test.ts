import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import type { Frame } from '../types/frame.js';
import { cropAround, framePicture } from './pictures.js';

function frame(width: number, height: number, value: (x: number, y: number) => number, bits = 14): Frame {
  const data = bits > 8 ? new Uint16Array(width * height) : new Uint8Array(width * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data[y * width + x] = value(x, y);
  return { sequence: 7, captureMonotonicNs: 1n, capturedAtMs: 1000, width, height, bits, data };
}

describe('crop', () => {
  test('centred on the target; pushed inside at the borders; never outside, whatever the place', () => {
    const f = frame(40, 30, (x, y) => 100 * y + x);
    const middle = cropAround(f, 20.4, 14.6, 9);
    expect(middle).toMatchObject({ x: 16, y: 11, width: 9, height: 9 });
    expect(middle.data[4 * 9 + 4]).toBe(100 * 15 + 20);
    fc.assert(
      fc.property(
        fc.double({ min: -10, max: 60, noNaN: true }),
        fc.double({ min: -10, max: 60, noNaN: true }),
        fc.integer({ min: 1, max: 64 }),
        (x, y, side) => {
          const crop = cropAround(f, x, y, side);
          expect(crop.width).toBe(Math.min(side, 40));
          expect(crop.height).toBe(Math.min(side, 30));
          const wanted = crop.data.map(
            (_, i) => 100 * (crop.y + Math.floor(i / crop.width)) + crop.x + (i % crop.width),
          );
          expect(Buffer.compare(Buffer.from(crop.data.buffer), Buffer.from(wanted.buffer))).toBe(0);
        },
      ),
      { numRuns: 100 },
    );
  });

  test('is a copy: the frame’s own memory is used again', () => {
    const f = frame(8, 8, () => 5);
    const crop = cropAround(f, 4, 4, 4);
    f.data.fill(9);
    expect([...crop.data]).toEqual(new Array(16).fill(5));
  });
});

describe('picture of a frame', () => {
  const options = { maxSide: 320, bits: 16, maxBytes: 100_000 } as const;

  test('16 bit: counts as they are, where it fits', async () => {
    const picture = framePicture(
      frame(64, 48, (x, y) => 8000 + 10 * x + y),
      options,
    );
    expect(picture).toMatchObject({ sequence: 7, capturedAtMs: 1000, width: 64, height: 48, bits: 16, scale: 1 });
    const raw = await sharp(picture!.png).toColourspace('grey16').raw({ depth: 'ushort' }).toBuffer();
    expect(raw.readUInt16LE(2 * (5 * 64 + 3))).toBe(8035);
  });

  test('larger than allowed: means of squares', async () => {
    const picture = framePicture(
      frame(640, 512, (x) => (x % 2 === 0 ? 1000 : 2000)),
      options,
    );
    expect(picture).toMatchObject({ width: 320, height: 256, scale: 2 });
    const raw = await sharp(picture!.png).toColourspace('grey16').raw({ depth: 'ushort' }).toBuffer();
    expect(raw.readUInt16LE(1000)).toBe(1500);
  });

  test('8 bit: stretched between all but the extremes, and says between which counts', async () => {
    const picture = framePicture(
      frame(100, 100, (x, y) => (x === 0 && y === 0 ? 16_000 : 4000 + x)),
      { ...options, bits: 8 },
    );
    expect(picture).toMatchObject({ bits: 8, black: 4000, white: 4099 });
    const raw = await sharp(picture!.png).toColourspace('b-w').raw().toBuffer();
    expect([raw[0], raw[1], raw[99]]).toEqual([255, 3, 255]);
    // Counts of 8 bits need no stretching.
    const plain = framePicture(
      frame(10, 10, (x) => x, 8),
      { ...options, bits: 8 },
    );
    expect(plain).toMatchObject({ bits: 8 });
    expect(plain).not.toHaveProperty('black');
  });

  test('never more bytes than allowed: noise, which no compression makes small, is shown smaller', () => {
    let state = 1;
    const noise = frame(200, 160, () => {
      state = (state * 48_271) % 2_147_483_647;
      return state % 16_384;
    });
    const picture = framePicture(noise, { ...options, maxBytes: 8_000 });
    expect(picture!.png.length).toBeLessThanOrEqual(8_000);
    expect(picture!.scale).toBeGreaterThan(1);
    expect(framePicture(noise, { ...options, maxBytes: 10 })).toBeNull();
  });
});
