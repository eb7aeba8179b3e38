/** A target found in one frame. Coordinates in the camera's own pixels: centres at integers, x right, y down, 0-based. */
export interface Detection {
  /** Sub-pixel centre, px. Never rounded. */
  x: number;
  y: number;
  /** Standard error of `x` and `y`, px (not the target's size). */
  sigmaX: number;
  sigmaY: number;
  /** Height of the heat-map peak, 0..1. */
  score: number;
  /** Peak contrast over the local background noise in the frame. */
  snr: number;
  /** Standard deviation of the target's Gaussian profile, px: its size. */
  extent: number;
}

/** A local maximum of the heat map, in heat-map cells (cell centres at integers). */
export interface Peak {
  u: number;
  v: number;
  /** Standard error of `u` and `v`, cells. */
  sigmaU: number;
  sigmaV: number;
  score: number;
  /** Standard deviation of the peak, cells. */
  width: number;
}

/** Image pixels a heat-map cell; cell `u` has its centre at `x = STRIDE * (u + 0.5) - 0.5`. */
export const HEAT_STRIDE = 2;
