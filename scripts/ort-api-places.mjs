#!/usr/bin/env node
// The places of ONNX Runtime's functions in `struct OrtApi`, read from an onnxruntime_c_api.h (Debian: libonnxruntime-dev), beside those
// that src/detect/ort-api.ts uses. Ends with 1 where one differs.
//
// usage: node scripts/ort-api-places.mjs HEADER [--write]      (after: npm run build)
// --write: into test/fakes/onnxruntime/places.json, which the fake library is compiled with and a test compares the table with
import { readFile, writeFile } from 'node:fs/promises';
import { ORT_API } from '../dist/detect/ort-api.js';

const [header, write] = process.argv.slice(2);
if (header === undefined) {
  console.error('usage: node scripts/ort-api-places.mjs onnxruntime_c_api.h [--write]');
  process.exit(64);
}
const text = (await readFile(header, 'utf8')).replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, '');
const start = text.indexOf('struct OrtApi {');
const body = text.slice(text.indexOf('{', start) + 1, text.indexOf('\n};', start));
const member =
  /ORT_API2_STATUS\(\s*(\w+)|ORT_CLASS_RELEASE2?\((\w+)\)|ORT_API_T?\w*\(\s*[\w* ]+,\s*(\w+)|\(ORT_API_CALL\*\s*(\w+)\)/g;
const members = [...body.matchAll(member)].map(
  ([, a, released, b, c]) => a ?? (released ? `Release${released}` : (b ?? c)),
);
const places = Object.fromEntries(Object.keys(ORT_API).map((name) => [name, members.indexOf(name)]));
const wrong = Object.entries(places).filter(([name, place]) => ORT_API[name][0] !== place);
for (const [name, place] of wrong) console.error(`${name}: ${ORT_API[name][0]} in the table, ${place} in the header`);
console.log(
  `${members.length} functions in ${header}; ${Object.keys(places).length - wrong.length} of ${Object.keys(places).length} agree`,
);
if (write === '--write') {
  await writeFile(
    new URL('../test/fakes/onnxruntime/places.json', import.meta.url),
    `${JSON.stringify(places, null, 2)}\n`,
  );
}
process.exit(wrong.length === 0 ? 0 : 1);
