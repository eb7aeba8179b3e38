import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import type { Condition } from './progress.js';

/** Of the file; one of another version is not judged. Within a version fields are only added. */
export const HEALTH_VERSION = 1;
const FILE = 'health.json';
/** The daemon writes every second: one that has not for so long hangs, or is gone. */
const STALE_MS = 5000;
const LONGEST = 65_536;

/** What the daemon says of itself, once a second. */
export interface Health {
  version: typeof HEALTH_VERSION;
  software: string;
  pid: number;
  /** CLOCK_MONOTONIC at the writing and at the start of the daemon, ms: the same clock in every process of this boot. */
  atMs: number;
  startedMs: number;
  state: 'starting' | 'running' | 'stopping';
  /** Longest time by which the event loop was late since the last writing, ms. */
  loopDelayMs: number;
  /** Why systemd's watchdog is not fed. */
  held?: string;
  cameras: { id: string; condition: Condition; reason?: string; fps: number; processed: number; provider?: string }[];
  broker: { state: string; embedded: boolean };
  outbox: { mode: 'disk' | 'memory' | 'degraded'; fault?: string; waiting: number };
}

/**
 * `ok`: it serves. `degraded`: it serves as far as it can, but a camera, the broker or the disk is away. `failing`: it runs and does not
 * serve. `unknown`: nobody answers.
 */
export const SEVERITIES = ['ok', 'degraded', 'failing', 'unknown'] as const;
export type HealthSeverity = (typeof SEVERITIES)[number];

export interface Verdict {
  severity: HealthSeverity;
  /** What is not as it should be, one line each; empty with `ok`. */
  reasons: string[];
  health?: Health;
}

/**
 * The daemon's health as a file in its runtime directory: whoever may read it asks without a word to the daemon, and a daemon that hangs
 * is told from one that answers by the age of the file. Written as a whole or not at all. A directory that cannot be written is told
 * once to `onProblem`.
 */
export class HealthFile {
  private told = false;
  private readonly file: string;

  constructor(
    directory: string,
    private readonly onProblem: (error: EdgeError) => void,
  ) {
    this.file = join(directory, FILE);
  }

  write(health: Health): void {
    const draft = `${this.file}.new`;
    try {
      // For everyone to read: it names no secret, and who asks is seldom the service's own user.
      writeFileSync(draft, `${JSON.stringify(health)}\n`);
      chmodSync(draft, 0o644);
      renameSync(draft, this.file);
      this.told = false;
    } catch (cause) {
      if (this.told) return;
      this.told = true;
      this.onProblem(
        new EdgeError('HEALTH_NOT_WRITTEN', `${this.file} cannot be written: ${errno(cause) ?? String(cause)}`, {
          hint: 'irst-edge health gets no answer; check RuntimeDirectory= of the service, or runtimeDirectory',
          exitCode: EXIT.ioError,
          cause,
        }),
      );
    }
  }

  /** A folder that cannot be written has been told of by `write`; whoever reads the file sees that the process is gone. */
  remove(): void {
    try {
      rmSync(this.file, { force: true });
    } catch {}
  }
}

/** The daemon's last word; undefined: there is none, or it is none that this program understands. */
export function readHealth(directory: string): Health | undefined {
  try {
    const text = readFileSync(join(directory, FILE), 'utf8');
    if (text.length > LONGEST) return undefined;
    const health = JSON.parse(text) as Health;
    return health.version === HEALTH_VERSION && Array.isArray(health.cameras) ? health : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What it comes to. Pure.
 * @param nowMs CLOCK_MONOTONIC
 * @param alive whether the process that wrote it runs
 */
export function judgeHealth(health: Health | undefined, nowMs: number, alive: boolean): Verdict {
  if (health === undefined) return { severity: 'unknown', reasons: ['nobody answers: no health file'] };
  const age = nowMs - health.atMs;
  // Written after now: in another boot.
  if (!alive || age < 0) return { severity: 'unknown', reasons: [`process ${health.pid} runs no more`], health };
  const found: [HealthSeverity, string][] = [];
  if (age > STALE_MS) found.push(['failing', `silent for ${Math.round(age / 1000)} s`]);
  if (health.state !== 'running') found.push(['failing', health.state]);
  if (health.held !== undefined) found.push(['failing', `watchdog not fed: ${health.held}`]);
  for (const { id, condition, reason } of health.cameras) {
    if (condition === 'serving' || condition === 'ended') continue;
    const text = `camera ${id}: ${condition}${reason === undefined ? '' : `, ${reason}`}`;
    found.push([condition === 'excused' ? 'degraded' : 'failing', text]);
  }
  if (health.broker.state !== 'connected') found.push(['degraded', `broker: ${health.broker.state}`]);
  const { mode, fault } = health.outbox;
  if (mode === 'degraded') found.push(['degraded', `events in memory only: ${fault ?? 'the disk fails'}`]);
  const severity = SEVERITIES.findLast((s) => found.some(([of]) => of === s)) ?? 'ok';
  return { severity, reasons: found.map(([, text]) => text), health };
}
