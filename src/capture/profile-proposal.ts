import { EdgeError, EXIT } from '../types/errors.js';
import { FOURCC_LAYOUTS, layoutOf, type PixelLayout } from './pixel-layout.js';
import type { DeviceDescription, DeviceSize } from './profile-match.js';
import { type CameraProfile, type CameraProfileInput, parseProfile } from './profile-schema.js';
import { createTelemetryParser, type TelemetryParserName, type TelemetryWords } from './telemetry.js';

/** Delivered frames of one camera, as they lie in memory. */
export interface SampleFrames {
  /** V4L2's four characters; "-BE" behind them: big-endian. */
  fourcc: string;
  /** Of a delivered frame, px, telemetry rows and all. */
  width: number;
  height: number;
  /** From one row to the next, bytes. Default: no gap. */
  bytesPerLine?: number;
  /** In the order in which they were taken; a handful tells more than one. */
  frames: readonly Uint8Array[];
  /** Rate at which they were taken, Hz. */
  fps?: number;
}

export interface Proposal {
  /** What the file is to hold; it passes `parseProfile`. */
  input: CameraProfileInput;
  profile: CameraProfile;
  /** What was deduced, and from what, one line each. */
  findings: string[];
  /** Rows and columns at the edges of the picture that show no scene, px. Rows are left out by the profile; columns cannot be. */
  deadBorder?: { left: number; right: number; top: number; bottom: number };
}

/** Rows at either edge of a frame that may be telemetry or dead, and columns that may be dead. */
const EDGE = 16;
/** Share of the words of a row, far from all counts of the picture, that make it none of the picture. */
const FOREIGN = 0.25;
/** Share of the picture, at either end, that is not taken for its usual counts. */
const UNUSUAL = 0.001;
/** Chroma of a grey picture stays within so much of 128. */
const GREY_CHROMA = 8;
/** Pixels at the very end of a scale of 2^n counts that make it the scale. */
const CLIPPED = 8;
/** Share of the pixels that may have low bits in left-justified counts: dead ones. */
const LOW_BITS = 0.001;
/** Counts in use below which nothing can be said of bits. */
const LEAST_VALUES = 16;
/** Largest picture looked at, px. */
const LARGEST = 1 << 26;
const BEST_FORMATS = [
  'Y16 ',
  'Y16 -BE',
  'Y14 ',
  'Y12 ',
  'Y10 ',
  'GREY',
  'Y8  ',
  'YUYV',
  'UYVY',
  'NV12',
  'YU12',
  'NV21',
];

/** Bytes of a delivered frame without gaps. */
export function frameBytes(fourcc: string, width: number, height: number): number {
  const { sampleBytes, step } = layoutOf({ fourcc });
  if (sampleBytes === 2 || step === 2) return 2 * width * height;
  if (fourcc === 'NV16') return 2 * width * height;
  // Planar 4:2:0: chroma of half the width and half the height, twice.
  const chroma = ['NV12', 'NV21', 'YU12', 'YV12'].includes(fourcc)
    ? 2 * Math.ceil(width / 2) * Math.ceil(height / 2)
    : 0;
  return width * height + chroma;
}

/**
 * A profile for a camera that none is known for: from what its driver says of it, from frames of it, or from both. Frames tell where the
 * picture lies, which byte comes first, how many bits there are and where they stand; without frames it is what the pixel format says.
 * Pure.
 * @param id of the profile. Default: after the camera's name
 * @throws EdgeError PROBE_FAILED: there is nothing to go by, or the frames are too short
 */
export function proposeProfile(device: DeviceDescription | undefined, sample?: SampleFrames, id?: string): Proposal {
  const format = sample ?? bestFormat(device);
  const { fourcc, width, height } = format;
  const findings: string[] = [];
  const input: CameraProfileInput = {
    id: id ?? idOf(device),
    name: `${device?.card.slice(0, 100) || 'A camera'}, ${fourcc.trim()} ${width}x${height}`,
    match: matchOf(device),
    fourcc,
    width,
    height,
  };
  let proposal: Deduction = {};
  if (sample !== undefined) {
    check(sample);
    proposal = new Examination(sample, findings).run();
  } else findings.push('no frames were looked at: bits, byte order and rows are what the pixel format says');
  const { deadBorder, ...deduced } = proposal;
  Object.assign(input, deduced);
  const counts = layoutOf({ ...input } as CameraProfile).sampleBytes === 2;
  const telling = input.telemetry?.parser === 'lepton' || input.telemetry?.parser === 'boson';
  input.ffc = {
    detect: telling ? ['telemetry', 'freeze', 'step'] : counts ? ['freeze', 'step'] : ['freeze'],
    settleMs: 2000,
  };
  if (sample?.fps !== undefined) input.fpsNominal = Math.min(1000, Math.max(0.1, sample.fps));
  input.verified = sample === undefined ? 'standard' : 'recording';
  input.sources = ['irst-edge probe'];
  if (findings.length > 0) input.notes = findings.join('. ').slice(0, 2048);
  const profile = parseProfile(input, 'the proposed profile');
  return { input, profile, findings, ...(deadBorder && { deadBorder }) };
}

type Deduction = Pick<CameraProfileInput, 'content' | 'imageRows' | 'telemetry' | 'bits' | 'shift' | 'endian'> & {
  deadBorder?: NonNullable<Proposal['deadBorder']>;
};

function failed(message: string, hint: string): EdgeError {
  return new EdgeError('PROBE_FAILED', message, { hint, exitCode: EXIT.dataError });
}

/** A pixel format that is not known: two bytes a pixel are counts, less are brightness. */
function contentOf({ fourcc, width, height, bytesPerLine, frames }: SampleFrames): 'counts' | 'luma' | undefined {
  if (FOURCC_LAYOUTS[fourcc] !== undefined) return undefined;
  return frames[0]!.length >= 2 * width * height && (bytesPerLine || 2 * width) >= 2 * width ? 'counts' : 'luma';
}

function layoutOfSample(sample: SampleFrames): PixelLayout {
  const content = contentOf(sample);
  return layoutOf({ fourcc: sample.fourcc, ...(content && { content }) });
}

function check(sample: SampleFrames): void {
  const { fourcc, width, height, bytesPerLine, frames } = sample;
  if (frames.length === 0) throw failed('there are no frames to look at', 'record some frames first');
  const { step, sampleBytes } = layoutOfSample(sample);
  const row = width * Math.max(step, sampleBytes);
  const stride = bytesPerLine || row;
  const needed = stride * (height - 1) + row;
  const short = frames.find((frame) => frame.length < needed);
  if (!(width >= 4 && height >= 4) || width * height > LARGEST || stride < row || short !== undefined) {
    const what = short === undefined ? `rows of ${stride} bytes` : `${short.length} bytes`;
    throw failed(
      `a frame has ${what}; ${width}x${height} "${fourcc}" needs ${short === undefined ? row : needed}`,
      'check the size and the pixel format',
    );
  }
}

/** Counts before brightness, the largest size. */
function bestFormat(device: DeviceDescription | undefined): { fourcc: string; width: number; height: number } {
  const formats = device?.formats ?? [];
  const rank = (fourcc: string) => BEST_FORMATS.indexOf(fourcc);
  const known = formats.filter(({ fourcc, sizes }) => BEST_FORMATS.includes(fourcc) && sizes.length > 0);
  const best = known.sort((a, b) => rank(a.fourcc) - rank(b.fourcc))[0];
  if (best === undefined) {
    const there = formats.map(({ fourcc }) => `"${fourcc}"`).join(', ') || 'none';
    throw failed(
      `no pixel format of the camera can be read; it has ${there}`,
      `known are ${BEST_FORMATS.map((f) => f.trim()).join(', ')}`,
    );
  }
  const ends = best.sizes.map((size: DeviceSize) =>
    'width' in size ? size : { width: size.maxWidth, height: size.maxHeight },
  );
  const { width, height } = ends.reduce((a, b) => (b.width * b.height > a.width * a.height ? b : a));
  return { fourcc: best.fourcc, width, height };
}

function idOf(device: DeviceDescription | undefined): string {
  const slug = (device?.card ?? '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 60);
  return slug === '' ? 'my-camera' : slug.replace(/-+$/, '');
}

function matchOf(device: DeviceDescription | undefined): NonNullable<CameraProfileInput['match']> {
  if (device === undefined) return {};
  if (device.usbId !== undefined && /^[0-9a-f]{4}:[0-9a-f]{4}$/.test(device.usbId)) return { usb: [device.usbId] };
  return device.card === '' ? { driver: [device.driver.slice(0, 64)] } : { card: [device.card.slice(0, 64)] };
}

type RowKind = 'picture' | 'foreign' | 'dead';

/** Looks at the frames once; findings grow on the way. */
class Examination {
  private readonly layout: PixelLayout;
  private readonly stride: number;
  private big = false;
  /** Samples are read as words of 16 bits. */
  private wide = false;
  private first = 0;
  private end: number;

  constructor(
    private readonly sample: SampleFrames,
    private readonly findings: string[],
  ) {
    this.layout = layoutOfSample(sample);
    this.stride = sample.bytesPerLine || sample.width * Math.max(this.layout.step, this.layout.sampleBytes);
    this.big = this.layout.endian === 'big';
    this.end = sample.height;
  }

  run(): Deduction {
    const { sampleBytes, step } = this.layout;
    const packed = sampleBytes === 1 && step === 2;
    const counts = sampleBytes === 2 || (packed && this.holdsCounts());
    const content = packed && counts ? 'counts' : contentOf(this.sample);
    const deduced: Deduction = content === undefined ? {} : { content };
    if (!counts) return this.luma(deduced);
    this.order(deduced);
    const edges = this.edges();
    const telemetry = this.telemetry(edges);
    if (telemetry !== undefined) deduced.telemetry = telemetry;
    this.takeRows(deduced, edges);
    this.depth(deduced);
    return deduced;
  }

  /** Only dead edges: rows of brightness that look like something else may be what the camera writes into its picture. */
  private luma(deduced: Deduction): Deduction {
    const dead = (kinds: RowKind[]) => (kinds.includes('foreign') ? kinds.slice(0, kinds.indexOf('foreign')) : kinds);
    const { above, below } = this.edges();
    this.takeRows(deduced, { above: dead(above), below: dead(below) });
    return deduced;
  }

  private byte(frame: Uint8Array, row: number, at: number): number {
    return frame[row * this.stride + at]!;
  }

  /** Sample in the byte order in force; brightness where the format has no counts, unless `wide`. */
  private value(frame: Uint8Array, row: number, x: number): number {
    const { step, offset } = this.layout;
    if (!this.wide) return this.byte(frame, row, x * step + offset);
    const a = this.byte(frame, row, 2 * x);
    const b = this.byte(frame, row, 2 * x + 1);
    return this.big ? (a << 8) | b : a | (b << 8);
  }

  /** Which rows of a packed YUV format hold counts: none of them is a picture with chroma. */
  private holdsCounts(): boolean {
    const { height } = this.sample;
    const counts = Array.from({ length: height }, (_, row) => !this.hasChroma(row));
    const share = counts.filter(Boolean).length / height;
    const { fourcc } = this.sample;
    if (share < 0.25) {
      this.findings.push(`"${fourcc}" is brightness with chroma, as it says: 8 bits`);
      return false;
    }
    const first = counts.indexOf(true);
    const last = counts.lastIndexOf(true);
    // A few rows at the edge may be anything: telemetry, which is looked at later.
    this.first = first > EDGE / 2 ? first : 0;
    this.end = height - 1 - last > EDGE / 2 ? last + 1 : height;
    this.findings.push(
      `"${fourcc}" holds counts of 16 bits` +
        (this.end - this.first < height ? ` in rows ${this.first} to ${this.end - 1}, the rest is a picture` : ''),
    );
    return true;
  }

  private hasChroma(row: number): boolean {
    const { frames, width } = this.sample;
    const lane = 1 - this.layout.offset;
    let grey = 0;
    let next = 0;
    let second = 0;
    let n = 0;
    for (const frame of frames) {
      for (let x = 0; x + 2 < width; x++, n++) {
        const c = this.byte(frame, row, 2 * x + lane);
        if (Math.abs(c - 128) <= GREY_CHROMA) grey++;
        next += Math.abs(c - this.byte(frame, row, 2 * x + 2 + lane));
        second += Math.abs(c - this.byte(frame, row, 2 * x + 4 + lane));
      }
    }
    // U and V take turns: what lies next to each other is not alike, what lies two apart is.
    return grey >= 0.9 * n || next > 2 * second + n;
  }

  /** Which byte is the high one: it changes least from pixel to pixel. */
  private order(deduced: Deduction): void {
    this.wide = true;
    const { frames, width } = this.sample;
    const margin = this.end - this.first > 4 * EDGE ? EDGE : 0;
    const same = [0, 0];
    const constant = [true, true];
    let n = 0;
    const start = [this.byte(frames[0]!, this.first + margin, 0), this.byte(frames[0]!, this.first + margin, 1)];
    for (const frame of frames) {
      for (let row = this.first + margin; row < this.end - margin; row++) {
        for (let x = 0; x + 1 < width; x++, n++) {
          for (const lane of [0, 1] as const) {
            const v = this.byte(frame, row, 2 * x + lane);
            if (v === this.byte(frame, row, 2 * x + 2 + lane)) same[lane]!++;
            if (v !== start[lane]) constant[lane] = false;
          }
        }
      }
    }
    // A byte that is always 0 may be the high one of small counts, or the low one of counts of 8 bits at the high end.
    const silent = (constant[0] && start[0] === 0) || (constant[1] && start[1] === 0);
    const [first, second] = [same[0]! / n, same[1]! / n];
    if (silent || Math.max(first, second) < 1.5 * Math.min(first, second) + 0.02) {
      this.findings.push('the byte order cannot be told from these frames: it is the one of the pixel format');
      return;
    }
    const big = first > second;
    if (big !== this.big) {
      deduced.endian = big ? 'big' : 'little';
      this.findings.push(`the ${big ? 'high' : 'low'} byte comes first, other than the pixel format says`);
    } else this.findings.push(`the ${big ? 'high' : 'low'} byte comes first`);
    this.big = big;
  }

  /** What the rows at both edges are: how many of each kind, from the edge inwards, up to the first row of the picture. */
  private edges(): { above: RowKind[]; below: RowKind[] } {
    const inner = this.end - this.first > 4 * EDGE ? EDGE : Math.max(1, Math.floor((this.end - this.first) / 4));
    const [low, high] = this.usualCounts(this.first + inner, this.end - inner);
    const margin = Math.max(EDGE, (high - low) / 2);
    const kind = (row: number): RowKind => {
      const { outside, constant } = this.rowStatistics(row, low - margin, high + margin);
      return constant ? 'dead' : outside >= FOREIGN ? 'foreign' : 'picture';
    };
    const run = (from: number, step: 1 | -1): RowKind[] => {
      const kinds: RowKind[] = [];
      for (let k = 0; k < inner; k++) {
        const what = kind(from + step * k);
        if (what === 'picture') break;
        kinds.push(what);
      }
      return kinds;
    };
    return { above: run(this.first, 1), below: run(this.end - 1, -1) };
  }

  private usualCounts(from: number, to: number): [low: number, high: number] {
    const { frames, width } = this.sample;
    const seen = this.histogram(from, to);
    const few = frames.length * width * (to - from) * UNUSUAL;
    let low = 0;
    let high = seen.length - 1;
    for (let n = seen[0]!; n <= few && low < high; n += seen[++low]!);
    for (let n = seen[high]!; n <= few && high > low; n += seen[--high]!);
    return [low, high];
  }

  /** How often each count is seen in these rows. */
  private histogram(from: number, to: number): Uint32Array {
    const { frames, width } = this.sample;
    const seen = new Uint32Array(65_536);
    for (const frame of frames)
      for (let row = from; row < to; row++) for (let x = 0; x < width; x++) seen[this.value(frame, row, x)]!++;
    return seen;
  }

  private rowStatistics(row: number, low: number, high: number): { outside: number; constant: boolean } {
    const { frames, width } = this.sample;
    const start = this.value(frames[0]!, row, 0);
    let outside = 0;
    let constant = true;
    for (const frame of frames) {
      for (let x = 0; x < width; x++) {
        const v = this.value(frame, row, x);
        if (v < low || v > high) outside++;
        if (v !== start) constant = false;
      }
    }
    return { outside: outside / (frames.length * width), constant };
  }

  /** Rows of telemetry at one edge: up to the last that is none of the picture; dead ones beyond it are its own or a border. */
  private telemetry({ above, below }: { above: RowKind[]; below: RowKind[] }): CameraProfileInput['telemetry'] {
    const sides = [
      { where: 'below', kinds: below, top: (rows: number) => this.end - rows },
      { where: 'above', kinds: above, top: () => this.first },
    ];
    for (const { where, kinds, top } of sides) {
      if (!kinds.includes('foreign')) continue;
      // All rows between the edge and the picture: the last rows of telemetry are often empty.
      const rows = kinds.length;
      const parser = this.parserOf(top(rows), rows);
      this.findings.push(
        `${rows} ${rows === 1 ? 'row' : 'rows'} ${where} the picture hold something else` +
          (parser === 'none'
            ? `, which no parser knows from ${this.sample.frames.length} frames`
            : `: telemetry as a ${parser} writes it`),
      );
      return { top: top(rows), rows, parser };
    }
    return undefined;
  }

  private parserOf(top: number, rows: number): TelemetryParserName {
    const { frames, width } = this.sample;
    for (const name of ['lepton', 'boson', 'xtherm'] as const) {
      const parser = createTelemetryParser(name)!;
      let counted = 0;
      let told = 0;
      let counter: number | undefined;
      let coldest = Number.POSITIVE_INFINITY;
      let hottest = Number.NEGATIVE_INFINITY;
      for (const frame of frames) {
        const words: TelemetryWords = {
          width,
          count: width * rows,
          word: (i) => this.value(frame, top + Math.floor(i / width), i % width),
        };
        const telemetry = parser.parse(words);
        if (telemetry === undefined) continue;
        told++;
        coldest = Math.min(coldest, telemetry.temperatureC!);
        hottest = Math.max(hottest, telemetry.temperatureC!);
        const { frameCounter } = telemetry;
        if (frameCounter === undefined) continue;
        // The same frame may come twice; none comes before one that was.
        if (counter !== undefined && frameCounter !== counter)
          counted += frameCounter > counter && frameCounter - counter < 10_000 ? 1 : Number.NEGATIVE_INFINITY;
        counter = frameCounter;
      }
      // A sane temperature may be chance; a counter that counts is not.
      const steady = told >= frames.length - 1 && told >= 2 && hottest - coldest < 2;
      if (steady && (name === 'xtherm' ? rows === 4 : counted * 2 >= told - 1)) return name;
    }
    return 'none';
  }

  /** What is left is the picture, less rows that are dead. */
  private takeRows(deduced: Deduction, { above, below }: { above: RowKind[]; below: RowKind[] }): void {
    const { width, height } = this.sample;
    this.first += above.length;
    this.end -= below.length;
    const border = { left: 0, right: 0, top: 0, bottom: 0 };
    if (!above.includes('foreign')) border.top = above.length;
    if (!below.includes('foreign')) border.bottom = below.length;
    const limit = Math.min(EDGE, width >> 2);
    while (border.left < limit && this.deadColumn(border.left)) border.left++;
    while (border.right < limit && this.deadColumn(width - 1 - border.right)) border.right++;
    if (this.first > 0 || this.end < height) deduced.imageRows = { top: this.first, height: this.end - this.first };
    if (above.includes('foreign') && below.includes('foreign'))
      this.findings.push(`${above.length} rows above the picture are no picture either: they are left out`);
    if (border.top + border.bottom > 0)
      this.findings.push(`dead rows are left out: ${border.top} above, ${border.bottom} below the picture`);
    if (border.left + border.right > 0)
      this.findings.push(
        `dead columns stay in the picture, a profile cannot leave them out: ${border.left} left, ${border.right} right`,
      );
    if (Object.values(border).some((n) => n > 0)) deduced.deadBorder = border;
  }

  private deadColumn(x: number): boolean {
    const { frames } = this.sample;
    const start = this.value(frames[0]!, this.first, x);
    for (const frame of frames)
      for (let row = this.first; row < this.end; row++) if (this.value(frame, row, x) !== start) return false;
    return true;
  }

  /** How many bits there are, and how far too far left they stand. */
  private depth(deduced: Deduction): void {
    const { frames, width } = this.sample;
    const seen = this.histogram(this.first, this.end);
    let values = 0;
    let highest = 0;
    // Pixels whose lowest 1, 2, ... 8 bits are not all 0.
    const low = new Float64Array(9);
    for (let v = 0; v < 65_536; v++) {
      if (seen[v] === 0) continue;
      values++;
      highest = v;
      for (let n = 1; n <= 8; n++) if ((v & ((1 << n) - 1)) !== 0) low[n]! += seen[v]!;
    }
    const said = this.layout.bits;
    const known = this.layout.sampleBytes === 2 && said < 16;
    const bits = known ? said : 16;
    if (values < LEAST_VALUES) {
      this.findings.push(`only ${values} different counts are in use: the bits cannot be told, ${bits} is taken`);
      deduced.bits = bits;
      return;
    }
    const pixels = frames.length * width * (this.end - this.first);
    const shift = low.findLastIndex((count) => count <= LOW_BITS * pixels);
    const used = 32 - Math.clz32(highest);
    if (shift > 0) {
      deduced.shift = shift;
      deduced.bits = 16 - shift;
      this.findings.push(`the lowest ${shift} bits are always 0: left-justified, ${deduced.bits} bits`);
      return;
    }
    if (known && used <= said) {
      this.findings.push(`${said} bits, as the pixel format says; ${used} are in use`);
      return;
    }
    const clipped = highest === 2 ** used - 1 && used >= 8 && used < 16 && seen[highest]! >= CLIPPED;
    deduced.bits = clipped ? used : used <= 14 ? 14 : 16;
    this.findings.push(
      clipped
        ? `${used} bits: ${seen[highest]} pixels are at ${highest}, the end of the scale`
        : `${used} bits are in use: ${deduced.bits} is taken; correct it where the camera's range is another`,
    );
  }
}
