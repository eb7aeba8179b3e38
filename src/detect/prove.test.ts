import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BUNDLED_MANIFEST } from './manifest.js';
import { proveModel } from './prove.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'irst-prove-'));
});
afterEach(() => rm(dir, { recursive: true }));

test('the bundled model works, and is named', async () => {
  const identity = await proveModel({ manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 1 });
  expect(identity).toMatchObject({ precision: 'fp32', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) });
});

test('a file that is not the one of its manifest is refused, without any camera', async () => {
  const manifest = JSON.parse(await readFile(BUNDLED_MANIFEST, 'utf8')) as { files: { file: string }[] };
  for (const { file } of manifest.files) {
    await copyFile(path.join(path.dirname(BUNDLED_MANIFEST), file), path.join(dir, file));
    await writeFile(path.join(dir, file), 'x', { flag: 'a' });
  }
  await writeFile(path.join(dir, 'manifest.json'), JSON.stringify(manifest));
  await expect(
    proveModel({ manifest: path.join(dir, 'manifest.json'), precision: 'fp32', threads: 1 }),
  ).rejects.toMatchObject({ code: 'MODEL_SHA_MISMATCH', exitCode: 65 });
});
