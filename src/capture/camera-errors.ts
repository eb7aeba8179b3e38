import { readFileSync, statSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import type { NativeSystemError } from '../native.js';
import { EdgeError, type EdgeErrorOptions, EXIT } from '../types/errors.js';

export interface CameraErrorOptions extends EdgeErrorOptions {
  /** Of the device, as the user named it. */
  path: string;
  /** `EBUSY`; absent: no call failed. */
  errno?: string;
  /** `VIDIOC_S_FMT`. */
  syscall?: string;
}

/** An error of a camera's device. */
export class CameraError extends EdgeError {
  readonly path: string;
  readonly errno: string | undefined;
  readonly syscall: string | undefined;

  constructor(code: string, message: string, options: CameraErrorOptions) {
    super(code, message, options);
    this.path = options.path;
    this.errno = options.errno;
    this.syscall = options.syscall;
  }
}

/** A call failed because the device is not there any more. */
const GONE: readonly string[] = ['ENODEV', 'ENXIO', 'EBADF'];

/** What a failed call of the addon means to the user. Errors of other kinds come back as they are. */
export function cameraError(error: unknown, path: string): unknown {
  if (!isSystemError(error)) return error;
  const { syscall } = error;
  const code = nameOf(error);
  const call = { path, errno: code, syscall, cause: error };
  const opening = syscall === 'open';
  if (opening && (code === 'ENOENT' || GONE.includes(code))) return notFound(path, call);
  if (code === 'EACCES' || code === 'EPERM') return denied(path, call);
  if (code === 'EBUSY') {
    return new CameraError('CAMERA_BUSY', `${path} is in use by another program (EBUSY, ${syscall})`, {
      hint: `\`fuser -v ${path}\` names the program; the camera is tried again`,
      exitCode: EXIT.unavailable,
      ...call,
    });
  }
  // A file, a terminal, a folder: it does not know the first question that every V4L2 device answers.
  const deaf = syscall === 'VIDIOC_QUERYCAP' && (code === 'ENOTTY' || code === 'EINVAL');
  if (deaf || (opening && ['EISDIR', 'ENOTDIR', 'EINVAL', 'ELOOP'].includes(code))) return notADevice(path, call);
  if (GONE.includes(code)) return gone(path, call);
  return failed(path, call);
}

interface Call {
  errno?: string;
  syscall?: string;
  cause?: unknown;
}

const because = ({ errno, syscall }: Call): string =>
  errno === undefined ? '' : ` (${errno}${syscall === undefined ? '' : `, ${syscall}`})`;

export function notFound(path: string, call: Call = {}): CameraError {
  return new CameraError('CAMERA_NOT_FOUND', `there is no camera ${path}${because(call)}`, {
    hint: 'check the cable; `v4l2-ctl --list-devices` and `ls /dev/v4l/by-id` show the cameras; `run` waits for it',
    exitCode: EXIT.noInput,
    ...call,
    path,
  });
}

function denied(path: string, call: Call): CameraError {
  const group = groupOf(path);
  return new CameraError('CAMERA_DENIED', `${path} may not be opened by this user${because(call)}`, {
    hint: `join the group ${group}: sudo usermod -aG ${group} $USER, then log in again; in a service: SupplementaryGroups=${group}`,
    exitCode: EXIT.noInput,
    ...call,
    path,
  });
}

function notADevice(path: string, call: Call): CameraError {
  return new CameraError('CAMERA_NOT_A_DEVICE', `${path} is no V4L2 device${because(call)}`, {
    hint: 'name a camera, such as /dev/video0 or a link in /dev/v4l/by-id',
    exitCode: EXIT.config,
    ...call,
    path,
  });
}

/** A node of a camera through which no pictures come. */
export function notCapture(path: string, card: string): CameraError {
  return new CameraError('CAMERA_NOT_CAPTURE', `${path} (${card}) gives no pictures: it is a node for something else`, {
    hint: 'a camera has several nodes; take the one whose name ends in -index0 in /dev/v4l/by-id, usually the even number',
    exitCode: EXIT.config,
    path,
    syscall: 'VIDIOC_QUERYCAP',
  });
}

/** There is no profile for any of the camera's formats. */
export function formatUnsupported(path: string, card: string, there: string): CameraError {
  return new CameraError('CAMERA_FORMAT_UNSUPPORTED', `no camera profile fits ${path} (${card}), which has ${there}`, {
    hint: 'name a profile (docs/cameras.md lists them), or write your own',
    exitCode: EXIT.config,
    path,
    syscall: 'VIDIOC_ENUM_FMT',
  });
}

/** The driver put another format in the place of the one that was asked for. */
export function formatRefused(path: string, wanted: string, got: string): CameraError {
  return new CameraError('CAMERA_FORMAT_REFUSED', `${path} was asked for ${wanted} and took ${got} instead`, {
    hint: 'its list of formats promises what it does not do: choose another profile, or look for newer firmware',
    exitCode: EXIT.config,
    path,
    syscall: 'VIDIOC_S_FMT',
  });
}

export function gone(path: string, call: Call = {}): CameraError {
  return new CameraError('CAMERA_GONE', `${path} is gone${because(call)}`, {
    hint: 'check the cable and the power supply (dmesg); it is opened again as soon as it is back',
    exitCode: EXIT.unavailable,
    ...call,
    path,
  });
}

export function failed(path: string, call: Call = {}): CameraError {
  return new CameraError('CAMERA_FAILED', `${path} refuses its service${because(call)}`, {
    hint: 'plug it out and in again, and look at dmesg; it is opened again',
    exitCode: EXIT.unavailable,
    ...call,
    path,
  });
}

/** Its input, that of a video receiver, sends something else now. */
export function sourceChanged(path: string, call: Call = {}): CameraError {
  return new CameraError('CAMERA_FAILED', `${path}: the source changed its format`, {
    hint: 'check what is connected to its input; it is opened again',
    exitCode: EXIT.unavailable,
    ...call,
    path,
  });
}

export function stalled(path: string, ms: number): CameraError {
  return new CameraError('CAMERA_STALLED', `${path} gave no good frame for ${Math.round(ms) / 1000} s`, {
    hint: 'check the cable, the bandwidth of the bus and the camera; stallTimeoutMs allows longer gaps',
    exitCode: EXIT.unavailable,
    path,
    errno: 'ETIMEDOUT',
    syscall: 'poll',
  });
}

/** The size of the pictures is another one, and everything behind the source is made for the first. */
export function changed(path: string, from: string, to: string): CameraError {
  return new CameraError('CAMERA_CHANGED', `${path} gives ${to} now, no longer ${from}`, {
    hint: 'the camera starts anew with what it gives',
    exitCode: EXIT.unavailable,
    path,
  });
}

/** A frame that the driver flagged. */
export function frameCorrupt(path: string, count: number): CameraError {
  const what = count === 1 ? 'a frame' : `${count} frames`;
  return new CameraError('CAMERA_FRAME_CORRUPT', `${path}: ${what} came damaged and went`, {
    hint: 'check the cable and the bandwidth of the bus',
    exitCode: EXIT.dataError,
    path,
    syscall: 'VIDIOC_DQBUF',
  });
}

export function frameShort(path: string, count: number): CameraError {
  const what = count === 1 ? 'a frame' : `${count} frames`;
  return new CameraError('CAMERA_FRAME_SHORT', `${path}: ${what} came incomplete and went`, {
    hint: 'check the cable and the bandwidth of the bus',
    exitCode: EXIT.dataError,
    path,
    syscall: 'VIDIOC_DQBUF',
  });
}

/** A profile that does not suit this camera, with the device's path; other errors as they are. */
export function ofCamera(error: unknown, path: string): unknown {
  if (!(error instanceof EdgeError) || error instanceof CameraError || !error.code.startsWith('PROFILE_')) return error;
  const { code, message, hint, exitCode } = error;
  return new CameraError(code, `${path}: ${message}`, {
    ...(hint === undefined ? {} : { hint }),
    exitCode,
    cause: error,
    path,
  });
}

/** The addon has names for the usual ones only. */
function nameOf({ code, errno }: NativeSystemError): string {
  return code.startsWith('ERRNO_') ? getSystemErrorName(errno) : code;
}

/** The group that may open the device; `video`, as udev has it, where that cannot be told. */
function groupOf(path: string): string {
  try {
    const { gid } = statSync(path);
    if (gid === 0) return 'video';
    const line = readFileSync('/etc/group', 'utf8')
      .split('\n')
      .find((entry) => entry.split(':')[2] === String(gid));
    return line?.split(':')[0] || 'video';
  } catch {
    return 'video';
  }
}

function isSystemError(error: unknown): error is NativeSystemError {
  return (
    error instanceof Error &&
    !(error instanceof EdgeError) &&
    'syscall' in error &&
    'code' in error &&
    typeof error.code === 'string'
  );
}
