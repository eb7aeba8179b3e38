import type { FrameReader, ReadResult } from '../capture/frame-reader.js';
import { PacedSource } from '../capture/paced-source.js';
import { gaussianTable, hash, mix } from '../capture/random.js';
import { readStillImage } from '../capture/still-image.js';

/** What a steady camera would see of the scene in a picture: the picture again and again, with fresh sensor noise. */
export interface StillOptions {
  path: string;
  frames: number;
  /** Standard deviation of the noise, counts of the picture. */
  noise: number;
  seed: number;
}

const FPS = 30;
/** Pictures of 8 bits get so many more, so that noise is not lost in rounding. */
const MORE_BITS = 4;
const NOISE_TABLE = 1 << 18;

export class StillSource extends PacedSource {
  constructor(options: StillOptions) {
    super(() => StillReader.open(options), { rate: 'fast', fps: FPS });
  }
}

class StillReader implements FrameReader {
  readonly description: string;
  readonly missing = 0;
  private readonly data: Uint16Array;

  private constructor(
    readonly frames: number,
    readonly width: number,
    readonly height: number,
    readonly bits: number,
    path: string,
    private readonly picture: Float32Array,
    private readonly noise: Float32Array,
    private readonly seed: number,
  ) {
    this.description = `still picture ${path}`;
    this.data = new Uint16Array(width * height);
  }

  static async open({ path, frames, noise, seed }: StillOptions): Promise<StillReader> {
    const { width, height, bits, data } = await readStillImage(path);
    const more = bits <= 16 - MORE_BITS ? MORE_BITS : 0;
    const gain = 2 ** more;
    // Half a count more, so that cutting off rounds.
    const picture = Float32Array.from(data, (value) => gain * value + 0.5);
    const table = gaussianTable(NOISE_TABLE, hash(seed)).map((value) => value * noise * gain);
    return new StillReader(frames, width, height, bits + more, path, picture, table, seed);
  }

  read(index: number): ReadResult {
    const { width, height, bits, data, picture, noise, seed } = this;
    const top = 2 ** bits - 1;
    const key = hash(seed, 1, index);
    for (let y = 0, i = 0; y < height; y++) {
      const from = mix(key + Math.imul(y, 0x9e3779b1));
      for (let x = 0; x < width; x++, i++) {
        const value = picture[i]! + noise[(from + x) & (NOISE_TABLE - 1)]!;
        data[i] = value > 0 ? Math.min(value, top) : 0;
      }
    }
    return { ok: true, pixels: { width, height, bits, data } };
  }

  async close(): Promise<void> {}
}
