import { endianness } from 'node:os';
import { EdgeError, EXIT } from '../types/errors.js';
import type { FrameTelemetry } from '../types/frame.js';
import type { Pixels } from './frame-reader.js';
import { MOST_PIXELS } from './frame-size.js';
import { layoutOf, type PixelLayout } from './pixel-layout.js';
import type { CameraProfile } from './profile-schema.js';
import { createTelemetryParser, type TelemetryParser, type TelemetryWords } from './telemetry.js';

/** How a delivered frame lies in memory. */
export interface RawLayout {
  /** From one row to the next, bytes (V4L2's bytesperline). Default: no gap. */
  bytesPerLine?: number;
  /** Bytes that the driver filled (V4L2's bytesused). Default: all. */
  bytesUsed?: number;
}

export interface DecodedFrame extends Pixels {
  /** Absent: no telemetry rows, or they make no sense. */
  telemetry?: FrameTelemetry;
}

/** Views kept of the buffers that frames come in: a ring has few, and a view a frame would be garbage a frame. */
const KEPT_VIEWS = 16;
const HOST_ENDIAN = endianness() === 'LE' ? 'little' : 'big';

interface View {
  buffer: ArrayBufferLike;
  byteOffset: number;
  samples: Uint8Array | Uint16Array;
}

/**
 * Frames of one camera, as its driver delivers them, to counts. It owns the memory of what it returns: one picture and one telemetry object,
 * each valid until the next call. In steady state nothing is allocated.
 */
export class FrameDecoder {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  private readonly layout: PixelLayout;
  private readonly top: number;
  private readonly frameRows: number;
  private readonly rowBytes: number;
  private readonly out: Uint8Array | Uint16Array;
  /** Two, so that neither ever changes its shape. */
  private readonly bare: DecodedFrame;
  private readonly told: DecodedFrame & { telemetry: FrameTelemetry };
  private readonly parser: TelemetryParser | undefined;
  private readonly words: RowWords | undefined;
  private readonly views: View[] = [];
  private nextView = 0;

  /**
   * @param size of the delivered frames, px; for a profile without one. Default: the profile's.
   * @throws EdgeError PROFILE_UNFIT: there is no size, or another one
   */
  constructor(
    private readonly profile: CameraProfile,
    size?: { width: number; height: number },
  ) {
    const width = profile.width ?? size?.width;
    const frameRows = profile.height ?? size?.height;
    if (width === undefined || frameRows === undefined)
      throw unfit(profile, 'width', 'it names no size, and none is given');
    if (width * frameRows > MOST_PIXELS)
      throw unfit(profile, 'width', `${width}x${frameRows} is more than ${MOST_PIXELS} pixels`);
    if (size !== undefined && (size.width !== width || size.height !== frameRows)) {
      const field = size.width === width ? 'height' : 'width';
      throw unfit(profile, field, `it is for ${width}x${frameRows}, the camera delivers ${size.width}x${size.height}`);
    }
    this.layout = layoutOf(profile);
    this.width = width;
    this.frameRows = frameRows;
    this.top = profile.imageRows?.top ?? 0;
    this.height = profile.imageRows?.height ?? frameRows;
    this.bits = this.layout.bits;
    this.rowBytes = width * this.layout.step;
    this.out =
      this.layout.sampleBytes === 2 ? new Uint16Array(width * this.height) : new Uint8Array(width * this.height);
    this.bare = { width, height: this.height, bits: this.bits, data: this.out };
    this.told = { ...this.bare, telemetry: {} };
    const { telemetry } = profile;
    if (telemetry !== undefined) {
      this.parser = createTelemetryParser(telemetry.parser);
      this.words = new RowWords(width, telemetry.rows, telemetry.top, this.layout.endian === 'big');
    }
  }

  /**
   * Can a frame of this format be decoded at all? A driver that counts less for a row or for a frame never delivers one that can.
   * @param format the one in force; 0: the driver does not say
   * @throws EdgeError PROFILE_UNFIT
   */
  checkFormat({ bytesPerLine, sizeImage }: { bytesPerLine: number; sizeImage: number }): void {
    const stride = this.strideOf(bytesPerLine);
    if (stride < this.rowBytes) {
      const why = `rows of ${this.width} columns need ${this.rowBytes} bytes, the camera's have ${stride}`;
      throw unfit(this.profile, 'content', why);
    }
    const needed = this.bytesFor(stride);
    if (sizeImage > 0 && sizeImage < needed) {
      const why = `${this.width}x${this.frameRows} needs ${needed} bytes, the camera's frames have ${sizeImage}`;
      throw unfit(this.profile, 'content', why);
    }
  }

  /**
   * One frame. Throws `EdgeError` `FRAME_SHORT` when it holds fewer bytes than its rows need.
   * @param bytes the driver's buffer
   */
  decode(bytes: Uint8Array, raw: RawLayout = {}): DecodedFrame {
    const stride = this.strideOf(raw.bytesPerLine);
    const used = Math.min(raw.bytesUsed ?? bytes.length, bytes.length);
    const needed = this.bytesFor(stride);
    if (stride < this.rowBytes || used < needed) throw this.short(stride, used, needed);
    if (this.layout.sampleBytes === 2) this.counts(bytes, stride);
    else this.luma(bytes, stride);
    if (this.words === undefined || this.parser === undefined) return this.bare;
    this.words.set(bytes, stride);
    const telemetry = this.parser.parse(this.words);
    if (telemetry === undefined) return this.bare;
    this.told.telemetry = telemetry;
    return this.told;
  }

  private strideOf(bytesPerLine = 0): number {
    return bytesPerLine === 0 ? this.rowBytes : bytesPerLine;
  }

  /** The last row needs no gap behind it. */
  private bytesFor(stride: number): number {
    return stride * (this.frameRows - 1) + this.rowBytes;
  }

  private counts(bytes: Uint8Array, stride: number): void {
    const { width, height, top, layout } = this;
    const { shift } = this.profile;
    const out = this.out as Uint16Array;
    const swap = layout.endian !== HOST_ENDIAN;
    if (stride % 2 !== 0 || (bytes.byteOffset + top * stride) % 2 !== 0) {
      this.unaligned(bytes, stride);
      return;
    }
    const source = this.view(bytes, top * stride, ((height - 1) * stride) / 2 + width, true) as Uint16Array;
    if (!swap && shift === 0 && stride === this.rowBytes) {
      out.set(source);
      return;
    }
    const step = stride / 2;
    for (let y = 0, to = 0; y < height; y++) {
      let from = y * step;
      const end = to + width;
      if (swap) while (to < end) out[to++] = swapped(source[from++]!) >> shift;
      else while (to < end) out[to++] = source[from++]! >> shift;
    }
  }

  private unaligned(bytes: Uint8Array, stride: number): void {
    const { width, height, top, layout, out } = this;
    const { shift } = this.profile;
    const low = layout.endian === 'little' ? 0 : 1;
    for (let y = 0, to = 0; y < height; y++) {
      let from = (top + y) * stride;
      for (const end = to + width; to < end; to++, from += 2) {
        out[to] = (bytes[from + low]! | (bytes[from + 1 - low]! << 8)) >> shift;
      }
    }
  }

  private luma(bytes: Uint8Array, stride: number): void {
    const { width, height, top, layout, out } = this;
    if (layout.step === 1 && stride === width) {
      out.set(this.view(bytes, top * stride, width * height, false));
      return;
    }
    for (let y = 0, to = 0; y < height; y++) {
      let from = (top + y) * stride + layout.offset;
      for (const end = to + width; to < end; from += layout.step) out[to++] = bytes[from]!;
    }
  }

  /** A view of the picture in a buffer of the driver: the same one each time that the buffer comes round. */
  private view(bytes: Uint8Array, from: number, length: number, wide: boolean): Uint8Array | Uint16Array {
    const { buffer } = bytes;
    const byteOffset = bytes.byteOffset + from;
    for (const kept of this.views) {
      if (kept.buffer === buffer && kept.byteOffset === byteOffset && kept.samples.length === length)
        return kept.samples;
    }
    const samples = wide ? new Uint16Array(buffer, byteOffset, length) : new Uint8Array(buffer, byteOffset, length);
    this.views[this.nextView] = { buffer, byteOffset, samples };
    this.nextView = (this.nextView + 1) % KEPT_VIEWS;
    return samples;
  }

  private short(stride: number, used: number, needed: number): EdgeError {
    const what =
      stride < this.rowBytes
        ? `rows of ${stride} bytes, ${this.width} columns need ${this.rowBytes}`
        : `${used} bytes, ${this.width}x${this.frameRows} needs ${needed}`;
    return new EdgeError('FRAME_SHORT', `a frame of profile ${this.profile.id} has ${what}`, {
      hint: 'Check fourcc, width and height of the profile against what the camera delivers.',
      exitCode: EXIT.dataError,
    });
  }
}

/** One frame, in memory of its own: for a look at a few frames. A stream has a `FrameDecoder`. Throws as that does. */
export function decodeFrame(
  profile: CameraProfile,
  bytes: Uint8Array,
  raw: RawLayout & { width?: number; height?: number } = {},
): DecodedFrame {
  const { width, height } = raw;
  return new FrameDecoder(profile, width === undefined || height === undefined ? undefined : { width, height }).decode(
    bytes,
    raw,
  );
}

/** The error for a profile that does not suit a camera; names the field. */
export function unfit(profile: Pick<CameraProfile, 'id'>, field: string, why: string): EdgeError {
  return new EdgeError('PROFILE_UNFIT', `profile ${profile.id} does not fit: ${field}: ${why}`, {
    hint: 'v4l2-ctl --list-formats-ext shows what the camera delivers; docs/cameras.md lists the profiles',
    exitCode: EXIT.config,
  });
}

const swapped = (v: number): number => ((v & 0xff) << 8) | (v >> 8);

class RowWords implements TelemetryWords {
  readonly count: number;
  private bytes: Uint8Array = new Uint8Array(0);
  private stride = 0;

  constructor(
    readonly width: number,
    rows: number,
    private readonly top: number,
    private readonly big: boolean,
  ) {
    this.count = width * rows;
  }

  set(bytes: Uint8Array, stride: number): void {
    this.bytes = bytes;
    this.stride = stride;
  }

  word(index: number): number {
    const row = Math.floor(index / this.width);
    const at = (this.top + row) * this.stride + 2 * (index - row * this.width);
    const a = this.bytes[at]!;
    const b = this.bytes[at + 1]!;
    return this.big ? (a << 8) | b : a | (b << 8);
  }
}
