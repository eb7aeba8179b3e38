import { type Detection, HEAT_STRIDE, type Peak } from '../types/detection.js';
import { EdgeError, EXIT } from '../types/errors.js';
import { type FrameView, isInside, measureSnr } from './background.js';

export interface DetectionOptions {
  /** Constant error of the model's positions, px, subtracted from them (the model card states it). Default 0. */
  biasX?: number;
  biasY?: number;
}

/** Blur that the training labels add to a target's own sigma, px (quadratic). */
const LABEL_BLUR = 1.5;
/** The smallest sigma that optics and pixel leave a point, px; narrower peaks say "a point", not "smaller than a point". */
const MIN_EXTENT = 0.5;
/**
 * Cramer-Rao bound of a Gaussian spot's centre in white noise, px times snr: sqrt(2 / pi), independent of the spot's size
 * (https://doi.org/10.1038/nmeth.1447, background-limited case).
 */
const CENTRE_BOUND = Math.sqrt(2 / Math.PI);

/**
 * Turns heat-map peaks into detections in camera pixels: x = 2 (u + 0.5) - 0.5 - bias. Order is kept.
 *
 * The net's input may be padded to the right and at the bottom: peaks outside the frame (x not within -0.5..width-0.5, y alike) are
 * left out; `peaks.length - result.length` counts them.
 *
 * @param frame the raw counts that the heat map was computed from
 * @throws EdgeError `FRAME_SIZE` if the frame holds fewer counts than its size says
 */
export function toDetections(peaks: readonly Peak[], frame: FrameView, options: DetectionOptions = {}): Detection[] {
  const { biasX = 0, biasY = 0 } = options;
  const { width, height } = frame;
  if (frame.data.length < width * height) {
    throw new EdgeError('FRAME_SIZE', `frame of ${frame.data.length} counts where ${width} x ${height} were expected`, {
      exitCode: EXIT.dataError,
    });
  }
  const detections: Detection[] = [];
  for (const peak of peaks) {
    const x = HEAT_STRIDE * (peak.u + 0.5) - 0.5 - biasX;
    const y = HEAT_STRIDE * (peak.v + 0.5) - 0.5 - biasY;
    if (!isInside(frame, x, y)) continue;
    const spread = HEAT_STRIDE * peak.width;
    const extent = Math.max(MIN_EXTENT, Math.sqrt(Math.max(0, spread * spread - LABEL_BLUR * LABEL_BLUR)));
    const snr = measureSnr(frame, x, y, extent);
    // The limit of the pixels themselves; where they show nothing, the target is still somewhere under the heat peak.
    const bound = Math.min(spread, CENTRE_BOUND / snr);
    detections.push({
      x,
      y,
      sigmaX: Math.hypot(HEAT_STRIDE * peak.sigmaU, bound),
      sigmaY: Math.hypot(HEAT_STRIDE * peak.sigmaV, bound),
      score: peak.score,
      snr,
      extent,
    });
  }
  return detections;
}

/** What a detection needs to be reported. */
export interface Thresholds {
  /** Least score, 0..1; absent: the model's own. */
  threshold?: number;
  /** Least share of the image's strongest score, 0..1; absent: the model's own. */
  relativeThreshold?: number;
}

type Given = { [K in keyof Thresholds]: Thresholds[K] | undefined };

/** The thresholds that hold: those asked for, else those of the model's manifest; a model without a share has the threshold alone. */
export function thresholdsInForce(decode: Given & { threshold: number }, asked: Given): Required<Thresholds> {
  return {
    threshold: asked.threshold ?? decode.threshold,
    relativeThreshold: asked.relativeThreshold ?? decode.relativeThreshold ?? 0,
  };
}

/**
 * The image-adaptive threshold: of a frame's detections those that are reported, at or above the threshold and at or above a share
 * of the frame's strongest score. Where one target is plain, what scores far less is rather clutter like it; where none is, the
 * threshold decides alone. After P2P-HDNet's adaptive suppression (https://doi.org/10.1109/TGRS.2025.3554025), on scores.
 *
 * @param detections strongest first, as `Decoder` gives them
 * @param relative share of the strongest score, 0..1; 0: the threshold alone
 */
export function reportable(detections: readonly Detection[], threshold: number, relative: number): Detection[] {
  const least = Math.max(threshold, relative * (detections[0]?.score ?? 0));
  return detections.filter(({ score }) => score >= least);
}
