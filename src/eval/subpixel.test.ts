import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { gaussian, seeded } from '../../test/fakes/heat-map.js';
import { writeGreyPng } from '../capture/image-file.js';
import { background } from '../capture/scene.js';
import { BUNDLED_MANIFEST } from '../detect/manifest.js';
import { meanCramerRao } from './cramer-rao.js';
import { runSubpixel, summarise, type Trial } from './subpixel.js';

describe('summarise', () => {
  const trial = (more: Partial<Trial> = {}): Trial => ({
    surface: 'smooth',
    sigma: 1,
    snr: 10,
    heat: { dx: 0.3, dy: -0.1, sigmaX: 0.2, sigmaY: 0.2 },
    final: { dx: 0.1, dy: 0, sigmaX: 0.2, sigmaY: 0.2 },
    refined: true,
    ...more,
  });

  test('bias, rms, ratio and coverage of known errors', () => {
    const rows = summarise(
      [
        trial(),
        trial({ final: { dx: -0.3, dy: 0.2, sigmaX: 0.2, sigmaY: 0.2 }, refined: false }),
        trial({ heat: null, final: null, refined: false }),
        trial({ surface: 'textured', snr: 5 }),
      ],
      [1, 2],
      [5, 10],
    );
    const row = rows.find((r) => r.surface === 'smooth' && r.sigma === 1 && r.snr === 10)!;
    const bound = meanCramerRao(10, 1);
    expect(row).toMatchObject({ targets: 3, found: 2, refined: 1, bound: expect.closeTo(bound, 10) });
    const { final } = row;
    expect(final!.biasX).toBeCloseTo(-0.1, 10);
    expect(final!.biasY).toBeCloseTo(0.1, 10);
    expect(final!.rmsX).toBeCloseTo(Math.sqrt((0.1 ** 2 + 0.3 ** 2) / 2), 10);
    expect(final!.rmsY).toBeCloseTo(Math.sqrt(0.2 ** 2 / 2), 10);
    expect(final!.ratio).toBeCloseTo(Math.sqrt((0.1 ** 2 + 0.3 ** 2 + 0.2 ** 2) / 4) / bound, 10);
    expect([final!.coverageX, final!.coverageY]).toEqual([0.5, 1]);
    expect(row.heat).toMatchObject({ biasX: expect.closeTo(0.3, 10), coverageX: 0, coverageY: 1 });
    // Never tried: no row. All together: the same targets under null.
    expect(rows.some((r) => r.sigma === 2 || (r.surface === 'smooth' && r.snr === 5))).toBe(false);
    expect(rows.filter((r) => r.surface === 'textured').map((r) => [r.sigma, r.snr, r.targets])).toEqual([
      [null, null, 1],
      [null, 5, 1],
      [1, null, 1],
      [1, 5, 1],
    ]);
  });

  test('nothing found: no errors to state', () => {
    const [row] = summarise([trial({ heat: null, final: null })], [1], [10]);
    expect(row).toMatchObject({ targets: 1, found: 0, bound: null, heat: null, final: null });
  });

  test('errors drawn at the bound: ratio 1, coverage 68 %', () => {
    const random = seeded(4);
    const bound = meanCramerRao(8, 0.7);
    const trials = Array.from({ length: 4000 }, () => {
      const miss = { dx: bound * gaussian(random), dy: bound * gaussian(random), sigmaX: bound, sigmaY: bound };
      return trial({ sigma: 0.7, snr: 8, heat: miss, final: miss });
    });
    const [row] = summarise(trials, [0.7], [8]);
    expect(Math.abs(row!.final!.ratio - 1)).toBeLessThan(0.04);
    expect(Math.abs(row!.final!.coverageX - 0.683)).toBeLessThan(0.03);
  });
});

describe('runSubpixel', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'irst-subpixel-'));
  });
  afterEach(async () => {
    await rm(dir, { recursive: true, force: true });
  });
  const detector = { manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 1 } as const;

  test('the whole experiment on two drawn skies and a picture without a place, twice the same', async () => {
    await mkdir(path.join(dir, 'images'));
    for (const seed of [1, 2]) {
      const data = Uint8Array.from(background(160, 120, seed), (v) => Math.max(0, Math.min(255, 110 + 12 * v)));
      await writeGreyPng(path.join(dir, 'images', `sky-${seed}.png`), { width: 160, height: 120, data });
    }
    // Too small for a target: none of its frames is worked.
    const tiny = { width: 32, height: 24, data: new Uint8Array(32 * 24).fill(90) };
    await writeGreyPng(path.join(dir, 'images', 'tiny.png'), tiny);
    const progress: number[][] = [];
    const options = { detector, backgrounds: dir, threshold: 0.1, rounds: 2, sigmas: [1], snrs: [20] };
    const report = await runSubpixel({ ...options, onProgress: (done, all) => progress.push([done, all]) });
    expect(progress.at(-1)).toEqual([12, 12]);
    expect(report).toMatchObject({ backgrounds: 3, frames: 8, seed: 1, threshold: 0.1, scaleSnr: 15 });
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    const row = report.rows.find((r) => r.snr === 20 && r.sigma === 1)!;
    expect(row.targets).toBeGreaterThan(3);
    expect(row.found).toBeGreaterThan(row.targets / 2);
    expect(row.bound).toBeCloseTo(meanCramerRao(20, 1), 10);
    // A dozen targets: the refined positions are near the bound of 0.04 px, nowhere near a heat-map cell of 2 px.
    expect(row.final!.ratio).toBeLessThan(3);
    expect(report.scales.map((s) => `${s.kind} ${s.px}`)).toContain('pair 6');
    expect(report.scales.reduce((n, s) => n + s.targets, 0)).toBeGreaterThan(0);
    for (const s of report.scales) {
      expect(s.found).toBeLessThanOrEqual(s.targets);
      expect(s.rms === null).toBe(s.found === 0);
      if (s.kind === 'size') expect(s.apart).toBeNull();
    }
    // Half a pixel over pairs of 6 and 8 px: what the refinement leaves.
    const pairs = report.scales.filter((s) => s.apart !== null && s.px >= 6);
    expect(pairs.length).toBeGreaterThan(0);
    for (const s of pairs) expect(Math.abs(s.apart!.final)).toBeLessThan(0.5);
    expect(report.borders.map((b) => b.px)).toEqual([0, 0.5, 1, 1.5, 2, 3, 5]);
    expect(report.borders.reduce((n, b) => n + b.targets, 0)).toBeGreaterThan(4);
    for (const b of report.borders) expect(b.rms === null).toBe(b.found === 0);
    expect(await runSubpixel(options)).toEqual(report);
  });

  test('at the borders of a frame that the network gets padded, positions are as good as elsewhere', async () => {
    await mkdir(path.join(dir, 'images'));
    for (let k = 0; k < 14; k++) {
      const data = Uint8Array.from(background(81, 67, 20 + k), (v) => Math.max(0, Math.min(255, 110 + 2 * v)));
      await writeGreyPng(path.join(dir, 'images', `sky-${k}.png`), { width: 81, height: 67, data });
    }
    const { borders } = await runSubpixel({ detector, backgrounds: dir, rounds: 1, sigmas: [1], snrs: [20] });
    const near = borders.filter((b) => b.px >= 1 && b.px <= 3);
    const sum = (f: (b: (typeof near)[number]) => number) => near.reduce((n, b) => n + f(b), 0);
    const found = sum((b) => b.found);
    expect(sum((b) => b.targets)).toBeGreaterThan(20);
    expect(found / sum((b) => b.targets)).toBeGreaterThan(0.75);
    expect(Math.sqrt(sum((b) => (b.rms ?? 0) ** 2 * b.found) / found)).toBeLessThan(0.15);
    expect(sum((b) => (b.coverage ?? 0) * b.found) / found).toBeGreaterThan(0.45);
  });

  test('pictures without a place for a target are an error with a hint', async () => {
    await writeGreyPng(path.join(dir, 'tiny.png'), { width: 32, height: 24, data: new Uint8Array(32 * 24).fill(90) });
    await expect(runSubpixel({ detector, backgrounds: dir, rounds: 1 })).rejects.toMatchObject({
      code: 'SUBPIXEL_NO_SITE',
      exitCode: 65,
    });
  });
});
