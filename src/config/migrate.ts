import { EdgeError, EXIT } from '../types/errors.js';
import { isMapping } from './tree.js';
import { CONFIG_VERSION } from './version.js';

/** Makes a configuration of its version one of the next, in a copy. */
export type Migration = (raw: Readonly<Record<string, unknown>>) => Record<string, unknown>;

/** By the version that they start from. */
const MIGRATIONS: Readonly<Record<number, Migration>> = {};

/**
 * Brings a configuration as it was written to the version of this program, step by step; the file stays as it is. One without a version
 * is of version 1. What is no configuration, or of no such version, is given back for validation to name.
 * @throws EdgeError CONFIG_TOO_NEW
 */
export function migrate(raw: unknown, name: string, to = CONFIG_VERSION, migrations = MIGRATIONS): unknown {
  if (!isMapping(raw)) return raw;
  const { version = 1 } = raw;
  if (typeof version !== 'number' || !Number.isInteger(version) || version < 1) return raw;
  if (version > to) {
    throw new EdgeError('CONFIG_TOO_NEW', `${name} is of version ${version}; this program knows ${to}`, {
      hint: 'a newer irst-edge wrote it: go back to that one, or to the configuration of before; the file is left as it is',
      exitCode: EXIT.config,
    });
  }
  let content: Record<string, unknown> = raw;
  for (let from = version; from < to; from++) {
    const step = migrations[from];
    if (step === undefined) return raw;
    content = { ...step(content), version: from + 1 };
  }
  return content;
}
