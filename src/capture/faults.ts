import { EdgeError, EXIT, errno } from '../types/errors.js';
import type { DropReason } from '../types/frame.js';

/** Told of each frame that could not be read, with the reason under which it was counted. */
export type FaultListener = (reason: DropReason, error: EdgeError) => void;

/** A file or folder that could not be opened or read. */
export function inputError(path: string, error: unknown): EdgeError {
  const code = errno(error);
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new EdgeError('INPUT_NOT_FOUND', `${path} does not exist`, {
      hint: 'Check the path.',
      cause: error,
      exitCode: EXIT.noInput,
    });
  }
  const denied = code === 'EACCES' || code === 'EPERM';
  return new EdgeError('INPUT_UNREADABLE', `${path} cannot be read: ${code ?? String(error)}`, {
    hint: denied ? 'Give the user that runs irst-edge read permission.' : 'Check the disk and the path.',
    cause: error,
    exitCode: denied ? EXIT.noInput : EXIT.ioError,
  });
}

export function optionError(what: string, hint: string): EdgeError {
  return new EdgeError('SOURCE_OPTIONS_INVALID', what, { hint, exitCode: EXIT.config });
}

export function stoppedError(): EdgeError {
  return new EdgeError('SOURCE_STOPPED', 'the source was stopped while it was opening', { exitCode: EXIT.ok });
}

/** Throws unless `fps`, when given, is a usable rate. */
export function checkFps(fps: number | undefined): void {
  if (fps !== undefined && !(fps > 0 && fps <= 1e6)) {
    throw optionError(`fps ${fps} is not a frame rate`, 'Give fps as a number above 0 and up to 1000000.');
  }
}
