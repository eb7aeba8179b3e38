import type { Pixels } from '../capture/frame-reader.js';
import { uniform } from '../capture/random.js';
import { pixelShare } from '../capture/scene.js';
import { fluxOf } from './cramer-rao.js';
import type { Point } from './matching.js';

/** A picture without targets, in counts of a 16-bit scale, and how loud the sensor noise is that will be added to it. */
export interface Background {
  width: number;
  height: number;
  values: Float64Array;
  /** Standard deviation of the white noise to add, counts. */
  noise: number;
}

/** Where a target goes: near which pixel, and the background's own roughness there, counts (`roughness`). */
export interface Site extends Point {
  roughness: number;
}

export interface Injected extends Point {
  sigma: number;
  /** Height above the background of the pixel it would be centred on, counts. */
  contrast: number;
}

/** Half-size of the square in which roughness is measured, px. */
export const SITE_RADIUS = 8;
/** Least distance of a target from the border, px. */
const MARGIN = 20;
/** Least distance of two sites along an axis, px: neither the network's view of a target nor a fit window reaches the next. */
const SPACING = 36;
/** 8-bit pictures in 64ths of a grey level, with room below for the noise. */
const GAIN_8BIT = 64;
const PEDESTAL = 4096;
const FULL_SCALE = 65_535;
/** Added noise over the roughness of the picture's quietest tenth: quantisation and the picture's own noise hardly count beside it. */
const NOISE_OVER_QUIET = 4;
/** Least added noise, counts: rounding (0.29) adds less than 1 % to it. */
const LEAST_NOISE = 4;
const SAMPLES = 400;
const TRIES = 6000;
const BORDER_TRIES = 100;

/** Of a picture. */
export type Side = 'left' | 'right' | 'top' | 'bottom';
const SIDES: readonly Side[] = ['left', 'right', 'top', 'bottom'];

/** The picture on a 16-bit scale, with the noise that its quiet parts call for. */
export function toBackground(image: Pixels, seed: number): Background {
  const { width, height, data } = image;
  const gain = image.bits <= 8 ? GAIN_8BIT : 1;
  const values = Float64Array.from(data, (v) => v * gain + (gain === 1 ? 0 : PEDESTAL));
  const random = uniform(seed);
  const samples: number[] = [];
  if (width > 2 * MARGIN && height > 2 * MARGIN) {
    for (let k = 0; k < SAMPLES; k++) samples.push(roughness(values, width, randomPixel(width, height, random)));
  }
  samples.sort((a, b) => a - b);
  const quiet = samples[Math.floor(0.1 * samples.length)] ?? 0;
  return { width, height, values, noise: Math.max(LEAST_NOISE, NOISE_OVER_QUIET * quiet) };
}

/** Standard deviation of the values around a pixel about the plane that fits them best, counts. */
export function roughness(values: Float64Array, width: number, { x, y }: Point, radius = SITE_RADIUS): number {
  let sum = 0;
  let squares = 0;
  let alongX = 0;
  let alongY = 0;
  let spread = 0;
  const n = (2 * radius + 1) ** 2;
  // About the middle value: the squares of large counts would eat the digits of small differences.
  const middle = values[y * width + x]!;
  for (let v = -radius; v <= radius; v++) {
    for (let u = -radius; u <= radius; u++) {
      const value = values[(y + v) * width + x + u]! - middle;
      sum += value;
      squares += value * value;
      alongX += u * value;
      alongY += v * value;
      spread += u * u;
    }
  }
  const plane = (alongX * alongX + alongY * alongY) / spread;
  return Math.sqrt(Math.max(0, squares - (sum * sum) / n - plane) / n);
}

function randomPixel(width: number, height: number, random: () => number): Point {
  return {
    x: MARGIN + Math.floor(random() * (width - 2 * MARGIN)),
    y: MARGIN + Math.floor(random() * (height - 2 * MARGIN)),
  };
}

/**
 * Up to `count` pixels, far from each other and from those `taken`, where the background's roughness is between `least` and `most`
 * times the noise. Fewer if the picture does not have them.
 */
export function chooseSites(
  background: Background,
  count: number,
  least: number,
  most: number,
  taken: readonly Point[],
  random: () => number,
): Site[] {
  const { width, height, values, noise } = background;
  const sites: Site[] = [];
  if (width <= 2 * MARGIN || height <= 2 * MARGIN) return sites;
  const isNear = (a: Point, b: Point) => Math.abs(a.x - b.x) < SPACING && Math.abs(a.y - b.y) < SPACING;
  for (let k = 0; k < TRIES && sites.length < count; k++) {
    const pixel = randomPixel(width, height, random);
    if (taken.some((t) => isNear(t, pixel)) || sites.some((s) => isNear(s, pixel))) continue;
    const rough = roughness(values, width, pixel);
    if (rough >= least * noise && rough <= most * noise) sites.push({ ...pixel, roughness: rough });
  }
  return sites;
}

/**
 * A place on each of the four borders (left, right, top, bottom) where the ground is at most `most` times the noise rough; fewer if
 * the picture does not have them. The pixel is as near to the border as roughness can be measured.
 */
export function chooseBorderSites(
  { width, height, values, noise }: Background,
  most: number,
  random: () => number,
): { side: Side; site: Site }[] {
  if (width <= 2 * MARGIN || height <= 2 * MARGIN) return [];
  const chosen: { side: Side; site: Site }[] = [];
  for (const side of SIDES) {
    for (let k = 0; k < BORDER_TRIES; k++) {
      const pixel = randomPixel(width, height, random);
      if (side === 'left') pixel.x = SITE_RADIUS;
      else if (side === 'right') pixel.x = width - 1 - SITE_RADIUS;
      else if (side === 'top') pixel.y = SITE_RADIUS;
      else pixel.y = height - 1 - SITE_RADIUS;
      const rough = roughness(values, width, pixel);
      if (rough > most * noise) continue;
      chosen.push({ side, site: { ...pixel, roughness: rough } });
      break;
    }
  }
  return chosen;
}

/** Whether the target at its brightest, five noise sigmas up, stays within the range around its place. */
export function fits(background: Background, target: Injected): boolean {
  const { width, height, values, noise } = background;
  const col = Math.round(target.x);
  const row = Math.round(target.y);
  for (let y = Math.max(0, row - SITE_RADIUS); y <= Math.min(height - 1, row + SITE_RADIUS); y++) {
    for (let x = Math.max(0, col - SITE_RADIUS); x <= Math.min(width - 1, col + SITE_RADIUS); x++) {
      const value = values[y * width + x]!;
      if (value + target.contrast + 5 * noise > FULL_SCALE || value - 5 * noise < 0) return false;
    }
  }
  return true;
}

/** The background with targets and noise as a 16-bit camera would deliver it: rounded, clipped at the ends of the range. */
export function render(background: Background, targets: readonly Injected[], random: () => number): Uint16Array {
  const { width, height, noise } = background;
  const sum = Float64Array.from(background.values);
  for (const target of targets) addSpot(sum, width, height, target);
  const out = new Uint16Array(sum.length);
  for (let i = 0; i < sum.length; i += 2) {
    // Box-Muller gives two deviates at a time.
    const radius = noise * Math.sqrt(-2 * Math.log(1 - random()));
    const angle = 2 * Math.PI * random();
    out[i] = clip(sum[i]! + radius * Math.cos(angle));
    if (i + 1 < sum.length) out[i + 1] = clip(sum[i + 1]! + radius * Math.sin(angle));
  }
  return out;
}

function clip(value: number): number {
  return Math.max(0, Math.min(FULL_SCALE, Math.round(value)));
}

function addSpot(sum: Float64Array, width: number, height: number, { x, y, sigma, contrast }: Injected): void {
  const flux = fluxOf(contrast, sigma);
  const reach = Math.ceil(6 * sigma) + 1;
  const left = Math.max(0, Math.round(x) - reach);
  const right = Math.min(width - 1, Math.round(x) + reach);
  const across: number[] = [];
  for (let col = left; col <= right; col++) across.push(pixelShare(col, x, sigma));
  for (let row = Math.max(0, Math.round(y) - reach); row <= Math.min(height - 1, Math.round(y) + reach); row++) {
    const share = flux * pixelShare(row, y, sigma);
    for (let col = left; col <= right; col++) sum[row * width + col]! += share * across[col - left]!;
  }
}
