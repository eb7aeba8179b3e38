import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cpuBlock } from './cpu-block.js';
import { BUNDLED_MANIFEST, type Manifest, readManifest } from './manifest.js';
import { type Opened, type OpenerParts, ProviderOpener, RUNTIME_DEFAULTS } from './provider-opener.js';

const here = await cpuBlock();
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'irst-blocked-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function open(
  { cpuRuns = 0 }: OpenerParts,
  { manifestPath = BUNDLED_MANIFEST, blocked = true, width = 160, height = 120 } = {},
): Promise<Opened & { heat: Float32Array }> {
  const manifest = await readManifest(manifestPath);
  const opener = new ProviderOpener(
    { ...RUNTIME_DEFAULTS, backend: 'onnxruntime-node' },
    { manifestPath, manifest, precision: 'auto', threads: 1, width, height, blocked },
    { cpuRuns },
  );
  const opened = (await opener.open('cpu')) as Opened;
  const frame = opened.input.map((_, i) => 6 * Math.exp(-(((i % width) - 60.3) ** 2 + (i / width - 50.6) ** 2) / 4));
  const heat = (await opened.backend.run(frame)).heat.slice();
  await opened.backend.close();
  return { ...opened, heat };
}

const farthest = (a: Float32Array, b: Float32Array) => a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);

/** The build for this CPU. */
const own = (manifest: Manifest) => manifest.blocked.find(({ block }) => block === here)!;

/** The bundled model in a folder of its own, changed. */
async function changed(
  name: string,
  change: (manifest: Manifest, at: string) => Promise<void> | void,
): Promise<string> {
  const at = path.join(folder, name);
  await cp(path.dirname(BUNDLED_MANIFEST), at, { recursive: true, filter: (file) => !file.includes('training') });
  const manifestPath = path.join(at, 'manifest.json');
  const manifest = JSON.parse(await readFile(manifestPath, 'utf8')) as Manifest;
  await change(manifest, at);
  await writeFile(manifestPath, JSON.stringify(manifest));
  return manifestPath;
}

describe.skipIf(here === undefined)("the build in the CPU's own order of channels", () => {
  // One size with a golden frame of its own, one without.
  test.each([
    [160, 120],
    [200, 136],
  ])('computes what the standard build does at %i x %i', async (width, height) => {
    const standard = await open({}, { blocked: false, width, height });
    const blocked = await open({}, { width, height });
    expect(standard.block).toBeUndefined();
    expect(blocked).toMatchObject({ block: here });
    expect(blocked.blockedRefused).toBeUndefined();
    expect(blocked.identity.sha256).not.toBe(standard.identity.sha256);
    expect(Math.max(...standard.heat)).toBeGreaterThan(0.3);
    expect(farthest(standard.heat, blocked.heat)).toBeLessThan(1e-4);
  });

  test('damaged: the standard one serves', async () => {
    const manifestPath = await changed('damaged', async (manifest, at) => {
      const file = path.join(at, own(manifest).file);
      const bytes = await readFile(file);
      bytes[bytes.length >> 1]! ^= 1;
      await writeFile(file, bytes);
    });
    const opened = await open({}, { manifestPath });
    expect(opened.block).toBeUndefined();
    expect(opened.blockedRefused).toMatch(/is not the file that/);
  });

  test('of other weights is found out by the golden frame, and the standard one serves', async () => {
    const manifestPath = await changed('other', async (manifest, at) => {
      const entry = own(manifest);
      const bytes = await readFile(path.join(at, entry.file));
      // Twenty thousand weights in a row, told by their exponents, lose their signs: another network, and a valid file.
      const run = 20_000;
      const start = bytes.findIndex((_, at) => {
        for (let k = 0; k < run; k++) if ((bytes[at + 4 * k + 3] ?? 0xff) % 0x80 > 0x40) return false;
        return true;
      });
      expect(start).toBeGreaterThan(0);
      for (let k = 0; k < run; k++) bytes[start + 4 * k + 3]! &= 0x7f;
      await writeFile(path.join(at, entry.file), bytes);
      entry.sha256 = createHash('sha256').update(bytes).digest('hex');
    });
    const standard = await open({}, { blocked: false });
    const opened = await open({}, { manifestPath });
    expect(opened.block).toBeUndefined();
    expect(opened.blockedRefused).toMatch(/computes something else/);
    expect(farthest(standard.heat, opened.heat)).toBe(0);
  });

  test('without a golden frame that could prove it: the standard one serves', async () => {
    const manifestPath = await changed('unproven', async (manifest, at) => {
      await rm(path.join(at, 'golden.json'));
      // Another file than the one that this process has proven already: an empty tag at the end is no change of the model.
      const entry = own(manifest);
      const bytes = Buffer.concat([await readFile(path.join(at, entry.file)), Buffer.from([0x32, 0])]);
      await writeFile(path.join(at, entry.file), bytes);
      Object.assign(entry, { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
    });
    expect((await open({}, { manifestPath })).blockedRefused).toMatch(/no golden frame/);
  });

  test('a model without one runs as it always did', async () => {
    const plain = await changed('plain', (manifest) => {
      manifest.blocked = [];
    });
    const opened = await open({ cpuRuns: 1 }, { manifestPath: plain });
    expect(opened).not.toHaveProperty('block');
    expect(opened.blockedRefused).toBeUndefined();
    expect(opened.golden?.heatError).toBeLessThan(0.001);
  });
});
