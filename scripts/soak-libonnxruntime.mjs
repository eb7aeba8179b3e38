#!/usr/bin/env node
// Runs a tiny network through the C API of ONNX Runtime (the library of onnxruntime-node, or the one given) for a long time, opening a
// new session now and then, and ends with 1 when the process grows.
//
// usage: node --expose-gc scripts/soak-libonnxruntime.mjs [RUNS=100000] [LIBRARY]      (after: npm run build)
import path from 'node:path';
import { LibOnnxruntimeBackend } from '../dist/detect/libonnxruntime.js';
import { BUNDLED_MANIFEST, readManifest } from '../dist/detect/manifest.js';
import { encodeModel } from '../dist/detect/onnx-proto.js';
import { nodeLibraryFolder } from '../dist/detect/ort-library-path.js';

const SIDE = 64;
const RUNS_PER_SESSION = 500;
const LIMIT_BYTES = 8e6;

const runs = Number(process.argv[2] ?? 100_000);
const library = process.argv[3] ?? path.join(nodeLibraryFolder(), 'libonnxruntime.so.1');
const manifest = await readManifest(BUNDLED_MANIFEST);
const pool = (output) => ({
  type: 'AveragePool',
  inputs: ['image'],
  outputs: [output],
  attributes: { kernel_shape: [2, 2], strides: [2, 2] },
});
const cells = [1, 1, SIDE / 2, SIDE / 2];
const bytes = encodeModel({
  irVersion: 9,
  opsets: { '': 17 },
  name: 'tiny',
  nodes: [pool('heat'), pool('logsig')],
  inputs: [{ name: 'image', shape: [1, 1, SIDE, SIDE] }],
  outputs: [
    { name: 'heat', shape: cells },
    { name: 'logsig', shape: cells },
  ],
});
const model = { manifest, file: manifest.files[0], path: 'tiny.onnx', bytes };
const input = new Float32Array(SIDE * SIDE).fill(1);

let done = 0;
let sessions = 0;
async function work(count) {
  const end = done + count;
  while (done < end) {
    const backend = await LibOnnxruntimeBackend.create(library, model, {
      width: SIDE,
      height: SIDE,
      threads: 1,
      input,
    });
    sessions++;
    for (let i = 0; i < RUNS_PER_SESSION && done < end; i++, done++) {
      const { heat } = await backend.run(input);
      if (heat[0] !== 1) throw new Error(`run ${done} gave ${heat[0]}`);
    }
    await backend.close();
  }
}
const rss = () => {
  globalThis.gc?.();
  return process.memoryUsage().rss;
};

await work(Math.min(10_000, runs / 4));
const before = rss();
const from = done;
const start = performance.now();
await work(runs - done);
const grown = rss() - before;
const each = (1000 * (performance.now() - start)) / (done - from);
console.log(
  `${done} runs, ${sessions} sessions, ${each.toFixed(0)} us a run; resident memory ${(before / 1e6).toFixed(1)} MB after ` +
    `${from} runs, ${grown >= 0 ? '+' : ''}${(grown / 1e6).toFixed(2)} MB since`,
);
process.exit(grown > LIMIT_BYTES ? 1 : 0);
