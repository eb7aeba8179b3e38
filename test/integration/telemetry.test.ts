import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';

const run = promisify(execFile);
const CLI = path.resolve('dist/cli.js');

let home: string;
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'irst-edge-home-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

/** With a home of its own, and without what silences the library by itself (it keeps quiet on CI machines). */
const environment = () => ({ PATH: process.env.PATH, HOME: home });
const reports = async () =>
  (await readdir(home, { recursive: true })).filter((name) => /onnxruntime\.db|deviceid/.test(name));

test('what the library would report otherwise', async () => {
  const script = `
    const ort = require('onnxruntime-node');
    ort.InferenceSession.create('models/p2p-lite_160x120_fp32.onnx').then(() => setTimeout(() => process.exit(), 500));`;
  await run(process.execPath, ['-e', script], { env: environment() });
  expect(await reports()).not.toEqual([]);
});

test('the program keeps ONNX Runtime from reporting to its makers, in its own thread', async () => {
  await run(process.execPath, [CLI, 'detect', 'test/fixtures/drone-sky/000.png'], { env: environment() });
  expect(await reports()).toEqual([]);
});

test('and in the threads of cameras', async () => {
  await run(process.execPath, [CLI, 'bench', '--size', '160x120', '--frames', '40'], { env: environment() });
  expect(await reports()).toEqual([]);
});
