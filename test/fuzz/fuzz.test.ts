import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TARGETS } from './targets.js';

// `npm test` tries a few inputs of each; `npm run fuzz` many, with FUZZ_RUNS, FUZZ_SEED and FUZZ_REPORT.
const runs = Number(process.env.FUZZ_RUNS ?? 60);
const seed = Number(process.env.FUZZ_SEED ?? Date.now() & 0x7fffffff);
const report = process.env.FUZZ_REPORT;
const only = process.env.FUZZ_ONLY;

const results: { target: string; inputs: number; seconds: number; crash?: string; path?: string }[] = [];
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'irst-fuzz-'));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  if (report === undefined) return;
  const inputs = results.reduce((sum, r) => sum + r.inputs, 0);
  const crashes = results.filter((r) => r.crash !== undefined).length;
  await writeFile(report, `${JSON.stringify({ seed, inputs, crashes, targets: results }, null, 2)}\n`);
});

const targets = TARGETS.filter(({ name }) => only === undefined || name.includes(only));

test.each(targets)('$name', { timeout: 3_600_000 }, async ({ name, share, property }) => {
  const start = performance.now();
  const details = await fc.check(await property(folder), { numRuns: Math.max(1, Math.round(runs * share)), seed });
  results.push({
    target: name,
    inputs: details.numRuns + details.numShrinks,
    seconds: Math.round((performance.now() - start) / 100) / 10,
    ...(details.failed && { crash: String(details.errorInstance), path: details.counterexamplePath ?? '' }),
  });
  // The input itself may be long; seed and path find it again.
  expect(details.failed ? fc.defaultReportMessage(details)?.slice(0, 4000) : '').toBe('');
});
