/**
 * Exit codes of the command line, after sysexits.h (https://man.openbsd.org/sysexits), so that systemd and scripts can tell
 * a bad configuration (78: do not restart) from a passing fault.
 */
export const EXIT = {
  ok: 0,
  /** Wrong command line. */
  usage: 64,
  /** Input that is there but broken: image, recording, model. */
  dataError: 65,
  /** Input that is not there. */
  noInput: 66,
  /** A service that does not answer or refuses: broker, port. */
  unavailable: 69,
  /** A fault of the program itself. */
  software: 70,
  /** Output that cannot be created. */
  cannotCreate: 73,
  /** Reading or writing failed: full disk. */
  ioError: 74,
  /** Wrong configuration. */
  config: 78,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface EdgeErrorOptions {
  /** What the user can do about it, one sentence. */
  hint?: string;
  cause?: unknown;
  exitCode?: ExitCode;
}

/** An error that a user can act on: one line, a stable code, a hint. Printed without a stack trace. */
export class EdgeError extends Error {
  override readonly name = 'EdgeError';
  /** Stable, upper case: `MODEL_SHA_MISMATCH`. Listed in docs/errors.md. */
  readonly code: string;
  readonly hint: string | undefined;
  readonly exitCode: ExitCode;

  constructor(code: string, message: string, options: EdgeErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? EXIT.software;
  }
}

/** The shape in which errors cross threads and reach logs. */
export interface PlainError {
  code: string;
  message: string;
  hint?: string;
  exitCode: ExitCode;
  stack?: string;
}

export function toPlainError(error: unknown): PlainError {
  if (error instanceof EdgeError) {
    return {
      code: error.code,
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      exitCode: error.exitCode,
      ...(error.stack === undefined ? {} : { stack: error.stack }),
    };
  }
  const e = error instanceof Error ? error : new Error(String(error));
  return { code: 'INTERNAL', message: e.message, exitCode: EXIT.software, ...(e.stack ? { stack: e.stack } : {}) };
}

export function fromPlainError(plain: PlainError): EdgeError {
  const error = new EdgeError(plain.code, plain.message, {
    ...(plain.hint === undefined ? {} : { hint: plain.hint }),
    exitCode: plain.exitCode,
  });
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}

/** `error.code` of a Node system error (`ENOENT`), else undefined. */
export function errno(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}
