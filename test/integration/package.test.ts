import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

test('the package holds every camera profile, and no profile that is gone', async () => {
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], {
    cwd: ROOT,
    maxBuffer: 1 << 24,
  });
  const [packed] = JSON.parse(stdout) as { files: { path: string }[] }[];
  const inPackage = packed!.files.flatMap(({ path }) => /^dist\/capture\/profiles\/(.+)$/.exec(path)?.[1] ?? []);
  const inSource = await readdir(`${ROOT}src/capture/profiles`);
  expect(inPackage.sort()).toEqual(inSource.sort());
  expect(inSource.length).toBeGreaterThan(20);
  const script = `const { loadProfiles } = await import('./dist/capture/profile-store.js');
    console.log((await loadProfiles()).length)`;
  const built = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { cwd: ROOT });
  expect(Number(built.stdout)).toBe(inSource.length);
}, 120_000);
