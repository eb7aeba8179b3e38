import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { editDistance, nearest } from './suggest.js';

describe('editDistance', () => {
  it.each([
    ['', '', 0],
    ['', 'abc', 3],
    ['kitten', 'sitting', 3],
    ['url', 'ulr', 1],
    ['camera', 'cameras', 1],
    ['loop', 'pool', 2],
  ])('%j to %j is %i', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
  });

  it('is symmetric, zero only for equal words, at most the longer length', () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        const d = editDistance(a, b);
        expect(editDistance(b, a)).toBe(d);
        expect(d === 0).toBe(a === b);
        expect(d).toBeLessThanOrEqual(Math.max(a.length, b.length));
      }),
    );
  });
});

describe('nearest', () => {
  const keys = ['id', 'url', 'username', 'passwordFile', 'keepaliveSeconds', 'connectTimeoutSeconds', 'ca', 'cert'];
  it.each([
    ['ulr', 'url'],
    ['user_name', 'username'],
    ['KEEPALIVE_SECONDS', 'keepaliveSeconds'],
    ['keepalive', 'keepaliveSeconds'],
    ['password-file', 'passwordFile'],
    ['conectTimeoutSecond', 'connectTimeoutSeconds'],
    ['certificate', 'cert'],
    ['timeout', undefined],
    ['colour', undefined],
    ['x', undefined],
    ['', undefined],
    ['z'.repeat(100_000), undefined],
  ])('%s -> %s', (word, expected) => {
    expect(nearest(word, keys)).toBe(expected);
  });
});
