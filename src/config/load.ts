import { constants } from 'node:fs';
import { access, open } from 'node:fs/promises';
import path from 'node:path';
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { applyEnvironment, type Override } from './environment.js';
import { ConfigInvalidError, type ConfigIssue } from './issue.js';
import { migrate } from './migrate.js';
import { redactText } from './redact.js';
import type { EdgeConfig } from './schema.js';
import { formatPath, isMapping, type Path, walk } from './tree.js';
import { checkTrust, type Place } from './trust.js';
import { adviceOn, validate } from './validate.js';

export interface LoadedConfig {
  /** Complete: defaults filled in, paths absolute. */
  config: EdgeConfig;
  /** What is allowed but likely not meant, one line each. */
  warnings: string[];
  /** The file it came from, absolute. */
  file: string;
}

type Env = Readonly<Record<string, string | undefined>>;

/** Where a configuration is looked for when none is named. */
export const DEFAULT_FILES: readonly string[] = ['irst-edge.yaml', '/etc/irst-edge/irst-edge.yaml'];

const LONGEST_FILE = 1024 * 1024;

/**
 * Reads a configuration: the file (YAML or JSON), over it the variables `IRST_EDGE__...`, checked as a whole.
 *
 * Without `file`: the one that `IRST_EDGE_CONFIG` names, else the first of `DEFAULT_FILES` that is there. Relative paths in the file are
 * relative to its folder, those in variables to the working directory.
 * @throws EdgeError CONFIG_NOT_FOUND, CONFIG_UNREADABLE, CONFIG_SYNTAX, CONFIG_TOO_NEW, FILE_UNTRUSTED; ConfigInvalidError CONFIG_INVALID
 */
export async function loadConfig(file?: string, env: Env = process.env): Promise<LoadedConfig> {
  const { name, text } = await readText(file ?? (env.IRST_EDGE_CONFIG || undefined));
  const full = path.resolve(name);
  const lines = new LineCounter();
  const document = parse(text, name, lines);

  const { raw, overrides, issues } = applyEnvironment(migrate(content(document, name), name), env);
  const checked = validate(raw);
  if ('issues' in checked) {
    for (const { parts, ...issue } of checked.issues) {
      // A variable that is wrong in itself was not applied: what is then missing there is the same mistake.
      if (!issues.some((known) => known.path === issue.path))
        issues.push(locate(issue, parts, overrides, document, lines));
    }
  }
  if (issues.length > 0 || 'issues' in checked) throw new ConfigInvalidError(name, issues);

  const { config } = checked;
  const places = resolvePaths(config, path.dirname(full), overrides);
  const warnings = [
    ...document.warnings.map((w) => `line ${w.linePos?.[0].line ?? '?'}: ${firstLine(w.message)}`),
    ...adviceOn(config, raw),
    ...(await missingFiles(config, places)),
    ...(await checkTrust(config, full, places, env)),
  ];
  return { config, warnings, file: full };
}

async function readText(named: string | undefined): Promise<{ name: string; text: string }> {
  for (const name of named === undefined ? DEFAULT_FILES : [named]) {
    try {
      return { name, text: await readBounded(name) };
    } catch (cause) {
      if (cause instanceof EdgeError) throw cause;
      const code = errno(cause);
      if (code === 'ENOENT' || code === 'ENOTDIR') continue;
      throw unreadable(name, code === 'EISDIR' ? 'it is a folder' : (code ?? String(cause)), cause);
    }
  }
  throw new EdgeError('CONFIG_NOT_FOUND', `no configuration at ${named ?? DEFAULT_FILES.join(' or ')}`, {
    hint:
      named === undefined
        ? 'name the file, or set IRST_EDGE_CONFIG; systemd/irst-edge.sample.yaml is a start'
        : 'check the path; systemd/irst-edge.sample.yaml is a start',
    exitCode: EXIT.config,
  });
}

function unreadable(name: string, why: string, cause?: unknown): EdgeError {
  return new EdgeError('CONFIG_UNREADABLE', `${name}: cannot be read: ${why}`, {
    hint: 'name a YAML or JSON file that this user may read',
    exitCode: EXIT.config,
    cause,
  });
}

/** Reads a file that may be a pipe, but not without end. */
async function readBounded(name: string): Promise<string> {
  const handle = await open(name, 'r');
  try {
    const chunks: Buffer[] = [];
    let length = 0;
    for (;;) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(65536), 0, 65536, null);
      if (bytesRead === 0) break;
      length += bytesRead;
      if (length > LONGEST_FILE) throw unreadable(name, `longer than ${LONGEST_FILE} bytes`);
      chunks.push(buffer.subarray(0, bytesRead));
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    if (errno(error) === 'ERR_ENCODING_INVALID_ENCODED_DATA') throw unreadable(name, 'it is not UTF-8 text', error);
    throw error;
  } finally {
    await handle.close();
  }
}

// JSON is YAML 1.2, so one parser reads both and knows the lines of both.
function parse(text: string, name: string, lineCounter: LineCounter): Document.Parsed {
  let document: Document.Parsed;
  try {
    document = parseDocument(text, { lineCounter });
  } catch (cause) {
    if (cause instanceof RangeError) throw syntaxError(name, undefined, TOO_DEEP, cause);
    throw cause;
  }
  const error = document.errors[0];
  if (error !== undefined) {
    const what = error.code === 'MULTIPLE_DOCS' ? 'expected one document, got more' : firstLine(error.message);
    const more = document.errors.length === 1 ? '' : ` (and ${document.errors.length - 1} more)`;
    throw syntaxError(name, error.linePos?.[0], `${redactText(what)}${more}`, error);
  }
  visit(document, {
    Alias(_key, alias) {
      if (alias.resolve(document) !== undefined) return;
      throw syntaxError(name, at(alias, lineCounter), `alias *${alias.source} without an anchor before it`);
    },
  });
  return document;
}

/** The content as a tree: what aliases share is copied, so that a variable can set one copy. */
function content(document: Document.Parsed, name: string): unknown {
  const copy = (value: unknown, depth: number): unknown => {
    if (depth > DEEPEST) throw syntaxError(name, undefined, TOO_DEEP);
    if (Array.isArray(value)) return value.map((entry) => copy(entry, depth + 1));
    if (!isMapping(value)) return value;
    const result: Record<string, unknown> = {};
    for (const [key, child] of Object.entries(value)) {
      // Not an assignment: `__proto__` is a wrong key as any other here.
      Object.defineProperty(result, key, {
        value: copy(child, depth + 1),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return result;
  };
  let shared: unknown;
  try {
    shared = document.toJS();
  } catch (cause) {
    // Aliases that multiply beyond reason, https://eemeli.org/yaml/#tojs-options, or the stack has overflowed.
    const what = cause instanceof RangeError ? TOO_DEEP : 'too many aliases';
    throw syntaxError(name, undefined, what, cause);
  }
  return copy(shared, 0);
}

const DEEPEST = 64;
const TOO_DEEP = `nested deeper than ${DEEPEST} levels`;

function syntaxError(
  name: string,
  place: { line: number; col: number } | undefined,
  what: string,
  cause?: unknown,
): EdgeError {
  return new EdgeError('CONFIG_SYNTAX', `${name}${place ? `:${place.line}:${place.col}` : ''}: ${what}`, {
    hint: place ? 'correct the YAML or JSON at that line' : 'correct the YAML or JSON',
    exitCode: EXIT.config,
    cause,
  });
}

function at(node: unknown, lines: LineCounter): { line: number; col: number } | undefined {
  const start = startOf(node);
  return start === undefined ? undefined : lines.linePos(start);
}

/** The parser's message goes on with an excerpt, and repeats the place. */
function firstLine(message: string): string {
  return (message.split('\n', 1)[0] as string).replace(/ at line \d+, column \d+:?$/, '');
}

function locate(
  issue: ConfigIssue,
  parts: Path,
  overrides: readonly Override[],
  document: Document.Parsed,
  lines: LineCounter,
): ConfigIssue {
  const from = overrideOf(parts, overrides);
  if (from !== undefined) return { ...issue, variable: from.variable };
  const offset = offsetOf(document, parts);
  return offset === undefined ? issue : { ...issue, line: lines.linePos(offset).line };
}

/** The variable that set a place: the deepest one at it or above it. */
function overrideOf(parts: Path, overrides: readonly Override[]): Override | undefined {
  return overrides
    .filter(({ path: p }) => p.length <= parts.length && p.every((part, i) => part === parts[i]))
    .sort((a, b) => b.path.length - a.path.length)[0];
}

/** Where a path, or as much of it as is there, stands in the text. */
function offsetOf(document: Document.Parsed, parts: Path): number | undefined {
  let node: unknown = document.contents;
  let offset: number | undefined;
  for (const part of parts) {
    if (isAlias(node)) node = node.resolve(document);
    let next: unknown;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (pair === undefined) break;
      offset = startOf(pair.key) ?? offset;
      next = pair.value;
    } else if (isSeq(node) && typeof part === 'number') {
      next = node.items[part];
      offset = startOf(next) ?? offset;
    }
    if (next === undefined || next === null) break;
    node = next;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return (node as { range?: [number, number, number] | null } | null | undefined)?.range?.[0];
}

/** Makes every path in the configuration absolute, in place, and says where they are. */
function resolvePaths(config: EdgeConfig, folder: string, overrides: readonly Override[]): Place[] {
  const places: Place[] = [];
  walk(config, (node, value, at) => {
    const kind = node['x-path'];
    if (kind === undefined || typeof value !== 'string') return;
    if (kind === 'path-or-url' && /^[a-z][a-z0-9+.-]*:\/\//i.test(value)) return;
    const base = overrideOf(at, overrides) === undefined ? folder : process.cwd();
    const file = path.resolve(base, value);
    const holder = at.slice(0, -1).reduce<unknown>((v, part) => (v as Record<string | number, unknown>)[part], config);
    (holder as Record<string | number, unknown>)[at.at(-1) as string | number] = file;
    places.push({ path: at, file });
  });
  return places;
}

async function missingFiles(config: EdgeConfig, places: readonly Place[]): Promise<string[]> {
  const warnings: string[] = [];
  for (const { path: at, file } of places) {
    if (at[0] === 'cameras' && config.cameras[at[1] as number]?.enabled === false) continue;
    try {
      await access(file, constants.R_OK);
    } catch (error) {
      const code = errno(error);
      warnings.push(
        `${formatPath(at)}: ${code === 'ENOENT' ? 'not there' : `not readable (${code})`} at present: ${file}`,
      );
    }
  }
  return warnings;
}
