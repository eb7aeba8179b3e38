import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { EXIT } from '../../src/types/errors.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

function sources(dir: string): string[] {
  return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(dir, entry.name);
    if (entry.isDirectory()) return sources(full);
    return /(?<!\.test)\.ts$/.test(entry.name) ? [readFileSync(full, 'utf8')] : [];
  });
}

const TEXT_OR_BRACKET = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\/[^\n]*|[()]/g;

/** What stands between a bracket and the one that closes it. */
function inBrackets(text: string, open: number): string {
  let depth = 0;
  TEXT_OR_BRACKET.lastIndex = open;
  for (let found = TEXT_OR_BRACKET.exec(text); found !== null; found = TEXT_OR_BRACKET.exec(text)) {
    if (found[0] === '(') depth++;
    else if (found[0] === ')' && --depth === 0) return text.slice(open + 1, found.index);
  }
  throw new Error(`not closed: ${text.slice(open, open + 100)}`);
}

/** The exit codes that the arguments of an error name; undefined where only a run would show them. */
function exitCodes(args: string): number[] | undefined {
  const given = /\bexitCode: ([^,}]+?)\s*(?:[,}]|$)/.exec(args)?.[1];
  if (given !== undefined) {
    if (!/^(?:[^?:]+\? EXIT\.\w+ : )*EXIT\.\w+$/.test(given)) return undefined;
    return [...given.matchAll(/EXIT\.(\w+)/g)].map(([, name]) => EXIT[name as keyof typeof EXIT]);
  }
  const elsewhere = /\bexitCode\b|\.\.\.|,\s*[\w.]+\s*,?\s*$/.test(args);
  return elsewhere ? undefined : [EXIT.software];
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

test('the exit codes in docs/errors.md are those of the program, where its text shows them', () => {
  const table = new Map(
    [...readFileSync(path.join(ROOT, 'docs/errors.md'), 'utf8').matchAll(/^\| `([A-Z0-9_]+)` \| ([\d, ]+) \|/gm)].map(
      ([, code, exits]) => [code as string, (exits as string).split(', ').map(Number)],
    ),
  );
  // What every other exception becomes; and one after which the process kills itself.
  for (const code of ['INTERNAL', 'WORKER_HUNG']) table.delete(code);
  const found = new Map<string, Set<number>>();
  const shownAtRunTime = new Set<string>();
  for (const text of sources(path.join(ROOT, 'src'))) {
    for (const { 0: start, 1: code, index } of text.matchAll(
      /(?:new (?:Edge|Camera)Error|super)\(\s*'([A-Z0-9_]+)'/g,
    )) {
      const exits = exitCodes(inBrackets(text, index + start.indexOf('(')));
      if (exits === undefined) shownAtRunTime.add(code as string);
      else found.set(code as string, new Set([...(found.get(code as string) ?? []), ...exits]));
    }
  }
  expect(found.size).toBeGreaterThan(70);
  const wrong = [...table].flatMap(([code, exits]) => {
    const here = [...(found.get(code) ?? [])].sort();
    const right =
      here.every((exit) => exits.includes(exit)) && (shownAtRunTime.has(code) || here.length === exits.length);
    return right ? [] : [`${code}: the table has ${exits}, the program ${here}`];
  });
  expect(wrong).toEqual([]);
});
