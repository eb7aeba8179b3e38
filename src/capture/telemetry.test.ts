import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bosonRow, leptonRow } from '../../test/fakes/raw-frames.js';
import type { FrameTelemetry } from '../types/frame.js';
import { uniform } from './random.js';
import {
  createTelemetryParser,
  TELEMETRY_PARSERS,
  type TelemetryParserName,
  type TelemetryWords,
} from './telemetry.js';

/** Rows as the decoder shows them; a word beyond the end is a fault of the parser. */
function rowsOf(words: ArrayLike<number>, width: number): TelemetryWords {
  return {
    width,
    count: words.length,
    word(index) {
      if (index < 0 || index >= words.length) throw new Error(`word ${index} of ${words.length}`);
      return words[index]!;
    },
  };
}
const parserOf = (name: TelemetryParserName) => createTelemetryParser(name)!;
/** A copy: the parser gives the same object each time. */
const read = (parser: ReturnType<typeof parserOf>, words: ArrayLike<number>, width = words.length) => {
  const telemetry = parser.parse(rowsOf(words, width));
  return telemetry && { ...telemetry };
};

describe('Lepton', () => {
  test('row A, word by word', () => {
    // Revision 14; 0x0001_86a0 ms since boot; FFC in progress; frame 0x201; FPA 303.15 K; last FFC at 0x0001_1170 ms.
    const words = new Uint16Array(160);
    words.set([0x000e, 0x86a0, 0x0001, 0x0020, 0x0000], 0);
    words.set([0x0201, 0x0000], 20);
    words[24] = 30_315;
    words.set([0x1170, 0x0001], 30);
    const telemetry = read(parserOf('lepton'), words, 160);
    expect(telemetry).toEqual({
      uptimeMs: 100_000,
      ffc: 'running',
      ffcDesired: false,
      overheated: false,
      frameCounter: 0x201,
      temperatureC: expect.closeTo(30, 6),
      lastFfc: 70_000,
    });
  });

  test.each([
    [0, 'never'],
    [1, 'imminent'],
    [2, 'running'],
    [3, 'done'],
  ] as const)('FFC state %i is %s, whatever the bits around it', (ffc, phase) => {
    for (const others of [false, true]) {
      const words = leptonRow({ ffc, ffcDesired: others, overheated: others });
      expect(read(parserOf('lepton'), words)).toMatchObject({ ffc: phase, ffcDesired: others, overheated: others });
    }
  });

  test.each([false, true])('the order of the words of a pair is learnt (high word first: %s)', (highFirst) => {
    const parser = parserOf('lepton');
    const row = (frameCounter: number) =>
      leptonRow({ highFirst, frameCounter, uptimeMs: 7_300_000, lastFfcMs: 7_200_000, ffc: 3 });
    // An hour after the start both words of the counter hold something: the first frame alone does not tell.
    expect(read(parser, row(196_700))).toBeUndefined();
    for (let i = 1; i < 5; i++) {
      expect(read(parser, row(196_700 + i))).toMatchObject({
        frameCounter: 196_700 + i,
        uptimeMs: 7_300_000,
        lastFfc: 7_200_000,
        ffc: 'done',
      });
    }
  });

  test.each([false, true])('just started, the first frame tells (high word first: %s)', (highFirst) => {
    const parser = parserOf('lepton');
    expect(read(parser, leptonRow({ highFirst, frameCounter: 9, ffc: 2 }))).toMatchObject({
      frameCounter: 9,
      ffc: 'running',
    });
    // The carry moves both words; the order stays.
    for (const frameCounter of [65_535, 65_536, 65_537])
      expect(read(parser, leptonRow({ highFirst, frameCounter }))).toMatchObject({ frameCounter });
  });

  test('a counter of 32 bits is no negative number', () => {
    const parser = parserOf('lepton');
    read(parser, leptonRow({ frameCounter: 0xffff_fff0 }));
    expect(read(parser, leptonRow({ frameCounter: 0xffff_fff1, uptimeMs: 0xffff_ffff }))).toMatchObject({
      frameCounter: 0xffff_fff1,
      uptimeMs: 0xffff_ffff,
    });
  });

  test('rows that are empty, full, too short or of no possible temperature are none', () => {
    const parser = parserOf('lepton');
    expect(read(parser, new Uint16Array(80))).toBeUndefined();
    expect(read(parser, new Uint16Array(80).fill(0xffff))).toBeUndefined();
    expect(read(parser, leptonRow().subarray(0, 79))).toBeUndefined();
    for (const kelvin100 of [0, 20_000, 45_000]) expect(read(parser, leptonRow({ kelvin100 }))).toBeUndefined();
  });
});

describe('Boson', () => {
  test('first row, byte by byte', () => {
    const bytes = new Uint8Array(1280);
    bytes.set([0x22, 0x01, 0x00, 0x00], 76); // in progress, desired, overtemperature
    bytes.set([0x78, 0x56, 0x34, 0x92], 84);
    bytes.set([0x01, 0x00, 0x02, 0x00], 88);
    bytes.set([0xd7, 0x0b], 94); // 303.1 K
    expect(read(parserOf('boson'), new Uint16Array(bytes.buffer), 640)).toEqual({
      ffc: 'running',
      ffcDesired: true,
      overheated: true,
      frameCounter: 0x9234_5678,
      lastFfc: 0x2_0001,
      temperatureC: expect.closeTo(29.95, 6),
    });
  });

  test.each([
    [0, 'never'],
    [1, 'imminent'],
    [2, 'running'],
    [3, 'done'],
  ] as const)('FFC state %i is %s', (ffc, phase) => {
    expect(read(parserOf('boson'), bosonRow({ ffc }))).toMatchObject({
      ffc: phase,
      ffcDesired: false,
      overheated: false,
    });
  });

  test('rows that are empty, full or too short are none', () => {
    const parser = parserOf('boson');
    expect(read(parser, new Uint16Array(640))).toBeUndefined();
    expect(read(parser, new Uint16Array(640).fill(0xffff))).toBeUndefined();
    expect(read(parser, bosonRow().subarray(0, 48))).toBeUndefined();
    expect(read(parser, bosonRow().subarray(0, 49))).toBeDefined();
  });
});

describe('Xtherm', () => {
  test.each([
    [240, 7800, 36],
    [256, 8617, 37.682],
    [384, 7800, 36],
    [640, 6867, 33.8],
  ])('%i columns: the thermometer falls as it grows warmer', (width, at20, perDegree) => {
    const parser = parserOf('xtherm');
    for (const celsius of [-20, 0, 20, 45]) {
      const words = new Uint16Array(4 * width);
      words[1] = Math.round(at20 - (celsius - 20) * perDegree);
      expect(read(parser, words, width)!.temperatureC).toBeCloseTo(celsius, 1);
    }
  });

  test('another width, too few words, and a thermometer out of its range are none', () => {
    const parser = parserOf('xtherm');
    expect(read(parser, new Uint16Array(1280).fill(7800), 320)).toBeUndefined();
    expect(read(parser, new Uint16Array(15).fill(7800), 384)).toBeUndefined();
    expect(read(parser, new Uint16Array(1536), 384)).toBeUndefined();
    expect(read(parser, new Uint16Array(1536).fill(0xffff), 384)).toBeUndefined();
  });
});

test('"none" has no parser', () => {
  expect(createTelemetryParser('none')).toBeUndefined();
});

const PHASES: unknown[] = ['never', 'imminent', 'running', 'done'];

/** Rows of any length and content, the thermometer in its range now and then, so that the rest is read too. */
const anyRows = fc
  .record({
    length: fc.oneof(fc.constantFrom(0, 1, 15, 16, 48, 49, 79, 80), fc.integer({ min: 0, max: 400 })),
    seed: fc.integer({ min: 1, max: 1 << 30 }),
    width: fc.constantFrom(80, 160, 240, 256, 320, 384, 640),
    young: fc.boolean(),
    thermometer: fc.constantFrom([24, 30_315], [47, 3031], [1, 7800], [1, 8617], [1, 6867], undefined),
  })
  .map(({ length, seed, width, young, thermometer }) => {
    const random = uniform(seed);
    const words = Uint16Array.from({ length }, () => Math.floor(random() * 65_536));
    // A Lepton in its first frames, whose word order can be told.
    if (young && length > 21) words[21] = 0;
    if (thermometer !== undefined && length > thermometer[0]!) words[thermometer[0]!] = thermometer[1]!;
    return { words, width };
  });

test.each(TELEMETRY_PARSERS.filter((name) => name !== 'none'))(
  '%s: random and truncated rows, one after the other: never an exception, never a number that is none',
  (name) => {
    let told = 0;
    fc.assert(
      fc.property(fc.array(anyRows, { minLength: 1, maxLength: 8 }), (frames) => {
        const parser = parserOf(name);
        for (const { words, width } of frames) {
          const telemetry: FrameTelemetry | undefined = parser.parse(rowsOf(words, width));
          if (telemetry === undefined) continue;
          told++;
          for (const [key, value] of Object.entries(telemetry)) {
            if (key === 'ffc') expect(PHASES).toContain(value);
            else if (typeof value !== 'boolean') expect(Number.isFinite(value)).toBe(true);
          }
          expect(telemetry.temperatureC).toBeGreaterThanOrEqual(-60);
          expect(telemetry.temperatureC).toBeLessThanOrEqual(120);
          for (const key of ['frameCounter', 'uptimeMs', 'lastFfc'] as const) {
            const value = telemetry[key];
            if (value !== undefined) expect(value >= 0 && value < 2 ** 32 && Number.isInteger(value)).toBe(true);
          }
        }
      }),
      { numRuns: 200 },
    );
    // The property must not hold because nothing was ever read.
    expect(told).toBeGreaterThan(50);
  },
);
