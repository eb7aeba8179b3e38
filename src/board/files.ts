import { open, readdir } from 'node:fs/promises';
import path from 'node:path';

/** Where a board's files come from: the machine itself, or a recorded one in tests. Never rejects. */
export interface BoardFiles {
  /** Content as text; undefined: not there, or it cannot be read. */
  read(file: string): Promise<string | undefined>;
  /** Names in a folder, sorted as people count (`zone2` before `zone10`); empty: there is no such folder. */
  list(folder: string): Promise<string[]>;
}

/** The list of installed packages is the longest file that is read; a file that is longer is not one of ours. */
const LONGEST_BYTES = 64 << 20;
const MOST_NAMES = 4096;

/** The files below `root`. */
export function boardFiles(root = '/'): BoardFiles {
  const at = (name: string) => path.join(root, name);
  return {
    async read(file) {
      try {
        return await readBounded(at(file));
      } catch {
        // Sensors that are switched off answer EAGAIN, files of other users EACCES: both are "not known".
        return undefined;
      }
    },
    async list(folder) {
      try {
        return (await readdir(at(folder))).slice(0, MOST_NAMES).sort(byNumber);
      } catch {
        return [];
      }
    },
  };
}

/** The files of a board kept as a table from absolute paths to contents. */
export function tableFiles(table: Readonly<Record<string, string>>): BoardFiles {
  const names = Object.keys(table);
  return {
    read: async (file) => (Object.hasOwn(table, file) ? table[file] : undefined),
    list: async (folder) => {
      const prefix = folder.endsWith('/') ? folder : `${folder}/`;
      const inside = names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
      return [...new Set(inside.map((name) => name.split('/', 1)[0]!))].sort(byNumber);
    },
  };
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

// Files of sysfs say that they are 4096 bytes long, those of procfs 0: read until the end.
async function readBounded(file: string): Promise<string | undefined> {
  const handle = await open(file, 'r');
  try {
    const chunks: Buffer[] = [];
    for (let length = 0; ; ) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(65_536), 0, 65_536, null);
      if (bytesRead === 0) return Buffer.concat(chunks).toString('utf8');
      length += bytesRead;
      if (length > LONGEST_BYTES) return undefined;
      chunks.push(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

/** A decimal number of a sysfs file; undefined where there is none. */
export async function readNumber(files: BoardFiles, file: string): Promise<number | undefined> {
  const text = (await files.read(file))?.trim();
  return text !== undefined && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : undefined;
}

/** The one line of a sysfs file, without what is around it; undefined where it is empty. */
export async function readLine(files: BoardFiles, file: string): Promise<string | undefined> {
  const text = (await files.read(file))?.replaceAll('\0', '').trim();
  return text === '' ? undefined : text;
}
