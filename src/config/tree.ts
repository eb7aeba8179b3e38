import { configJsonSchema } from './schema.js';

// A walk through the JSON Schema of the configuration: which keys are known where, and what is expected of a value.

export type Path = readonly (string | number)[];

/** The part of JSON Schema that the configuration's schema uses. */
export interface SchemaNode {
  type?: string;
  description?: string;
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode;
  oneOf?: SchemaNode[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  minItems?: number;
  maxItems?: number;
  required?: string[];
  'x-path'?: 'path' | 'path-or-url';
}

export const ROOT: SchemaNode = configJsonSchema() as SchemaNode;

/** `cameras[0].source.path`; the whole file is `(file)`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (!/^[A-Za-z_$][\w$-]*$/.test(part)) text += `[${JSON.stringify(part)}]`;
    else text += text === '' ? part : `.${part}`;
  }
  return text || '(file)';
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The child of a raw value, undefined where there is none. */
export function childOf(value: unknown, part: string | number): unknown {
  if (typeof part === 'number') return Array.isArray(value) ? value[part] : undefined;
  return isMapping(value) && Object.hasOwn(value, part) ? value[part] : undefined;
}

export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((v, part) => childOf(v, part), value);
}

/**
 * The alternatives that a node stands for: of a union those whose `kind` is the one in `value`, or all when none fits.
 */
function alternatives(node: SchemaNode, value: unknown): SchemaNode[] {
  if (node.oneOf === undefined) return [node];
  const kind = childOf(value, 'kind');
  const fitting = node.oneOf.filter((branch) => branch.properties?.kind?.const === kind);
  return fitting.length > 0 ? fitting : node.oneOf;
}

function childNodes(node: SchemaNode, part: string | number, value: unknown): SchemaNode[] {
  return alternatives(node, value).flatMap((branch) => {
    if (typeof part === 'number') return branch.items ?? [];
    return branch.properties !== undefined && Object.hasOwn(branch.properties, part)
      ? (branch.properties[part] as SchemaNode)
      : [];
  });
}

/** The schema at a path; several nodes where a union leaves it open, none where the path is unknown. */
export function nodesAt(path: Path, root: unknown): SchemaNode[] {
  let nodes = [ROOT];
  let value = root;
  for (const part of path) {
    nodes = nodes.flatMap((node) => childNodes(node, part, value));
    value = childOf(value, part);
  }
  return nodes;
}

/** The keys known at a path. */
export function keysAt(path: Path, root: unknown): string[] {
  const value = valueAt(root, path);
  const keys = nodesAt(path, root).flatMap((node) =>
    alternatives(node, value).flatMap((branch) => Object.keys(branch.properties ?? {})),
  );
  return [...new Set(keys)];
}

/** Calls `visit` for every value that the schema knows, parents first. */
export function walk(root: unknown, visit: (node: SchemaNode, value: unknown, path: Path) => void): void {
  const step = (node: SchemaNode, value: unknown, path: Path): void => {
    visit(node, value, path);
    const keys: (string | number)[] = Array.isArray(value)
      ? [...value.keys()]
      : isMapping(value)
        ? Object.keys(value)
        : [];
    for (const key of keys) {
      for (const child of childNodes(node, key, value)) step(child, childOf(value, key), [...path, key]);
    }
  };
  step(ROOT, root, []);
}

/** Every key of the schema as a path, list entries as `[]`: `cameras[].source.path`. */
export function allKeys(): string[] {
  const found = new Set<string>();
  const step = (node: SchemaNode, path: string): void => {
    for (const [key, child] of Object.entries(node.properties ?? {})) {
      const here = path === '' ? key : `${path}.${key}`;
      found.add(here);
      step(child, here);
    }
    if (node.items) step(node.items, `${path}[]`);
    for (const branch of node.oneOf ?? []) step(branch, path);
  };
  step(ROOT, '');
  return [...found];
}

/** What is expected, for an error message: `an integer from 1 to 16`. */
export function expectation(nodes: readonly SchemaNode[]): string {
  const options = nodes.flatMap((node) => node.enum ?? (node.const === undefined ? [] : [node.const]));
  if (options.length > 0) return options.length === 1 ? String(options[0]) : `one of ${options.join(', ')}`;
  const node = nodes[0];
  switch (node?.type ?? (node?.oneOf ? 'object' : undefined)) {
    case 'integer':
      return `an integer${range(node)}`;
    case 'number':
      return `a number${range(node)}`;
    case 'boolean':
      return 'true or false';
    case 'array':
      return `a list of ${node?.minItems ?? 0} to ${node?.maxItems ?? 'any number of'} entries`;
    case 'object':
      return 'a mapping (key: value)';
    default:
      return node?.['x-path'] === undefined ? 'a text' : 'a path';
  }
}

function range(node: SchemaNode | undefined): string {
  if (node?.minimum === undefined || node.maximum === undefined) return '';
  return ` from ${node.minimum} to ${node.maximum}`;
}
