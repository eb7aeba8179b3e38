import { readFileSync } from 'node:fs';
import { type BoardFiles, tableFiles } from '../../src/board/files.js';

export interface RecordedBoard {
  board: string;
  /** One line. */
  tegrastats: string;
  files: Record<string, string>;
}

/** A board of `test/fixtures/boards`. */
export function recordedBoard(name: string): RecordedBoard {
  const file = new URL(`../fixtures/boards/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')) as RecordedBoard;
}

export function boardOf(name: string, changes: Record<string, string | undefined> = {}): BoardFiles {
  const files: Record<string, string> = { ...recordedBoard(name).files };
  for (const [file, content] of Object.entries(changes)) {
    if (content === undefined) delete files[file];
    else files[file] = content;
  }
  return tableFiles(files);
}
