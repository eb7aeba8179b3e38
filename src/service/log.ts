import { type DestinationStream, type Logger, pino } from 'pino';
import pinoPretty from 'pino-pretty';
import type { LogConfig } from '../config/schema.js';
import { isJournal, PRIORITY, type Priority, withPriority } from '../util/journal.js';

export type { Logger };

/**
 * Logs go to standard error: standard output belongs to what a command prints. JSON lines where nobody watches (journald
 * keeps the time), readable lines on a terminal. Lines for the journal begin with their priority, so that `journalctl -p warning`
 * finds them.
 */
export function createLogger(config: LogConfig, stream?: DestinationStream, journal = isJournal(2)): Logger {
  const pretty = config.format === undefined ? process.stderr.isTTY === true : config.format === 'pretty';
  const target =
    stream ??
    (pretty
      ? pinoPretty({ destination: 2, ignore: 'pid,hostname', sync: true })
      : pino.destination({ fd: 2, sync: true }));
  // The pretty printer makes several lines of one: they stay as they are.
  return pino({ level: config.level, base: null }, journal && !pretty ? new PriorityStream(target) : target);
}

/** https://getpino.io/#/docs/api?id=pino-metadata */
const METADATA = Symbol.for('pino.metadata');

class PriorityStream implements DestinationStream {
  readonly [METADATA] = true;
  /** Set by pino before each line. */
  lastLevel = 30;

  constructor(private readonly target: DestinationStream) {}

  write(line: string): void {
    this.target.write(withPriority(line, priorityOf(this.lastLevel)));
  }
}

/** Of pino's levels: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal. */
function priorityOf(level: number): Priority {
  if (level >= 60) return PRIORITY.critical;
  if (level >= 50) return PRIORITY.error;
  if (level >= 40) return PRIORITY.warning;
  return level >= 30 ? PRIORITY.info : PRIORITY.debug;
}
