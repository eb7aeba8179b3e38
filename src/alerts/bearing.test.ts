import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bearingOf, type Intrinsics, type Mount, pixelOf } from './bearing.js';

const LENS: Intrinsics = { fx: 1000, fy: 1000, cx: 320, cy: 256 };
const LEVEL: Mount = { yawDeg: 0, pitchDeg: 0, rollDeg: 0, datum: 'platform' };
const at = (x: number, y: number, sigmaX = 0, sigmaY = 0) => ({ x, y, sigmaX, sigmaY });

describe('bearingOf, by hand', () => {
  it.each([
    // 1000 px to the right at a focal length of 1000 px: 45 degrees.
    ['right', LEVEL, 1320, 256, 45, 0],
    ['left', LEVEL, -680, 256, 315, 0],
    ['up', LEVEL, 320, -744, 0, 45],
    ['down', LEVEL, 320, 1256, 0, -45],
    // (1, 1, 1): elevation -atan(1 / sqrt 2).
    ['right and down', LEVEL, 1320, 1256, 45, -35.264389682754654],
    ['axis, yawed', { ...LEVEL, yawDeg: 90 }, 320, 256, 90, 0],
    ['right, yawed over north', { ...LEVEL, yawDeg: 350 }, 1320, 256, 35, 0],
    ['axis, negative yaw', { ...LEVEL, yawDeg: -30 }, 320, 256, 330, 0],
    ['axis, pitched', { ...LEVEL, pitchDeg: 30 }, 320, 256, 0, 30],
    ['up, pitched', { ...LEVEL, pitchDeg: 30 }, 320, -744, 0, 75],
    ['up over the zenith', { ...LEVEL, pitchDeg: 60 }, 320, -744, 180, 75],
    // Rolled clockwise, what is right in the picture is below the axis.
    ['right, rolled clockwise', { ...LEVEL, rollDeg: 90 }, 1320, 256, 0, -45],
    ['up, rolled clockwise', { ...LEVEL, rollDeg: 90 }, 320, -744, 45, 0],
    ['right, upside down', { ...LEVEL, rollDeg: 180 }, 1320, 256, 315, 0],
    // Pitched 45 up, then 45 to the right in the camera: (cos 45, tan 45, -sin 45) -> azimuth atan(sqrt 2), elevation 30.
    ['right, pitched', { ...LEVEL, pitchDeg: 45 }, 1320, 256, 54.735610317245346, 30],
  ] as const)('%s', (_what, mount, x, y, azimuth, elevation) => {
    const bearing = bearingOf(at(x, y), LENS, mount);
    expect(bearing?.azimuthDeg).toBeCloseTo(azimuth, 9);
    expect(bearing?.elevationDeg).toBeCloseTo(elevation, 9);
    expect(bearing?.datum).toBe('platform');
  });

  it('distortion is undone', () => {
    // Seen at 1.1 f for a direction at 1 f: r (1 + 0.1 r^2), r = 1.
    expect(bearingOf(at(320 + 1100, 256), { ...LENS, k1: 0.1 }, LEVEL)?.azimuthDeg).toBeCloseTo(45, 9);
    expect(bearingOf(at(320, 256), { ...LENS, k1: 0.1, k2: -0.2 }, LEVEL)?.azimuthDeg).toBe(0);
    // Pincushion that folds over at r = 1 / sqrt 3, where it sees 2 / (3 sqrt 3) = 0.385: further out there is nothing.
    const folding = { ...LENS, k1: -1 };
    expect(bearingOf(at(320 + 384, 256), folding, LEVEL)).not.toBeNull();
    expect(bearingOf(at(320 + 386, 256), folding, LEVEL)).toBeNull();
  });

  it('standard errors', () => {
    // One pixel at the axis: 1 / f rad.
    const one = Math.atan(1 / 1000) * (180 / Math.PI);
    expect(bearingOf(at(320, 256, 1, 2), LENS, LEVEL)).toMatchObject({
      sigmaAzimuthDeg: expect.closeTo(one, 6),
      sigmaElevationDeg: expect.closeTo(2 * one, 5),
    });
    // At elevation 60 a step to the side is twice as much azimuth.
    const high = bearingOf(at(320, 256, 1, 1), LENS, { ...LEVEL, pitchDeg: 60 });
    expect(high?.sigmaAzimuthDeg).toBeCloseTo(2 * one, 6);
    expect(high?.sigmaElevationDeg).toBeCloseTo(one, 6);
    // Rolled by 90 degrees, they change places.
    const rolled = bearingOf(at(320, 256, 1, 3), LENS, { ...LEVEL, rollDeg: 90 });
    expect(rolled?.sigmaAzimuthDeg).toBeCloseTo(3 * one, 5);
    expect(rolled?.sigmaElevationDeg).toBeCloseTo(one, 6);
    // The alignment's adds in squares: 3, 4, 5.
    const aligned = bearingOf(at(320, 256, 3 / one, 0), LENS, { ...LEVEL, sigmaDeg: 4 });
    expect(aligned?.sigmaAzimuthDeg).toBeCloseTo(5, 5);
    expect(aligned?.sigmaElevationDeg).toBeCloseTo(4, 9);
  });

  it('covariance counts where the camera is rolled', () => {
    const rolled = { ...LEVEL, rollDeg: 45 };
    const pixel = at(320, 256, 1, 1);
    const sigmas = (covarianceXY: number) => bearingOf({ ...pixel, covarianceXY }, LENS, rolled);
    const one = 180 / Math.PI / 1000;
    // Azimuth runs along (x - y) / sqrt 2, elevation along -(x + y) / sqrt 2.
    expect(sigmas(1)?.sigmaAzimuthDeg).toBeCloseTo(0, 6);
    expect(sigmas(1)?.sigmaElevationDeg).toBeCloseTo(Math.SQRT2 * one, 6);
    expect(sigmas(-1)?.sigmaAzimuthDeg).toBeCloseTo(Math.SQRT2 * one, 6);
  });

  it('straight up the azimuth is unknown', () => {
    const zenith = bearingOf(at(320, 256, 1, 1), LENS, { ...LEVEL, pitchDeg: 90, sigmaDeg: 1 });
    expect(zenith?.elevationDeg).toBeCloseTo(90, 6);
    expect(zenith?.sigmaAzimuthDeg).toBe(180);
  });
});

describe('bearingOf, whatever the numbers', () => {
  const real = (min: number, max: number) => fc.double({ min, max, noNaN: true });
  const lens = fc.record({
    fx: real(200, 5000),
    fy: real(200, 5000),
    cx: real(100, 500),
    cy: real(100, 400),
    k1: real(-0.3, 0.3),
    k2: real(-0.1, 0.1),
  });
  const mount = fc.record({
    yawDeg: real(-360, 360),
    pitchDeg: real(-60, 60),
    rollDeg: real(-180, 180),
    datum: fc.constantFrom('true' as const, 'magnetic' as const),
  });

  it('goes there and back', () => {
    let done = 0;
    fc.assert(
      fc.property(lens, mount, real(0, 640), real(0, 512), (l, m, x, y) => {
        const bearing = bearingOf(at(x, y, 0.1, 0.1), l, m);
        if (bearing === null) return;
        expect(bearing.azimuthDeg).toBeGreaterThanOrEqual(0);
        expect(bearing.azimuthDeg).toBeLessThan(360);
        const back = pixelOf(bearing, l, m);
        // Close to where the distortion folds over, or to the zenith, the way back is not well defined.
        if (back === null || Math.abs(bearing.elevationDeg) > 89) return;
        done++;
        expect(Math.hypot(back.x - x, back.y - y)).toBeLessThan(1e-3);
      }),
      { numRuns: 500 },
    );
    expect(done).toBeGreaterThan(200);
  });

  it('standard errors are those of a small step, by differences', () => {
    let done = 0;
    fc.assert(
      fc.property(lens, mount, real(0, 640), real(0, 512), (l, m, x, y) => {
        const h = 1e-3;
        const points = [at(x, y, 1, 0), at(x, y, 0, 1), at(x + h, y), at(x - h, y), at(x, y + h), at(x, y - h)];
        const found = points.map((point) => bearingOf(point, l, m));
        if (found.some((b) => b === null || Math.abs(b.elevationDeg) > 85)) return;
        const [bySx, bySy, right, left, below, above] = found as NonNullable<(typeof found)[number]>[];
        // On the edge of what the model holds the slope grows without bound.
        if (bySx!.sigmaAzimuthDeg > 5 || bySy!.sigmaAzimuthDeg > 5) return;
        done++;
        const turn = (a: number, b: number) => Math.abs(((a - b + 540) % 360) - 180);
        const close = (a: number, b: number) => expect(Math.abs(a - b)).toBeLessThan(1e-4 + 1e-3 * b);
        close(turn(right!.azimuthDeg, left!.azimuthDeg) / (2 * h), bySx!.sigmaAzimuthDeg);
        close(Math.abs(right!.elevationDeg - left!.elevationDeg) / (2 * h), bySx!.sigmaElevationDeg);
        close(turn(below!.azimuthDeg, above!.azimuthDeg) / (2 * h), bySy!.sigmaAzimuthDeg);
        close(Math.abs(below!.elevationDeg - above!.elevationDeg) / (2 * h), bySy!.sigmaElevationDeg);
      }),
      { numRuns: 500 },
    );
    expect(done).toBeGreaterThan(200);
  });

  it('the pixel behind the camera does not exist', () => {
    expect(pixelOf({ azimuthDeg: 180, elevationDeg: 0 }, LENS, LEVEL)).toBeNull();
    expect(pixelOf({ azimuthDeg: 45, elevationDeg: 0 }, LENS, LEVEL)?.x).toBeCloseTo(1320, 9);
    expect(pixelOf({ azimuthDeg: 45, elevationDeg: 0 }, { ...LENS, k1: -1 }, LEVEL)).toBeNull();
  });
});
