import { mkdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { errno } from '../types/errors.js';

// Node's own `recursive` never ends where the file system says ENOENT to a new folder, as procfs does.

/** Makes a folder and those above it that are missing. What is there already, even if it is a file, is left. @throws a system error */
export async function makeFolders(directory: string, mode = 0o777): Promise<void> {
  const make = (folder: string) => mkdir(folder, mode).then(() => undefined, unlessThere);
  const folder = path.resolve(directory);
  let error = await make(folder);
  if (errno(error) === 'ENOENT' && path.dirname(folder) !== folder) {
    await makeFolders(path.dirname(folder), mode);
    error = await make(folder);
  }
  if (error !== undefined) throw error;
}

/** As `makeFolders`. */
export function makeFoldersSync(directory: string, mode = 0o777): void {
  const make = (folder: string) => {
    try {
      mkdirSync(folder, mode);
      return undefined;
    } catch (error) {
      return unlessThere(error);
    }
  };
  const folder = path.resolve(directory);
  let error = make(folder);
  if (errno(error) === 'ENOENT' && path.dirname(folder) !== folder) {
    makeFoldersSync(path.dirname(folder), mode);
    error = make(folder);
  }
  if (error !== undefined) throw error;
}

function unlessThere(error: unknown): unknown {
  return errno(error) === 'EEXIST' ? undefined : error;
}
