import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { type MinisignSignature, parsePublicKey, parseSignature, verifySignature } from '../util/minisign.js';

/** Where the signature of a manifest lies: where `minisign -S` writes it. */
export function signaturePath(manifestPath: string): string {
  return `${manifestPath}.minisig`;
}

/**
 * Checks the signature beside a manifest.
 * @param publicKey of minisign: the line that begins with RW
 * @throws EdgeError MODEL_UNSIGNED, MODEL_SIGNATURE_INVALID
 */
export async function verifyManifest(
  manifestPath: string,
  content: Uint8Array,
  publicKey: string,
): Promise<MinisignSignature> {
  const file = signaturePath(manifestPath);
  const key = parsePublicKey(publicKey);
  if (key === undefined) throw invalid(file, 'the configured public key is no minisign key');
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const code = errno(cause) ?? (cause as Error).message;
    const why = code === 'ENOENT' ? `${file} is not there` : `${file} cannot be read (${code})`;
    throw new EdgeError('MODEL_UNSIGNED', `${manifestPath} is not signed: ${why}`, {
      hint: `sign it where the secret key is: minisign -Sm ${path.basename(manifestPath)}; or remove security.modelPublicKey`,
      exitCode: EXIT.dataError,
      cause,
    });
  }
  const signature = parseSignature(text);
  if (signature === undefined) throw invalid(file, 'it is no signature of minisign');
  if (signature.keyId !== key.id)
    throw invalid(file, `it is made with key ${signature.keyId}, and ${key.id} is configured`);
  if (!verifySignature(content, signature, key))
    throw invalid(file, `it is not that of this ${path.basename(manifestPath)}`);
  return signature;
}

function invalid(file: string, what: string): EdgeError {
  return new EdgeError('MODEL_SIGNATURE_INVALID', `${file}: ${what}`, {
    hint: 'the model was changed or replaced after it was signed, or another key signed it: install it anew from its source',
    exitCode: EXIT.dataError,
  });
}
