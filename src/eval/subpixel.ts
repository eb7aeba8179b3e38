import { readGreyImage } from '../capture/image-file.js';
import { hash, uniform } from '../capture/random.js';
import { Decoder } from '../decode/decoder.js';
import { Detector, type DetectorOptions } from '../detect/detector.js';
import type { Detection } from '../types/detection.js';
import { EdgeError, EXIT } from '../types/errors.js';
import type { ModelIdentity } from '../types/model.js';
import { meanCramerRao } from './cramer-rao.js';
import { listImages } from './dataset.js';
import { stillFrame } from './evaluate.js';
import {
  type Background,
  chooseBorderSites,
  chooseSites,
  fits,
  type Injected,
  render,
  type Side,
  type Site,
  toBackground,
} from './injection.js';
import { distance, match, type Point } from './matching.js';

/**
 * Sub-pixel accuracy, measured: pixel-integrated Gaussian targets with exactly known centres are added to real pictures without
 * targets, white sensor noise on top, and what the detector says is held against the truth and the Cramer-Rao bound.
 */

export interface SubpixelOptions {
  detector: DetectorOptions;
  /** Folder of target-free pictures: `DIR/images`, or the pictures themselves. */
  backgrounds: string;
  /** Names of the pictures to take, one a line. Default: all. */
  list?: string;
  /** Least score of a detection; absent: the model's own. */
  threshold?: number;
  /** Same seed, same pictures, targets and noise. Default 1. */
  seed?: number;
  /** How often each picture is used, with other targets and noise. Default 3. */
  rounds?: number;
  /** Targets' sigmas, px. Default 0.7, 1, 1.5. */
  sigmas?: readonly number[];
  /** Peak contrasts over noise. Default 3, 5, 8, 10, 15, 20. */
  snrs?: readonly number[];
  onProgress?: (done: number, all: number) => void;
}

/** How far positions are off along each axis, px. */
export interface AxisErrors {
  biasX: number;
  biasY: number;
  rmsX: number;
  rmsY: number;
  /** rms over the bound, both axes together. */
  ratio: number;
  /** Share of errors within the reported sigma. */
  coverageX: number;
  coverageY: number;
}

/** Ground the targets lie on: `smooth`, where noise rules, and `textured`, where structure does. */
export type Surface = 'smooth' | 'textured';

export interface SubpixelRow {
  surface: Surface;
  /** Null: all of them together. */
  sigma: number | null;
  snr: number | null;
  targets: number;
  found: number;
  /** Found targets whose position came from the image's own pixels. */
  refined: number;
  /** Cramer-Rao bound of the found targets, px an axis: white noise, y, amplitude and background unknown, mean over phase. */
  bound: number | null;
  /** Null where nothing was found. `final`: what the decoder delivers, heat map where the refinement declined. */
  heat: AxisErrors | null;
  final: AxisErrors | null;
}

/** Targets of one kind: how many, and how many were found. */
export interface FoundRow {
  px: number;
  targets: number;
  found: number;
  /** Of those found, an axis, px, and the share of errors within the reported sigma. Null where nothing was found. */
  rms: number | null;
  coverage: number | null;
}

export interface ScaleRow extends FoundRow {
  /** `size`: one target `px` across (four sigmas, where it falls to 13 % of its peak); `pair`: two, `px` apart. */
  kind: 'size' | 'pair';
  /** How much farther apart than they are pairs are seen that are wholly found, mean, px: by the heat map alone, and refined. */
  apart: { heat: number; final: number } | null;
}

/** Targets whose centre is `px` from the middle of the frame's outermost pixels. */
export type BorderRow = FoundRow;

export interface SubpixelReport {
  backgrounds: number;
  /** Worked: those in which there was a place for a target. */
  frames: number;
  seed: number;
  threshold: number;
  model: ModelIdentity;
  provider: string;
  /** Pooled over sigmas and each alone; all snr together (null), then each. */
  rows: SubpixelRow[];
  scales: ScaleRow[];
  /** Sigma 1 px, of the same SNR as `scales`, on all four sides. */
  borders: BorderRow[];
  scaleSnr: number;
}

const DEFAULT_SIGMAS = [0.7, 1, 1.5];
const DEFAULT_SNRS = [3, 5, 8, 10, 15, 20];
/** Roughness over the added noise. Between them: too rough for the bound to hold, too smooth to count as structure. */
const SMOOTH_MOST = 0.3;
const TEXTURED_LEAST = 0.6;
const TEXTURED_MOST = 3;
const SMOOTH_SITES = 14;
const TEXTURED_SITES = 6;
/** A detection farther from every target is no measurement of one, px. */
const HIT_RADIUS = 3;

const SIZES = [1, 2, 3, 5, 8, 11, 15];
const SEPARATIONS = [4, 5, 6, 8];
const PAIR_SIGMA = 1;
const SCALE_SNR = 15;
const SCALE_SITES = 16;
const BORDER_DISTANCES = [0, 0.5, 1, 1.5, 2, 3, 5];

/** One target that was put in, and what came out. Errors are found minus true, px. */
export interface Trial {
  surface: Surface;
  sigma: number;
  snr: number;
  heat: Miss | null;
  final: Miss | null;
  refined: boolean;
}

export interface Miss {
  dx: number;
  dy: number;
  sigmaX: number;
  sigmaY: number;
}

/** @throws EdgeError INPUT_*, IMAGE_*, DATASET_INVALID, MODEL_* */
export async function runSubpixel(options: SubpixelOptions): Promise<SubpixelReport> {
  const { seed = 1, rounds = 3, sigmas = DEFAULT_SIGMAS, snrs = DEFAULT_SNRS } = options;
  const images = await listImages(options.backgrounds, options.list);
  const finder = new TwoWayFinder(options.detector, options.threshold);
  const trials: Trial[] = [];
  const scales = emptyScales();
  const borders: FoundTrials[] = BORDER_DISTANCES.map((px) => ({ px, targets: 0, misses: [] }));
  const all = images.length * (rounds + 2);
  let done = 0;
  try {
    for (const [index, image] of images.entries()) {
      const background = toBackground(await readGreyImage(image.path), hash(seed, index));
      for (let round = 0; round < rounds; round++) {
        const random = uniform(hash(seed, index, round, 1));
        trials.push(...(await accuracyFrame(background, sigmas, snrs, finder, random)));
        options.onProgress?.(++done, all);
      }
      await scaleFrame(background, scales, finder, uniform(hash(seed, index, 0, 2)));
      options.onProgress?.(++done, all);
      await borderFrame(background, borders, finder, uniform(hash(seed, index, 0, 3)));
      options.onProgress?.(++done, all);
    }
    if (trials.length === 0) {
      throw new EdgeError('SUBPIXEL_NO_SITE', `no picture of ${options.backgrounds} has a place for a target`, {
        hint: 'give larger pictures, or some with calm sky',
        exitCode: EXIT.dataError,
      });
    }
    return {
      backgrounds: images.length,
      seed,
      ...finder.running,
      rows: summarise(trials, sigmas, snrs),
      scales: scales.map((s) => ({ kind: s.kind, ...foundRow(s), apart: meanApart(s) })),
      borders: borders.map(foundRow),
      scaleSnr: SCALE_SNR,
    };
  } finally {
    await finder.close();
  }
}

/** One frame with a target at every site; sigma and snr take turns, from a random start. */
async function accuracyFrame(
  background: Background,
  sigmas: readonly number[],
  snrs: readonly number[],
  finder: TwoWayFinder,
  random: () => number,
): Promise<Trial[]> {
  const smooth = chooseSites(background, SMOOTH_SITES, 0, SMOOTH_MOST, [], random);
  const textured = chooseSites(background, TEXTURED_SITES, TEXTURED_LEAST, TEXTURED_MOST, smooth, random);
  const kinds = sigmas.length * snrs.length;
  let turn = Math.floor(random() * kinds);
  const targets: Injected[] = [];
  const trials: Trial[] = [];
  const place = (site: Site, surface: Surface) => {
    const sigma = sigmas[turn % sigmas.length]!;
    const snr = snrs[Math.floor(turn / sigmas.length) % snrs.length]!;
    turn = (turn + 1) % kinds;
    const noise = Math.hypot(background.noise, site.roughness);
    const target = { ...inPixel(site, random), sigma, contrast: snr * noise };
    if (!fits(background, target)) return;
    targets.push(target);
    trials.push({ surface, sigma, snr, heat: null, final: null, refined: false });
  };
  for (const site of smooth) place(site, 'smooth');
  for (const site of textured) place(site, 'textured');
  if (targets.length === 0) return [];
  const { heat, final } = await finder.find(background, render(background, targets, random));
  // The refinement keeps the order, so both are judged on the same pairs.
  for (const hit of match(heat, targets, HIT_RADIUS)) {
    const truth = targets[hit.truth]!;
    const trial = trials[hit.truth]!;
    const before = heat[hit.found]!;
    const after = final[hit.found]!;
    trial.heat = missOf(before, truth);
    trial.final = missOf(after, truth);
    trial.refined = after.x !== before.x || after.y !== before.y;
  }
  return trials;
}

interface FoundTrials {
  px: number;
  targets: number;
  misses: Miss[];
}

interface ScaleTrials extends FoundTrials {
  kind: ScaleRow['kind'];
  /** Of pairs that were wholly found: distance seen, px. */
  apart: { heat: number; final: number }[];
}

async function scaleFrame(
  background: Background,
  scales: ScaleTrials[],
  finder: TwoWayFinder,
  random: () => number,
): Promise<void> {
  const sites = chooseSites(background, SCALE_SITES, 0, SMOOTH_MOST, [], random);
  let turn = Math.floor(random() * scales.length);
  const targets: Injected[] = [];
  const groups: { row: ScaleTrials; members: Injected[] }[] = [];
  for (const site of sites) {
    const row = scales[turn]!;
    turn = (turn + 1) % scales.length;
    const contrast = SCALE_SNR * Math.hypot(background.noise, site.roughness);
    const members = scaleTargets(row, inPixel(site, random), contrast, random);
    if (!members.every((t) => fits(background, t))) continue;
    targets.push(...members);
    groups.push({ row, members });
  }
  if (targets.length === 0) return;
  const { heat, final } = await finder.find(background, render(background, targets, random));
  for (const { row, members } of groups) {
    row.targets += members.length;
    // A pair's detections must each be nearer to their own target than to the middle.
    const radius = row.kind === 'pair' ? Math.min(HIT_RADIUS, row.px / 2) : HIT_RADIUS;
    const hits = match(final, members, radius);
    row.misses.push(...hits.map((hit) => missOf(final[hit.found]!, members[hit.truth]!)));
    const [one, other] = hits.map((hit) => hit.found);
    // The refinement keeps the order.
    if (one !== undefined && other !== undefined)
      row.apart.push({ heat: distance(heat[one]!, heat[other]!), final: distance(final[one]!, final[other]!) });
  }
}

/** One frame with a target on each side that has calm ground. */
async function borderFrame(
  background: Background,
  borders: FoundTrials[],
  finder: TwoWayFinder,
  random: () => number,
): Promise<void> {
  const targets: Injected[] = [];
  const trials: FoundTrials[] = [];
  let turn = Math.floor(random() * borders.length);
  for (const { side, site } of chooseBorderSites(background, SMOOTH_MOST, random)) {
    const trial = borders[turn]!;
    turn = (turn + 1) % borders.length;
    const contrast = SCALE_SNR * Math.hypot(background.noise, site.roughness);
    const at = nearBorder(background, side, inPixel(site, random), trial.px);
    const target = { ...at, sigma: PAIR_SIGMA, contrast };
    if (!fits(background, target)) continue;
    targets.push(target);
    trials.push(trial);
    trial.targets++;
  }
  if (targets.length === 0) return;
  const { final } = await finder.find(background, render(background, targets, random));
  for (const hit of match(final, targets, HIT_RADIUS)) {
    trials[hit.truth]!.misses.push(missOf(final[hit.found]!, targets[hit.truth]!));
  }
}

function nearBorder({ width, height }: { width: number; height: number }, side: Side, at: Point, px: number): Point {
  switch (side) {
    case 'left':
      return { ...at, x: px };
    case 'right':
      return { ...at, x: width - 1 - px };
    case 'top':
      return { ...at, y: px };
    case 'bottom':
      return { ...at, y: height - 1 - px };
  }
}

function foundRow({ px, targets, misses }: FoundTrials): FoundRow {
  const inside = misses.flatMap((m) => [Math.abs(m.dx) <= m.sigmaX, Math.abs(m.dy) <= m.sigmaY]);
  return {
    px,
    targets,
    found: misses.length,
    rms: rootMeanSquare(misses.flatMap((m) => [m.dx, m.dy])),
    coverage: inside.length === 0 ? null : inside.filter(Boolean).length / inside.length,
  };
}

function scaleTargets(row: ScaleTrials, at: Point, contrast: number, random: () => number): Injected[] {
  if (row.kind === 'size') return [{ ...at, sigma: row.px / 4, contrast }];
  const angle = Math.PI * random();
  const dx = (row.px / 2) * Math.cos(angle);
  const dy = (row.px / 2) * Math.sin(angle);
  return [-1, 1].map((side) => ({ x: at.x + side * dx, y: at.y + side * dy, sigma: PAIR_SIGMA, contrast }));
}

function meanApart({ px, apart }: ScaleTrials): ScaleRow['apart'] {
  if (apart.length === 0) return null;
  const mean = (kind: 'heat' | 'final') => apart.reduce((sum, pair) => sum + pair[kind] - px, 0) / apart.length;
  return { heat: mean('heat'), final: mean('final') };
}

function emptyScales(): ScaleTrials[] {
  const rows = (kind: ScaleRow['kind'], list: number[]) =>
    list.map((px): ScaleTrials => ({ kind, px, targets: 0, misses: [], apart: [] }));
  return [...rows('size', SIZES), ...rows('pair', SEPARATIONS)];
}

/** Anywhere in the site's pixel. */
function inPixel(site: Point, random: () => number): Point {
  return { x: site.x + random() - 0.5, y: site.y + random() - 0.5 };
}

function missOf(found: Detection, truth: Point): Miss {
  return { dx: found.x - truth.x, dy: found.y - truth.y, sigmaX: found.sigmaX, sigmaY: found.sigmaY };
}

/** Rows of the report. Combinations that were never tried are left out. */
export function summarise(trials: readonly Trial[], sigmas: readonly number[], snrs: readonly number[]): SubpixelRow[] {
  const bounds = new Map<string, number>();
  const boundOf = (t: Trial) => {
    const key = `${t.sigma}/${t.snr}`;
    const bound = bounds.get(key) ?? meanCramerRao(t.snr, t.sigma);
    bounds.set(key, bound);
    return bound;
  };
  const rows: SubpixelRow[] = [];
  for (const surface of ['smooth', 'textured'] as const) {
    for (const sigma of [null, ...sigmas]) {
      for (const snr of [null, ...snrs]) {
        const own = trials.filter(
          (t) => t.surface === surface && (sigma ?? t.sigma) === t.sigma && (snr ?? t.snr) === t.snr,
        );
        if (own.length === 0) continue;
        const found = own.filter((t) => t.heat !== null && t.final !== null);
        const bound = rootMeanSquare(found.map(boundOf));
        rows.push({
          surface,
          sigma,
          snr,
          targets: own.length,
          found: found.length,
          refined: found.filter((t) => t.refined).length,
          bound,
          heat: axisErrors(
            found.flatMap((t) => t.heat ?? []),
            bound,
          ),
          final: axisErrors(
            found.flatMap((t) => t.final ?? []),
            bound,
          ),
        });
      }
    }
  }
  return rows;
}

function axisErrors(misses: readonly Miss[], bound: number | null): AxisErrors | null {
  const rmsX = rootMeanSquare(misses.map((m) => m.dx));
  const rmsY = rootMeanSquare(misses.map((m) => m.dy));
  if (rmsX === null || rmsY === null || bound === null) return null;
  const mean = (f: (m: Miss) => number) => misses.reduce((sum, m) => sum + f(m), 0) / misses.length;
  return {
    biasX: mean((m) => m.dx),
    biasY: mean((m) => m.dy),
    rmsX,
    rmsY,
    ratio: Math.sqrt((rmsX ** 2 + rmsY ** 2) / 2) / bound,
    coverageX: mean((m) => Number(Math.abs(m.dx) <= m.sigmaX)),
    coverageY: mean((m) => Number(Math.abs(m.dy) <= m.sigmaY)),
  };
}

function rootMeanSquare(values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
}

/** The detector with both ways of decoding the same heat maps. Keeps the last size's network loaded. */
class TwoWayFinder {
  private detector: Detector | undefined;
  private heatOnly: Decoder | undefined;
  private refining: Decoder | undefined;
  private size = '';
  private threshold = Number.NaN;
  private frames = 0;

  constructor(
    private readonly options: DetectorOptions,
    private readonly givenThreshold: number | undefined,
  ) {}

  async find(
    { width, height }: { width: number; height: number },
    data: Uint16Array,
  ): Promise<{ heat: Detection[]; final: Detection[] }> {
    if (this.size !== `${width}x${height}`) await this.load(width, height);
    const frame = stillFrame(0, { width, height, bits: 16, data });
    const maps = await this.detector!.run(frame, { normalise: 0, infer: 0 });
    this.frames++;
    return {
      heat: this.heatOnly!.run(maps, frame).detections,
      final: this.refining!.run(maps, frame).detections,
    };
  }

  private async load(width: number, height: number): Promise<void> {
    await this.close();
    this.detector = await Detector.create(this.options, { width, height });
    const { threshold, biasX = 0, biasY = 0 } = this.detector.manifest.decode;
    this.threshold = this.givenThreshold ?? threshold;
    const options = { threshold: this.threshold, biasX, biasY };
    this.heatOnly = new Decoder({ ...options, refine: false });
    this.refining = new Decoder({ ...options, refine: true });
    this.size = `${width}x${height}`;
  }

  /** After the first frame. */
  get running(): Pick<SubpixelReport, 'frames' | 'model' | 'provider' | 'threshold'> {
    const { identity: model, provider } = this.detector!;
    return { frames: this.frames, model, provider, threshold: this.threshold };
  }

  async close(): Promise<void> {
    await this.detector?.close();
    this.detector = undefined;
    this.size = '';
  }
}
