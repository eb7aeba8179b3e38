#!/usr/bin/env node
// Writes the golden frame of a model, golden.json beside its manifest: a frame of the bundled clip, and what the FP32 network gives for
// it on the CPU at each static size. Run it again whenever the weights change.
//
// usage: node scripts/make-golden.mjs [MANIFEST]      (after: npm run build)
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateSync } from 'node:zlib';
import { readGreyImage } from '../dist/capture/image-file.js';
import { fitFrame, GOLDEN_FILE, goldenOutput, HEAT_STEPS } from '../dist/detect/golden.js';
import { BUNDLED_MANIFEST, loadModel, readManifest } from '../dist/detect/manifest.js';
import { Normaliser } from '../dist/detect/normalise.js';
import { OrtNodeBackend } from '../dist/detect/ort-node.js';

const FRAME = fileURLToPath(new URL('../test/fixtures/drone-sky/050.png', import.meta.url));

const manifestPath = path.resolve(process.argv[2] ?? BUNDLED_MANIFEST);
const manifest = await readManifest(manifestPath);
const image = await readGreyImage(FRAME);
if (image.bits !== 8) throw new Error(`${FRAME} has ${image.bits} bits, expected 8`);
const counts = Uint8Array.from(image.data);
const points = JSON.parse(await readFile(path.join(path.dirname(FRAME), 'points.json'), 'utf8'))[path.basename(FRAME)];
const target = { x: Math.round(points[0][0]), y: Math.round(points[0][1]) };
const frame = { width: image.width, height: image.height, target };
const pack = (bytes) => deflateSync(bytes, { level: 9 }).toString('base64');
const outputs = [];
for (const file of manifest.files.filter((f) => f.precision === 'fp32' && f.width !== null)) {
  const { width, height, sha256 } = file;
  const model = await loadModel(manifestPath, manifest, file);
  const backend = await OrtNodeBackend.create(model, { width, height, threads: 1 });
  const input = new Float32Array(width * height);
  new Normaliser(manifest.input.normalisation).run(
    fitFrame(counts, frame, { width, height }),
    width,
    height,
    input,
    width,
    height,
  );
  const { heat, logSigma } = goldenOutput(await backend.run(input));
  await backend.close();
  const quantised = Buffer.alloc(2 * heat.length);
  heat.forEach((h, i) => {
    quantised.writeUInt16LE(Math.round(HEAT_STEPS * h), 2 * i);
  });
  outputs.push({ width, height, sha256, heat: pack(quantised), logSigma });
  console.log(`${width}x${height}: peak ${Math.max(...heat).toFixed(4)}`);
}
const file = path.join(path.dirname(manifestPath), GOLDEN_FILE);
const golden = {
  schema: 'irst-edge/golden/1',
  model: manifest.name,
  frame: { ...frame, counts: pack(counts) },
  outputs,
};
await writeFile(file, `${JSON.stringify(golden, null, 1)}\n`);
console.log(`${file}: ${(await readFile(file)).length} bytes`);
