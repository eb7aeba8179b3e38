import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test, vi } from 'vitest';

// npm takes its time on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const json = (path: string) => JSON.parse(readFileSync(join(ROOT, path), 'utf8'));

interface Component {
  type: string;
  'bom-ref': string;
  name: string;
  version: string;
  purl?: string;
  hashes?: { alg: string; content: string }[];
  licenses?: unknown[];
}

test('the bill of materials is CycloneDX, holds every production dependency and model, and no development tool', () => {
  const made = () =>
    spawnSync(process.execPath, ['scripts/sbom.mjs'], { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 });
  const run = made();
  expect([run.status, run.stderr]).toEqual([0, '']);
  const bom = JSON.parse(run.stdout);
  expect(bom).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.5', version: 1 });
  expect(bom.serialNumber).toMatch(/^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  const { name, version } = json('package.json');
  expect(bom.metadata.component).toMatchObject({ type: 'application', name, version });

  const components = bom.components as Component[];
  const packages = components.filter(({ type }) => type === 'library');
  const locked = Object.entries(
    json('package-lock.json').packages as Record<string, { dev?: true; version: string; integrity?: string }>,
  )
    .filter(([path, { dev }]) => path !== '' && !dev)
    .map(([path, entry]) => [`${path.split('node_modules/').at(-1)}@${entry.version}`, entry.integrity] as const);
  expect(new Set(packages.map((c) => `${c.name}@${c.version}`))).toEqual(new Set(locked.map(([id]) => id)));
  for (const { purl, hashes, licenses } of packages) {
    expect(purl).toMatch(/^pkg:npm\/.+@/);
    expect(licenses, purl).not.toHaveLength(0);
    for (const { alg, content } of hashes ?? []) expect([alg, content.length]).toEqual(['SHA-512', 128]);
  }
  // The hash is the lock file's: what is installed is what is listed.
  const integrity = new Map(locked);
  const mqtt = packages.find((c) => c.name === 'mqtt')!;
  const [hash] = mqtt.hashes!;
  expect(`sha512-${Buffer.from(hash!.content, 'hex').toString('base64')}`).toBe(integrity.get(`mqtt@${mqtt.version}`));

  const models = components.filter(({ type }) => type === 'machine-learning-model');
  expect(models.map((c) => [c.name, c.hashes![0]!.content])).toEqual(
    [...json('models/manifest.json').files, ...json('models/manifest.json').blocked].map(
      (f: { file: string; sha256: string }) => [f.file, f.sha256],
    ),
  );
  const refs = components.map((c) => c['bom-ref']);
  expect(new Set(refs).size).toBe(refs.length);
  const known = new Set([...refs, bom.metadata.component['bom-ref']]);
  for (const { ref, dependsOn } of bom.dependencies as { ref: string; dependsOn: string[] }[])
    for (const id of [ref, ...dependsOn]) expect(known).toContain(id);
});
