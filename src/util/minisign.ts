import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';

/**
 * Verification of signatures of minisign (https://jedisct1.github.io/minisign/, section "Signature format"): Ed25519 over the BLAKE2b-512
 * of the file (`ED`, what `minisign -S` writes) or, in the legacy form, over the file itself (`Ed`). A second signature covers the first
 * one and the trusted comment.
 */

const KEY_BYTES = 2 + 8 + 32;
const SIGNATURE_BYTES = 2 + 8 + 64;
const GLOBAL_BYTES = 64;
/** A signature file has four short lines. */
const MOST_CHARACTERS = 16_384;

export interface MinisignKey {
  /** As minisign prints it: 16 hexadecimal digits, most significant first. */
  id: string;
  key: KeyObject;
}

export interface MinisignSignature {
  keyId: string;
  prehashed: boolean;
  signature: Uint8Array;
  /** Covered by the second signature; set when signing, a date and a file name by default. */
  trustedComment: string;
  globalSignature: Uint8Array;
}

/** The key of a minisign public key: its base64 line, or the whole `.pub` file. Undefined: it is none. */
export function parsePublicKey(text: string): MinisignKey | undefined {
  const lines = text.trim().split(/\r?\n/);
  if (lines.length > 2 || (lines.length === 2 && !lines[0]!.startsWith('untrusted comment:'))) return undefined;
  const bytes = base64(lines.at(-1)!.trim(), KEY_BYTES);
  if (bytes === undefined || bytes.toString('latin1', 0, 2) !== 'Ed') return undefined;
  const x = bytes.subarray(10).toString('base64url');
  return { id: keyId(bytes), key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) };
}

/** What a `.minisig` file says. Undefined: it is none. */
export function parseSignature(text: string): MinisignSignature | undefined {
  if (text.length > MOST_CHARACTERS) return undefined;
  const lines = text.replace(/\r?\n$/, '').split(/\r?\n/);
  const [untrusted, first, trusted, second] = lines;
  if (lines.length !== 4 || !untrusted!.startsWith('untrusted comment:')) return undefined;
  const bytes = base64(first!, SIGNATURE_BYTES);
  const globalSignature = base64(second!, GLOBAL_BYTES);
  const comment = /^trusted comment: (.*)$/.exec(trusted!)?.[1];
  if (bytes === undefined || globalSignature === undefined || comment === undefined) return undefined;
  const algorithm = bytes.toString('latin1', 0, 2);
  if (algorithm !== 'ED' && algorithm !== 'Ed') return undefined;
  return {
    keyId: keyId(bytes),
    prehashed: algorithm === 'ED',
    signature: bytes.subarray(10),
    trustedComment: comment,
    globalSignature,
  };
}

/** Whether `key` signed `content`, and the trusted comment. */
export function verifySignature(content: Uint8Array, signature: MinisignSignature, key: MinisignKey): boolean {
  if (signature.keyId !== key.id) return false;
  const signed = signature.prehashed ? createHash('blake2b512').update(content).digest() : content;
  const covered = Buffer.concat([signature.signature, Buffer.from(signature.trustedComment)]);
  return (
    verify(null, signed, key.key, signature.signature) && verify(null, covered, key.key, signature.globalSignature)
  );
}

/** Strict: Node's own decoder skips what it does not know. */
function base64(text: string, length: number): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === length && bytes.toString('base64') === text ? bytes : undefined;
}

function keyId(bytes: Buffer): string {
  return bytes.readBigUInt64LE(2).toString(16).toUpperCase().padStart(16, '0');
}
