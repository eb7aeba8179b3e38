import type { CameraProfileInput } from '../../src/capture/profile-schema.js';

/** How a camera lays its samples out; written down once more, so that the decoder is not checked against itself. */
export interface RawForm {
  width: number;
  /** Rows of the delivered frame. */
  rows: number;
  /** From one row to the next, bytes. */
  bytesPerLine: number;
  /** Of the picture. */
  top: number;
  /** Bytes from one sample to the next in a row, and place of the first. */
  step: number;
  offset: number;
  wide: boolean;
  big: boolean;
  shift: number;
}

/** A delivered frame with this picture in it; what is no picture is filled with `filler`. */
export function rawFrame(form: RawForm, picture: ArrayLike<number>, filler = 0xa5): Uint8Array {
  const { width, rows, bytesPerLine, top, step, offset, wide, big, shift } = form;
  const bytes = new Uint8Array(rows * bytesPerLine).fill(filler);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < picture.length; i++) {
    const at = (top + Math.floor(i / width)) * bytesPerLine + offset + (i % width) * step;
    if (wide) view.setUint16(at, picture[i]! << shift, !big);
    else view.setUint8(at, picture[i]!);
  }
  return bytes;
}

/** Puts words into rows of a delivered frame, little-endian unless `big`. */
export function writeWords(bytes: Uint8Array, at: number, words: ArrayLike<number>, big = false): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < words.length; i++) view.setUint16(at + 2 * i, words[i]!, !big);
}

export interface LeptonRow {
  uptimeMs?: number;
  /** 0 never, 1 imminent, 2 in progress, 3 complete. */
  ffc?: number;
  ffcDesired?: boolean;
  overheated?: boolean;
  frameCounter?: number;
  kelvin100?: number;
  lastFfcMs?: number;
  /** Which word of a pair comes first. Default the low one. */
  highFirst?: boolean;
}

/** Telemetry row A of a Lepton, 80 words; the rest of `count` is 0. */
export function leptonRow(row: LeptonRow = {}, count = 80): Uint16Array {
  const words = new Uint16Array(count);
  const pair = (at: number, value: number) => {
    words[at] = row.highFirst ? value >>> 16 : value & 0xffff;
    words[at + 1] = row.highFirst ? value & 0xffff : value >>> 16;
  };
  words[0] = 0x0e;
  pair(1, row.uptimeMs ?? 60_000);
  pair(3, ((row.ffcDesired ? 1 : 0) << 3) | ((row.ffc ?? 3) << 4) | ((row.overheated ? 1 : 0) << 20));
  pair(20, row.frameCounter ?? 1000);
  words[24] = row.kelvin100 ?? 30_515;
  pair(30, row.lastFfcMs ?? 5000);
  return words;
}

export interface BosonRow {
  /** 0 never, 1 imminent, 2 in progress, 3 complete. */
  ffc?: number;
  ffcDesired?: boolean;
  overheated?: boolean;
  frameCounter?: number;
  lastFfcFrame?: number;
  kelvin10?: number;
}

/** First telemetry row of a Boson, by the byte offsets of its interface description. */
export function bosonRow(row: BosonRow = {}, count = 640): Uint16Array {
  const bytes = new Uint8Array(2 * count);
  const view = new DataView(bytes.buffer);
  view.setUint32(76, (row.ffc ?? 3) | ((row.ffcDesired ? 1 : 0) << 5) | ((row.overheated ? 1 : 0) << 8), true);
  view.setUint32(84, row.frameCounter ?? 1000, true);
  view.setUint32(88, row.lastFfcFrame ?? 100, true);
  view.setUint16(94, row.kelvin10 ?? 3051, true);
  return new Uint16Array(bytes.buffer);
}

/** A profile with what every one needs. */
export function profileInput(more: Partial<CameraProfileInput> & { fourcc: string }): CameraProfileInput {
  return { id: 'under-test', name: 'under test', ...more };
}
