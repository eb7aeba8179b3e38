import type { Frame } from '../types/frame.js';
import type { Crop, FramePicture, FramePictureOptions } from '../types/picture.js';
import { encodePng } from '../util/png.js';

type Picture = Pick<Frame, 'width' | 'height' | 'data'>;

/** The square of `side` px round (x, y), moved inside the frame where it would stand out; smaller only where the frame is. A copy. */
export function cropAround(frame: Picture, x: number, y: number, side: number): Crop {
  const width = Math.min(side, frame.width);
  const height = Math.min(side, frame.height);
  const left = Math.min(Math.max(Math.round(x - (width - 1) / 2), 0), frame.width - width);
  const top = Math.min(Math.max(Math.round(y - (height - 1) / 2), 0), frame.height - height);
  const data = like(frame.data, width * height);
  for (let row = 0; row < height; row++) {
    const from = (top + row) * frame.width + left;
    data.set(frame.data.subarray(from, from + width), row * width);
  }
  return { x: left, y: top, width, height, data };
}

/**
 * The frame as a small PNG: means of squares of pixels, as large squares as `maxSide` and `maxBytes` ask for; what is left over at the
 * right and at the bottom is cut off. Null where not even a picture of some pixels fits. Pure.
 */
export function framePicture(frame: Frame, options: FramePictureOptions): FramePicture | null {
  const { maxSide, maxBytes } = options;
  const most = Math.min(frame.width, frame.height);
  for (let scale = Math.ceil(Math.max(frame.width, frame.height) / maxSide); scale <= most; scale++) {
    const small = shrink(frame, scale);
    const narrow = options.bits === 8 && small.data.BYTES_PER_ELEMENT === 2 ? stretch(small.data) : undefined;
    const data = narrow?.data ?? small.data;
    const png = encodePng(small.width, small.height, data);
    if (png.length > maxBytes) continue;
    return {
      sequence: frame.sequence,
      capturedAtMs: frame.capturedAtMs,
      width: small.width,
      height: small.height,
      bits: data.BYTES_PER_ELEMENT === 1 ? 8 : 16,
      scale,
      ...(narrow && { black: narrow.black, white: narrow.white }),
      png,
    };
  }
  return null;
}

function shrink(frame: Picture, scale: number): Picture {
  if (scale === 1) return frame;
  const width = Math.floor(frame.width / scale);
  const height = Math.floor(frame.height / scale);
  const data = like(frame.data, width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let v = 0; v < scale; v++) {
        const row = (y * scale + v) * frame.width + x * scale;
        for (let u = 0; u < scale; u++) sum += frame.data[row + u]!;
      }
      data[y * width + x] = Math.round(sum / (scale * scale));
    }
  }
  return { width, height, data };
}

/** To 8 bits, from all but the darkest and the brightest half per cent of pixels. */
function stretch(data: Uint8Array | Uint16Array): { data: Uint8Array; black: number; white: number } {
  const sorted = Uint16Array.from(data).sort();
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  const black = at(0.005);
  const white = Math.max(at(0.995), black + 1);
  const range = white - black;
  return {
    data: Uint8Array.from(data, (value) => Math.min(255, Math.max(0, Math.round((255 * (value - black)) / range)))),
    black,
    white,
  };
}

function like(data: Uint8Array | Uint16Array, length: number): Uint8Array | Uint16Array {
  return data.BYTES_PER_ELEMENT === 1 ? new Uint8Array(length) : new Uint16Array(length);
}
