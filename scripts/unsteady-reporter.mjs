// A reporter of vitest for CI: tests that failed, at last or only at the first try, and why, into the file that UNSTEADY names.
import { writeFileSync } from 'node:fs';
import path from 'node:path';

const MOST_LINES = 12;

/** The first error, without what its stack says of the test runner. */
function why([error]) {
  const lines = (error?.stack ?? error?.message ?? '').split('\n').filter((line) => !line.includes('/node_modules/'));
  return lines.slice(0, MOST_LINES).join('\n  ');
}

export default class UnsteadyReporter {
  onTestRunEnd(modules, unhandled) {
    const entries = [];
    for (const module of modules) {
      const file = path.relative(process.cwd(), module.moduleId);
      const errors = module.errors();
      if (errors.length > 0) entries.push(`failed: ${file}\n  ${why(errors)}`);
      for (const test of module.children.allTests()) {
        const failed = test.result().state === 'failed';
        if (!failed && !test.diagnostic()?.flaky) continue;
        const what = failed ? 'failed' : 'passed at the second try only';
        entries.push(`${what}: ${file}: ${test.fullName}\n  ${why(test.result().errors ?? [])}`);
      }
    }
    for (const error of unhandled) entries.push(`failed: outside of a test\n  ${why([error])}`);
    writeFileSync(process.env.UNSTEADY, entries.map((entry) => `${entry}\n`).join(''));
  }
}
