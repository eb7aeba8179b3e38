import type { ModelIdentity } from '../types/model.js';
import type { DetectorOptions } from './detector.js';
import { chooseFile, loadModel, paddedSize, readManifest } from './manifest.js';
import { OrtNodeBackend } from './ort-node.js';

/** Small, so that the proof costs next to nothing; px. */
const SIDE = 64;

/**
 * Proves that the model and the inference library work on this machine, on the CPU, before any camera has told its size: the file that
 * would search a small frame is loaded, checked and run once.
 * @throws EdgeError MODEL_*
 */
export async function proveModel(options: DetectorOptions): Promise<ModelIdentity> {
  const manifest = await readManifest(options.manifest, options.publicKey);
  // On a CPU, `auto` is FP32.
  const precision = options.precision === 'auto' ? 'fp32' : options.precision;
  const file = chooseFile(manifest, SIDE, SIDE, precision);
  const model = await loadModel(options.manifest, manifest, file);
  const least = paddedSize(manifest, SIDE, SIDE);
  const size = { width: file.width ?? least.width, height: file.height ?? least.height };
  const backend = await OrtNodeBackend.create(model, { ...size, threads: options.threads });
  try {
    await backend.run(new Float32Array(size.width * size.height));
  } finally {
    await backend.close();
  }
  return { name: manifest.name, sha256: file.sha256, precision: file.precision };
}
