import { stat } from 'node:fs/promises';
import { uptime } from 'node:os';
import type { ClockState } from '../alerts/schema.js';

/** When a file was last written, ms since 1970; undefined: there is none, or it cannot be looked at. */
export type LastWritten = (path: string) => Promise<number | undefined>;

/** systemd-timesyncd(8): touched at each successful synchronisation, since it began to run. */
const TIMESYNC_MARK = '/run/systemd/timesync/synchronized';
/** Its folder is there while the service is. */
const TIMESYNC_FOLDER = '/run/systemd/timesync';
/** timesyncd asks at the least every PollIntervalMaxSec = 2048 s (timesyncd.conf(5)): three answers in a row are missing. */
const TIMESYNC_FRESH_MS = 3 * 2048 * 1000;
/**
 * chrony.conf(5), driftfile: written about once an hour while the clock follows its sources. Debian's place, then the others'. It
 * outlives a reboot; with a clock that goes on from where it stopped (fake-hwclock(8)) one from before it would look fresh.
 */
const CHRONY_DRIFT = ['/var/lib/chrony/chrony.drift', '/var/lib/chrony/drift'];
const CHRONY_FRESH_MS = 3 * 3600 * 1000;
/** What was written later than now says that the clock was set back since. */
const AHEAD_MS = 2000;
const LOOK_EVERY_MS = 10_000;

/**
 * Whether the wall clock follows a reference, from what the time services leave in files: no program is started, nothing is asked.
 *
 * - true: systemd-timesyncd synchronised within the last 100 minutes, or chrony wrote its drift within the last three hours, and since
 *   the machine began to run. After a reboot, or a step of the clock, that takes chrony up to an hour.
 * - false: systemd-timesyncd runs and has not synchronised since it started.
 * - null: not known. Neither service is there (or its files cannot be seen), or it has not been heard of for longer than that.
 */
export async function clockState(lastWritten: LastWritten, nowMs: number, uptimeMs: number): Promise<ClockState> {
  const fresh = (at: number | undefined, limit: number) =>
    at !== undefined && at <= nowMs + AHEAD_MS && nowMs - at <= limit;
  const drifts = Math.min(CHRONY_FRESH_MS, uptimeMs);
  const mark = await lastWritten(TIMESYNC_MARK);
  if (fresh(mark, TIMESYNC_FRESH_MS)) return { synchronised: true };
  for (const drift of CHRONY_DRIFT) if (fresh(await lastWritten(drift), drifts)) return { synchronised: true };
  const waiting = mark === undefined && (await lastWritten(TIMESYNC_FOLDER)) !== undefined;
  return { synchronised: waiting ? false : null };
}

export interface ClockWatchOptions {
  lastWritten?: LastWritten;
  now?: () => number;
  /** Since the machine began to run, s. */
  uptime?: () => number;
  everyMs?: number;
}

/** Looks at the clock every ten seconds; `state` is what was seen last, unknown before. */
export class ClockWatch {
  state: ClockState = { synchronised: null };
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: ClockWatchOptions = {}) {}

  /** Looks once, then goes on by itself. Never rejects. */
  async start(): Promise<void> {
    this.timer = setInterval(() => void this.look(), this.options.everyMs ?? LOOK_EVERY_MS).unref();
    await this.look();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    const { lastWritten = fromDisk, now = Date.now, uptime: up = uptime } = this.options;
    try {
      this.state = await clockState(lastWritten, now(), up() * 1000);
    } catch {
      this.state = { synchronised: null };
    }
  }
}

async function fromDisk(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs;
  } catch {
    return undefined;
  }
}
