import { Decoder, type DecoderInput } from '../decode/decoder.js';
import { reportable, type Thresholds, thresholdsInForce } from '../decode/detections.js';
import type { RefineFrame } from '../decode/refine.js';
import type { Manifest } from '../detect/manifest.js';
import type { Detection } from '../types/detection.js';

/** What a single picture gives: the decoder as the model's manifest sets it, and the thresholds in force. */
export class StillDecoder {
  readonly threshold: number;
  readonly relativeThreshold: number;
  private readonly decoder: Decoder;

  constructor({ decode }: Pick<Manifest, 'decode'>, asked: Thresholds) {
    const { threshold, relativeThreshold } = thresholdsInForce(decode, asked);
    this.threshold = threshold;
    this.relativeThreshold = relativeThreshold;
    this.decoder = new Decoder({ threshold: this.threshold, biasX: decode.biasX ?? 0, biasY: decode.biasY ?? 0 });
  }

  find(maps: DecoderInput, frame: RefineFrame): Detection[] {
    return reportable(this.decoder.run(maps, frame).detections, this.threshold, this.relativeThreshold);
  }
}
