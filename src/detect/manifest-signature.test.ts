import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EdgeError } from '../types/errors.js';
import { BUNDLED_MANIFEST, readManifest } from './manifest.js';

/** What minisign -S does, with a key made here. */
function signer(): { publicKey: string; sign(content: Uint8Array, comment?: string): string } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const id = randomBytes(8);
  const x = Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url');
  return {
    publicKey: Buffer.concat([Buffer.from('Ed'), id, x]).toString('base64'),
    sign(content, comment = 'words') {
      const signature = sign(null, createHash('blake2b512').update(content).digest(), privateKey);
      const second = sign(null, Buffer.concat([signature, Buffer.from(comment)]), privateKey);
      const first = Buffer.concat([Buffer.from('ED'), id, signature]).toString('base64');
      return `untrusted comment: x\n${first}\ntrusted comment: ${comment}\n${second.toString('base64')}\n`;
    },
  };
}

let folder: string;
let manifest: string;
const key = signer();
const other = signer();
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'irst-signature-'));
  manifest = join(folder, 'manifest.json');
  copyFileSync(BUNDLED_MANIFEST, manifest);
});
afterAll(() => rmSync(folder, { recursive: true }));

const failure = async (publicKey: string): Promise<EdgeError> => {
  const error = await readManifest(manifest, publicKey).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(EdgeError);
  return error as EdgeError;
};

describe('a signed manifest', () => {
  it('is read, with and without the key', async () => {
    writeFileSync(`${manifest}.minisig`, key.sign(readFileSync(manifest)));
    expect((await readManifest(manifest, key.publicKey)).name).toBe((await readManifest(manifest)).name);
  });

  it('is refused with another key, after a change, with a broken or without a signature', async () => {
    writeFileSync(`${manifest}.minisig`, key.sign(readFileSync(manifest)));
    expect(await failure(other.publicKey)).toMatchObject({ code: 'MODEL_SIGNATURE_INVALID', exitCode: 65 });

    // Still a manifest that parses: only the signature tells.
    writeFileSync(manifest, `${readFileSync(manifest, 'utf8')}\n`);
    const changed = await failure(key.publicKey);
    expect(changed).toMatchObject({ code: 'MODEL_SIGNATURE_INVALID' });
    expect(changed.message).toContain('it is not that of this manifest.json');
    await readManifest(manifest);

    writeFileSync(`${manifest}.minisig`, 'nonsense');
    expect((await failure(key.publicKey)).message).toContain('it is no signature of minisign');

    rmSync(`${manifest}.minisig`);
    const unsigned = await failure(key.publicKey);
    expect(unsigned).toMatchObject({ code: 'MODEL_UNSIGNED', exitCode: 65 });
    expect(unsigned.hint).toContain('minisign -Sm manifest.json');
  });
});
