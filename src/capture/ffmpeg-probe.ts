import { z } from 'zod';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { Child } from './child.js';
import { stoppedError } from './faults.js';
import { type FfmpegInput, reasonOf } from './ffmpeg-input.js';
import { MOST_PIXELS } from './frame-size.js';
import { within } from './signals.js';

export interface Probe {
  width: number;
  height: number;
  /** What ffmpeg is asked to give: `gray`, `gray16le`, or one of the grey formats between, as stored. */
  pixelFormat: string;
  /** Significant bits of a count in that format. */
  bits: number;
  fps?: number;
  frames?: number;
  /** Seconds, for what ends. */
  duration?: number;
  /** ffmpeg 5.1 renamed `-vsync` to `-fps_mode`. */
  hasFpsMode: boolean;
}

const LARGEST_OUTPUT = 1 << 20;

const output = z.object({
  program_version: z.object({ version: z.string() }).optional(),
  streams: z
    .array(
      z.object({
        width: z.number().optional(),
        height: z.number().optional(),
        pix_fmt: z.string().optional(),
        avg_frame_rate: z.string().optional(),
        r_frame_rate: z.string().optional(),
        nb_frames: z.string().optional(),
      }),
    )
    .optional(),
  format: z.object({ duration: z.string().optional() }).optional(),
});

/** Asks ffprobe for size, pixel format and rate. Throws `FFMPEG_MISSING`, `SOURCE_UNREADABLE`, `SOURCE_TIMEOUT`, `SOURCE_STOPPED`. */
export async function probe(
  ffprobePath: string,
  input: FfmpegInput,
  inputOptions: string[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Probe> {
  const child = Child.run(ffprobePath, [
    ...['-v', 'error', '-print_format', 'json', '-show_program_version', '-select_streams', 'v:0'],
    ...['-show_entries', 'stream=width,height,pix_fmt,avg_frame_rate,r_frame_rate,nb_frames:format=duration'],
    ...[...inputOptions, '-i', input.argument],
  ]);
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    if (text.length < LARGEST_OUTPUT) text += chunk;
  });
  const end = await within(child.closed, timeoutMs, signal);
  if (end === undefined) {
    await child.terminate();
    throw signal.aborted ? stoppedError() : timeoutError(input, timeoutMs);
  }
  if (end.error !== undefined) throw startError(ffprobePath, end.error);
  if (end.code !== 0) throw unreadableError(input, reasonOf(child.stderrLines(), input) ?? 'ffprobe gave no reason');
  return readProbe(text, input);
}

/** Reads ffprobe's JSON. */
export function readProbe(text: string, input: FfmpegInput): Probe {
  let parsed: z.infer<typeof output>;
  try {
    parsed = output.parse(JSON.parse(text));
  } catch (error) {
    throw unreadableError(input, 'ffprobe answered something unknown', error);
  }
  const stream = parsed.streams?.[0];
  if (stream === undefined) throw unreadableError(input, 'it has no video stream');
  const { width = 0, height = 0, pix_fmt = '' } = stream;
  if (!(width > 0 && height > 0) || pix_fmt === '')
    throw unreadableError(input, 'its video stream has no known size or format');
  if (width * height > MOST_PIXELS)
    throw unreadableError(input, `its frames of ${width}x${height} are larger than ${MOST_PIXELS} pixels`);
  const fps = parseRate(stream.avg_frame_rate) ?? parseRate(stream.r_frame_rate);
  const frames = Number(stream.nb_frames);
  const duration = Number(parsed.format?.duration);
  return {
    width,
    height,
    ...outputFormat(pix_fmt),
    ...(fps === undefined ? {} : { fps }),
    ...(Number.isInteger(frames) && frames > 0 ? { frames } : {}),
    ...(duration > 0 ? { duration } : {}),
    hasFpsMode: hasFpsMode(parsed.program_version?.version ?? ''),
  };
}

/** The grey format that loses nothing of `pixelFormat`, and its significant bits. */
export function outputFormat(pixelFormat: string): { pixelFormat: string; bits: number } {
  // As stored: scaling to 16 bits would change the camera's counts.
  const grey = /^gray(9|10|12|14|16)(?:le|be)$/.exec(pixelFormat);
  if (grey !== null) return { pixelFormat: `gray${grey[1]}le`, bits: Number(grey[1]) };
  return deepFormat(pixelFormat) ? { pixelFormat: 'gray16le', bits: 16 } : { pixelFormat: 'gray', bits: 8 };
}

/** More than 8 bits a component, by the naming of https://ffmpeg.org/doxygen/trunk/pixfmt_8h.html: only these have an endianness. */
function deepFormat(pixelFormat: string): boolean {
  const endian = /(\d+)(?:le|be)$/.exec(pixelFormat);
  if (endian === null) return false;
  // rgb565 and its like pack three components into 16 bits.
  return !/^(?:rgb|bgr)(?:444|555|565)(?:le|be)$/.test(pixelFormat);
}

/** `30000/1001` in Hz; undefined for `0/0`. */
export function parseRate(text: string | undefined): number | undefined {
  const [numerator, denominator = '1'] = (text ?? '').split('/');
  const rate = Number(numerator) / Number(denominator);
  return Number.isFinite(rate) && rate > 0 ? rate : undefined;
}

/** Versions that name themselves by a commit (`N-109...`, `git-...`) are recent. */
export function hasFpsMode(version: string): boolean {
  const found = /^n?(\d+)\.(\d+)/.exec(version);
  if (found === null) return true;
  const [major, minor] = [Number(found[1]), Number(found[2])];
  return major > 5 || (major === 5 && minor >= 1);
}

export function startError(command: string, error: Error): EdgeError {
  const code = errno(error);
  if (code === 'ENOENT' || code === 'EACCES') {
    return new EdgeError(
      'FFMPEG_MISSING',
      `${command} cannot be started: ${code === 'ENOENT' ? 'not found' : 'not executable'}`,
      {
        hint: 'Install it: apt-get install ffmpeg',
        cause: error,
        exitCode: EXIT.unavailable,
      },
    );
  }
  return new EdgeError('FFMPEG_FAILED', `${command} cannot be started: ${error.message}`, {
    hint: 'The system lacks memory, processes or file handles.',
    cause: error,
    exitCode: EXIT.unavailable,
  });
}

export function unreadableError(input: FfmpegInput, reason: string, cause?: unknown): EdgeError {
  const remote = input.path === undefined;
  return new EdgeError('SOURCE_UNREADABLE', `${input.name} cannot be read: ${reason}`, {
    hint: remote
      ? 'Check the address, user name and password, and that the camera is on and its stream enabled.'
      : 'Check that it is a whole video file; `ffprobe FILE` says more.',
    cause,
    exitCode: remote ? EXIT.unavailable : EXIT.dataError,
  });
}

export function timeoutError(input: FfmpegInput, timeoutMs: number): EdgeError {
  return new EdgeError('SOURCE_TIMEOUT', `${input.name} gave no picture within ${timeoutMs / 1000} s`, {
    hint: 'Check that the camera is on and reachable, or allow more time with startTimeoutMs.',
    exitCode: EXIT.unavailable,
  });
}
