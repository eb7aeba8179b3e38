import { crc32, deflateSync } from 'node:zlib';

const SIGNATURE = Buffer.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const GREYSCALE = 0;

/**
 * A grey PNG (https://www.w3.org/TR/png-3/) of `width * height` values, row by row: 8 bits a sample from a `Uint8Array`, 16 from a
 * `Uint16Array`. Values are stored as they are. Synchronous, for pictures of some kilopixels within a frame's work; sharp, which
 * reads and writes whole pictures elsewhere, only answers later.
 *
 * @throws RangeError where the size and the data do not agree
 */
export function encodePng(width: number, height: number, data: Uint8Array | Uint16Array): Buffer {
  if (width < 1 || height < 1 || data.length !== width * height) {
    throw new RangeError(`${data.length} values are no picture of ${width}x${height}`);
  }
  const bytes = data.BYTES_PER_ELEMENT;
  const stride = 1 + width * bytes;
  const rows = Buffer.alloc(height * stride);
  for (let y = 0; y < height; y++) {
    // The first byte of a row is its filter; "up" makes smooth thermal pictures small, and the first row has none above it.
    const at = y * stride;
    rows[at] = y === 0 ? 0 : 2;
    for (let x = 0; x < width; x++) {
      const value = data[y * width + x]!;
      const above = y === 0 ? 0 : data[(y - 1) * width + x]!;
      if (bytes === 1) rows[at + 1 + x] = value - above;
      else {
        // Most significant byte first; each byte is filtered by itself.
        rows[at + 1 + 2 * x] = (value >> 8) - (above >> 8);
        rows[at + 2 + 2 * x] = (value & 255) - (above & 255);
      }
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8 * bytes;
  header[9] = GREYSCALE;
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), content]);
  const whole = Buffer.alloc(8 + body.length);
  whole.writeUInt32BE(content.length, 0);
  body.copy(whole, 4);
  whole.writeUInt32BE(crc32(body), 4 + body.length);
  return whole;
}
