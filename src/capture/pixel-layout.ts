/** Where the samples of a pixel format are: all that reading a picture needs to know of it. */
export interface PixelLayout {
  /** Bytes of a sample: 2 are counts, 1 is luma. */
  sampleBytes: 1 | 2;
  /** From one sample of a row to the next, bytes, and the first one's place. */
  step: number;
  offset: number;
  bits: number;
  endian: 'little' | 'big';
}

const counts = (bits: number, endian: 'little' | 'big' = 'little'): PixelLayout => ({
  sampleBytes: 2,
  step: 2,
  offset: 0,
  bits,
  endian,
});
const luma = (step: number, offset: number): PixelLayout => ({
  sampleBytes: 1,
  step,
  offset,
  bits: 8,
  endian: 'little',
});

/**
 * The pixel formats that a thermal camera may name, by V4L2's four characters. Planar YUV begins with its luma plane.
 * https://docs.kernel.org/userspace-api/media/v4l/pixfmt-yuv-luma.html
 * https://docs.kernel.org/userspace-api/media/v4l/pixfmt-packed-yuv.html
 * https://docs.kernel.org/userspace-api/media/v4l/pixfmt-yuv-planar.html
 */
export const FOURCC_LAYOUTS: Readonly<Record<string, PixelLayout>> = {
  GREY: luma(1, 0),
  'Y8  ': luma(1, 0),
  'Y10 ': counts(10),
  'Y12 ': counts(12),
  'Y14 ': counts(14),
  'Y16 ': counts(16),
  'Y16 -BE': counts(16, 'big'),
  YUYV: luma(2, 0),
  YVYU: luma(2, 0),
  UYVY: luma(2, 1),
  VYUY: luma(2, 1),
  NV12: luma(1, 0),
  NV21: luma(1, 0),
  NV16: luma(1, 0),
  YU12: luma(1, 0),
  YV12: luma(1, 0),
};

/** The layout in force: what the pixel format says, and what the profile says otherwise. */
export function layoutOf(profile: {
  fourcc: string;
  content?: 'counts' | 'luma';
  bits?: number;
  endian?: 'little' | 'big';
}): PixelLayout {
  const known = FOURCC_LAYOUTS[profile.fourcc];
  const { content } = profile;
  const base =
    known !== undefined && (content === undefined || (content === 'counts') === (known.sampleBytes === 2))
      ? known
      : content === 'luma'
        ? luma(1, 0)
        : counts(16);
  return { ...base, bits: profile.bits ?? base.bits, endian: profile.endian ?? base.endian };
}
