import { closeSync, fstatSync, openSync } from 'node:fs';
import { expect, test } from 'vitest';
import { isJournal, PRIORITY, withPriority } from './journal.js';

test('a descriptor is the journal only where $JOURNAL_STREAM names it', () => {
  const fd = openSync('/dev/null', 'w');
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    expect(isJournal(fd, { JOURNAL_STREAM: `${dev}:${ino}` })).toBe(true);
    expect(isJournal(fd, { JOURNAL_STREAM: `${dev}:${ino + 1n}` })).toBe(false);
    for (const env of [{}, { JOURNAL_STREAM: '' }, { JOURNAL_STREAM: 'x' }]) expect(isJournal(fd, env)).toBe(false);
  } finally {
    closeSync(fd);
  }
  expect(isJournal(9999, { JOURNAL_STREAM: '1:1' })).toBe(false);
});

test('every line carries its priority, empty ones none', () => {
  expect(withPriority('one\n  two\n\nthree\n', PRIORITY.error)).toBe('<3>one\n<3>  two\n\n<3>three\n');
});
