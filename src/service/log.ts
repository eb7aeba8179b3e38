import { Writable } from 'node:stream';
import { type DestinationStream, type Logger, pino } from 'pino';
import pinoPretty from 'pino-pretty';
import type { LogConfig } from '../config/schema.js';
import { isJournal, PRIORITY, type Priority, withPriority } from '../util/journal.js';

export type { Logger };

/**
 * Logs go to standard error: standard output belongs to what a command prints. JSON lines where nobody watches (journald
 * keeps the time), readable lines on a terminal. Lines for the journal begin with their priority, so that `journalctl -p warning`
 * finds them.
 *
 * Where standard error is a file on a full disk, lines are lost and the program goes on.
 */
export function createLogger(config: LogConfig, stream?: DestinationStream, journal = isJournal(2)): Logger {
  const pretty = config.format === undefined ? process.stderr.isTTY === true : config.format === 'pretty';
  const target = stream ?? (pretty ? prettyOn(standardError()) : standardError());
  // The pretty printer makes several lines of one: they stay as they are.
  return pino({ level: config.level, base: null }, journal && !pretty ? new PriorityStream(target) : target);
}

/** Most that waits while nothing can be written, and longest line, bytes: what goes beyond is lost. */
const MAX_WAITING = 1024 * 1024;

function standardError(): DestinationStream {
  const target = pino.destination({ fd: 2, sync: true, maxLength: MAX_WAITING });
  // Without a listener it would end the program. What could not be written is tried again with the next line.
  target.on('error', () => {});
  return target;
}

/** By a stream that never fails: the pretty printer ends at the first error of its own. */
function prettyOn(target: DestinationStream): DestinationStream {
  const destination = new Writable({
    write(line, _encoding, done) {
      target.write(String(line));
      done();
    },
  });
  return pinoPretty({ destination, ignore: 'pid,hostname' });
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
