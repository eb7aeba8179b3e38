export type EventKind = 'new' | 'update' | 'end';
export const EVENT_KINDS: readonly EventKind[] = ['new', 'update', 'end'];

/** One message about an event, ready to be sent. The outbox does not look into `payload`. */
export interface OutboxRecord {
  /** Of the event: the same in its `new`, `update`s and `end`. */
  id: string;
  /** Rises from message to message. */
  seq: number;
  kind: EventKind;
  /** Higher goes first. */
  severity: number;
  topic: string;
  payload: Uint8Array;
  /** Wall clock, ms since 1970. */
  createdAtMs: number;
  /** Wall clock, ms since 1970; not sent any more after it. */
  expiresAtMs: number;
  /** The wall clock was known not to be set: between two runs of the program it says nothing of the record's age. */
  undated?: true;
  /** An `end` that stands on disk while its event is open: what the next start says where this program cannot say it any more. */
  provisional?: true;
}

/** Version of a stored record, its first byte. Another one is not read. */
export const RECORD_VERSION = 1;
/** Version byte, CRC-32 of all that follows, length of the JSON header. */
const FIXED = 1 + 4 + 4;

/** Where a record is kept: one place for each event and kind. */
export function recordKey(record: Pick<OutboxRecord, 'id' | 'kind'>): string {
  return `${record.id}/${record.kind}`;
}

/** `version u8, crc32 u32le, headerLength u32le, header JSON, payload` */
export function encodeRecord(record: OutboxRecord): Buffer {
  const { payload, ...rest } = record;
  const header = Buffer.from(JSON.stringify(rest));
  const bytes = Buffer.allocUnsafe(FIXED + header.length + payload.length);
  bytes[0] = RECORD_VERSION;
  bytes.writeUInt32LE(header.length, 5);
  header.copy(bytes, FIXED);
  bytes.set(payload, FIXED + header.length);
  bytes.writeUInt32LE(crc32(bytes.subarray(5)), 1);
  return bytes;
}

export type DecodedRecord = { record: OutboxRecord } | { skipped: 'corrupt' | 'unknown_version' };

/** Never throws: what is damaged or from another version of the program is named, not read. */
export function decodeRecord(bytes: Uint8Array): DecodedRecord {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < FIXED) return { skipped: 'corrupt' };
  if (buffer[0] !== RECORD_VERSION) return { skipped: 'unknown_version' };
  if (buffer.readUInt32LE(1) !== crc32(buffer.subarray(5))) return { skipped: 'corrupt' };
  const end = FIXED + buffer.readUInt32LE(5);
  if (end > buffer.length) return { skipped: 'corrupt' };
  try {
    const h = JSON.parse(buffer.toString('utf8', FIXED, end)) as Partial<OutboxRecord>;
    const text = typeof h.id === 'string' && h.id !== '' && typeof h.topic === 'string' && h.topic !== '';
    const kind = EVENT_KINDS.includes(h.kind as EventKind);
    const numbers = [h.seq, h.severity, h.createdAtMs, h.expiresAtMs].every((n) => Number.isFinite(n));
    if (!text || !kind || !numbers) return { skipped: 'corrupt' };
    // A copy: what was read belongs to the reader.
    return { record: { ...(h as Omit<OutboxRecord, 'payload'>), payload: Buffer.from(buffer.subarray(end)) } };
  } catch {
    return { skipped: 'corrupt' };
  }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** As in zlib; Node 20.9 has none of its own. */
export function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) c = (CRC_TABLE[(c ^ (bytes[i] as number)) & 255] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}
