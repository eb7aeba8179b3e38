import { lstat, readlink } from 'node:fs/promises';
import path from 'node:path';

export interface Distrust {
  /** What is wrong with it: the file itself, or a folder above it. */
  at: string;
  /** One clause: `everyone may write to it`. */
  why: string;
}

export interface FileTrustOptions {
  /** Nobody else may read it either, as a password or a private key. */
  secret?: boolean;
  /** For tests: who runs the program. Default: the process's effective user. */
  uid?: number;
}

const WRITE_OTHERS = 0o002;
const READ_OTHERS = 0o004;
const STICKY = 0o1000;

/** As the kernel's own (path_resolution(7)). */
const MOST_LINKS = 40;

/**
 * Whether someone else than root and the user that runs the program can change a file: it, a folder above it, or a link on the way to
 * it with the folders above that, belongs to another user or may be written to by everyone. That a group may write to it says nothing:
 * that is how many systems set up the folders of a single user. Undefined: nothing is wrong, or the file is not there.
 */
export async function distrust(file: string, options: FileTrustOptions = {}): Promise<Distrust | undefined> {
  const uid = options.uid ?? process.geteuid?.() ?? 0;
  const todo = ['', ...path.resolve(file).split(path.sep).filter(Boolean)];
  let folder: string = path.parse(path.resolve(file)).root;
  let links = 0;
  while (todo.length > 0) {
    const at = path.join(folder, todo.shift()!);
    // Gone meanwhile, or behind a folder that may not be entered: opening it will tell.
    const found = await lstat(at).catch(() => undefined);
    if (found === undefined) return undefined;
    if (found.uid !== 0 && found.uid !== uid) return { at, why: `it belongs to user ${found.uid}` };
    if (found.isSymbolicLink()) {
      const target = await readlink(at).catch(() => undefined);
      if (target === undefined || ++links > MOST_LINKS) return undefined;
      if (path.isAbsolute(target)) folder = path.parse(target).root;
      todo.unshift(...target.split(path.sep).filter(Boolean));
    } else {
      // In a folder as /tmp nobody can rename or remove what is another's.
      const shielded = found.isDirectory() && (found.mode & STICKY) !== 0;
      if ((found.mode & WRITE_OTHERS) !== 0 && !shielded) return { at, why: 'everyone may write to it' };
      if (todo.length === 0 && options.secret && (found.mode & READ_OTHERS) !== 0)
        return { at, why: 'everyone may read it' };
      folder = at;
    }
  }
  return undefined;
}
