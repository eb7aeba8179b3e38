import { existsSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { type HealthSeverity, judgeHealth, readHealth, SEVERITIES, type Verdict } from '../service/health.js';
import { numberOption, stopSignal } from './inputs.js';
import { globalOptions, print, printJson, usageError } from './shared.js';

const POLL_MS = 250;

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
      'only what holds for so long without a break or restart counts, s (0 to 3600)',
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
  const verdict = await watch(directory, Math.max(wait, stable) * 1000, stable * 1000, stopSignal());
  if (globalOptions(command).json) await printJson({ ...verdict, directory });
  else await print([verdict.severity, ...verdict.reasons].join('\n  '));
  process.exitCode = SEVERITIES.indexOf(verdict.severity);
}

/** Asks until it is `ok`, and has been for `stableMs` by one and the same process, or the time is over: then the worst of the last span. */
async function watch(directory: string, waitMs: number, stableMs: number, signal: AbortSignal): Promise<Verdict> {
  let begun: number | undefined;
  let since: number | undefined;
  let pid: number | undefined;
  for (;;) {
    const verdict = ask(directory);
    const now = performance.now();
    // With the first answer, as `since`: what holds from then to the end has held for all of the time.
    begun ??= now;
    if (verdict.severity !== 'ok' || verdict.health?.pid !== pid) since = undefined;
    pid = verdict.health?.pid;
    if (verdict.severity === 'ok') {
      since ??= now;
      if (now - since >= stableMs) return verdict;
    }
    if (now - begun >= waitMs || signal.aborted)
      return since === undefined ? verdict : notYet(verdict, now - since, stableMs);
    await delay(Math.min(POLL_MS, begun + waitMs - now), undefined, { signal }).catch(() => {});
  }
}

function notYet(verdict: Verdict, heldMs: number, stableMs: number): Verdict {
  const severity: HealthSeverity = 'degraded';
  const text = `ok for ${(heldMs / 1000).toFixed(1)} s only, asked for ${stableMs / 1000} s`;
  return { ...verdict, severity, reasons: [text] };
}

function ask(directory: string): Verdict {
  const found = readHealth(directory);
  const nowMs = Number(process.hrtime.bigint() / 1_000_000n);
  return judgeHealth(found, nowMs, found !== undefined && existsSync(`/proc/${found.pid}`));
}
