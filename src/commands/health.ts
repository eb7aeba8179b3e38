import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { judgeHealth, readHealth, SEVERITIES, type Verdict } from '../service/health.js';
import { watchHealth } from '../service/health-watch.js';
import { numberOption, stopSignal } from './inputs.js';
import { globalOptions, print, printJson, usageError } from './shared.js';

interface HealthOptions {
  wait?: number;
  stable?: number;
  instance?: string;
  directory?: string;
}

const EXIT_CODES = `
Exit codes of health, as monitoring plugins have them:
  0  ok: it serves
  1  degraded: it serves as far as it can; a camera, the broker or the disk is away
  2  failing: it runs, and does not serve
  3  unknown: nobody answers`;

export function register(program: Command): void {
  program
    .command('health')
    .description('ask the running daemon whether it serves; for monitoring, and for the commit hook of an updater')
    .option('--wait <s>', 'wait so long for "ok", s (0 to 3600)', numberOption(0, 3600))
    .option(
      '--stable <s>',
      'only what holds for so long without a break or restart counts, else it is failing, s (0 to 3600)',
      numberOption(0, 3600),
    )
    .option('--instance <name>', 'of the service irst-edge@NAME')
    .option('--directory <path>', 'runtime directory of the daemon; default: /run/irst-edge, or /run/irst-edge-NAME')
    .addHelpText('after', EXIT_CODES)
    .action(health);
}

async function health(options: HealthOptions, command: Command): Promise<void> {
  const { wait = 0, stable = 0, instance } = options;
  if (instance !== undefined && !/^[\w.:-]{1,64}$/.test(instance))
    throw usageError(`no name of an instance: ${instance}`);
  const directory = path.resolve(
    options.directory ?? (instance === undefined ? '/run/irst-edge' : `/run/irst-edge-${instance}`),
  );
  const verdict = await watchHealth({
    waitMs: wait * 1000,
    stableMs: stable * 1000,
    signal: stopSignal(),
    ask: () => ask(directory),
    now: () => performance.now(),
    sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => {}),
  });
  if (globalOptions(command).json) await printJson({ ...verdict, directory });
  else await print([verdict.severity, ...verdict.reasons].join('\n  '));
  process.exitCode = SEVERITIES.indexOf(verdict.severity);
}

function ask(directory: string): Verdict {
  const found = readHealth(directory);
  const nowMs = Number(process.hrtime.bigint() / 1_000_000n);
  return judgeHealth(found, nowMs, found !== undefined && existsSync(`/proc/${found.pid}`));
}
