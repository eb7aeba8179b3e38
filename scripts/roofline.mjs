#!/usr/bin/env node
// How long one inference must take at the least on the GPU of each Jetson that is known, by frame size: an estimate from the network's
// graph and NVIDIA's data sheets, as `irst-edge bench --report` has it. Needs `npm run build`.
//
//   node scripts/roofline.mjs [--model models/manifest.json]
import { parseArgs } from 'node:util';
import { allModules } from '../dist/board/modules.js';
import { roofline } from '../dist/board/roofline.js';
import { BUNDLED_MANIFEST, chooseFile, loadModel, readManifest } from '../dist/detect/manifest.js';
import { modelCost } from '../dist/detect/model-cost.js';

const { values } = parseArgs({ options: { model: { type: 'string', default: BUNDLED_MANIFEST } } });
const manifest = await readManifest(values.model);
const sizes = manifest.files
  .filter(({ precision, width }) => precision === 'fp16' && width !== null)
  .map(({ width, height }) => ({ width, height }));
const costs = [];
for (const size of sizes) {
  const { bytes } = await loadModel(values.model, manifest, chooseFile(manifest, size.width, size.height, 'fp16'));
  costs.push(modelCost(bytes, size, 2));
}
const cells = (list) => `| ${list.join(' | ')} |`;
console.log(cells(['FP16, ms: all fused – nothing fused', ...sizes.map((s) => `${s.width}x${s.height}`)]));
console.log(cells(['---', ...sizes.map(() => '---')]));
console.log(cells(['GFLOPs', ...costs.map(({ flops }) => (flops / 1e9).toFixed(2))]));
console.log(
  cells([
    'traffic, MB',
    ...costs.map(({ bytes }) => `${(bytes.fused / 1e6).toFixed(0)} – ${(bytes.unfused / 1e6).toFixed(0)}`),
  ]),
);
console.log(cells(['launches', ...costs.map(({ launches }) => `${launches.fused} – ${launches.unfused}`)]));
for (const module of allModules()) {
  const rows = costs.map((cost) => {
    const { estimateMs, boundBy } = roofline(module, undefined, cost);
    return `${estimateMs.best.toFixed(2)} – ${estimateMs.worst.toFixed(2)} (${boundBy})`;
  });
  console.log(cells([module.name, ...rows]));
}
