// Asks the registry for known vulnerabilities of the production dependencies: node scripts/audit.mjs [--level high]
// Exit status: 0 none of that level or above, 1 some, 77 the registry does not answer audits (a mirror, or no network).
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { level: { type: 'string', default: 'low' } } });
const npm = spawnSync('npm', ['audit', '--omit=dev', '--json', `--audit-level=${values.level}`], {
  cwd: fileURLToPath(new URL('..', import.meta.url)),
  encoding: 'utf8',
  timeout: 120_000,
});
let report;
try {
  report = JSON.parse(npm.stdout);
} catch {
  report = undefined;
}
const found = report?.metadata?.vulnerabilities;
if (found === undefined) {
  const why = report?.message ?? report?.error?.summary ?? npm.stderr.trim().split('\n').at(-1) ?? 'no answer';
  console.error(`audit: skipped: the registry does not answer audits: ${String(why).trim()}`);
  process.exit(77);
}
const { total, ...levels } = found;
console.log(`audit: ${report.metadata.dependencies.prod} production dependencies, ${total} known vulnerabilities`);
for (const [level, count] of Object.entries(levels)) if (count > 0) console.log(`  ${level}: ${count}`);
for (const [name, { severity, range, fixAvailable }] of Object.entries(report.vulnerabilities ?? {}))
  console.log(`  ${severity}: ${name} ${range}${fixAvailable ? ' (a fix is available)' : ''}`);
process.exit(npm.status === 0 ? 0 : 1);
