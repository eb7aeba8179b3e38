import { Decoder, type DecoderInput } from '../decode/decoder.js';
import { reportable } from '../decode/detections.js';
import type { RefineFrame } from '../decode/refine.js';
import type { Manifest } from '../detect/manifest.js';
import type { Detection } from '../types/detection.js';

export interface Thresholds {
  /** Least score of a detection; absent: the model's own. */
  threshold?: number;
  /** Least share of the image's strongest score; absent: the model's own. */
  relativeThreshold?: number;
}

/** What a single picture gives: the decoder as the model's manifest sets it, and the thresholds in force. */
export class StillDecoder {
  readonly threshold: number;
  readonly relativeThreshold: number;
  private readonly decoder: Decoder;

  constructor({ decode }: Pick<Manifest, 'decode'>, { threshold, relativeThreshold }: Thresholds) {
    this.threshold = threshold ?? decode.threshold;
    this.relativeThreshold = relativeThreshold ?? decode.relativeThreshold ?? 0;
    this.decoder = new Decoder({ threshold: this.threshold, biasX: decode.biasX ?? 0, biasY: decode.biasY ?? 0 });
  }

  find(maps: DecoderInput, frame: RefineFrame): Detection[] {
    return reportable(this.decoder.run(maps, frame).detections, this.threshold, this.relativeThreshold);
  }
}
