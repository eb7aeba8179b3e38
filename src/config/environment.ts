import { parse } from 'yaml';
import type { ConfigIssue } from './issue.js';
import { redactText } from './redact.js';
import { nearest } from './suggest.js';
import { childOf, formatPath, isMapping, keysAt, nodesAt, type Path, type SchemaNode } from './tree.js';

/** Of the variables that overrule the configuration file. */
export const PREFIX = 'IRST_EDGE__';

export interface Override {
  variable: string;
  path: Path;
}

/**
 * Applies the variables `IRST_EDGE__SECTION__KEY=value` to a raw configuration and returns the result (the input stays as it
 * is), what was set by which variable, and what is wrong with the variables themselves.
 *
 * A list index is a number: `IRST_EDGE__CAMERAS__0__SOURCE__PATH`. Letter case and single underscores do not count:
 * `KEEPALIVE_SECONDS` is `keepaliveSeconds`. Where the schema wants a text, the value is taken as it is (quotes around it are
 * undone); elsewhere it is read as YAML: numbers, true, false, or a whole section in braces.
 */
export function applyEnvironment(
  raw: unknown,
  env: Readonly<Record<string, string | undefined>>,
): { raw: unknown; overrides: Override[]; issues: ConfigIssue[] } {
  const result = structuredClone(raw);
  const root: { value: unknown } = { value: result ?? {} };
  const overrides: Override[] = [];
  const issues: ConfigIssue[] = [];
  const seen = new Map<string, string>();

  const variables = Object.keys(env)
    .filter((name) => name.startsWith(PREFIX) && env[name] !== undefined)
    .map((name) => ({ name, parts: name.slice(PREFIX.length).split('__') }))
    .sort((a, b) => inOrder(a.parts, b.parts) || (a.name < b.name ? -1 : 1));

  for (const { name, parts } of variables) {
    const found = resolvePath(parts, root.value);
    if ('wrong' in found) {
      issues.push({ path: found.at, message: found.wrong, variable: name });
      continue;
    }
    const path = formatPath(found.path);
    const other = seen.get(path);
    if (other !== undefined) {
      issues.push({ path, message: `set twice, by ${other} too`, variable: name });
      continue;
    }
    seen.set(path, name);
    const value = parseValue(env[name] as string, nodesAt(found.path, root.value));
    if ('wrong' in value) {
      issues.push({ path, message: value.wrong, variable: name });
      continue;
    }
    if (assign(root, found.path, value.value)) overrides.push({ variable: name, path: found.path });
  }
  return { raw: root.value, overrides, issues };
}

/**
 * Sections before what is inside them; entries of a list by their number; `kind` before its siblings, because it decides which of
 * them there are.
 */
function inOrder(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const [x, y] = [simplify(a[i] as string), simplify(b[i] as string)];
    if (x !== y) return rank(x) - rank(y) || (isIndex(x) ? Number(x) - Number(y) : 0) || (x < y ? -1 : 1);
  }
  return a.length - b.length;
}

const isIndex = (part: string): boolean => /^\d+$/.test(part);
const rank = (part: string): number => (part === 'kind' ? 0 : isIndex(part) ? 1 : 2);

function resolvePath(parts: readonly string[], root: unknown): { path: Path } | { at: string; wrong: string } {
  const path: (string | number)[] = [];
  for (const [i, part] of parts.entries()) {
    const nodes = nodesAt(path, root);
    if (nodes.some((node) => node.items !== undefined)) {
      const there = lengthAt(root, path);
      const last = Math.max(...nodes.map((node) => node.maxItems ?? 0)) - 1;
      if (!/^\d{1,6}$/.test(part) || Number(part) > Math.min(there, last)) {
        const allowed = Math.min(there, last);
        return { at: formatPath(path), wrong: `expected an index from 0 to ${allowed}, got ${JSON.stringify(part)}` };
      }
      path.push(Number(part));
      continue;
    }
    const keys = keysAt(path, root);
    const key = keys.find((k) => simplify(k) === simplify(part));
    if (key === undefined) {
      const near = nearest(part, keys);
      const meant = near === undefined ? undefined : PREFIX + [...parts.slice(0, i), upper(near)].join('__');
      const known = keys.length === 0 ? 'nothing is below this key' : `known here: ${keys.join(', ')}`;
      return {
        at: formatPath([...path, part]),
        wrong: `unknown key; ${meant === undefined ? known : `did you mean ${meant}?`}`,
      };
    }
    path.push(key);
  }
  return { path };
}

function lengthAt(root: unknown, path: Path): number {
  const list = path.reduce<unknown>((value, part) => childOf(value, part), root);
  return Array.isArray(list) ? list.length : 0;
}

function simplify(key: string): string {
  return key.toLowerCase().replaceAll('_', '');
}

/** `keepaliveSeconds` → `KEEPALIVE_SECONDS`. */
function upper(key: string): string {
  return key.replaceAll(/[A-Z]/g, (c) => `_${c}`).toUpperCase();
}

function parseValue(text: string, nodes: readonly SchemaNode[]): { value: unknown } | { wrong: string } {
  if (nodes.length > 0 && nodes.every((node) => node.type === 'string')) return { value: unquote(text) };
  try {
    return { value: parse(text, { logLevel: 'error' }) as unknown };
  } catch (error) {
    const reason = redactText(((error as Error).message.split('\n', 1)[0] as string).replace(/:$/, ''));
    return { wrong: `the value is not YAML: ${reason}` };
  }
}

function unquote(text: string): string {
  if (!/^(".*"|'.*')$/s.test(text)) return text;
  try {
    const value: unknown = parse(text, { logLevel: 'error' });
    return typeof value === 'string' ? value : text;
  } catch {
    return text;
  }
}

/** Sets a value, making the sections on the way; false where something else stands in the way (its own check reports that). */
function assign(root: { value: unknown }, path: Path, value: unknown): boolean {
  let holder: unknown = root;
  let key: string | number = 'value';
  for (const part of path) {
    let next = childOf(holder, key);
    if (next === undefined || next === null) {
      next = typeof part === 'number' ? [] : {};
      set(holder, key, next);
    }
    if (typeof part === 'number' ? !Array.isArray(next) : !isMapping(next)) return false;
    holder = next;
    key = part;
  }
  set(holder, key, value);
  return true;
}

function set(holder: unknown, key: string | number, value: unknown): void {
  (holder as Record<string | number, unknown>)[key] = value;
}
