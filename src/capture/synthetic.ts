import { optionError } from './faults.js';
import type { FrameReader, ReadResult } from './frame-reader.js';
import type { SyntheticOptions } from './options.js';
import { PacedSource, type SourceHooks } from './paced-source.js';
import { gaussianTable, hash, mix, uniform } from './random.js';
import { background, bounce, pixelShare, wrap } from './scene.js';

/** What is really in a synthetic frame: a target whose centre lies on it. */
export interface TargetTruth {
  /** From 0; the same in every frame. */
  id: number;
  /** Centre, px; pixel centres at integers, 0-based. */
  x: number;
  y: number;
  /** px a frame. */
  vx: number;
  vy: number;
  /** Standard deviation of the profile, px. */
  sigma: number;
  /** Contrast of the brightest pixel of a target centred on it, over the noise. */
  snr: number;
  /** That contrast, counts. */
  contrast: number;
}

interface Target {
  x: number;
  y: number;
  vx: number;
  vy: number;
  sigma: number;
  snr: number;
  contrast: number;
  /** Sum of all pixels, counts. */
  energy: number;
}

type Settings = Required<Omit<SyntheticOptions, 'kind' | 'rate' | 'frames'>>;

// 256 KiB: stays in a core's second-level cache. Rows start at random places in it.
const NOISE_TABLE = 1 << 16;
/** Half width of the patch that a target is drawn on, in its sigmas: the rest is below 1e-6 of it. */
const REACH = 5;

/**
 * A thermal view with moving point targets whose places are known exactly. Frame k of a seed is the same whatever was asked
 * before. `truthAt` and `render` work without `start`.
 */
export class SyntheticSource extends PacedSource {
  private scene: SyntheticScene | undefined;
  private readonly own: SyntheticOptions;

  constructor(options: SyntheticOptions, hooks: SourceHooks = {}) {
    super(async () => new SyntheticReader(this.made(), options.frames), { ...options, fps: options.fps ?? 30 }, hooks);
    this.own = options;
  }

  /** The targets of frame `sequence`. Throws `SOURCE_OPTIONS_INVALID`. */
  truthAt(sequence: number): TargetTruth[] {
    return this.made().truthAt(sequence);
  }

  private made(): SyntheticScene {
    this.scene ??= new SyntheticScene(this.own);
    return this.scene;
  }
}

/** The scene itself, without a clock: `render(k)` draws frame k. Building it takes some tens of ms; throws `SOURCE_OPTIONS_INVALID`. */
export class SyntheticScene {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly targetCount: number;
  private readonly settings: Settings;
  private readonly targets: Target[];
  /** Everything that stands still: background, base level, fixed pattern; plus a half, so that cutting off rounds. */
  private readonly still: Float32Array;
  private readonly noise: Float32Array;
  /** Contrast of the targets in the frame being drawn; zero everywhere between two frames. */
  private readonly contrast: Float32Array;
  private readonly dead: { at: number; value: number }[] = [];

  constructor(options: SyntheticOptions) {
    const s = settle(options);
    this.settings = s;
    this.width = s.width;
    this.height = s.height;
    this.bits = s.bits;
    const { width, height, seed } = s;
    this.targets = placeTargets(s);
    this.targetCount = this.targets.length;
    this.still = Float32Array.from(background(width, height, hash(seed, 1)));
    const columns = gaussianTable(width, hash(seed, 2));
    const rows = gaussianTable(height, hash(seed, 3));
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const pattern = s.fixedPattern * (columns[x]! + rows[y]!);
        this.still[i] = s.baseLevel + s.backgroundContrast * this.still[i]! + pattern + 0.5;
      }
    }
    this.noise = gaussianTable(NOISE_TABLE, hash(seed, 4)).map((value) => value * s.noise);
    this.contrast = new Float32Array(width * height);
    const random = uniform(hash(seed, 5));
    for (let i = 0; i < s.deadPixels; i++) {
      const at = Math.floor(random() * width * height);
      this.dead.push({ at, value: random() < 0.5 ? 0 : 2 ** s.bits - 1 });
    }
  }

  truthAt(sequence: number): TargetTruth[] {
    const { width, height } = this;
    if (sequence < this.settings.emptyFrames) return [];
    const truth: TargetTruth[] = [];
    for (let id = 0; id < this.targets.length; id++) {
      const target = this.targets[id]!;
      const { x, y, vx, vy } = this.place(target, sequence);
      if (x < -0.5 || y < -0.5 || x >= width - 0.5 || y >= height - 0.5) continue;
      truth.push({ id, x, y, vx, vy, sigma: target.sigma, snr: target.snr, contrast: target.contrast });
    }
    return truth;
  }

  /** Draws frame `sequence` into `out` (`width * height`): a Uint8Array for 8 bits, else a Uint16Array. */
  render(sequence: number, out: Uint8Array | Uint16Array): void {
    const { width, height, still, noise, contrast } = this;
    const shown = sequence < this.settings.emptyFrames ? [] : this.targets;
    const patches = shown.map((target) => this.addTarget(target, sequence));
    const top = 2 ** this.bits - 1;
    const mask = NOISE_TABLE - 1;
    const key = hash(this.settings.seed, 6, sequence, Math.floor(sequence / 2 ** 32));
    for (let y = 0, i = 0; y < height; y++) {
      const from = this.rowOffset(key, y);
      for (let x = 0; x < width; x++, i++) {
        const value = still[i]! + noise[(from + x) & mask]!;
        out[i] = value > 0 ? Math.min(value, top) : 0;
      }
    }
    // Again where a target is, with the sum of all of them.
    for (const { x0, x1, y0, y1 } of patches) {
      for (let y = y0; y <= y1; y++) {
        const from = this.rowOffset(key, y);
        for (let x = x0; x <= x1; x++) {
          const i = y * width + x;
          const value = still[i]! + noise[(from + x) & mask]! + contrast[i]!;
          out[i] = value > 0 ? Math.min(value, top) : 0;
        }
      }
    }
    for (const { x0, x1, y0, y1 } of patches) {
      // Off the frame: a negative end would count from the array's end.
      if (x1 < x0) continue;
      for (let y = y0; y <= y1; y++) contrast.fill(0, y * width + x0, y * width + x1 + 1);
    }
    for (const { at, value } of this.dead) out[at] = value;
  }

  /** A row's start in the noise table: any place, drawn anew for each row of each frame. */
  private rowOffset(key: number, y: number): number {
    return mix(key + Math.imul(y, 0x9e3779b1));
  }

  private addTarget(target: Target, sequence: number): { x0: number; x1: number; y0: number; y1: number } {
    const { width, height, contrast } = this;
    const { x, y } = this.place(target, sequence);
    const reach = REACH * target.sigma + 1;
    const x0 = Math.max(0, Math.ceil(x - reach));
    const x1 = Math.min(width - 1, Math.floor(x + reach));
    const y0 = Math.max(0, Math.ceil(y - reach));
    const y1 = Math.min(height - 1, Math.floor(y + reach));
    const across: number[] = [];
    for (let px = x0; px <= x1; px++) across.push(pixelShare(px, x, target.sigma));
    for (let py = y0; py <= y1; py++) {
      const down = target.energy * pixelShare(py, y, target.sigma);
      const row = py * width;
      for (let px = x0; px <= x1; px++) contrast[row + px]! += down * across[px - x0]!;
    }
    return { x0, x1, y0, y1 };
  }

  private place(target: Target, sequence: number): { x: number; y: number; vx: number; vy: number } {
    const margin = this.settings.borders === 'bounce' ? bounceMargin(target.sigma) : -REACH * target.sigma;
    const move = this.settings.borders === 'bounce' ? bounce : wrap;
    const [x, vx] = move(target.x, target.vx, sequence, margin, this.width - 1 - margin);
    const [y, vy] = move(target.y, target.vy, sequence, margin, this.height - 1 - margin);
    return { x, y, vx, vy };
  }
}

class SyntheticReader implements FrameReader {
  readonly description: string;
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly frames: number;
  readonly missing = 0;
  private readonly data: Uint8Array | Uint16Array;

  constructor(
    private readonly scene: SyntheticScene,
    frames: number | undefined,
  ) {
    if (frames !== undefined && !(Number.isInteger(frames) && frames >= 1)) {
      throw optionError(
        `frames ${frames} is not a number of frames`,
        'Give a whole number from 1 on, or leave it out.',
      );
    }
    const { width, height, bits, targetCount } = scene;
    this.width = width;
    this.height = height;
    this.bits = bits;
    this.frames = frames ?? Number.POSITIVE_INFINITY;
    this.data = bits === 8 ? new Uint8Array(width * height) : new Uint16Array(width * height);
    this.description = `synthetic scene (${width}x${height}, ${bits} bit, ${targetCount} targets)`;
  }

  read(index: number): ReadResult {
    const { width, height, bits, data } = this;
    this.scene.render(index, data);
    return { ok: true, pixels: { width, height, bits, data } };
  }

  async close(): Promise<void> {}
}

function bounceMargin(sigma: number): number {
  return 2 * sigma;
}

function settle(options: SyntheticOptions): Settings {
  const bits = options.bits ?? 14;
  const noise = options.noise ?? Math.max(2, 2 ** (bits - 11));
  const settings: Settings = {
    width: options.width ?? 320,
    height: options.height ?? 256,
    fps: options.fps ?? 30,
    seed: options.seed ?? 1,
    bits,
    noise,
    fixedPattern: options.fixedPattern ?? noise / 4,
    deadPixels: options.deadPixels ?? 0,
    backgroundContrast: options.backgroundContrast ?? 6 * noise,
    baseLevel: options.baseLevel ?? 0.4 * 2 ** bits,
    targets: options.targets ?? 3,
    snr: options.snr ?? 6,
    targetSigma: options.targetSigma ?? 0.9,
    borders: options.borders ?? 'bounce',
    emptyFrames: options.emptyFrames ?? 0,
  };
  for (const name of ['width', 'height'] as const) whole(name, settings[name], 8, 16384);
  whole('bits', bits, 8, 16);
  whole('seed', settings.seed, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  whole('emptyFrames', settings.emptyFrames, 0, 1e6);
  whole('deadPixels', settings.deadPixels, 0, settings.width * settings.height);
  if (typeof settings.targets === 'number') whole('targets', settings.targets, 0, 10000);
  for (const name of ['noise', 'fixedPattern', 'backgroundContrast', 'baseLevel', 'snr'] as const) {
    within(name, settings[name], 0, 1e6);
  }
  within('targetSigma', settings.targetSigma, 0.1, 50);
  return settings;
}

function whole(name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value)) throw optionError(`${name} ${value} is not a whole number`, `Give ${low} to ${high}.`);
  within(name, value, low, high);
}

function within(name: string, value: number, low: number, high: number): void {
  if (!(value >= low && value <= high))
    throw optionError(`${name} ${value} is out of range`, `Give ${low} to ${high}.`);
}

function placeTargets(s: Settings): Target[] {
  const unit = s.noise > 0 ? s.noise : 1;
  const make = (x: number, y: number, vx: number, vy: number, snr: number, sigma: number): Target => {
    const contrast = snr * unit;
    return { x, y, vx, vy, sigma, snr, contrast, energy: contrast / pixelShare(0, 0, sigma) ** 2 };
  };
  if (typeof s.targets !== 'number') {
    return s.targets.map((target, i) => {
      const { x, y, vx = 0, vy = 0, snr = s.snr, sigma = s.targetSigma } = target;
      for (const [name, value] of Object.entries({ x, y, vx, vy })) within(`targets.${i}.${name}`, value, -1e6, 1e6);
      within(`targets.${i}.snr`, snr, 0, 1e6);
      within(`targets.${i}.sigma`, sigma, 0.1, 50);
      return make(x, y, vx, vy, snr, sigma);
    });
  }
  const random = uniform(hash(s.seed, 7));
  return Array.from({ length: s.targets }, () => {
    const x = random() * (s.width - 1);
    const y = random() * (s.height - 1);
    const direction = 2 * Math.PI * random();
    const speed = 0.2 + 0.8 * random();
    return make(x, y, speed * Math.cos(direction), speed * Math.sin(direction), s.snr, s.targetSigma);
  });
}
