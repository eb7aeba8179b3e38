import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bosonRow, leptonRow, type RawForm, rawFrame, writeWords } from '../../test/fakes/raw-frames.js';
import { decodeFrame } from './frame-decoder.js';
import type { DeviceDescription } from './profile-match.js';
import { frameBytes, type Proposal, proposeProfile, type SampleFrames } from './profile-proposal.js';
import { parseProfile } from './profile-schema.js';
import { gaussianTable } from './random.js';
import { fourccOf, readRawSample } from './raw-sample.js';

const noise = gaussianTable(65_536, 11);
const FRAMES = 4;

/** A slow gradient, noise and something hot, counts. */
function picture(width: number, height: number, frame: number, level = 3000, contrast = 300): number[] {
  return Array.from({ length: width * height }, (_, i) => {
    const x = i % width;
    const y = Math.floor(i / width);
    const hot = (x - width / 2) ** 2 + (y - height / 3) ** 2 < 9 ? contrast : 0;
    const n = noise[(i * 31 + frame * 7919) % 65_536]!;
    return Math.max(0, Math.round(level + (contrast * (x + y)) / (width + height) + hot + 5 * n));
  });
}

interface Setup extends Partial<RawForm> {
  fourcc?: string;
  width?: number;
  /** Of the picture. */
  height?: number;
  level?: number;
  contrast?: number;
  filler?: number;
  frames?: number;
  change?: (counts: number[], frame: number) => void;
  /** On the delivered frame. */
  after?: (bytes: Uint8Array, frame: number) => void;
}

/** Frames of a camera of this kind, and the pictures that are in them. */
function camera(setup: Setup = {}): { sample: SampleFrames; pictures: number[][] } {
  const { fourcc = 'Y16 ', width = 160, height = 120, top = 0, filler = 0 } = setup;
  const form: RawForm = {
    width,
    rows: setup.rows ?? height,
    bytesPerLine: setup.bytesPerLine ?? width * (setup.step ?? 2),
    top,
    step: setup.step ?? 2,
    offset: setup.offset ?? 0,
    wide: setup.wide ?? true,
    big: setup.big ?? false,
    shift: setup.shift ?? 0,
  };
  const pictures = Array.from({ length: setup.frames ?? FRAMES }, (_, k) => {
    const counts = picture(width, height, k, setup.level, setup.contrast);
    setup.change?.(counts, k);
    return counts;
  });
  const frames = pictures.map((counts, k) => {
    const bytes = rawFrame(form, counts, filler);
    setup.after?.(bytes, k);
    return bytes;
  });
  const sample: SampleFrames = { fourcc, width, height: form.rows, frames };
  if (setup.bytesPerLine !== undefined) sample.bytesPerLine = setup.bytesPerLine;
  return { sample, pictures };
}

/** What is proposed reads the frames as they were made. */
function expectRead({ profile }: Proposal, { sample, pictures }: ReturnType<typeof camera>): void {
  for (const [k, bytes] of sample.frames.entries()) {
    const { bytesPerLine, width, height } = sample;
    const frame = decodeFrame(profile, bytes, { width, height, ...(bytesPerLine && { bytesPerLine }) });
    const expected = pictures[k]!;
    // toEqual takes seconds over so many numbers.
    expect([frame.data.length, frame.data.findIndex((v, i) => v !== expected[i])]).toEqual([expected.length, -1]);
  }
}

const boson: DeviceDescription = {
  driver: 'uvcvideo',
  card: 'Acme Thermal: Cam (v2)',
  bus: 'usb-0000:00:14.0-2',
  usbId: '1234:abcd',
  formats: [
    { fourcc: 'MJPG', sizes: [{ width: 1920, height: 1080 }] },
    { fourcc: 'NV12', sizes: [{ width: 640, height: 512 }] },
    {
      fourcc: 'Y16 ',
      sizes: [
        { width: 320, height: 256 },
        { width: 640, height: 512 },
      ],
    },
  ],
};

describe('from what the driver says', () => {
  test('counts before brightness, the largest size, and for this camera', () => {
    const { input, profile, findings } = proposeProfile(boson);
    expect(input).toMatchObject({
      id: 'acme-thermal-cam-v2',
      match: { usb: ['1234:abcd'] },
      fourcc: 'Y16 ',
      width: 640,
      height: 512,
      ffc: { detect: ['freeze', 'step'], settleMs: 2000 },
      verified: 'standard',
    });
    expect(profile).toEqual(parseProfile(JSON.parse(JSON.stringify(input)), 'a test'));
    expect(findings[0]).toContain('no frames were looked at');
  });

  test('without a USB id by its name; a range of sizes by its end; brightness where there is no more', () => {
    const range = { minWidth: 64, maxWidth: 384, stepWidth: 2, minHeight: 64, maxHeight: 288, stepHeight: 2 };
    const { usbId: _, ...nameless } = { ...boson, formats: [{ fourcc: 'GREY', sizes: [range] }] };
    expect(proposeProfile(nameless, undefined, 'mine').input).toMatchObject({
      id: 'mine',
      match: { card: ['Acme Thermal: Cam (v2)'] },
      width: 384,
      height: 288,
      ffc: { detect: ['freeze'] },
    });
    expect(proposeProfile({ ...boson, card: '§' }).input.id).toBe('my-camera');
  });

  test('a camera without a pixel format that can be read: those it has are named', () => {
    const formats = [{ fourcc: 'MJPG', sizes: [{ width: 8, height: 8 }] }];
    expect(() => proposeProfile({ ...boson, formats })).toThrow(
      expect.objectContaining({ code: 'PROBE_FAILED', message: expect.stringContaining('it has "MJPG"') }),
    );
    expect(() => proposeProfile(undefined)).toThrow('it has none');
  });
});

describe('bits and where they stand', () => {
  test.each([
    ['14 bits in use of 16: 14', {}, 14, 0],
    ['16 bits in use', { level: 30_000 }, 16, 0],
    ['8 bits in use: 14, for a hotter scene', { level: 50, contrast: 60 }, 14, 0],
    ['left-justified by 2', { shift: 2, level: 5000 }, 14, 2],
    ['left-justified by 4', { shift: 4, level: 1500 }, 12, 4],
    ['left-justified by 6', { shift: 6, level: 300 }, 10, 6],
    ['left-justified by 8', { shift: 8, level: 60, contrast: 100 }, 8, 8],
    ['left-justified, high byte first', { shift: 4, level: 1500, big: true, fourcc: 'Y16 -BE' }, 12, 4],
  ] as [string, Setup, number, number][])('%s', (_, setup, bits, shift) => {
    const made = camera(setup);
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.profile).toMatchObject({ bits, shift, verified: 'recording' });
    expectRead(proposal, made);
  });

  test('many pixels at 4095, and none above: 12 bits', () => {
    const change = (counts: number[]) => {
      for (let i = 5000; i < 5200; i++) counts[i] = 4095;
    };
    const made = camera({ level: 3500, contrast: 200, change });
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.profile.bits).toBe(12);
    expect(proposal.findings.join()).toContain('pixels are at 4095');
    expectRead(proposal, made);
  });

  test('the pixel format is believed where the counts do not belie it', () => {
    expect(proposeProfile(undefined, camera({ fourcc: 'Y12 ', level: 900 }).sample).input).not.toHaveProperty('bits');
    expect(proposeProfile(undefined, camera({ fourcc: 'Y12 ', level: 9000 }).sample).profile.bits).toBe(14);
  });

  test('a few pixels at full scale do not hide that counts are left-justified', () => {
    const after = (bytes: Uint8Array) => bytes.fill(0xff, 4000, 4010);
    expect(proposeProfile(undefined, camera({ shift: 2, after }).sample).profile).toMatchObject({ bits: 14, shift: 2 });
  });

  test('a blank picture says nothing of bits', () => {
    const { profile, findings } = proposeProfile(undefined, camera({ change: (counts) => counts.fill(77) }).sample);
    expect(profile).toMatchObject({ bits: 16, shift: 0 });
    expect(findings.join()).toContain('only 1 different counts');
  });
});

describe('byte order', () => {
  test.each<[string, Setup]>([
    ['much contrast', { level: 8000, contrast: 4000 }],
    ['little contrast', { level: 3000, contrast: 40 }],
    ['nothing but noise', { level: 8000, contrast: 0 }],
  ])('%s: the high byte first in a format that says otherwise, and the other way round', (_, setup) => {
    for (const big of [true, false]) {
      const made = camera({ ...setup, big, fourcc: big ? 'Y16 ' : 'Y16 -BE' });
      const proposal = proposeProfile(undefined, made.sample);
      expect(proposal.profile.endian).toBe(big ? 'big' : 'little');
      expectRead(proposal, made);
      const honest = camera({ ...setup, big, fourcc: big ? 'Y16 -BE' : 'Y16 ' });
      const said = proposeProfile(undefined, honest.sample);
      expect(said.input).not.toHaveProperty('endian');
      expectRead(said, honest);
    }
  });
});

describe('rows', () => {
  test.each(['above', 'below'])('telemetry of a Lepton %s the picture, with an empty last row', (where) => {
    const below = where === 'below';
    const made = camera({
      rows: 122,
      top: below ? 0 : 2,
      after: (bytes, k) => writeWords(bytes, below ? 120 * 320 : 0, leptonRow({ frameCounter: 1000 + 3 * k }, 160)),
    });
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.profile).toMatchObject({
      height: 122,
      imageRows: { top: below ? 0 : 2, height: 120 },
      telemetry: { top: below ? 120 : 0, rows: 2, parser: 'lepton' },
      ffc: { detect: ['telemetry', 'freeze', 'step'] },
    });
    expect(proposal).not.toHaveProperty('deadBorder');
    expectRead(proposal, made);
  });

  test('telemetry of a Boson, in big-endian order too', () => {
    for (const big of [false, true]) {
      const made = camera({
        width: 320,
        height: 256,
        rows: 258,
        top: 2,
        level: 20_000,
        contrast: 3000,
        big,
        fourcc: big ? 'Y16 -BE' : 'Y16 ',
        after: (bytes, k) => writeWords(bytes, 0, bosonRow({ frameCounter: 70_000 + k }, 640), big),
      });
      const proposal = proposeProfile(undefined, made.sample);
      expect(proposal.profile.telemetry).toEqual({ top: 0, rows: 2, parser: 'boson' });
      expectRead(proposal, made);
    }
  });

  test('rows that no parser knows, and telemetry in one frame alone, are only cut off', () => {
    const after = (bytes: Uint8Array, k: number) =>
      writeWords(
        bytes,
        120 * 320,
        Array.from({ length: 480 }, (_, i) => (i * 40_503 + k) & 0xffff),
      );
    const made = camera({ rows: 123, after });
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.profile).toMatchObject({
      imageRows: { top: 0, height: 120 },
      telemetry: { top: 120, rows: 3, parser: 'none' },
      ffc: { detect: ['freeze', 'step'] },
    });
    expectRead(proposal, made);
    const one = camera({
      rows: 122,
      frames: 1,
      after: (bytes) => writeWords(bytes, 120 * 320, leptonRow({}, 160)),
    });
    expect(proposeProfile(undefined, one.sample).profile.telemetry).toMatchObject({ rows: 2, parser: 'none' });
  });

  test('a counter that does not count is no telemetry of a Lepton', () => {
    const after = (bytes: Uint8Array, k: number) =>
      writeWords(bytes, 120 * 320, leptonRow({ frameCounter: k % 2 === 0 ? 5 : 90_000_000 }, 160));
    expect(proposeProfile(undefined, camera({ rows: 122, after }).sample).profile.telemetry?.parser).toBe('none');
  });

  test('a scene with its hottest things at the edge is no telemetry', () => {
    const made = camera({
      change: (counts) => {
        // Ground with hot spots below row 110, a cold roof above row 4.
        for (let i = 110 * 160; i < counts.length; i++) counts[i]! += i % 7 === 0 ? 900 : 250;
        for (let i = 0; i < 4 * 160; i++) counts[i]! -= 100;
      },
    });
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.input).not.toHaveProperty('telemetry');
    expect(proposal.input).not.toHaveProperty('imageRows');
    expectRead(proposal, made);
  });

  test('dead rows are left out, dead columns are reported', () => {
    const made = camera({
      rows: 123,
      top: 1,
      change: (counts) => {
        for (let y = 0; y < 120; y++) for (const x of [0, 157, 158, 159]) counts[160 * y + x] = 0;
      },
    });
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.deadBorder).toEqual({ left: 1, right: 3, top: 1, bottom: 2 });
    expect(proposal.profile.imageRows).toEqual({ top: 1, height: 120 });
    expect(proposal.profile).not.toHaveProperty('telemetry');
    expect(proposal.profile.notes).toContain('1 left, 3 right');
    expectRead(proposal, made);
  });

  test('rows with gaps between them', () => {
    const made = camera({ bytesPerLine: 384, filler: 0xee });
    expectRead(proposeProfile(undefined, made.sample), made);
  });
});

describe('packed YUV', () => {
  const grey: Setup = { fourcc: 'YUYV', wide: false, level: 60, contrast: 120, filler: 0x80 };

  test('a grey picture and a coloured one are brightness', () => {
    const coloured = (bytes: Uint8Array) => {
      for (let i = 1; i < bytes.length; i += 2) bytes[i] = i % 4 === 1 ? 60 + ((i >> 6) % 9) : 190 + ((i >> 7) % 7);
    };
    for (const after of [undefined, coloured]) {
      for (const [fourcc, offset] of [
        ['YUYV', 0],
        ['UYVY', 1],
      ] as const) {
        const shift = (bytes: Uint8Array) => {
          if (after === undefined) return;
          const chroma = new Uint8Array(bytes.length);
          after(chroma);
          for (let i = 1 - offset; i < bytes.length; i += 2) bytes[i] = chroma[offset === 0 ? i : i + 1]!;
        };
        const made = camera({ ...grey, fourcc, offset, after: shift });
        const proposal = proposeProfile(undefined, made.sample);
        expect(proposal.input).not.toHaveProperty('content');
        expect(proposal.profile.ffc.detect).toEqual(['freeze']);
        expectRead(proposal, made);
      }
    }
  });

  test('counts in what is called YUYV, with four rows of metadata of an Xtherm', () => {
    const made = camera({
      fourcc: 'YUYV',
      width: 384,
      height: 288,
      rows: 292,
      level: 6000,
      after: (bytes, k) => {
        const words = Array.from({ length: 4 * 384 }, (_, i) => (i < 200 ? (i * 7919) & 0xffff : 0));
        words[1] = 7700 + k;
        writeWords(bytes, 288 * 768, words);
      },
    });
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.profile).toMatchObject({
      content: 'counts',
      imageRows: { top: 0, height: 288 },
      telemetry: { top: 288, rows: 4, parser: 'xtherm' },
      bits: 14,
    });
    expectRead(proposal, made);
  });

  test('a picture and counts in one frame, as of the P2 Pro: the half with counts', () => {
    const made = camera({
      fourcc: 'YUYV',
      width: 256,
      height: 192,
      rows: 384,
      top: 192,
      level: 19_000,
      after: (bytes, k) => {
        for (let i = 0; i < 192 * 512; i++)
          bytes[i] = i % 2 === 1 ? 128 : 90 + ((i >> 4) % 40) + Math.round(4 * noise[(i + k * 99) % 65_536]!);
      },
    });
    const proposal = proposeProfile(undefined, made.sample);
    expect(proposal.profile).toMatchObject({
      content: 'counts',
      height: 384,
      imageRows: { top: 192, height: 192 },
      bits: 16,
    });
    expect(proposal.input).not.toHaveProperty('telemetry');
    expectRead(proposal, made);
  });
});

test('an unknown pixel format: two bytes a pixel are counts, one is brightness', () => {
  const counts = camera({ fourcc: 'XY16' });
  const proposal = proposeProfile(undefined, counts.sample);
  expect(proposal.profile).toMatchObject({ content: 'counts', bits: 14 });
  expectRead(proposal, counts);
  const luma = camera({ fourcc: 'XY08', wide: false, step: 1, level: 60, contrast: 100 });
  expect(proposeProfile(undefined, luma.sample).profile.content).toBe('luma');
  expectRead(proposeProfile(undefined, luma.sample), luma);
});

test('frames that are too short, or none: in one line', () => {
  const { sample } = camera();
  const short = { ...sample, frames: [sample.frames[0]!, sample.frames[1]!.subarray(0, 100)] };
  expect(() => proposeProfile(undefined, short)).toThrow('a frame has 100 bytes; 160x120 "Y16 " needs 38400');
  expect(() => proposeProfile(undefined, { ...sample, bytesPerLine: 100 })).toThrow('rows of 100 bytes');
  expect(() => proposeProfile(undefined, { ...sample, frames: [] })).toThrow('no frames');
  expect(() => proposeProfile(undefined, { ...sample, height: 2 })).toThrow(
    expect.objectContaining({ code: 'PROBE_FAILED' }),
  );
});

describe('raw recordings', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'raw-sample-'));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  test('frames evenly over the file; what is left over is told', async () => {
    const file = path.join(dir, 'a.raw');
    const frame = (k: number) => new Uint8Array(8 * 6 * 2).fill(k);
    await writeFile(file, Buffer.concat([...Array.from({ length: 48 }, (_, k) => frame(k)), Buffer.from('rest')]));
    const { sample, left } = await readRawSample({ path: file, size: { width: 8, height: 6 } });
    expect(sample.frames.map((bytes) => bytes[0])).toEqual(Array.from({ length: 24 }, (_, k) => 2 * k));
    expect(left).toBe(4);
    const padded = await readRawSample({ path: file, size: { width: 8, height: 6 }, bytesPerLine: 32 });
    expect(padded.sample.frames).toHaveLength(24);
    expect(padded.sample.bytesPerLine).toBe(32);
  });

  test('size and rate from the sidecar; errors as of any recording', async () => {
    const file = path.join(dir, 'b.y16');
    await writeFile(file, new Uint8Array(96));
    await expect(readRawSample({ path: file })).rejects.toMatchObject({ code: 'RECORDING_SIDECAR_MISSING' });
    await writeFile(path.join(dir, 'b.json'), '{"width": 8, "height": 6, "fps": 9}');
    expect((await readRawSample({ path: file })).sample).toMatchObject({ width: 8, height: 6, fps: 9 });
    await expect(readRawSample({ path: file, size: { width: 80, height: 60 } })).rejects.toMatchObject({
      code: 'RECORDING_EMPTY',
      message: expect.stringContaining('96 bytes, a frame of 80x60 "Y16 " has 9600'),
    });
    await expect(readRawSample({ path: path.join(dir, 'none') })).rejects.toMatchObject({ code: 'INPUT_NOT_FOUND' });
    await expect(readRawSample({ path: dir, size: { width: 8, height: 6 } })).rejects.toMatchObject({
      exitCode: expect.any(Number),
      code: expect.stringMatching(/^(INPUT_UNREADABLE|RECORDING_EMPTY)$/),
    });
  });

  test('pixel formats as people type them, and their sizes', () => {
    expect(['Y16', 'GREY', 'Y16-BE', 'Y16 -BE', 'Y8'].map(fourccOf)).toEqual([
      'Y16 ',
      'GREY',
      'Y16 -BE',
      'Y16 -BE',
      'Y8  ',
    ]);
    expect(['Y16 ', 'GREY', 'YUYV', 'NV12', 'YU12', 'NV16'].map((f) => frameBytes(f, 10, 4))).toEqual([
      80, 40, 80, 60, 60, 80,
    ]);
  });
});

const RECORDINGS = fileURLToPath(new URL('../../../shared/data/lepton-raw/', import.meta.url));

// Recordings that may not be shipped: there on some machines only.
if (existsSync(RECORDINGS)) {
  test.each(readdirSync(RECORDINGS).filter((name) => name.endsWith('.y16')))(
    '%s, raw counts of a Lepton 3: 14 bits, the whole frame is picture',
    async (name) => {
      const { sample, left } = await readRawSample({ path: `${RECORDINGS}${name}` });
      expect(left).toBe(0);
      const { input, profile, deadBorder } = proposeProfile(undefined, sample);
      expect(profile).toMatchObject({ width: 160, height: 120, bits: 14, shift: 0, fpsNominal: 9 });
      for (const key of ['imageRows', 'telemetry', 'endian', 'content']) expect(input).not.toHaveProperty(key);
      expect(deadBorder).toBeUndefined();
      // The same bytes the wrong way round are found out too.
      const swapped = { ...sample, frames: sample.frames.map((frame) => Uint8Array.from(Buffer.from(frame).swap16())) };
      expect(proposeProfile(undefined, swapped).profile.endian).toBe('big');
    },
  );
}
