import fc from 'fast-check';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { encodePng } from './png.js';

const size = fc.record({ width: fc.integer({ min: 1, max: 20 }), height: fc.integer({ min: 1, max: 20 }) });

test('another program reads back every value, 8 and 16 bit', async () => {
  const picture = size.chain(({ width, height }) =>
    fc.record({
      width: fc.constant(width),
      height: fc.constant(height),
      data: fc.oneof(
        fc.uint8Array({ minLength: width * height, maxLength: width * height }),
        fc.uint16Array({ minLength: width * height, maxLength: width * height }),
      ),
    }),
  );
  await fc.assert(
    fc.asyncProperty(picture, async ({ width, height, data }) => {
      const png = encodePng(width, height, data);
      const meta = await sharp(png).metadata();
      expect(meta).toMatchObject({
        format: 'png',
        width,
        height,
        depth: data.BYTES_PER_ELEMENT === 1 ? 'uchar' : 'ushort',
      });
      const grey = data.BYTES_PER_ELEMENT === 1 ? 'b-w' : 'grey16';
      const raw = await sharp(png)
        .toColourspace(grey)
        .raw({ depth: meta.depth as 'uchar' })
        .toBuffer();
      const back = data.BYTES_PER_ELEMENT === 1 ? raw : new Uint16Array(raw.buffer, raw.byteOffset, raw.length / 2);
      expect([...back]).toEqual([...data]);
    }),
    { numRuns: 50 },
  );
});

test('a size that is not that of the data is refused', () => {
  expect(() => encodePng(3, 2, new Uint8Array(5))).toThrow(RangeError);
  expect(() => encodePng(0, 0, new Uint8Array(0))).toThrow(RangeError);
});
