import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { EdgeError, EXIT } from '../types/errors.js';
import { BUNDLED_MANIFEST } from '../util/bundled.js';
import { distrust } from '../util/file-trust.js';
import { namedLibrary } from '../util/named-library.js';
import type { EdgeConfig } from './schema.js';
import { formatPath, type Path } from './tree.js';

/** A path in the configuration, and the file that it names. */
export interface Place {
  path: Path;
  file: string;
}

interface Checked {
  /** What it is, for people. */
  name: string;
  file: string;
  secret?: boolean;
}

const SECRETS = new Set(['mqtt.passwordFile', 'mqtt.key']);
/** The library itself, and the providers that it loads from beside itself. */
const LIBRARIES = /^libonnxruntime.*\.so(\.\d+)*$/;
const MOST_FILES = 1000;

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Looks at the files that decide what the program does: this configuration, model, profiles, secrets, certificates, and the libraries and
 * programs that are named and run. Recordings are only data. Returns a line for each that others can change; with `refuse` the first of them is an error.
 * @throws EdgeError FILE_UNTRUSTED
 */
export async function checkTrust(
  config: EdgeConfig,
  file: string,
  places: readonly Place[],
  env: Env,
): Promise<string[]> {
  const policy = config.security.untrustedFiles;
  if (policy === 'ignore') return [];
  const found: string[] = [];
  for (const { name, file: checked, secret } of await checkedFiles(config, file, places, env)) {
    const wrong = await distrust(checked, secret === undefined ? {} : { secret });
    if (wrong === undefined) continue;
    const line = `${name} is not to be trusted: ${wrong.at}: ${wrong.why}`;
    // One open folder is one line.
    if (!found.some((known) => known.endsWith(`: ${wrong.at}: ${wrong.why}`))) found.push(line);
  }
  if (policy === 'refuse' && found.length > 0) {
    const more = found.length === 1 ? '' : ` (and ${found.length - 1} more)`;
    throw new EdgeError('FILE_UNTRUSTED', `${found[0]}${more}`, {
      hint: 'give it to root or to the user of the service and take the rights of others (chown root, chmod o-w), or set security.untrustedFiles',
      exitCode: EXIT.config,
    });
  }
  return found;
}

async function checkedFiles(config: EdgeConfig, file: string, places: readonly Place[], env: Env): Promise<Checked[]> {
  const files: Checked[] = [{ name: 'this configuration', file }];
  const manifest = config.detector.model ?? BUNDLED_MANIFEST;
  files.push({ name: 'the model', file: manifest });
  // What a provider is proven by.
  files.push({ name: 'the model', file: path.join(path.dirname(manifest), 'golden.json') });
  for (const name of await namesIn(path.dirname(manifest), /\.onnx$/))
    files.push({ name: 'the model', file: path.join(path.dirname(manifest), name) });
  for (const { path: at, file: place } of places) {
    const key = formatPath(at);
    if (at[0] === 'cameras' || key === 'detector.model' || key === 'stateDirectory') continue;
    files.push({ name: key, file: place, ...(SECRETS.has(key) && { secret: true }) });
  }
  const profiles = config.profilesDirectory;
  if (profiles !== undefined) {
    for (const name of await namesIn(profiles, /\.json$/))
      files.push({ name: 'profilesDirectory', file: path.join(profiles, name) });
  }
  return [...files, ...(await libraries(config, env)), ...programs(config)];
}

/** Of the usual places none: they are the system's. */
async function libraries({ runtime }: EdgeConfig, env: Env): Promise<Checked[]> {
  const named = namedLibrary(runtime.libonnxruntime, env);
  if (named === undefined) return [];
  const { library, by: name } = named;
  const isFolder = (await stat(library).catch(() => undefined))?.isDirectory() === true;
  const folder = isFolder ? library : path.dirname(library);
  const inside = await namesIn(folder, LIBRARIES);
  return [library, ...inside.map((file) => path.join(folder, file))].map((file) => ({ name, file }));
}

/** By their paths; where the PATH leads to is for who starts the program. */
function programs({ cameras, runtime }: EdgeConfig): Checked[] {
  const named: Checked[] = [{ name: 'runtime.trtexec', file: runtime.trtexec }];
  for (const [i, { enabled, source }] of cameras.entries()) {
    if (!enabled || source.kind !== 'ffmpeg') continue;
    for (const key of ['ffmpegPath', 'ffprobePath'] as const)
      named.push({ name: `cameras[${i}].source.${key}`, file: source[key] });
  }
  return named.filter(({ file }) => file.includes('/'));
}

/** Nothing where the folder cannot be read: whoever needs it will say so. */
async function namesIn(folder: string, wanted: RegExp): Promise<string[]> {
  const names = await readdir(folder).catch((): string[] => []);
  return names.filter((name) => wanted.test(name)).slice(0, MOST_FILES);
}
