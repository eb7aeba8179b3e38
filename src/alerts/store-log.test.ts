import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { encodeEntry, type LogEntry } from './store-entry.js';
import { LOG_BLOCK, StoreLog } from './store-log.js';

const SIZE = 16 * LOG_BLOCK;
let dir: string;
let path: string;
let log: StoreLog;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'irst-log-'));
  path = join(dir, 'outbox.log');
  log = StoreLog.open(path, SIZE);
  expect(log.replay(undefined)).toEqual({ entries: [], damaged: 0 });
});
afterEach(() => {
  log.close();
  rmSync(dir, { recursive: true });
});

const bytes = (entry: LogEntry) => Buffer.concat(encodeEntry(entry));
const put = (key: string, length = 10): LogEntry => ({ puts: [[key, Buffer.alloc(length, key)]], removes: [] });
const keys = (entries: LogEntry[]) => entries.flatMap((e) => e.puts.map(([key]) => key));

/** As the next process finds it. */
function reopened(generation?: number) {
  const next = StoreLog.open(path, SIZE);
  const found = next.replay(generation);
  next.close();
  return found;
}

function flip(at: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.from([(readFileSync(path)[at] as number) ^ 0x40]), 0, 1, at);
  closeSync(fd);
}

describe('the log ahead of the store', () => {
  it('gives back what was appended, in order', () => {
    const entry = fc.record({
      puts: fc.array(fc.tuple(fc.string(), fc.uint8Array({ maxLength: 700 }).map(Buffer.from)), { maxLength: 4 }),
      removes: fc.array(fc.string(), { maxLength: 4 }),
    });
    let generation = 1;
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 12 }), (entries) => {
        generation += 1;
        log.restart(generation);
        const kept = entries.filter((e) => log.append(bytes(e)));
        expect(reopened(generation)).toEqual({ entries: kept, damaged: 0 });
        // Nothing of the generation before, and nothing of one to come.
        expect(reopened(generation - 1).damaged + reopened(generation + 1).entries.length).toBe(0);
      }),
    );
  });

  it('never grows, and says when there is no room', () => {
    let n = 0;
    while (log.append(bytes(put(`k${n}`, 5_000)))) n += 1;
    expect(n).toBe(SIZE / (2 * LOG_BLOCK));
    // Nor does it take what is longer than its memory.
    expect(log.append(bytes(put('long', 200_000)))).toBe(false);
    expect(statSync(path).size).toBe(SIZE);
    expect(keys(reopened().entries)).toHaveLength(n);
    log.restart(2);
    expect(log.append(bytes(put('again')))).toBe(true);
    expect(keys(reopened(2).entries)).toEqual(['again']);
  });

  it('goes on behind what it finds', () => {
    log.append(bytes(put('a')));
    log.close();
    log = StoreLog.open(path, SIZE);
    expect(keys(log.replay(1).entries)).toEqual(['a']);
    log.append(bytes(put('b')));
    expect(keys(reopened(1).entries)).toEqual(['a', 'b']);
  });

  it('leaves out a record that is damaged anywhere, counts it, and reads the next', () => {
    log.append(bytes(put('a', 600)));
    log.append(bytes(put('b', 600)));
    log.append(bytes(put('c', 600)));
    const whole = readFileSync(path);
    const length = 16 + whole.readUInt32LE(LOG_BLOCK + 8);
    for (let at = 0; at < length; at += 7) {
      writeFileSync(path, whole);
      flip(LOG_BLOCK + at);
      const { entries, damaged } = reopened(1);
      expect(keys(entries)).toEqual(['a', 'c']);
      // Without its magic or its generation it is none of ours.
      expect(damaged).toBe(at < 8 ? 0 : 1);
    }
  });

  it('keeps all before a record that a crash cut short, and writes over that one', () => {
    log.append(bytes(put('a')));
    log.append(bytes(put('torn', 9_000)));
    const whole = readFileSync(path);
    whole.fill(0, 2 * LOG_BLOCK);
    writeFileSync(path, whole);
    log.close();
    log = StoreLog.open(path, SIZE);
    const found = log.replay(1);
    expect([keys(found.entries), found.damaged]).toEqual([['a'], 1]);
    log.append(bytes(put('b')));
    expect(reopened(1)).toMatchObject({ entries: [put('a'), put('b')], damaged: 0 });
  });

  it('never throws over what it reads', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.nat(4 * LOG_BLOCK), (noise, at) => {
        log.restart(1);
        log.append(bytes(put('a', 5_000)));
        log.append(bytes(put('b', 5_000)));
        const whole = readFileSync(path);
        whole.set(noise, at);
        writeFileSync(path, whole);
        reopened(1);
        reopened();
      }),
    );
  });

  it('is not made by halves', () => {
    expect(() => StoreLog.open(join(dir, 'missing', 'outbox.log'), SIZE)).toThrow(/ENOENT/);
  });
});
