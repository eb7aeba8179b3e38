import type { FrameTelemetry } from '../types/frame.js';

export const TELEMETRY_PARSERS = ['none', 'lepton', 'boson', 'xtherm'] as const;
export type TelemetryParserName = (typeof TELEMETRY_PARSERS)[number];

/** The telemetry rows of one frame as words of 16 bits, row after row. */
export interface TelemetryWords {
  /** Words of a row. */
  readonly width: number;
  readonly count: number;
  /** Word `index` below `count`. */
  word(index: number): number;
}

/** Reads the rows of one frame after the other. */
export interface TelemetryParser {
  /**
   * The same object at each call, with new values; undefined when the rows cannot be telemetry of this kind (a camera whose telemetry
   * is switched off fills them with something else).
   */
  parse(words: TelemetryWords): FrameTelemetry | undefined;
}

/** A parser for one camera: it may remember what it learnt of its word order. */
export function createTelemetryParser(name: TelemetryParserName): TelemetryParser | undefined {
  switch (name) {
    case 'lepton':
      return new LeptonTelemetry();
    case 'boson':
      return new BosonTelemetry();
    case 'xtherm':
      return new XthermTelemetry();
    case 'none':
      return undefined;
  }
}

const KELVIN = 273.15;
/** Temperatures of a sensor that is at work, degrees Celsius. */
const COLDEST = -60;
const HOTTEST = 120;
const FFC_PHASES = ['never', 'imminent', 'running', 'done'] as const;

const sane = (celsius: number): boolean => celsius >= COLDEST && celsius <= HOTTEST;

/**
 * FLIR Lepton 2.x and 3.x, telemetry row A (80 words). Word numbers after the Lepton engineering datasheet, 500-0659-00-09, section
 * "Telemetry", as read by flirpy (`camera/lepton.py`) and leptonic (`telemetry.c`): 0 revision, 1-2 ms since boot, 3-4 status (bit 3 FFC
 * desired, bits 4-5 FFC state, bit 20 overtemperature), 20-21 frame counter, 24 FPA temperature (K x 100), 30-31 ms at the last FFC.
 *
 * Which word of a pair is the low one differs between the readers (flirpy, leptonic: the first), so it is learnt from the counters:
 * the word that moves from frame to frame is the low one. Until that is known (the second frame, at the latest) nothing is read: a status
 * read the wrong way round would be a correction that never was.
 */
export class LeptonTelemetry implements TelemetryParser {
  private lowFirst: boolean | undefined;
  private counter0 = -1;
  private counter1 = -1;
  private readonly out: Required<FrameTelemetry> = {
    frameCounter: 0,
    uptimeMs: 0,
    ffc: 'never',
    lastFfc: 0,
    ffcDesired: false,
    temperatureC: 0,
    overheated: false,
  };

  parse(words: TelemetryWords): FrameTelemetry | undefined {
    if (words.count < 80) return undefined;
    const celsius = words.word(24) / 100 - KELVIN;
    if (!sane(celsius)) return undefined;
    this.learnOrder(words.word(20), words.word(21));
    if (this.lowFirst === undefined) return undefined;
    const { out } = this;
    const status = this.pair(words, 3);
    out.frameCounter = this.pair(words, 20);
    out.uptimeMs = this.pair(words, 1);
    out.ffc = FFC_PHASES[(status >>> 4) & 3]!;
    out.ffcDesired = (status & 8) !== 0;
    out.lastFfc = this.pair(words, 30);
    out.temperatureC = celsius;
    out.overheated = (status & 0x10_0000) !== 0;
    return out;
  }

  private learnOrder(first: number, second: number): void {
    if (this.counter0 >= 0) {
      const moved0 = first !== this.counter0;
      const moved1 = second !== this.counter1;
      if (moved0 !== moved1) this.lowFirst = moved0;
      // In its first 65536 frames: the high word is 0.
    } else if ((first === 0) !== (second === 0)) this.lowFirst = second === 0;
    this.counter0 = first;
    this.counter1 = second;
  }

  private pair(words: TelemetryWords, index: number): number {
    const first = words.word(index);
    const second = words.word(index + 1);
    return this.lowFirst ? second * 65_536 + first : first * 65_536 + second;
  }
}

/**
 * FLIR Boson, first telemetry row, little-endian. Byte offsets of the Boson interface description (102-2013-42), as given in public
 * readers (Elphel's `Boson640Telemetry.java`, and a ROS 2 driver for the status word): 76 status (bits 0-1 FFC state, bit 5 FFC
 * desired, bit 8 overtemperature), 84 frame counter, 88 frame counter at the last FFC, 94 FPA temperature (K x 10).
 */
export class BosonTelemetry implements TelemetryParser {
  private readonly out: Required<Omit<FrameTelemetry, 'uptimeMs'>> = {
    frameCounter: 0,
    ffc: 'never',
    lastFfc: 0,
    ffcDesired: false,
    temperatureC: 0,
    overheated: false,
  };

  parse(words: TelemetryWords): FrameTelemetry | undefined {
    if (words.count < 49) return undefined;
    const celsius = words.word(47) / 10 - KELVIN;
    if (!sane(celsius)) return undefined;
    const { out } = this;
    const status = words.word(38);
    out.ffc = FFC_PHASES[status & 3]!;
    out.ffcDesired = (status & 0x20) !== 0;
    out.overheated = (status & 0x100) !== 0;
    out.frameCounter = words.word(43) * 65_536 + words.word(42);
    out.lastFfc = words.word(45) * 65_536 + words.word(44);
    out.temperatureC = celsius;
    return out;
  }
}

/** Raw value of the FPA thermometer at 20 degrees Celsius, and steps a degree, by the width of the picture. */
const XTHERM_FPA: Readonly<Record<number, readonly [at20: number, perDegree: number]>> = {
  240: [7800, 36],
  256: [8617, 37.682],
  384: [7800, 36],
  640: [6867, 33.8],
};

/**
 * InfiRay T2S+/T3, HTi HT-301 and others of the Xtherm family: four rows below the picture. After ht301_hacklib (stawel, and its
 * forks): word 1 of the first row is the FPA thermometer, which falls as it grows warmer. Of corrections they say nothing.
 */
export class XthermTelemetry implements TelemetryParser {
  private readonly out: Required<Pick<FrameTelemetry, 'temperatureC'>> = { temperatureC: 0 };

  parse(words: TelemetryWords): FrameTelemetry | undefined {
    const scale = XTHERM_FPA[words.width];
    if (scale === undefined || words.count < 16) return undefined;
    const celsius = 20 - (words.word(1) - scale[0]) / scale[1];
    if (!sane(celsius)) return undefined;
    this.out.temperatureC = celsius;
    return this.out;
  }
}
