import type { Bearing, Datum } from './schema.js';

/**
 * A pinhole camera in its own pixels (centres at integers). `k1`, `k2`: radial distortion after Brown, as OpenCV has it: a point at
 * `r` from the axis, in units of the focal length, is seen at `r (1 + k1 r^2 + k2 r^4)`.
 */
export interface Intrinsics {
  /** Focal lengths, px. */
  fx: number;
  fy: number;
  /** Principal point, px. */
  cx: number;
  cy: number;
  k1?: number;
  k2?: number;
}

/** Where the camera looks. Turns apply in the order yaw, pitch, roll, each about the axes turned so far. Degrees. */
export interface Mount {
  /** Azimuth of the optical axis, clockwise from the zero of the datum. */
  yawDeg: number;
  /** Elevation of the optical axis, upwards. */
  pitchDeg: number;
  /** About the optical axis, clockwise as seen from behind the camera: its right side goes down. */
  rollDeg: number;
  datum: Datum;
  /** Standard error of the alignment, about either axis. */
  sigmaDeg?: number;
}

/** A place in the picture with its standard errors, px. */
export interface PixelWithSigma {
  x: number;
  y: number;
  sigmaX: number;
  sigmaY: number;
  /** px^2. Default 0. */
  covarianceXY?: number;
}

const DEG = 180 / Math.PI;
/** Standard errors beyond this say "unknown". */
const SIGMA_MAX_DEG = 180;

type Vector = [north: number, east: number, down: number];

/**
 * Direction of a pixel, with the pixel's standard errors carried through to first order and the alignment's added. Null where the
 * distortion cannot be undone: further out than the model holds.
 *
 * Level axes are north (zero of the datum), east, down; the camera's are forward, right, down. With R = Rz(yaw) Ry(pitch) Rx(roll)
 * the direction is R (1, u, v), (u, v) being the undistorted pixel over the focal lengths; azimuth = atan2(east, north), elevation =
 * atan2(-down, hypot(north, east)).
 */
export function bearingOf(pixel: PixelWithSigma, intrinsics: Intrinsics, mount: Mount): Bearing | null {
  const { fx, fy, cx, cy, k1 = 0, k2 = 0 } = intrinsics;
  const ideal = undistort((pixel.x - cx) / fx, (pixel.y - cy) / fy, k1, k2);
  if (ideal === null) return null;
  const { u, v } = ideal;
  const [forward, right, below] = axes(mount);
  const d: Vector = [0, 1, 2].map((i) => forward[i]! + u * right[i]! + v * below[i]!) as Vector;

  const h2 = d[0] * d[0] + d[1] * d[1];
  const h = Math.sqrt(h2);
  const azimuth = Math.atan2(d[1], d[0]) * DEG;
  const elevation = Math.atan2(-d[2], h) * DEG;

  // Rows: azimuth, elevation; columns: u, v.
  const toAngles = (step: Vector): [number, number] => [
    (d[0] * step[1] - d[1] * step[0]) / h2,
    (d[2] * (d[0] * step[0] + d[1] * step[1]) - step[2] * h2) / (h * (h2 + d[2] * d[2])),
  ];
  const byU = toAngles(right);
  const byV = toAngles(below);
  // Inverse of the distortion's Jacobian, and the pixel's covariance in units of the focal lengths.
  const { a, b, c } = ideal.jacobian;
  const det = a * c - b * b;
  const varX = (pixel.sigmaX / fx) ** 2;
  const varY = (pixel.sigmaY / fy) ** 2;
  const cov = (pixel.covarianceXY ?? 0) / (fx * fy);
  const sigma = (i: 0 | 1): number => {
    const gx = (byU[i] * c - byV[i] * b) / det;
    const gy = (byV[i] * a - byU[i] * b) / det;
    return Math.sqrt(Math.max(0, gx * gx * varX + 2 * gx * gy * cov + gy * gy * varY)) * DEG;
  };
  const alignment = mount.sigmaDeg ?? 0;
  const level = h / Math.hypot(h, d[2]);
  return {
    // -1e-16 + 360 is 360: the remainder once more.
    azimuthDeg: ((azimuth % 360) + 360) % 360,
    elevationDeg: elevation,
    sigmaAzimuthDeg: bounded(Math.hypot(sigma(0), alignment / level)),
    sigmaElevationDeg: bounded(Math.hypot(sigma(1), alignment)),
    datum: mount.datum,
  };
}

/** The pixel that sees a direction; null where it is behind the camera or beyond the distortion model. */
export function pixelOf(
  direction: { azimuthDeg: number; elevationDeg: number },
  intrinsics: Intrinsics,
  mount: Mount,
): { x: number; y: number } | null {
  const azimuth = direction.azimuthDeg / DEG;
  const elevation = direction.elevationDeg / DEG;
  const level = Math.cos(elevation);
  const d: Vector = [level * Math.cos(azimuth), level * Math.sin(azimuth), -Math.sin(elevation)];
  const [depth, across, down] = axes(mount).map((axis) => axis[0] * d[0] + axis[1] * d[1] + axis[2] * d[2]) as Vector;
  if (depth <= 0) return null;
  const { fx, fy, cx, cy, k1 = 0, k2 = 0 } = intrinsics;
  const u = across / depth;
  const v = down / depth;
  const r2 = u * u + v * v;
  if (r2 > validRadius2(k1, k2)) return null;
  const scale = 1 + r2 * (k1 + k2 * r2);
  return { x: cx + fx * u * scale, y: cy + fy * v * scale };
}

/** Forward, right and down of the camera in level axes: the columns of R. */
function axes(mount: Mount): [Vector, Vector, Vector] {
  const [sy, cy] = [Math.sin(mount.yawDeg / DEG), Math.cos(mount.yawDeg / DEG)];
  const [sp, cp] = [Math.sin(mount.pitchDeg / DEG), Math.cos(mount.pitchDeg / DEG)];
  const [sr, cr] = [Math.sin(mount.rollDeg / DEG), Math.cos(mount.rollDeg / DEG)];
  return [
    [cy * cp, sy * cp, -sp],
    [cy * sp * sr - sy * cr, sy * sp * sr + cy * cr, cp * sr],
    [cy * sp * cr + sy * sr, sy * sp * cr - cy * sr, cp * cr],
  ];
}

/** Square of the radius up to which the distortion rises: beyond, one pixel would see two directions. */
function validRadius2(k1: number, k2: number): number {
  // d/dr (r + k1 r^3 + k2 r^5) = 1 + 3 k1 r^2 + 5 k2 r^4 = 0
  const [a, b] = [5 * k2, 3 * k1];
  const root = b * b - 4 * a;
  if (root < 0) return Number.POSITIVE_INFINITY;
  // Without the difference of nearly equal numbers, whatever is small.
  const q = -(b + (b < 0 ? -1 : 1) * Math.sqrt(root)) / 2;
  const found = [q / a, 1 / q].filter((r2) => r2 > 0);
  return Math.min(Number.POSITIVE_INFINITY, ...found);
}

/** Undoes the radial distortion; `jacobian` [[a, b], [b, c]] is that of the distortion there. */
function undistort(
  du: number,
  dv: number,
  k1: number,
  k2: number,
): { u: number; v: number; jacobian: { a: number; b: number; c: number } } | null {
  const rd = Math.hypot(du, dv);
  if (k1 === 0 && k2 === 0) return { u: du, v: dv, jacobian: { a: 1, b: 0, c: 1 } };
  const distorted = (r: number): number => r * (1 + r * r * (k1 + k2 * r * r));
  // The distortion rises up to `end`: bisection finds the only radius, whatever the coefficients.
  const end = Math.sqrt(validRadius2(k1, k2));
  let low = 0;
  let high = Math.min(end, Math.max(rd, 1e-6));
  while (distorted(high) < rd) {
    if (high === end) return null;
    low = high;
    high = Math.min(end, 2 * high);
  }
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (distorted(middle) < rd) low = middle;
    else high = middle;
  }
  const r = (low + high) / 2;
  const scale = rd === 0 ? 1 : r / rd;
  const [u, v] = [du * scale, dv * scale];
  const r2 = u * u + v * v;
  const radial = 1 + r2 * (k1 + k2 * r2);
  const slope = 2 * k1 + 4 * k2 * r2;
  return { u, v, jacobian: { a: radial + u * u * slope, b: u * v * slope, c: radial + v * v * slope } };
}

function bounded(sigmaDeg: number): number {
  // At the zenith the azimuth has no meaning, and its standard error comes out as NaN.
  return Number.isNaN(sigmaDeg) ? SIGMA_MAX_DEG : Math.min(sigmaDeg, SIGMA_MAX_DEG);
}
