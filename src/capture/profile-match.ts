import type { EdgeError } from '../types/errors.js';
import { unfit } from './frame-decoder.js';
import { MOST_PIXELS } from './frame-size.js';
import { layoutOf } from './pixel-layout.js';
import type { CameraProfile } from './profile-schema.js';
import type { StoredProfile } from './profile-store.js';

/** Sizes of a format, px: one, or a range. */
export type DeviceSize =
  | { width: number; height: number }
  | {
      minWidth: number;
      maxWidth: number;
      stepWidth: number;
      minHeight: number;
      maxHeight: number;
      stepHeight: number;
    };

/** What a driver says of a camera. */
export interface DeviceDescription {
  /** Name of the driver (V4L2's QUERYCAP): `uvcvideo`. */
  driver: string;
  /** Name of the camera. */
  card: string;
  /** Where it is plugged in: `usb-0000:00:14.0-2`. */
  bus: string;
  /** `vendor:product`, lower-case hexadecimal digits, of a USB camera. */
  usbId?: string;
  formats: readonly { fourcc: string; sizes: readonly DeviceSize[] }[];
}

/** A profile with the size that the camera is asked for. */
export interface Fit {
  stored: StoredProfile;
  width: number;
  height: number;
}

export interface MatchResult {
  /** Best first; empty: none fits. */
  fits: Fit[];
  /** Why each of the others does not: `PROFILE_UNFIT`, which names the field. */
  refused: EdgeError[];
}

/**
 * The profiles that fit a camera, best first: by USB id before by name before any; the user's own before the program's; then one with
 * a size, with telemetry that tells corrections, with more bits; then by name.
 */
export function matchProfiles(device: DeviceDescription, profiles: readonly StoredProfile[]): MatchResult {
  const fits: (Fit & { rank: number[] })[] = [];
  const refused: EdgeError[] = [];
  for (const stored of profiles) {
    const { profile } = stored;
    const identity = identify(device, profile);
    if (typeof identity === 'object') {
      refused.push(unfit(profile, identity.field, identity.why));
      continue;
    }
    const size = sizeFor(device, profile);
    if ('why' in size) refused.push(unfit(profile, size.field, size.why));
    else if (!profile.automatic) refused.push(unfit(profile, 'automatic', 'it is only used when it is named'));
    else {
      const rank = [
        identity,
        stored.own ? 1 : 0,
        profile.width === undefined ? 0 : 1,
        profile.ffc.detect.includes('telemetry') ? 1 : 0,
        layoutOf(profile).bits,
      ];
      fits.push({ stored, ...size, rank });
    }
  }
  fits.sort((a, b) => {
    const i = a.rank.findIndex((value, k) => value !== b.rank[k]);
    return i < 0 ? 0 : b.rank[i]! - a.rank[i]!;
  });
  return { fits: fits.map(({ stored, width, height }) => ({ stored, width, height })), refused };
}

/**
 * The size that a camera is asked for under a profile that was named.
 * @throws EdgeError PROFILE_UNFIT, which names the field. A name or USB id that differs is no reason: the user knows better.
 */
export function sizeUnder(device: DeviceDescription, profile: CameraProfile): { width: number; height: number } {
  const size = sizeFor(device, profile);
  if ('why' in size) throw unfit(profile, size.field, size.why);
  return size;
}

interface Misfit {
  field: string;
  why: string;
}

/** 2: by USB id, 1: by name, 0: it is for any camera. */
function identify(device: DeviceDescription, { match }: CameraProfile): number | Misfit {
  const { driver, usb, card } = match;
  if (driver !== undefined && !driver.includes(device.driver)) {
    return { field: 'match.driver', why: `expected ${driver.join(' or ')}, the driver is ${device.driver}` };
  }
  if (usb === undefined && card === undefined) return 0;
  if (device.usbId !== undefined && usb?.includes(device.usbId)) return 2;
  const name = device.card.toLowerCase();
  if (card?.some((part) => name.includes(part.toLowerCase()))) return 1;
  return usb !== undefined && device.usbId !== undefined
    ? { field: 'match.usb', why: `expected ${usb.join(' or ')}, the camera is ${device.usbId}` }
    : { field: 'match.card', why: `expected ${(card ?? usb ?? []).join(' or ')}, the camera is called ${device.card}` };
}

function sizeFor(device: DeviceDescription, profile: CameraProfile): { width: number; height: number } | Misfit {
  const format = device.formats.find(({ fourcc }) => fourcc === profile.fourcc);
  if (format === undefined) {
    const there = device.formats.map(({ fourcc }) => `"${fourcc}"`).join(', ') || 'none';
    return { field: 'fourcc', why: `expected "${profile.fourcc}", the camera has ${there}` };
  }
  const { width, height } = profile;
  if (width === undefined || height === undefined) {
    return largest(format.sizes) ?? { field: 'fourcc', why: `the camera names no usable size for "${profile.fourcc}"` };
  }
  if (format.sizes.some((size) => offers(size, width, height))) return { width, height };
  const there = format.sizes.map(show).join(', ') || 'none';
  const field = format.sizes.some((size) => offersWidth(size, width)) ? 'height' : 'width';
  return { field, why: `expected ${width}x${height}, "${profile.fourcc}" has ${there}` };
}

const steps = (value: number, min: number, max: number, step: number): boolean =>
  value >= min && value <= max && (value - min) % Math.max(1, step) === 0;

function offersWidth(size: DeviceSize, width: number): boolean {
  return 'width' in size ? size.width === width : steps(width, size.minWidth, size.maxWidth, size.stepWidth);
}

function offers(size: DeviceSize, width: number, height: number): boolean {
  if (!offersWidth(size, width)) return false;
  return 'width' in size ? size.height === height : steps(height, size.minHeight, size.maxHeight, size.stepHeight);
}

/** The largest of those that may be read; of a range, its end. */
function largest(sizes: readonly DeviceSize[]): { width: number; height: number } | undefined {
  let best: { width: number; height: number } | undefined;
  for (const size of sizes) {
    const { width, height } = 'width' in size ? size : { width: size.maxWidth, height: size.maxHeight };
    if (width * height > MOST_PIXELS) continue;
    if (best === undefined || width * height > best.width * best.height) best = { width, height };
  }
  return best;
}

function show(size: DeviceSize): string {
  return 'width' in size
    ? `${size.width}x${size.height}`
    : `${size.minWidth}x${size.minHeight} to ${size.maxWidth}x${size.maxHeight}`;
}
