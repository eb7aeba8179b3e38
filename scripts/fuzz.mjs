// Throws random and damaged input at everything that reads what others wrote (test/fuzz/targets.ts), and reports how much was tried.
// node scripts/fuzz.mjs [--runs N] [--seconds S] [--seed N] [--only PART-OF-A-NAME] [--report FILE]
// --runs: inputs of each target (default 20000; slow targets get a share of it). --seconds: again with new seeds until so long has passed.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20000' },
    seconds: { type: 'string', default: '0' },
    seed: { type: 'string' },
    only: { type: 'string' },
    report: { type: 'string' },
  },
});
const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'irst-fuzz-report-'));
const total = new Map();
const crashes = [];
const seeds = [];
const start = Date.now();
try {
  let seed = values.seed === undefined ? Date.now() & 0x7fffffff : Number(values.seed);
  do {
    const file = join(folder, 'round.json');
    const run = spawnSync(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', 'test/fuzz'], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        ...process.env,
        FUZZ_RUNS: values.runs,
        FUZZ_SEED: String(seed),
        FUZZ_REPORT: file,
        ...(values.only === undefined ? {} : { FUZZ_ONLY: values.only }),
      },
    });
    const round = JSON.parse(readFileSync(file, 'utf8'));
    seeds.push(seed);
    for (const { target, inputs, crash, path } of round.targets) {
      total.set(target, (total.get(target) ?? 0) + inputs);
      if (crash !== undefined) crashes.push({ target, seed, path, crash });
    }
    if (run.status !== 0 && round.crashes === 0) throw new Error(`vitest ended with ${run.status}`);
    seed = (seed + 1) & 0x7fffffff;
  } while (crashes.length === 0 && (Date.now() - start) / 1000 < Number(values.seconds));
} finally {
  rmSync(folder, { recursive: true });
}
const report = {
  inputs: [...total.values()].reduce((a, b) => a + b, 0),
  crashes: crashes.length,
  seconds: Math.round((Date.now() - start) / 1000),
  seeds: [seeds[0], seeds.at(-1)],
  targets: Object.fromEntries(total),
  ...(crashes.length > 0 && { found: crashes }),
};
const text = JSON.stringify(report, null, 2);
console.log(text);
if (values.report !== undefined) writeFileSync(values.report, `${text}\n`);
process.exit(crashes.length === 0 ? 0 : 1);
