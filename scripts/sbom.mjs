// Writes the software bill of materials of the production dependencies, CycloneDX 1.5 JSON, from package-lock.json alone (no network):
// node scripts/sbom.mjs [FILE]     default: standard output
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const npm = spawnSync(
  'npm',
  ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only'],
  { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 },
);
if (npm.status !== 0) {
  process.stderr.write(npm.stderr);
  console.error('sbom: npm sbom failed');
  process.exit(1);
}
const bom = JSON.parse(npm.stdout);
// npm takes the name of the folder.
bom.metadata.component.name = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).name;

// `--omit dev` leaves out more than development tools: a package that one of those wants too is missed. The lock file knows.
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
const shipped = new Set(
  Object.entries(lock.packages)
    .filter(([path, { dev }]) => path !== '' && !dev)
    .map(([path, { version }]) => `${path.split('node_modules/').at(-1)}@${version}`),
);
bom.components = bom.components.filter(({ name, version }) => shipped.has(`${name}@${version}`));
const refs = new Set([bom.metadata.component['bom-ref'], ...bom.components.map((component) => component['bom-ref'])]);
bom.dependencies = bom.dependencies
  .filter(({ ref }) => refs.has(ref))
  .map((entry) => ({ ...entry, dependsOn: entry.dependsOn.filter((ref) => refs.has(ref)) }));

// npm knows packages only; the models are shipped too.
const manifest = JSON.parse(readFileSync(join(root, 'models/manifest.json'), 'utf8'));
for (const { file, sha256 } of [...manifest.files, ...(manifest.blocked ?? [])]) {
  bom.components.push({
    type: 'machine-learning-model',
    'bom-ref': `model/${file}`,
    name: file,
    version: sha256.slice(0, 12),
    group: manifest.name,
    hashes: [{ alg: 'SHA-256', content: sha256 }],
  });
}

// The same input gives the same file, but for a change of the input.
const text = JSON.stringify({ ...bom, serialNumber: undefined, metadata: { ...bom.metadata, timestamp: undefined } });
const digest = createHash('sha256').update(text).digest('hex');
const uuid = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-5${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
bom.serialNumber = `urn:uuid:${uuid}`;
delete bom.metadata.timestamp;

const out = `${JSON.stringify(bom, null, 2)}\n`;
if (process.argv[2] === undefined) process.stdout.write(out);
else writeFileSync(process.argv[2], out);
