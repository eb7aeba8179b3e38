import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/**
 * Compiles one module of src/ and what it imports, for a test that starts a process of its own: Node 20 runs no
 * TypeScript, and dist/ may be older than src/.
 *
 * @param entry for example `alerts/publisher`
 * @param also modules that it does not import but starts, into the same folder
 * @returns the path of the compiled module, and how to remove it
 */
export async function compileModule(
  entry: string,
  ...also: string[]
): Promise<{ file: string; remove(): Promise<void> }> {
  // Below node_modules, so that bare imports resolve and nothing is left in the way of git or packing.
  const cache = join(ROOT, 'node_modules', '.cache');
  await mkdir(cache, { recursive: true });
  const dir = await mkdtemp(join(cache, 'irst-test-'));
  const config = {
    extends: relative(dir, join(ROOT, 'tsconfig.build.json')),
    compilerOptions: { rootDir: join(ROOT, 'src'), outDir: dir, typeRoots: [join(ROOT, 'node_modules/@types')] },
    include: [entry, ...also].map((name) => join(ROOT, 'src', `${name}.ts`)),
  };
  await writeFile(join(dir, 'tsconfig.json'), JSON.stringify(config));
  await writeFile(join(dir, 'package.json'), JSON.stringify({ type: 'module' }));
  await promisify(execFile)(process.execPath, [
    join(ROOT, 'node_modules/typescript/bin/tsc'),
    '-p',
    join(dir, 'tsconfig.json'),
  ]);
  return { file: join(dir, `${entry}.js`), remove: () => rm(dir, { recursive: true, force: true }) };
}
