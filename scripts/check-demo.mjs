/** Runs the demo as a user would and checks its summary; part of .ci/run. */
import { execFileSync } from 'node:child_process';

const report = JSON.parse(
  execFileSync(process.execPath, ['dist/cli.js', 'demo', '--json'], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'inherit'],
  }),
);
const dropped = Object.values(report.frames.dropped).reduce((a, b) => a + b, 0);
const checks = {
  'every frame of the clip was captured': report.frames.captured === 120,
  'captured = processed + dropped': report.frames.captured === report.frames.processed + dropped,
  'most frames were processed': report.frames.processed >= 60,
  'most processed frames raised an alert that reached the subscriber': report.alerts >= 0.7 * report.frames.processed,
  'latencies were measured': report.latencyMs.p50 > 0 && report.latencyMs.p99 >= report.latencyMs.p95,
};
const failed = Object.entries(checks).filter(([, ok]) => !ok);
for (const [what] of failed) console.error(`demo: not true: ${what}`);
console.error(
  `demo: ${report.frames.processed}/${report.frames.captured} frames, ${report.alerts} alerts, ` +
    `latency p50 ${report.latencyMs.p50.toFixed(1)} ms, p99 ${report.latencyMs.p99.toFixed(1)} ms`,
);
process.exit(failed.length === 0 ? 0 : 1);
