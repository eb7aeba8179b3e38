import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32, decodeRecord, encodeRecord, type OutboxRecord, RECORD_VERSION, recordKey } from './outbox-record.js';

const record: OutboxRecord = {
  id: '01JABCDEFGHJKMNPQRSTVWXYZ0',
  seq: 7,
  kind: 'end',
  severity: 2,
  topic: 'irst/edge-1/north/events',
  payload: Buffer.from('{"ümlaut":1}'),
  createdAtMs: 1_700_000_000_000,
  expiresAtMs: 1_700_000_600_000,
};

describe('stored records', () => {
  it('come back as they went in', () => {
    expect(decodeRecord(encodeRecord(record))).toEqual({ record });
    expect(recordKey(record)).toBe('01JABCDEFGHJKMNPQRSTVWXYZ0/end');
    const empty = { ...record, payload: Buffer.alloc(0) };
    expect(decodeRecord(encodeRecord(empty))).toEqual({ record: empty });
  });

  it('are refused when any byte changed or any is missing', () => {
    const bytes = encodeRecord(record);
    for (let at = 1; at < bytes.length; at++) {
      const bad = Buffer.from(bytes);
      bad[at] = (bad[at] as number) ^ 0x10;
      expect(decodeRecord(bad)).toEqual({ skipped: 'corrupt' });
      expect(decodeRecord(bytes.subarray(0, at))).toEqual({ skipped: 'corrupt' });
    }
  });

  it('of another version are named so', () => {
    const bytes = encodeRecord(record);
    bytes[0] = RECORD_VERSION + 1;
    expect(decodeRecord(bytes)).toEqual({ skipped: 'unknown_version' });
  });

  it('are refused when whole but senseless', () => {
    for (const bad of [{ kind: 'other' }, { id: '' }, { topic: 5 }, { seq: null }, { expiresAtMs: 'soon' }]) {
      const bytes = encodeRecord({ ...record, ...bad } as OutboxRecord);
      expect(decodeRecord(bytes)).toEqual({ skipped: 'corrupt' });
    }
  });

  it('never make the reader throw', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void decodeRecord(bytes)));
  });

  it('have the checksum of zlib', () => {
    expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
    // Not before Node 20.15.
    const theirs = zlib.crc32 ?? crc32;
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(crc32(bytes)).toBe(theirs(bytes));
      }),
    );
  });
});
