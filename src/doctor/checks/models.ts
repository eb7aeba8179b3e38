import { BUNDLED_MANIFEST, everyFile, loadModel, readManifest } from '../../detect/manifest.js';
import type { DoctorContext } from '../context.js';
import { type Finding, fromError, ok } from '../finding.js';

const CHECK = 'model';

/** The model's files: all there, each the one that the manifest names. */
export async function checkModels({ config }: Pick<DoctorContext, 'config'>): Promise<Finding[]> {
  const path = config.detector.model ?? BUNDLED_MANIFEST;
  try {
    const manifest = await readManifest(path, config.security.modelPublicKey);
    const bad: Finding[] = [];
    let bytes = 0;
    // One after the other: a Jetson may have little memory to spare.
    const files = everyFile(manifest);
    for (const file of files) {
      try {
        await loadModel(path, manifest, file);
        bytes += file.bytes;
      } catch (cause) {
        bad.push(fromError(CHECK, cause, 'error', { file: file.file }));
      }
    }
    if (bad.length > 0) return bad;
    const sizes = manifest.files.map(
      (f) => `${f.width ?? 'any'}${f.width === null ? '' : `x${f.height}`} ${f.precision}`,
    );
    return [
      ok(CHECK, 'MODEL', `${manifest.name}: ${files.length} files, each with the sha256 of the manifest`, {
        manifest: path,
        bytes,
        sizes,
        threshold: manifest.decode.threshold,
      }),
    ];
  } catch (cause) {
    return [fromError(CHECK, cause, 'error', { manifest: path })];
  }
}
