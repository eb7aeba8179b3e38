import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { EdgeError, EXIT, fromPlainError, type PlainError } from '../types/errors.js';
import { letGo } from '../util/programs.js';
import type { DeviceDescription } from './profile-match.js';

const CHILD = new URL('./describe-child.js', import.meta.url);
/** An answer is a matter of milliseconds; a camera that wakes up takes seconds. */
const TIMEOUT_MS = 20_000;

export type DescribeAnswer = { description: DeviceDescription } | { error: PlainError };

/**
 * `describeDevice` in a process of its own: a driver that hangs holds whoever asks it inside the kernel, where neither timers nor
 * signals reach.
 * @param child the process's entry; a test gives its own
 * @throws as `describeDevice`; EdgeError CAMERA_FAILED if there is no answer in time
 */
export async function describeApart(
  device: string,
  {
    timeoutMs = TIMEOUT_MS,
    child: entry = CHILD,
    signal,
  }: { timeoutMs?: number; child?: URL; signal?: AbortSignal } = {},
): Promise<DeviceDescription> {
  const late = AbortSignal.timeout(timeoutMs);
  const child = spawn(process.execPath, [fileURLToPath(entry), device], {
    stdio: ['ignore', 'pipe', 'ignore'],
    killSignal: 'SIGKILL',
    signal: signal === undefined ? late : AbortSignal.any([late, signal]),
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const ended = await new Promise<string | undefined>((resolve) => {
    child.once('error', (cause) =>
      resolve(
        late.aborted
          ? `its driver does not answer within ${timeoutMs / 1000} s`
          : `it cannot be looked at: ${cause.message}`,
      ),
    );
    child.once('close', () => resolve(undefined));
  });
  if (ended === undefined) {
    const answer = answerOf(text);
    if ('error' in answer) throw fromPlainError(answer.error);
    return answer.description;
  }
  letGo(child);
  throw failed(device, ended);

  function answerOf(json: string): DescribeAnswer {
    try {
      return JSON.parse(json) as DescribeAnswer;
    } catch {
      throw failed(device, 'looking at it ended the process that did');
    }
  }
}

function failed(device: string, why: string): EdgeError {
  return new EdgeError('CAMERA_FAILED', `${device}: ${why}`, {
    hint: 'dmesg may tell what hangs; unplug the camera, or reload its driver',
    exitCode: EXIT.unavailable,
  });
}
