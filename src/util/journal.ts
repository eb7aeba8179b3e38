import { fstatSync } from 'node:fs';

/** Priorities of syslog(3), as journald reads them from the beginning of a line: sd-daemon(3). */
export const PRIORITY = { critical: 2, error: 3, warning: 4, notice: 5, info: 6, debug: 7 } as const;
export type Priority = (typeof PRIORITY)[keyof typeof PRIORITY];

/**
 * Whether a file descriptor is connected to the journal: `$JOURNAL_STREAM` names the device and the inode of its socket
 * (systemd.exec(5)). A service whose output was redirected has the variable too, so the descriptor is compared.
 */
export function isJournal(fd: number, env: Readonly<Record<string, string | undefined>> = process.env): boolean {
  const named = env.JOURNAL_STREAM;
  if (named === undefined || named === '') return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return named === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** The text with the priority before each of its lines. */
export function withPriority(text: string, priority: Priority): string {
  return text.replaceAll(/^(?=.)/gm, `<${priority}>`);
}
