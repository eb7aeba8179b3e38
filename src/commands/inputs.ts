import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { EdgeConfig, EdgeConfigInput } from '../config/schema.js';
import { validate } from '../config/validate.js';
import type { Thresholds } from '../decode/detections.js';
import { BUNDLED_MANIFEST } from '../detect/manifest.js';
import { EdgeError } from '../types/errors.js';
import { usageError } from './shared.js';

/** What of a configuration an option gave, by its path: `{ 'mqtt.url': '--mqtt' }`. */
export type OptionOf = Readonly<Record<string, string>>;

/**
 * A configuration made of command-line options, through the same checks as a file.
 * @throws EdgeError USAGE: what is wrong there is wrong in the command line
 */
export function configFrom(input: EdgeConfigInput, optionOf: OptionOf = {}): EdgeConfig {
  const checked = validate(input);
  if (!('issues' in checked)) return checked.config;
  const lines = checked.issues.map(({ path, message }) => {
    const of = Object.keys(optionOf).find((start) => path === start || path.startsWith(`${start}.`));
    return `${of === undefined ? path : optionOf[of]}: ${message}`;
  });
  throw usageError(lines.join('; '), HELP);
}

/**
 * The value of an option, read by what reads the same of a configuration.
 * @throws EdgeError USAGE where `read` throws an `EdgeError`
 */
export function optionValue<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof EdgeError)) throw error;
    throw usageError(`${option}: ${error.message}`, error.hint ?? HELP);
  }
}

const HELP = 'the --help of the command describes its options';

/** The source for what a user names: `v4l2:DEVICE` is a camera; a folder, picture or .y16 is a recording; everything else is for ffmpeg. */
export function sourceFor(input: string): EdgeConfigInput['cameras'][number]['source'] {
  if (input === 'synthetic') return { kind: 'synthetic' };
  if (input.startsWith('v4l2:')) return { kind: 'v4l2', device: input.slice('v4l2:'.length) };
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(input)) return { kind: 'ffmpeg', input };
  const recording =
    /\.(y16|png|tiff?)$/i.test(input) ||
    !/\.[a-z0-9]{2,5}$/i.test(input) ||
    !existsSync(input) ||
    // Its name has a dot.
    statSync(input).isDirectory();
  return recording ? { kind: 'recording', path: path.resolve(input) } : { kind: 'ffmpeg', input: path.resolve(input) };
}

/** `--model`: a manifest, or the folder that it lies in; default: the bundled one. */
export function manifestPath(model: string | undefined): string {
  if (model === undefined) return BUNDLED_MANIFEST;
  return model.endsWith('.json') ? path.resolve(model) : path.resolve(model, 'manifest.json');
}

/** Parser of a numeric option within limits; commander prints the message and exits with 64. */
export function numberOption(least: number, most: number, whole = false): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
      throw new InvalidArgumentError(`expected a ${whole ? 'whole ' : ''}number from ${least} to ${most}`);
    }
    return value;
  };
}

/** Adds what `thresholds` reads. */
export function addThresholds(command: Command): Command {
  return command
    .option('--threshold <score>', "least score of a detection; default: the model's own", numberOption(0, 1))
    .option(
      '--relative-threshold <share>',
      "least share of the picture's strongest score (0: any); default: the model's own",
      numberOption(0, 1),
    );
}

/** Those that were given, and no more. */
export function thresholds({ threshold, relativeThreshold }: Thresholds): Thresholds {
  return {
    ...(threshold !== undefined && { threshold }),
    ...(relativeThreshold !== undefined && { relativeThreshold }),
  };
}

/** `--size 320x256`. */
export function sizeOption(text: string): { width: number; height: number } {
  const [, width, height] = /^([1-9]\d{1,3})x([1-9]\d{1,3})$/.exec(text) ?? [];
  if (width === undefined || height === undefined)
    throw new InvalidArgumentError('expected WIDTHxHEIGHT in px, such as 320x256');
  return { width: Number(width), height: Number(height) };
}

/** An AbortSignal that SIGINT and SIGTERM abort; a second signal ends the process at once. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (!controller.signal.aborted) return controller.abort();
      // By the signal's own action: exit() would wait for a worker that hangs. The first process of a container has none.
      process.removeAllListeners(name);
      process.kill(process.pid, name);
      process.exit(name === 'SIGINT' ? 130 : 143);
    });
  }
  return controller.signal;
}
