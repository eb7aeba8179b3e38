import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) return sources(full);
    return /(?<!\.test)\.ts$/.test(entry.name) ? [readFileSync(full, 'utf8')] : [];
  });
}

test('every error code of the program stands in docs/errors.md, and no other', () => {
  const text = sources(path.join(ROOT, 'src')).join('\n');
  const thrown = new Set([...text.matchAll(/new (?:Edge|Camera)Error\(\s*'([A-Z0-9_]+)'/g)].map(([, code]) => code));
  for (const [, code] of text.matchAll(/super\('([A-Z0-9_]+)'/g)) thrown.add(code);
  const documented = new Set(
    [...readFileSync(path.join(ROOT, 'docs/errors.md'), 'utf8').matchAll(/^\| `([A-Z0-9_]+)` \|/gm)].map(([, c]) => c),
  );
  documented.delete('INTERNAL'); // what every other exception becomes
  expect([...thrown].filter((code) => !documented.has(code))).toEqual([]);
  expect([...documented].filter((code) => !thrown.has(code))).toEqual([]);
});
