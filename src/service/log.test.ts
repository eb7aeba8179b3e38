import { expect, test } from 'vitest';
import { createLogger } from './log.js';

function lines(journal: boolean): string[] {
  const written: string[] = [];
  const log = createLogger({ level: 'trace', format: 'json' }, { write: (line) => written.push(line) }, journal);
  const child = log.child({ camera: 'a' });
  for (const level of ['fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const) child[level](`a ${level}`);
  return written;
}

test('lines for the journal begin with their priority', () => {
  const written = lines(true);
  expect(written.map((line) => line.slice(0, 4))).toEqual(['<2>{', '<3>{', '<4>{', '<6>{', '<7>{', '<7>{']);
  expect(written.map((line) => (JSON.parse(line.slice(3)) as { msg: string }).msg)[1]).toBe('a error');
});

test('other lines are JSON alone', () => {
  for (const line of lines(false)) expect(JSON.parse(line)).toMatchObject({ camera: 'a' });
});
