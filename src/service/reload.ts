import { isDeepStrictEqual } from 'node:util';
import type { EdgeConfig } from '../config/schema.js';
import { isMapping } from '../config/tree.js';

/** What a configuration that was read again comes to. */
export interface ReloadPlan {
  /** In force from now on: the old one with what can be changed at once. */
  config: EdgeConfig;
  /** Paths that changed and are applied: `cameras.mast.zones`. A camera stands by its id. */
  applied: string[];
  /** Paths that changed and need a restart. */
  restart: string[];
}

/** What changes between two frames. Everything else belongs to a source, a model, a connection or a file that is open. */
const LIVE: readonly RegExp[] = [
  /^log\.level$/,
  /^detector\.threshold$/,
  /^alerts\./,
  /^outbox\.(eventLifeSeconds|updateLifeSeconds)$/,
];
const LIVE_OF_CAMERA: ReadonlySet<string | undefined> = new Set(['zones', 'intrinsics', 'mount', 'detector']);

type Tree = Record<string, unknown>;

/** Compares the configuration in force with a new one. Pure. */
export function planReload(before: EdgeConfig, after: EdgeConfig): ReloadPlan {
  const [old, wanted] = [byId(before), byId(after)];
  const applied: string[] = [];
  const restart: string[] = [];
  for (const path of changes(old, wanted, [])) {
    const name = path.join('.');
    if (isLive(path, name)) {
      copy(wanted, old, path);
      applied.push(name);
    } else restart.push(name);
  }
  const cameras = before.cameras.map(({ id }) => (old.cameras as Tree)[id]);
  return { config: { ...old, cameras } as unknown as EdgeConfig, applied, restart };
}

/** By its parts where a camera's id comes in, which may hold dots. */
function isLive(path: readonly string[], name: string): boolean {
  return path[0] === 'cameras' ? LIVE_OF_CAMERA.has(path[2]) : LIVE.some((pattern) => pattern.test(name));
}

/** A copy with the cameras by their ids, which are unique. */
function byId(config: EdgeConfig): Tree {
  const { cameras, ...rest } = structuredClone(config);
  return { ...rest, cameras: Object.fromEntries(cameras.map((camera) => [camera.id, camera])) };
}

/** Paths of what differs, as deep as both sides are mappings; an id may hold dots, so paths stay in parts. */
function changes(a: Tree, b: Tree, at: string[]): string[][] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) => {
    const [x, y] = [a[key], b[key]];
    if (isDeepStrictEqual(x, y)) return [];
    const path = [...at, key];
    return isMapping(x) && isMapping(y) ? changes(x, y, path) : [path];
  });
}

function copy(from: Tree, to: Tree, path: readonly string[]): void {
  const last = path.at(-1) as string;
  let [source, target] = [from, to];
  for (const part of path.slice(0, -1)) {
    source = source[part] as Tree;
    target = target[part] as Tree;
  }
  if (Object.hasOwn(source, last)) target[last] = source[last];
  else delete target[last];
}
