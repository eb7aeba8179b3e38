import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.js';
import { EXIT } from '../types/errors.js';
import type { SyntheticOptions } from './options.js';
import { SyntheticScene, SyntheticSource } from './synthetic.js';

type Scene = Partial<SyntheticOptions>;
const quiet: Scene = { noise: 0, fixedPattern: 0, backgroundContrast: 0 };

const scene = (options: Scene): SyntheticScene => new SyntheticScene({ kind: 'synthetic', rate: 'fast', ...options });

function draw(from: SyntheticScene, sequence: number): Uint8Array | Uint16Array {
  const out = from.bits === 8 ? new Uint8Array(from.width * from.height) : new Uint16Array(from.width * from.height);
  from.render(sequence, out);
  return out;
}

/** Centroid of what exceeds `base`. */
function centroid(data: Uint8Array | Uint16Array, width: number, base: number): { x: number; y: number; peak: number } {
  let [sum, x, y, peak] = [0, 0, 0, 0];
  data.forEach((value, i) => {
    const v = value - base;
    sum += v;
    x += v * (i % width);
    y += v * Math.floor(i / width);
    peak = Math.max(peak, v);
  });
  return { x: x / sum, y: y / sum, peak };
}

function deviation(values: number[]): number {
  const mean = values.reduce((a, b) => a + b) / values.length;
  return Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
}

describe('targets', () => {
  it('are where the truth says, to a few thousandths of a pixel', () => {
    const one = scene({
      ...quiet,
      width: 64,
      height: 48,
      bits: 16,
      baseLevel: 1000,
      snr: 20_000,
      targetSigma: 1.1,
      targets: [{ x: 20.37, y: 17.81, vx: 0.41, vy: -0.23 }],
    });
    for (const k of [0, 1, 7, 30]) {
      const [truth] = one.truthAt(k);
      const { x, y } = centroid(draw(one, k), 64, 1000);
      expect(truth).toMatchObject({ id: 0, sigma: 1.1, snr: 20_000, contrast: 20_000, vx: 0.41, vy: -0.23 });
      expect(Math.abs(x - truth!.x)).toBeLessThan(0.005);
      expect(Math.abs(y - truth!.y)).toBeLessThan(0.005);
      expect(truth!.x).toBeCloseTo(20.37 + 0.41 * k, 9);
      expect(truth!.y).toBeCloseTo(17.81 - 0.23 * k, 9);
    }
  });

  it('have the contrast that was asked for in the pixel they are centred on', () => {
    for (const sigma of [0.5, 0.9, 2]) {
      const one = scene({
        ...quiet,
        bits: 16,
        baseLevel: 500,
        targetSigma: sigma,
        snr: 4000,
        targets: [{ x: 30, y: 20 }],
        width: 64,
        height: 48,
      });
      expect(Math.abs(centroid(draw(one, 0), 64, 500).peak - 4000)).toBeLessThanOrEqual(1);
    }
  });

  it('add up where they overlap', () => {
    const options = { ...quiet, bits: 16, baseLevel: 500, snr: 4000, width: 64, height: 48 } as const;
    const a = draw(scene({ ...options, targets: [{ x: 30, y: 20 }] }), 0);
    const b = draw(scene({ ...options, targets: [{ x: 32.4, y: 21 }] }), 0);
    const both = draw(
      scene({
        ...options,
        targets: [
          { x: 30, y: 20 },
          { x: 32.4, y: 21 },
        ],
      }),
      0,
    );
    both.forEach((value, i) => {
      expect(Math.abs(value - (a[i]! + b[i]! - 500))).toBeLessThanOrEqual(1);
    });
  });

  it('have contrast = snr * noise, and stand out by it on average', () => {
    const one = scene({
      bits: 14,
      noise: 8,
      fixedPattern: 0,
      backgroundContrast: 0,
      targets: [{ x: 30, y: 20, snr: 5 }],
    });
    expect(one.truthAt(0)[0]).toMatchObject({ snr: 5, contrast: 40 });
    let excess = 0;
    for (let k = 0; k < 400; k++) excess += draw(one, k)[20 * 320 + 30]! - 0.4 * 2 ** 14;
    expect(Math.abs(excess / 400 - 40)).toBeLessThan(2);
  });

  it('stay inside when they bounce; come and go when they wrap, and are in the truth only while they are there', () => {
    const bouncing = scene({ width: 64, height: 48, targets: 8, noise: 2 });
    const wrapping = scene({ width: 64, height: 48, targets: 8, noise: 2, borders: 'wrap' });
    const seen = new Set<number>();
    for (let k = 0; k < 2000; k += 13) {
      expect(bouncing.truthAt(k)).toHaveLength(8);
      for (const at of [...bouncing.truthAt(k), ...wrapping.truthAt(k)]) {
        expect(at.x >= -0.5 && at.x < 63.5 && at.y >= -0.5 && at.y < 47.5).toBe(true);
      }
      seen.add(wrapping.truthAt(k).length);
      draw(wrapping, k);
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it('leave no trace in the next frame', () => {
    const moving = scene({
      ...quiet,
      bits: 16,
      snr: 9000,
      borders: 'wrap',
      targets: [{ x: 5, y: 20, vx: -1 }],
      width: 64,
      height: 48,
    });
    for (let k = 0; k < 9; k++) draw(moving, k);
    expect(moving.truthAt(9)).toEqual([]);
    const gone = draw(moving, 9);
    const empty = draw(scene({ ...quiet, bits: 16, targets: 0, width: 64, height: 48 }), 0);
    expect(Math.max(...gone.map((value, i) => Math.abs(value - empty[i]!)))).toBeLessThanOrEqual(1);
  });
});

describe('the rest of the scene', () => {
  it('has white noise of the given strength, new in each frame and without a pattern', () => {
    const one = scene({
      bits: 14,
      noise: 20,
      fixedPattern: 0,
      backgroundContrast: 0,
      targets: 0,
      width: 128,
      height: 96,
    });
    const a = [...draw(one, 0)];
    const b = [...draw(one, 1)];
    expect(Math.abs(deviation(a) - 20)).toBeLessThan(0.6);
    const correlation = (p: number[], q: number[]): number => {
      const mp = p.reduce((x, y) => x + y) / p.length;
      const mq = q.reduce((x, y) => x + y) / q.length;
      return p.reduce((sum, value, i) => sum + (value - mp) * (q[i]! - mq), 0) / p.length / deviation(p) / deviation(q);
    };
    expect(Math.abs(correlation(a, b))).toBeLessThan(0.05);
    expect(Math.abs(correlation(a.slice(1), a.slice(0, -1)))).toBeLessThan(0.05);
    expect(Math.abs(correlation(a.slice(128), a.slice(0, -128)))).toBeLessThan(0.05);
  });

  it('has columns and rows of their own level, the same in every frame', () => {
    const one = scene({
      bits: 16,
      noise: 0,
      fixedPattern: 100,
      backgroundContrast: 0,
      targets: 0,
      width: 64,
      height: 48,
    });
    const frame = draw(one, 0);
    expect(draw(one, 5)).toEqual(frame);
    const columns = Array.from({ length: 64 }, (_, x) => frame[x]! - frame[0]!);
    const rows = Array.from({ length: 48 }, (_, y) => frame[y * 64]! - frame[0]!);
    expect(Math.abs(deviation(columns) - 100)).toBeLessThan(2);
    expect(Math.abs(deviation(rows) - 100)).toBeLessThan(2);
    for (let y = 0; y < 48; y++) {
      for (let x = 0; x < 64; x++) {
        expect(Math.abs(frame[y * 64 + x]! - frame[0]! - columns[x]! - rows[y]!)).toBeLessThanOrEqual(2);
      }
    }
  });

  it('has a background of the given contrast and level', () => {
    const frame = [...draw(scene({ bits: 14, noise: 0, backgroundContrast: 300, baseLevel: 5000, targets: 0 }), 0)];
    expect(Math.abs(deviation(frame) - 300)).toBeLessThan(2);
    expect(Math.abs(frame.reduce((a, b) => a + b) / frame.length - 5000)).toBeLessThan(1);
  });

  it('has dead pixels at the ends of the scale', () => {
    const one = scene({ bits: 12, deadPixels: 40, targets: 0, width: 64, height: 48 });
    const stuck = (data: ArrayLike<number>): number[] =>
      Array.from(data).flatMap((value, i) => (value === 0 || value === 4095 ? [i] : []));
    const dead = stuck(draw(one, 0));
    expect(dead.length).toBeGreaterThan(35);
    expect(dead.length).toBeLessThanOrEqual(40);
    expect(stuck(draw(one, 9))).toEqual(dead);
  });

  it.each([8, 9, 12, 16])('stays within %d bits, cut off and not wrapped round', (bits) => {
    const top = 2 ** bits - 1;
    const wild = scene({ bits, noise: top / 2, width: 64, height: 48 });
    const frame = draw(wild, 0);
    expect(Math.max(...frame)).toBe(top);
    expect(Math.min(...frame)).toBe(0);
    expect([...frame].filter((value) => value === top).length).toBeGreaterThan(100);
  });
});

describe('SyntheticSource', () => {
  it('gives frame k of a seed whatever was asked before', async () => {
    const options = { kind: 'synthetic', rate: 'fast', width: 64, height: 48, seed: 11, frames: 12 } as const;
    const source = new SyntheticSource(options);
    await source.start(new AbortController().signal);
    let tenth: Uint16Array | undefined;
    for (let frame = await source.next(); frame; frame = await source.next()) {
      if (frame.sequence === 10) tenth = Uint16Array.from(frame.data);
    }
    expect(draw(new SyntheticScene(options), 10)).toEqual(tenth);
    expect(draw(new SyntheticScene({ ...options, seed: 12 }), 10)).not.toEqual(tenth);
    expect(source.truthAt(10)).toEqual(new SyntheticScene(options).truthAt(10));
    expect(source.counters()).toEqual({ captured: 12, delivered: 12, dropped: {} });
  });

  it('has defaults for everything, and says what it is', async () => {
    const source = new SyntheticSource({ kind: 'synthetic', rate: 'realtime' });
    expect(await source.start(new AbortController().signal)).toEqual({
      description: 'synthetic scene (320x256, 14 bit, 3 targets)',
      width: 320,
      height: 256,
      bits: 14,
      fps: 30,
    });
    expect(source.truthAt(0).map(({ snr }) => snr)).toEqual([6, 6, 6]);
    await source.stop();
  });

  it('gives 8-bit frames of bytes', async () => {
    const source = new SyntheticSource({ kind: 'synthetic', rate: 'fast', bits: 8, width: 32, height: 24 });
    await source.start(new AbortController().signal);
    expect((await source.next())?.data).toBeInstanceOf(Uint8Array);
    await source.stop();
  });

  it('leaves out missed frames in real time, and counts them', async () => {
    const clock = new FakeClock();
    const options = { kind: 'synthetic', rate: 'realtime', fps: 50, width: 32, height: 24 } as const;
    const source = new SyntheticSource(options, { clock });
    await source.start(new AbortController().signal);
    await source.next();
    clock.advance(205);
    const frame = await source.next();
    expect(frame?.sequence).toBe(10);
    expect(frame?.data).toEqual(draw(new SyntheticScene(options), 10));
    clock.advance(45);
    await source.stop();
    expect(source.counters()).toEqual({ captured: 13, delivered: 2, dropped: { stale: 10, shutdown: 1 } });
  });

  it.each<[string, Scene]>([
    ['width', { width: 0 }],
    ['height', { height: 1.5 }],
    ['bits', { bits: 7 }],
    ['bits', { bits: 17 }],
    ['seed', { seed: Number.NaN }],
    ['frames', { frames: 0 }],
    ['fps', { fps: 0 }],
    ['noise', { noise: -1 }],
    ['targets', { targets: -1 }],
    ['targets.0.x', { targets: [{ x: Number.NaN, y: 0 }] }],
    [
      'targets.1.sigma',
      {
        targets: [
          { x: 1, y: 1 },
          { x: 1, y: 1, sigma: 0 },
        ],
      },
    ],
    ['targetSigma', { targetSigma: 0 }],
    ['snr', { snr: Number.NaN }],
  ])('refuses %s %j', async (named, options) => {
    const source = new SyntheticSource({ kind: 'synthetic', rate: 'fast', ...options });
    await expect(source.start(new AbortController().signal)).rejects.toMatchObject({
      code: 'SOURCE_OPTIONS_INVALID',
      exitCode: EXIT.config,
      message: expect.stringContaining(named),
    });
  });
});
