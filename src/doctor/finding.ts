import { toPlainError } from '../types/errors.js';

/** In the order of their weight. */
export const SEVERITIES = ['ok', 'info', 'warning', 'error'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** One thing that was looked at. */
export interface Finding {
  /** What was looked at: `node`, `camera`, `broker`. */
  check: string;
  severity: Severity;
  /** Stable, for scripts; docs/doctor.md and docs/errors.md list them. */
  code: string;
  /** One line. */
  message: string;
  /** What to do; every warning and error has it. */
  fix?: string;
  /** Figures behind the message, with their units in the names. */
  data?: Record<string, unknown>;
}

type Data = Record<string, unknown>;

/** It is as it should be. */
export function ok(check: string, code: string, message: string, data?: Data): Finding {
  return finding(check, 'ok', code, message, undefined, data);
}

/** Nothing is wrong, but it is worth knowing. */
export function info(check: string, code: string, message: string, data?: Data, fix?: string): Finding {
  return finding(check, 'info', code, message, fix, data);
}

/** It works, worse than it could, or will not for long. */
export function warning(check: string, code: string, message: string, fix: string, data?: Data): Finding {
  return finding(check, 'warning', code, message, fix, data);
}

/** The daemon will not work, or not as configured. */
export function error(check: string, code: string, message: string, fix: string, data?: Data): Finding {
  return finding(check, 'error', code, message, fix, data);
}

/** What an error of the program means for a check: its code and hint are those of docs/errors.md. */
export function fromError(
  check: string,
  cause: unknown,
  severity: 'warning' | 'error' = 'error',
  data?: Data,
): Finding {
  const { code, message, hint } = toPlainError(cause);
  const line = message.replaceAll(/\s*\n\s*/g, ' ').trim();
  return finding(check, severity, code, line, hint ?? 'report it with the output of `irst-edge doctor --json`', data);
}

function finding(
  check: string,
  severity: Severity,
  code: string,
  message: string,
  fix: string | undefined,
  data: Data | undefined,
): Finding {
  return {
    check,
    severity,
    code,
    message,
    ...(fix !== undefined && { fix }),
    ...(data !== undefined && { data }),
  };
}

/** The heaviest; `ok` where there are none. */
export function worst(findings: readonly Finding[]): Severity {
  return SEVERITIES[Math.max(0, ...findings.map(({ severity }) => SEVERITIES.indexOf(severity)))]!;
}

/**
 * Exit code of a report, as monitoring plugins have it (https://www.monitoring-plugins.org/doc/guidelines.html): 0 nothing is wrong,
 * 1 warnings, 2 errors.
 */
export function exitCodeOf(severity: Severity): 0 | 1 | 2 {
  return severity === 'error' ? 2 : severity === 'warning' ? 1 : 0;
}
