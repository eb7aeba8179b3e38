import { type Detection, HEAT_STRIDE } from '../types/detection.js';
import { toDetections } from './detections.js';
import { DEFAULT_MAX_PEAKS, PeakFinder } from './peaks.js';
import { type RefineFrame, refineDetections } from './refine.js';

export interface DecoderOptions {
  /** Lowest score of a detection, 0..1. */
  threshold: number;
  /** Constant error of the model's positions, px, subtracted from them. Default 0. */
  biasX?: number;
  biasY?: number;
  /** Most peaks looked at in one frame. Default 256. */
  maxPeaks?: number;
  /** Refine positions in the image where its pixels allow (see refine.ts). Default true. */
  refine?: boolean;
}

/** The net's two maps, `rows` x `cols` each. */
export interface DecoderInput {
  heat: Float32Array;
  logsig: Float32Array | null;
  rows: number;
  cols: number;
}

export interface DecodedFrame {
  /** Strongest first. */
  detections: Detection[];
  /** Cells of the frame that held NaN or an infinity; they were read as 0. */
  invalidCells: number;
  /** Local maxima that became no detection: beyond `maxPeaks`, part of a stronger one, placed outside the frame. */
  dropped: { capped: number; merged: number; outside: number };
  /** Detections whose position comes from the image's own pixels; the others' comes from the heat map alone. */
  refined: number;
}

/** Heat maps to detections, with scratch memory that is used again for each frame. The same input always gives the same output. */
export class Decoder {
  private readonly finder = new PeakFinder();
  private heat = new Float32Array(0);
  private logsig = new Float32Array(0);

  constructor(private readonly options: DecoderOptions) {}

  /**
   * Cells beyond the frame (the net's input may be padded to the right and at the bottom) are not looked at: what stands there is
   * no target, and would pull the fit of one near the border or swallow it.
   *
   * @throws EdgeError HEAT_SHAPE, DECODE_OPTIONS, FRAME_SIZE
   */
  run(maps: DecoderInput, frame: RefineFrame): DecodedFrame {
    const { threshold, biasX = 0, biasY = 0, maxPeaks = DEFAULT_MAX_PEAKS, refine = true } = this.options;
    const { heat, logsig, rows, cols } = this.cropped(maps, frame);
    const found = this.finder.find(heat, logsig, rows, cols, { low: threshold, maxPeaks });
    const detections = toDetections(found.peaks, frame, { biasX, biasY });
    const outside = found.peaks.length - detections.length;
    return {
      detections,
      invalidCells: found.invalidCells,
      dropped: { capped: found.capped, merged: found.merged, outside },
      refined: refine ? refineDetections(detections, frame) : 0,
    };
  }

  private cropped(maps: DecoderInput, frame: RefineFrame): DecoderInput {
    const rows = Math.min(maps.rows, Math.ceil(frame.height / HEAT_STRIDE));
    const cols = Math.min(maps.cols, Math.ceil(frame.width / HEAT_STRIDE));
    // A map of another size than it says is PeakFinder's to refuse.
    const { heat, logsig } = maps;
    const total = maps.rows * maps.cols;
    const isWhole = rows === maps.rows && cols === maps.cols;
    if (isWhole || heat.length !== total || (logsig !== null && logsig.length !== total)) return maps;
    if (this.heat.length !== rows * cols) {
      this.heat = new Float32Array(rows * cols);
      this.logsig = new Float32Array(rows * cols);
    }
    copyCorner(heat, maps.cols, this.heat, rows, cols);
    if (logsig !== null) copyCorner(logsig, maps.cols, this.logsig, rows, cols);
    return { heat: this.heat, logsig: logsig === null ? null : this.logsig, rows, cols };
  }
}

function copyCorner(from: Float32Array, fromCols: number, to: Float32Array, rows: number, cols: number): void {
  for (let row = 0; row < rows; row++) {
    to.set(from.subarray(row * fromCols, row * fromCols + cols), row * cols);
  }
}
