// Which symbols a shared library takes from a glibc, libstdc++ or libgcc newer than the oldest that the package promises to run on.
// node scripts/symbol-versions.mjs FILE...   prints them; exit code 1 when there are any. Needs objdump, which comes with the compiler.
import { execFileSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';

/** Ubuntu 20.04, which JetPack 5 is made of, has glibc 2.31 and the libstdc++ of GCC 10; Node's own binaries ask for less. */
export const NEWEST = { GLIBC: '2.31', GLIBCXX: '3.4.28', CXXABI: '1.3.12', GCC: '10.0.0' };

/** @returns {{ symbol: string, library: string, version: string }[]} what `file` asks of its libraries */
export function requiredVersions(file) {
  const table = execFileSync('objdump', ['-T', file], { encoding: 'utf8', maxBuffer: 1 << 26 });
  return table.split('\n').flatMap((line) => {
    const [, library, version, symbol] =
      /\*UND\*.*\(?(GLIBC|GLIBCXX|CXXABI|GCC)_([0-9.]+)\)?\s+(\S+)$/.exec(line) ?? [];
    return library === undefined ? [] : [{ symbol, library, version }];
  });
}

export function tooNew(file) {
  return requiredVersions(file).filter(({ library, version }) => newer(version, NEWEST[library]));
}

function newer(a, b) {
  const [x, y] = [a, b].map((text) => text.split('.').map(Number));
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const step = (x[i] ?? 0) - (y[i] ?? 0);
    if (step !== 0) return step > 0;
  }
  return false;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const file of process.argv.slice(2)) {
    const found = tooNew(file);
    for (const { symbol, library, version } of found) console.log(`${file}: ${symbol} needs ${library}_${version}`);
    if (found.length > 0) process.exitCode = 1;
  }
}
