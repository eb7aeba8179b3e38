import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Command } from 'commander';
import { everyFile, loadModel, type Manifest, readManifest } from '../detect/manifest.js';
import { verifyManifest } from '../detect/manifest-signature.js';
import { EdgeError, EXIT, toPlainError } from '../types/errors.js';
import { distrust } from '../util/file-trust.js';
import { parsePublicKey } from '../util/minisign.js';
import { manifestPath } from './inputs.js';
import { globalOptions, print, printJson, usageError } from './shared.js';

export function register(program: Command): void {
  const model = program.command('model').description('check a model');

  model
    .command('verify')
    .description(
      "check every file of a model against its manifest's sha256, the manifest's signature, and who may change them",
    )
    .argument('[manifest]', 'manifest.json, or its folder; default: the bundled model')
    .option('--public-key <key>', 'minisign public key, or its file: the manifest must be signed with it')
    .action(verify);
}

interface FileReport {
  file: string;
  ok: boolean;
  sha256: string;
  bytes: number;
  error?: string;
}

async function verify(name: string | undefined, options: { publicKey?: string }, command: Command): Promise<void> {
  const manifestFile = manifestPath(name);
  const publicKey = options.publicKey === undefined ? undefined : await readKey(options.publicKey);
  const manifest = await readManifest(manifestFile, publicKey);
  const signature =
    publicKey === undefined ? undefined : await verifyManifest(manifestFile, await readFile(manifestFile), publicKey);
  const files: FileReport[] = [];
  for (const file of everyFile(manifest)) files.push(await check(manifestFile, manifest, file));
  const untrusted = await untrustedOf([manifestFile, ...files.map(({ file }) => beside(manifestFile, file))]);
  const bad = files.filter(({ ok }) => !ok);
  if (globalOptions(command).json) {
    await printJson({
      ok: bad.length === 0,
      manifest: manifestFile,
      model: manifest.name,
      files,
      signature: signature === undefined ? null : { keyId: signature.keyId, trustedComment: signature.trustedComment },
      untrusted,
    });
  } else {
    for (const { file, ok, sha256, bytes, error } of files)
      await print(ok ? `ok      ${file}  ${sha256.slice(0, 12)}  ${bytes} bytes` : `FAILED  ${file}  ${error}`);
    await print(
      signature === undefined
        ? 'signature not checked: give --public-key'
        : `signed with key ${signature.keyId}: ${signature.trustedComment}`,
    );
    for (const line of untrusted) await print(`warning: ${line}`);
    await print(`${manifest.name}: ${files.length - bad.length} of ${files.length} files are those of ${manifestFile}`);
  }
  if (bad.length > 0) process.exitCode = EXIT.dataError;
}

async function check(manifestFile: string, manifest: Manifest, file: Manifest['files'][number]): Promise<FileReport> {
  const report = { file: file.file, sha256: file.sha256, bytes: file.bytes };
  try {
    await loadModel(manifestFile, manifest, file);
    return { ...report, ok: true };
  } catch (error) {
    return { ...report, ok: false, error: toPlainError(error).message };
  }
}

const beside = (manifestFile: string, name: string) => path.join(path.dirname(manifestFile), name);

async function untrustedOf(files: readonly string[]): Promise<string[]> {
  const lines = new Set<string>();
  for (const file of files) {
    const wrong = await distrust(file);
    if (wrong !== undefined) lines.add(`${wrong.at}: ${wrong.why}`);
  }
  return [...lines];
}

/** The key itself, or a file that holds it. */
async function readKey(text: string): Promise<string> {
  if (parsePublicKey(text) !== undefined) return text;
  let content: string;
  try {
    content = await readFile(text, 'utf8');
  } catch (cause) {
    throw usageError('--public-key is neither a minisign public key nor a file that can be read', String(cause));
  }
  if (parsePublicKey(content) === undefined)
    throw new EdgeError('MODEL_SIGNATURE_INVALID', `${text} holds no minisign public key`, {
      hint: 'give the .pub file that minisign -G wrote, or its line that begins with RW',
      exitCode: EXIT.dataError,
    });
  return content;
}
