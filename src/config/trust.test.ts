import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EdgeError } from '../types/errors.js';
import { loadConfig } from './load.js';

let folder: string;
let config: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'irst-config-trust-'));
  await mkdir(join(folder, 'model'));
  await mkdir(join(folder, 'profiles'));
  await mkdir(join(folder, 'lib'));
  for (const name of [
    'password',
    'ca.pem',
    'model/manifest.json',
    'model/a.onnx',
    'model/golden.json',
    'profiles/own.json',
    'lib/libonnxruntime.so.1.30.0',
    'lib/libonnxruntime_providers_cuda.so',
    'lib/readme',
    'ffmpeg',
    'ffprobe',
    'trtexec',
  ])
    writeFileSync(join(folder, name), 'x', { mode: 0o600 });
  symlinkSync('libonnxruntime.so.1.30.0', join(folder, 'lib/libonnxruntime.so'));
  config = join(folder, 'irst-edge.yaml');
  writeFileSync(
    config,
    'cameras:\n  - {id: a, source: {kind: recording, path: sky}}\n' +
      `  - {id: b, source: {kind: ffmpeg, input: x.mp4, ffmpegPath: ${folder}/ffmpeg, ffprobePath: ${folder}/ffprobe}}\n` +
      // Not on the way to anything: it is not run.
      `  - {id: c, enabled: false, source: {kind: ffmpeg, input: x.mp4, ffmpegPath: ${folder}/lib/readme}}\n` +
      `runtime: {libonnxruntime: lib, trtexec: ${folder}/trtexec}\ndetector: {model: model/manifest.json}\n` +
      'profilesDirectory: profiles\nmqtt: {url: "mqtts://broker", username: u, passwordFile: password, ca: ca.pem}\n',
    { mode: 0o600 },
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

const refuse = { IRST_EDGE__SECURITY__UNTRUSTED_FILES: 'refuse' };
const trust = async (env: Record<string, string> = {}) =>
  (await loadConfig(config, env)).warnings.filter((line) => line.includes('not to be trusted'));

async function withMode(name: string, mode: number, run: () => Promise<void>): Promise<void> {
  const path = join(folder, name);
  chmodSync(path, mode);
  try {
    await run();
  } finally {
    chmodSync(path, name === 'profiles' || name === 'model' ? 0o700 : 0o600);
  }
}

describe('files that others can change', () => {
  it('are none here', async () => {
    expect(await trust()).toEqual([]);
    expect(await trust(refuse)).toEqual([]);
  });

  it.each([
    ['irst-edge.yaml', 'this configuration', 0o666],
    ['model/manifest.json', 'the model', 0o666],
    ['model/a.onnx', 'the model', 0o602],
    ['profiles/own.json', 'profilesDirectory', 0o606],
    ['ca.pem', 'mqtt.ca', 0o666],
    ['password', 'mqtt.passwordFile', 0o646],
    ['model/golden.json', 'the model', 0o606],
    // By the link in its folder, too.
    ['lib/libonnxruntime.so.1.30.0', 'runtime.libonnxruntime', 0o606],
    ['lib/libonnxruntime_providers_cuda.so', 'runtime.libonnxruntime', 0o606],
    ['ffmpeg', 'cameras[1].source.ffmpegPath', 0o757],
    ['ffprobe', 'cameras[1].source.ffprobePath', 0o757],
    ['trtexec', 'runtime.trtexec', 0o757],
  ])('%s: warned of, refused or ignored, as configured', async (name, what, mode) => {
    await withMode(name, mode, async () => {
      const line = `${what} is not to be trusted: ${join(folder, name)}: everyone may write to it`;
      expect(await trust()).toEqual([line]);
      expect(await trust({ IRST_EDGE__SECURITY__UNTRUSTED_FILES: 'ignore' })).toEqual([]);
      const error = await loadConfig(config, refuse).then(
        () => undefined,
        (e: unknown) => e as EdgeError,
      );
      expect(error).toBeInstanceOf(EdgeError);
      expect([error?.code, error?.exitCode, error?.message]).toEqual(['FILE_UNTRUSTED', 78, line]);
    });
  });

  it('that hold a secret may not be read by everyone either; certificates may', async () => {
    await withMode('password', 0o644, async () => {
      expect(await trust()).toEqual([
        `mqtt.passwordFile is not to be trusted: ${join(folder, 'password')}: everyone may read it`,
      ]);
    });
    await withMode('ca.pem', 0o644, async () => expect(await trust(refuse)).toEqual([]));
  });

  it('are none of those that are neither read nor run', async () => {
    await withMode('lib/readme', 0o666, async () => expect(await trust(refuse)).toEqual([]));
  });

  it.each([
    ['lib', 'libonnxruntime.so.1.30.0'],
    ['lib/libonnxruntime.so.1.30.0', 'libonnxruntime_providers_cuda.so'],
  ])('ORT_LIB names the library where the configuration does not: %s', async (named, open) => {
    const bare = join(folder, 'bare.yaml');
    writeFileSync(bare, 'cameras: [{id: a, source: {kind: synthetic}}]\n', { mode: 0o600 });
    const lines = async (env: Record<string, string>) =>
      (await loadConfig(bare, env)).warnings.filter((line) => line.includes(folder));
    await withMode(`lib/${open}`, 0o606, async () => {
      expect(await lines({})).toEqual([]);
      expect(await lines({ ORT_LIB: join(folder, named) })).toEqual([
        `ORT_LIB is not to be trusted: ${join(folder, 'lib', open)}: everyone may write to it`,
      ]);
    });
  });

  it('in one open folder are one line', async () => {
    await withMode('model', 0o777, async () => {
      expect(await trust()).toEqual([
        `the model is not to be trusted: ${join(folder, 'model')}: everyone may write to it`,
      ]);
    });
  });
});
