import { setTimeout as delay } from 'node:timers/promises';
import type { Board } from '../board/board.js';
import { readBoard } from '../board/board.js';
import { type BoardFiles, boardFiles } from '../board/files.js';
import type { EdgeConfig } from '../config/schema.js';
import { wantedProviders } from '../detect/provider-opener.js';
import { runtimeOptions } from '../service/runtime-options.js';
import { firstLineOf, outputOf } from '../util/programs.js';
import { VERSION } from '../version.js';
import { checkBroker, type Probe } from './checks/broker.js';
import { type CameraHooks, checkCameras } from './checks/cameras.js';
import { checkClock } from './checks/clock.js';
import { checkDisk } from './checks/disk.js';
import { checkEngineCache } from './checks/engine-cache.js';
import { checkMemory } from './checks/memory.js';
import { checkModels } from './checks/models.js';
import { checkNode } from './checks/node.js';
import { checkPower } from './checks/power.js';
import { checkProviders, type ProviderCheckOptions, type TryProviders } from './checks/providers.js';
import { checkSoftware } from './checks/software.js';
import { checkThermal } from './checks/thermal.js';
import type { DoctorContext } from './context.js';
import { type Finding, fromError, type Severity, warning, worst } from './finding.js';

/** Longest that a check may take; an inference library may take long to load. */
const CHECK_MS = 60_000;
/** The same where engines are built: what the configuration gives the build of each, and so much for the rest. */
const BESIDE_BUILD_MS = 5 * 60_000;

/** What a doctor found. `irst-edge doctor --json` prints it. */
export interface DoctorReport {
  schema: 'irst-edge/doctor/1';
  software: string;
  at: string;
  /** Of all findings, the heaviest. */
  severity: Severity;
  findings: Finding[];
  board: Board;
}

export interface DoctorOptions extends ProviderCheckOptions {
  config: EdgeConfig;
  /** The configuration came from a file. */
  configured: boolean;
  /** What is to be said of the configuration itself. */
  findings?: readonly Finding[];
  signal: AbortSignal;
  /** Called at the beginning of each check. */
  onStep?: (check: string) => void;
}

/** What a test replaces. */
export interface DoctorHooks {
  files?: BoardFiles;
  env?: Readonly<Record<string, string | undefined>>;
  cameras?: CameraHooks;
  probe?: Probe;
  tryProviders?: TryProviders;
  /** Longest that a check may take, ms. */
  checkTimeoutMs?: number;
}

interface Check {
  name: string;
  run: (context: DoctorContext) => Finding[] | Promise<Finding[]>;
}

/**
 * Looks at everything that the daemon needs on this machine, one check after the other, so that none disturbs another's times. A check
 * that fails or hangs is a finding itself; the others go on.
 */
export async function runDoctor(options: DoctorOptions, hooks: DoctorHooks = {}): Promise<DoctorReport> {
  const { config, configured, signal } = options;
  const board = await readBoard(hooks.files ?? boardFiles(), { output: outputOf, firstLine: firstLineOf });
  const context: DoctorContext = { config, configured, board, env: hooks.env ?? process.env, signal };
  const checks: Check[] = [
    { name: 'node', run: () => checkNode() },
    { name: 'jetson', run: () => checkSoftware(board) },
    { name: 'power', run: () => checkPower(board) },
    { name: 'temperature', run: () => checkThermal(board) },
    { name: 'memory', run: () => checkMemory(board) },
    { name: 'model', run: checkModels },
    { name: 'provider', run: (c) => checkProviders(c, options, hooks.tryProviders) },
    { name: 'engines', run: (c) => checkEngineCache(c) },
    { name: 'camera', run: (c) => checkCameras(c, { ...hooks.cameras, signal: c.signal }) },
    { name: 'broker', run: (c) => checkBroker(c, hooks.probe) },
    { name: 'clock', run: () => checkClock() },
    { name: 'disk', run: checkDisk },
  ];
  const findings: Finding[] = [...(options.findings ?? [])];
  for (const check of checks) {
    if (signal.aborted) break;
    options.onStep?.(check.name);
    const limit = hooks.checkTimeoutMs ?? (check.name === 'provider' && options.build ? buildLimit(config) : CHECK_MS);
    findings.push(...(await guarded(check, context, limit)));
  }
  if (signal.aborted) {
    findings.push(
      warning('doctor', 'INTERRUPTED', 'stopped before the end: not everything was looked at', 'run it again'),
    );
  }
  return {
    schema: 'irst-edge/doctor/1',
    software: VERSION,
    at: new Date().toISOString(),
    severity: worst(findings),
    findings,
    board,
  };
}

function buildLimit(config: EdgeConfig): number {
  const runtime = runtimeOptions(config);
  return wantedProviders(runtime).length * (runtime.buildTimeoutMs + BESIDE_BUILD_MS);
}

async function guarded({ name, run }: Check, context: DoctorContext, timeoutMs: number): Promise<Finding[]> {
  const end = new AbortController();
  const stop = () => end.abort();
  if (context.signal.aborted) stop();
  context.signal.addEventListener('abort', stop, { once: true });
  const late = delay(timeoutMs, undefined, { signal: end.signal }).then(
    () => [
      warning(
        name,
        'CHECK_TIMEOUT',
        `this check did not end within ${timeoutMs / 1000} s`,
        'look at what it asks by hand; dmesg may tell what hangs',
      ),
    ],
    (): Finding[] => [],
  );
  try {
    // Its own signal: a check that is late must not go on beside the next ones, nor keep the program from ending.
    return await Promise.race([(async () => run({ ...context, signal: end.signal }))(), late]);
  } catch (cause) {
    return [fromError(name, cause)];
  } finally {
    context.signal.removeEventListener('abort', stop);
    end.abort();
  }
}
