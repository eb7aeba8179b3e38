// A ULID as its 16 bytes (https://github.com/ulid/spec): 48 bits of ms since 1970, 80 free bits; Crockford's base 32 in text.

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** 16 bytes of a ULID. Throws `RangeError` where the text is none. */
export function ulidToBytes(ulid: string): Uint8Array {
  let value = 0n;
  for (const letter of ulid.toUpperCase()) {
    const digit = ALPHABET.indexOf(letter);
    if (digit < 0) throw new RangeError('not a ULID');
    value = value * 32n + BigInt(digit);
  }
  if (ulid.length !== 26 || value >> 128n !== 0n) throw new RangeError('not a ULID');
  return Uint8Array.from({ length: 16 }, (_, i) => Number((value >> BigInt(8 * (15 - i))) & 255n));
}

/** ULID of 16 bytes. Throws `RangeError` for another number of bytes. */
export function bytesToUlid(bytes: Uint8Array): string {
  if (bytes.length !== 16) throw new RangeError('a ULID has 16 bytes');
  let value = 0n;
  for (const byte of bytes) value = value * 256n + BigInt(byte);
  return Array.from({ length: 26 }, (_, i) => ALPHABET[Number((value >> BigInt(5 * (25 - i))) & 31n)]).join('');
}
