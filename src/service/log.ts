import { type DestinationStream, type Logger, pino } from 'pino';
import pinoPretty from 'pino-pretty';
import type { LogConfig } from '../config/schema.js';

export type { Logger };

/**
 * Logs go to standard error: standard output belongs to what a command prints. JSON lines where nobody watches (journald
 * keeps the time), readable lines on a terminal.
 */
export function createLogger(config: LogConfig, stream?: DestinationStream): Logger {
  const pretty = config.format === undefined ? process.stderr.isTTY === true : config.format === 'pretty';
  const target =
    stream ??
    (pretty
      ? pinoPretty({ destination: 2, ignore: 'pid,hostname', sync: true })
      : pino.destination({ fd: 2, sync: true }));
  return pino({ level: config.level, base: null }, target);
}
