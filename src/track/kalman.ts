/**
 * Kalman filter of a point that moves at a nearly constant velocity: state [x, y, vx, vy] in px and px/s, joint 4x4 covariance,
 * continuous white-noise acceleration (Bar-Shalom, Li, Kirubarajan: Estimation with Applications to Tracking and Navigation,
 * 6.2.2), so that two short steps predict the same as one long step and irregular frame times need no special case.
 */
export class ConstantVelocityFilter {
  /** x, y (px), vx, vy (px/s). */
  readonly state: Float64Array;
  /** Row by row, 4x4. */
  readonly covariance: Float64Array;

  /** At (x, y), at rest unless told otherwise; position variances in px^2, `velocityVariance` in (px/s)^2 for either axis. */
  constructor(x: number, y: number, varianceX: number, varianceY: number, velocityVariance: number, vx = 0, vy = 0) {
    this.state = Float64Array.of(x, y, vx, vy);
    this.covariance = new Float64Array(16);
    this.covariance[0] = varianceX;
    this.covariance[5] = varianceY;
    this.covariance[10] = velocityVariance;
    this.covariance[15] = velocityVariance;
  }

  /** Moves on by `dt` >= 0 seconds; `noise` is the spectral density of the acceleration, px^2/s^3. */
  predict(dt: number, noise: number): void {
    const s = this.state;
    const p = this.covariance;
    s[0]! += dt * s[2]!;
    s[1]! += dt * s[3]!;
    // P := F P F', F = [I, dt I; 0, I]: rows first, then columns.
    for (let k = 0; k < 8; k++) p[k]! += dt * p[k + 8]!;
    for (let r = 0; r < 16; r += 4) {
      p[r]! += dt * p[r + 2]!;
      p[r + 1]! += dt * p[r + 3]!;
    }
    const q1 = noise * dt;
    const q2 = (q1 * dt) / 2;
    const q3 = (q2 * dt * 2) / 3;
    p[0]! += q3;
    p[5]! += q3;
    p[2]! += q2;
    p[8]! += q2;
    p[7]! += q2;
    p[13]! += q2;
    p[10]! += q1;
    p[15]! += q1;
  }

  /** Shifts the position by a known motion of the scene whose two parts have `variance` px^2 each. */
  translate(dx: number, dy: number, variance: number): void {
    this.state[0]! += dx;
    this.state[1]! += dy;
    this.covariance[0]! += variance;
    this.covariance[5]! += variance;
  }

  /** Squared Mahalanobis distance of a measured position with variances `rx`, `ry` (px^2) from the prediction. */
  distance2(x: number, y: number, rx: number, ry: number): number {
    const p = this.covariance;
    const a = p[0]! + rx;
    const b = p[1]!;
    const d = p[5]! + ry;
    const u = x - this.state[0]!;
    const v = y - this.state[1]!;
    return (d * u * u - 2 * b * u * v + a * v * v) / (a * d - b * b);
  }

  /** Takes in a measured position. */
  update(x: number, y: number, rx: number, ry: number): void {
    const s = this.state;
    const p = this.covariance;
    const a = p[0]! + rx;
    const b = p[1]!;
    const d = p[5]! + ry;
    const det = a * d - b * b;
    const u = x - s[0]!;
    const v = y - s[1]!;
    const gain = new Float64Array(8);
    for (let r = 0; r < 4; r++) {
      const px = p[r * 4]!;
      const py = p[r * 4 + 1]!;
      gain[r * 2] = (px * d - py * b) / det;
      gain[r * 2 + 1] = (py * a - px * b) / det;
    }
    for (let r = 0; r < 4; r++) s[r]! += gain[r * 2]! * u + gain[r * 2 + 1]! * v;
    // Joseph form, (I - KH) P (I - KH)' + K R K': stays symmetric and positive where P - KHP loses it to rounding.
    const left = new Float64Array(16);
    for (let r = 0; r < 4; r++) {
      const kx = gain[r * 2]!;
      const ky = gain[r * 2 + 1]!;
      for (let c = 0; c < 4; c++) left[r * 4 + c] = p[r * 4 + c]! - kx * p[c]! - ky * p[4 + c]!;
    }
    for (let r = 0; r < 4; r++) {
      for (let c = r; c < 4; c++) {
        const kx = gain[c * 2]!;
        const ky = gain[c * 2 + 1]!;
        const value =
          left[r * 4 + c]! -
          left[r * 4]! * kx -
          left[r * 4 + 1]! * ky +
          gain[r * 2]! * rx * kx +
          gain[r * 2 + 1]! * ry * ky;
        p[r * 4 + c] = value;
        p[c * 4 + r] = value;
      }
    }
  }
}
