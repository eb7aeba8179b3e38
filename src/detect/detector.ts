import type { Frame } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import type { HeatMaps, InferenceBackend } from './backend.js';
import { chooseFile, loadModel, type Manifest, paddedSize, readManifest } from './manifest.js';
import { Normaliser } from './normalise.js';
import { OrtNodeBackend } from './ort-node.js';

export interface DetectorOptions {
  /** Path of a model's manifest.json. */
  manifest: string;
  precision: 'fp32' | 'fp16';
  threads: number;
  /** minisign public key with which the manifest must be signed; absent: it need not be. */
  publicKey?: string;
}

/** Time a stage took, ms. */
export interface DetectTimings {
  normalise: number;
  infer: number;
}

type Size = { width: number; height: number };

/** Frames to heat maps: normalise, pad to a multiple of 8 by mirroring, run the network. One frame size a detector. */
export class Detector {
  private constructor(
    readonly manifest: Manifest,
    readonly identity: ModelIdentity,
    private readonly size: Size,
    private readonly padded: Size,
    private readonly normaliser: Normaliser,
    private readonly backend: InferenceBackend,
    private readonly input: Float32Array,
  ) {}

  /** Loads and proves the model for frames of one size. @throws EdgeError MODEL_* */
  static async create(options: DetectorOptions, size: Size): Promise<Detector> {
    const manifest = await readManifest(options.manifest, options.publicKey);
    const file = chooseFile(manifest, size.width, size.height, options.precision);
    const model = await loadModel(options.manifest, manifest, file);
    const least = paddedSize(manifest, size.width, size.height);
    const padded = { width: file.width ?? least.width, height: file.height ?? least.height };
    const backend = await OrtNodeBackend.create(model, { ...padded, threads: options.threads });
    const detector = new Detector(
      manifest,
      { name: manifest.name, sha256: file.sha256, precision: file.precision },
      { width: size.width, height: size.height },
      padded,
      new Normaliser(manifest.input.normalisation),
      backend,
      new Float32Array(padded.width * padded.height),
    );
    // The first run allocates and prepares; let no frame pay for it.
    await backend.run(detector.input);
    return detector;
  }

  get provider(): string {
    return this.backend.provider;
  }

  get library(): string {
    return this.backend.library;
  }

  /** Heat maps of one frame; cells beyond the frame (padding) may hold peaks that the decoder drops. */
  async run(frame: Frame, timings: DetectTimings): Promise<HeatMaps> {
    if (frame.width !== this.size.width || frame.height !== this.size.height) {
      throw new RangeError(
        `frame is ${frame.width}x${frame.height}, detector was made for ${this.size.width}x${this.size.height}`,
      );
    }
    const start = performance.now();
    this.normaliser.run(frame.data, frame.width, frame.height, this.input, this.padded.width, this.padded.height);
    const normalised = performance.now();
    const maps = await this.backend.run(this.input);
    timings.normalise = normalised - start;
    timings.infer = performance.now() - normalised;
    return maps;
  }

  async close(): Promise<void> {
    await this.backend.close();
  }
}
