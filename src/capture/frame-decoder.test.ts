import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { bosonRow, leptonRow, profileInput, type RawForm, rawFrame, writeWords } from '../../test/fakes/raw-frames.js';
import { decodeFrame, FrameDecoder } from './frame-decoder.js';
import { FOURCC_LAYOUTS } from './pixel-layout.js';
import { type CameraProfileInput, parseProfile } from './profile-schema.js';

const W = 6;
const H = 4;
const form: RawForm = {
  width: W,
  rows: H,
  bytesPerLine: 2 * W,
  top: 0,
  step: 2,
  offset: 0,
  wide: true,
  big: false,
  shift: 0,
};
const profile = (more: Partial<CameraProfileInput> & { fourcc: string }) => parseProfile(profileInput(more), 'a test');
const sized = (more: Partial<CameraProfileInput> & { fourcc: string }) => profile({ width: W, height: H, ...more });
/** Counts over the whole range of `bits`, none like its neighbours. */
const ramp = (bits: number, n = W * H) =>
  Array.from({ length: n }, (_, i) => ((i * 2654435761 + 12345) % 2 ** bits) & (2 ** bits - 1));
const list = (data: ArrayLike<number>) => Array.from(data);

afterEach(() => vi.unstubAllGlobals());

describe('counts', () => {
  test.each([
    ['Y10 ', 10],
    ['Y12 ', 12],
    ['Y14 ', 14],
    ['Y16 ', 16],
  ])('%j: %i bits, low byte first', (fourcc, bits) => {
    const picture = ramp(bits);
    const frame = decodeFrame(sized({ fourcc }), rawFrame(form, picture));
    expect(frame).toMatchObject({ width: W, height: H, bits });
    expect(frame.data).toBeInstanceOf(Uint16Array);
    expect(list(frame.data)).toEqual(picture);
    expect(frame.telemetry).toBeUndefined();
  });

  test('the bytes of one sample, by hand', () => {
    const bytes = Uint8Array.of(0x34, 0x12, 0xff, 0x00);
    expect(list(decodeFrame(profile({ fourcc: 'Y16 ', width: 2, height: 1 }), bytes).data)).toEqual([0x1234, 0x00ff]);
    const big = profile({ fourcc: 'Y16 -BE', width: 2, height: 1 });
    expect(list(decodeFrame(big, bytes).data)).toEqual([0x3412, 0xff00]);
    const left = profile({ fourcc: 'Y16 ', width: 2, height: 1, bits: 12, shift: 4 });
    expect(list(decodeFrame(left, bytes).data)).toEqual([0x123, 0x00f]);
  });

  test('big-endian by the pixel format and by the profile', () => {
    const picture = ramp(16);
    const bytes = rawFrame({ ...form, big: true }, picture);
    expect(list(decodeFrame(sized({ fourcc: 'Y16 -BE' }), bytes).data)).toEqual(picture);
    expect(list(decodeFrame(sized({ fourcc: 'Y16 ', endian: 'big' }), bytes).data)).toEqual(picture);
    expect(list(decodeFrame(sized({ fourcc: 'Y16 ' }), bytes).data)).not.toEqual(picture);
  });

  test.each([
    [14, 2],
    [12, 4],
    [10, 6],
    [8, 8],
  ])('left-justified: %i bits, shifted by %i', (bits, shift) => {
    const picture = ramp(bits);
    const frame = decodeFrame(sized({ fourcc: 'Y16 ', bits, shift }), rawFrame({ ...form, shift }, picture));
    expect(frame.bits).toBe(bits);
    expect(list(frame.data)).toEqual(picture);
    const big = decodeFrame(
      sized({ fourcc: 'Y16 -BE', bits, shift }),
      rawFrame({ ...form, shift, big: true }, picture),
    );
    expect(list(big.data)).toEqual(picture);
  });

  test('a buffer at an odd address, and rows of an odd length', () => {
    const picture = ramp(16);
    for (const big of [false, true]) {
      for (const bytesPerLine of [2 * W, 2 * W + 1, 2 * W + 4]) {
        const bytes = rawFrame({ ...form, big, bytesPerLine }, picture);
        const odd = new Uint8Array(bytes.length + 1);
        odd.set(bytes, 1);
        for (const at of [bytes, odd.subarray(1)]) {
          const frame = decodeFrame(sized({ fourcc: big ? 'Y16 -BE' : 'Y16 ' }), at, { bytesPerLine });
          expect(list(frame.data)).toEqual(picture);
        }
      }
    }
  });
});

describe('luma', () => {
  test.each([
    ['GREY', 1, 0],
    ['Y8  ', 1, 0],
    ['NV12', 1, 0],
    ['NV21', 1, 0],
    ['NV16', 1, 0],
    ['YU12', 1, 0],
    ['YV12', 1, 0],
    ['YUYV', 2, 0],
    ['YVYU', 2, 0],
    ['UYVY', 2, 1],
    ['VYUY', 2, 1],
  ])('%j: a sample every %i bytes from %i on', (fourcc, step, offset) => {
    const picture = ramp(8);
    const bytes = rawFrame({ ...form, wide: false, step, offset, bytesPerLine: W * step }, picture);
    const chroma = new Uint8Array(bytes.length * 2).fill(0x5a);
    chroma.set(bytes);
    const frame = decodeFrame(sized({ fourcc }), chroma);
    expect(frame).toMatchObject({ bits: 8, width: W, height: H });
    expect(frame.data).toBeInstanceOf(Uint8Array);
    expect(list(frame.data)).toEqual(picture);
  });

  test('every pixel format that is known has been tried here', () => {
    const tried = 'Y10 ,Y12 ,Y14 ,Y16 ,Y16 -BE,GREY,Y8  ,NV12,NV21,NV16,YU12,YV12,YUYV,YVYU,UYVY,VYUY'.split(',');
    expect(Object.keys(FOURCC_LAYOUTS).sort()).toEqual(tried.sort());
  });
});

describe('rows', () => {
  test('a picture and rows of 16 bits in one "YUYV" frame: the counts are taken, the picture is not', () => {
    const counts = ramp(16);
    // The camera's own picture: luma and grey chroma.
    const bytes = rawFrame({ ...form, rows: 2 * H, top: H }, counts, 0x80);
    const both = { fourcc: 'YUYV', content: 'counts', width: W, height: 2 * H } as const;
    const frame = decodeFrame(profile({ ...both, imageRows: { top: H, height: H } }), bytes);
    expect(frame).toMatchObject({ width: W, height: H, bits: 16 });
    expect(list(frame.data)).toEqual(counts);
    const upper = decodeFrame(profile({ ...both, imageRows: { top: 0, height: H } }), bytes);
    expect(list(upper.data)).toEqual(Array(W * H).fill(0x8080));
  });

  test.each(['above', 'below'])('telemetry rows %s the picture are cut off and read', (where) => {
    const picture = ramp(14, 80 * H);
    const top = where === 'above' ? 3 : 0;
    const telemetry = { top: where === 'above' ? 0 : H, rows: 3, parser: 'lepton' } as const;
    const p = profile({
      fourcc: 'Y16 ',
      width: 80,
      height: H + 3,
      imageRows: { top, height: H },
      telemetry,
      bits: 14,
      ffc: { detect: ['telemetry'] },
    });
    const bytes = rawFrame({ ...form, width: 80, rows: H + 3, bytesPerLine: 160, top }, picture);
    writeWords(bytes, telemetry.top * 160, leptonRow({ ffc: 2, frameCounter: 77, kelvin100: 30_315 }));
    const frame = decodeFrame(p, bytes);
    expect(frame.height).toBe(H);
    expect(list(frame.data)).toEqual(picture);
    expect(frame.telemetry).toMatchObject({ ffc: 'running', frameCounter: 77 });
    expect(frame.telemetry!.temperatureC).toBeCloseTo(30, 5);
  });

  test('telemetry is found behind the gaps of padded rows, and the byte order is that of the counts', () => {
    const p = (endian: 'little' | 'big') =>
      profile({
        fourcc: 'Y16 ',
        endian,
        width: 64,
        height: H + 2,
        imageRows: { top: 2, height: H },
        telemetry: { top: 0, rows: 2, parser: 'boson' },
        ffc: { detect: ['telemetry'] },
      });
    for (const endian of ['little', 'big'] as const) {
      const picture = ramp(16, 64 * H);
      const big = endian === 'big';
      const bytes = rawFrame({ ...form, width: 64, rows: H + 2, bytesPerLine: 192, top: 2, big }, picture);
      writeWords(bytes, 0, bosonRow({ ffc: 2, frameCounter: 70_000 }, 64), big);
      const frame = decodeFrame(p(endian), bytes, { bytesPerLine: 192 });
      expect(list(frame.data)).toEqual(picture);
      expect(frame.telemetry).toMatchObject({ ffc: 'running', frameCounter: 70_000 });
    }
  });

  test('rows that are no telemetry are only cut off', () => {
    const p = profile({
      fourcc: 'Y16 ',
      width: 80,
      height: H + 1,
      imageRows: { top: 0, height: H },
      telemetry: { top: H, rows: 1, parser: 'lepton' },
    });
    const picture = ramp(16, 80 * H);
    const frame = decodeFrame(p, rawFrame({ ...form, width: 80, rows: H + 1, bytesPerLine: 160 }, picture, 0));
    expect(list(frame.data)).toEqual(picture);
    expect(frame).not.toHaveProperty('telemetry');
  });

  test.each([
    ['Y16 ', 2 * W + 2, 2, 0],
    ['Y16 ', 64, 2, 0],
    ['GREY', W + 1, 1, 0],
    ['GREY', 64, 1, 0],
    ['YUYV', 2 * W + 10, 2, 0],
    ['UYVY', 2 * W + 10, 2, 1],
  ])('%j with rows %i bytes apart', (fourcc, bytesPerLine, step, offset) => {
    const wide = fourcc === 'Y16 ';
    const picture = ramp(wide ? 16 : 8);
    const bytes = rawFrame({ ...form, wide, step, offset, bytesPerLine }, picture);
    expect(list(decodeFrame(sized({ fourcc }), bytes, { bytesPerLine }).data)).toEqual(picture);
    // A driver need not pad the last row.
    const cut = bytes.subarray(0, (H - 1) * bytesPerLine + W * step);
    expect(list(decodeFrame(sized({ fourcc }), cut, { bytesPerLine }).data)).toEqual(picture);
    // 0: the driver does not say.
    const packed = rawFrame({ ...form, wide, step, offset, bytesPerLine: W * step }, picture);
    expect(list(decodeFrame(sized({ fourcc }), packed, { bytesPerLine: 0 }).data)).toEqual(picture);
  });
});

/** Any form that a profile can describe, with a picture. */
const anyForm = fc
  .record({
    width: fc.integer({ min: 1, max: 40 }),
    height: fc.integer({ min: 1, max: 20 }),
    above: fc.integer({ min: 0, max: 3 }),
    below: fc.integer({ min: 0, max: 3 }),
    padding: fc.integer({ min: 0, max: 9 }),
    at: fc.integer({ min: 0, max: 3 }),
    fourcc: fc.constantFrom('Y16 ', 'Y16 -BE', 'GREY', 'YUYV', 'UYVY', 'NV12', 'YUYV counts', 'Y12 ', 'Y14 '),
    bits: fc.integer({ min: 8, max: 16 }),
    left: fc.boolean(),
    filler: fc.integer({ min: 0, max: 255 }),
    seed: fc.integer({ min: 1, max: 1 << 30 }),
  })
  .map((f) => {
    const luma = ['GREY', 'YUYV', 'UYVY', 'NV12'].includes(f.fourcc);
    const bits = luma ? 8 : f.fourcc === 'Y12 ' ? 12 : f.fourcc === 'Y14 ' ? 14 : f.bits;
    const shift = !luma && f.left ? 16 - bits : 0;
    const step = luma && f.fourcc !== 'YUYV' && f.fourcc !== 'UYVY' ? 1 : 2;
    const rows = f.above + f.height + f.below;
    const raw: RawForm = {
      width: f.width,
      rows,
      bytesPerLine: f.width * step + f.padding,
      top: f.above,
      step,
      offset: f.fourcc === 'UYVY' ? 1 : 0,
      wide: !luma,
      big: f.fourcc === 'Y16 -BE',
      shift,
    };
    const input: CameraProfileInput = {
      ...profileInput({ fourcc: f.fourcc.replace(' counts', '') }),
      width: f.width,
      height: rows,
      imageRows: { top: f.above, height: f.height },
      ...(f.fourcc === 'YUYV counts' ? { content: 'counts' as const } : {}),
      ...(luma ? {} : { bits, shift }),
      ...(f.below > 0 ? { telemetry: { top: f.above + f.height, rows: f.below, parser: 'none' as const } } : {}),
    };
    let state = f.seed;
    const picture = Array.from({ length: f.width * f.height }, () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % 2 ** bits;
    });
    const bytes = rawFrame(raw, picture, f.filler);
    const shifted = new Uint8Array(bytes.length + f.at);
    shifted.set(bytes, f.at);
    return { raw, input, picture, bits, bytes: shifted.subarray(f.at) };
  });

test('what is encoded in any form is decoded again, pixel by pixel', () => {
  fc.assert(
    fc.property(anyForm, ({ raw, input, picture, bits, bytes }) => {
      const frame = decodeFrame(parseProfile(input, 'a test'), bytes, { bytesPerLine: raw.bytesPerLine });
      expect([frame.width, frame.height, frame.bits]).toEqual([raw.width, picture.length / raw.width, bits]);
      expect(list(frame.data)).toEqual(picture);
    }),
    { numRuns: 500 },
  );
});

test('a format in which no frame can be decoded is refused before there is one', () => {
  const decoder = new FrameDecoder(sized({ fourcc: 'Y16 ' }));
  const enough = 2 * W * H;
  for (const format of [
    { bytesPerLine: 2 * W, sizeImage: enough },
    { bytesPerLine: 0, sizeImage: 0 },
    // The last row needs no gap behind it.
    { bytesPerLine: 2 * W + 4, sizeImage: enough + 4 * (H - 1) },
  ])
    expect(() => decoder.checkFormat(format)).not.toThrow();
  for (const [format, why] of [
    [{ bytesPerLine: W, sizeImage: enough }, "rows of 6 columns need 12 bytes, the camera's have 6"],
    [{ bytesPerLine: 2 * W, sizeImage: enough - 1 }, "6x4 needs 48 bytes, the camera's frames have 47"],
  ] as const)
    expect(() => decoder.checkFormat(format)).toThrow(
      expect.objectContaining({ code: 'PROFILE_UNFIT', message: expect.stringContaining(why) }),
    );
});

test('a frame that is one byte short is refused in any form, and never read beyond its end', () => {
  fc.assert(
    fc.property(anyForm, fc.double({ min: 0, max: 1, noNaN: true }), ({ raw, input, bytes }, where) => {
      const { bytesPerLine, rows, width, step } = raw;
      const needed = (rows - 1) * bytesPerLine + width * step;
      const p = parseProfile(input, 'a test');
      const used = Math.floor(where * (needed - 1));
      const code = expect.objectContaining({ code: 'FRAME_SHORT' });
      for (const n of [needed - 1, used]) {
        expect(() => decodeFrame(p, bytes.subarray(0, n), { bytesPerLine })).toThrow(code);
        expect(() => decodeFrame(p, bytes, { bytesPerLine, bytesUsed: n })).toThrow(code);
      }
      expect(() => decodeFrame(p, bytes.subarray(0, needed), { bytesPerLine })).not.toThrow();
    }),
    { numRuns: 300 },
  );
});

describe('refused', () => {
  test('a short frame, in one line that says what is there and what is needed', () => {
    const bytes = rawFrame(form, ramp(16)).subarray(0, 47);
    expect(() => decodeFrame(sized({ fourcc: 'Y16 ' }), bytes)).toThrow(
      'a frame of profile under-test has 47 bytes, 6x4 needs 48',
    );
    // `bytesUsed` cannot make the buffer longer than it is.
    expect(() => decodeFrame(sized({ fourcc: 'Y16 ' }), bytes, { bytesUsed: 1000 })).toThrow('has 47 bytes');
  });

  test('rows that are closer together than their samples need', () => {
    expect(() => decodeFrame(sized({ fourcc: 'Y16 ' }), new Uint8Array(1000), { bytesPerLine: 11 })).toThrow(
      'has rows of 11 bytes, 6 columns need 12',
    );
  });

  test('no size, or another size than the profile is for: the field is named', () => {
    expect(() => new FrameDecoder(profile({ fourcc: 'Y16 ' }))).toThrow(
      'profile under-test does not fit: width: it names no size, and none is given',
    );
    expect(() => new FrameDecoder(profile({ fourcc: 'Y16 ' }), { width: 65_535, height: 65_535 })).toThrow(
      '65535x65535 is more than',
    );
    const p = sized({ fourcc: 'Y16 ' });
    expect(() => new FrameDecoder(p, { width: W, height: 5 })).toThrow(
      'height: it is for 6x4, the camera delivers 6x5',
    );
    expect(() => new FrameDecoder(p, { width: 7, height: H })).toThrow('width: it is for 6x4');
    expect(new FrameDecoder(profile({ fourcc: 'Y16 ' }), { width: 3, height: 2 })).toMatchObject({
      width: 3,
      height: 2,
    });
  });

  test('after a refused frame the next good one is decoded', () => {
    const decoder = new FrameDecoder(sized({ fourcc: 'Y16 ' }));
    expect(() => decoder.decode(new Uint8Array(3))).toThrow();
    expect(list(decoder.decode(rawFrame(form, ramp(16))).data)).toEqual(ramp(16));
  });
});

describe('steady state', () => {
  const telemetry = {
    fourcc: 'Y16 ',
    width: 80,
    height: H + 1,
    imageRows: { top: 0, height: H },
    telemetry: { top: H, rows: 1, parser: 'lepton' },
  } as const;
  const leptonFrame = (counter: number) => {
    const bytes = rawFrame({ ...form, width: 80, rows: H + 1, bytesPerLine: 160 }, ramp(14, 80 * H));
    writeWords(bytes, H * 160, leptonRow({ frameCounter: counter }));
    return bytes;
  };

  test.each<[string, CameraProfileInput, RawForm]>([
    ['counts', profileInput({ fourcc: 'Y16 ', width: W, height: H }), form],
    ['big-endian', profileInput({ fourcc: 'Y16 -BE', width: W, height: H }), { ...form, big: true }],
    ['padded rows', profileInput({ fourcc: 'Y16 ', width: W, height: H }), { ...form, bytesPerLine: 32 }],
    ['grey', profileInput({ fourcc: 'GREY', width: W, height: H }), { ...form, wide: false, step: 1, bytesPerLine: W }],
    ['YUYV', profileInput({ fourcc: 'YUYV', width: W, height: H }), { ...form, wide: false }],
  ])('%s: the same objects come back, and no view is made once the ring has come round', (_, input, raw) => {
    const decoder = new FrameDecoder(parseProfile(input, 'a test'));
    const ring = [0, 1, 2, 3].map((k) =>
      rawFrame(
        raw,
        ramp(8).map((v) => v ^ k),
      ),
    );
    const layout = { bytesPerLine: raw.bytesPerLine };
    const first = decoder.decode(ring[0]!, layout);
    const { data } = first;
    for (const bytes of ring) decoder.decode(bytes, layout);
    const made = countViews();
    for (let i = 0; i < 40; i++) {
      const k = i % 4;
      const frame = decoder.decode(ring[k]!, layout);
      expect(frame === first && frame.data === data).toBe(true);
      expect(list(data)).toEqual(ramp(8).map((v) => v ^ k));
    }
    expect(made()).toBe(0);
  });

  test('telemetry comes in one object with new values', () => {
    const decoder = new FrameDecoder(parseProfile(profileInput(telemetry), 'a test'));
    const first = decoder.decode(leptonFrame(1));
    const kept = first.telemetry!;
    for (let i = 2; i < 20; i++) {
      const frame = decoder.decode(leptonFrame(i));
      expect(frame === first && frame.telemetry === kept).toBe(true);
      expect(kept.frameCounter).toBe(i);
    }
  });

  test('more buffers than are kept are decoded all the same', () => {
    const decoder = new FrameDecoder(sized({ fourcc: 'Y16 ' }));
    const many = Array.from({ length: 40 }, (_, k) =>
      rawFrame(
        form,
        ramp(8).map((v) => v ^ k),
      ),
    );
    const made = countViews();
    for (const [k, bytes] of [...many.entries(), ...many.entries()])
      expect(list(decoder.decode(bytes).data)).toEqual(ramp(8).map((v) => v ^ k));
    // This is also what shows that views are counted.
    expect(made()).toBe(80);
  });
});

/** Counts the typed arrays that are made from here on. */
function countViews(): () => number {
  let made = 0;
  for (const name of ['Uint8Array', 'Uint16Array'] as const) {
    const real = globalThis[name];
    vi.stubGlobal(
      name,
      new Proxy(real, {
        construct(target, args, newTarget) {
          made++;
          return Reflect.construct(target, args, newTarget === undefined ? target : target) as object;
        },
      }),
    );
  }
  return () => made;
}
