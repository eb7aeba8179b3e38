import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { recordedBoard } from '../fakes/boards.js';

const SCRIPTS = fileURLToPath(new URL('../../scripts/jetson/', import.meta.url));
const exec = promisify(execFile);

// Each script starts a hundred small programs, which a loaded machine takes its time for.
vi.setConfig({ testTimeout: 180_000 });

/** Behind what may stand on the PATH in its place: version managers start dozens of processes each time. */
const PYTHON = (await exec('python3', ['-c', 'import sys; print(sys.executable)'])).stdout.trim();

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-jetson-'));
});
afterEach(() => rm(dir, { recursive: true }));

interface Result {
  code: number;
  out: string;
  err: string;
}

async function script(name: string, args: string[], env: Record<string, string> = {}): Promise<Result> {
  const options = { env: { ...process.env, HOME: dir, ...env } };
  try {
    const { stdout, stderr } = await exec('bash', [join(SCRIPTS, name), ...args], options);
    return { code: 0, out: stdout, err: stderr };
  } catch (cause) {
    const { code, stdout, stderr } = cause as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
}

/** Programs that say they run on a Jetson with TensorRT; readelf and ldd read what the test wrote into the "library". */
async function fakeJetson(board: string): Promise<Record<string, string>> {
  const bin = join(dir, 'bin');
  await mkdir(bin, { recursive: true });
  const program = async (name: string, text: string) => {
    await writeFile(join(bin, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(bin, name), 0o755);
  };
  await program('uname', 'echo aarch64');
  await program(
    'ldconfig',
    String.raw`printf '\tlibnvinfer.so.10 (libc6,AArch64) => /usr/lib/aarch64-linux-gnu/libnvinfer.so.10\n'`,
  );
  await program('readelf', 'grep "^Machine:" "$2"');
  await program('ldd', 'grep "=>\\|version" "$1"');
  await program('sudo', 'exec "$@"');
  await program('python3', `exec ${PYTHON} "$@"`);
  await program('irst-edge', 'echo "doctor of $ORT_LIB: $*"');
  const { files } = recordedBoard(board);
  for (const file of ['/etc/nv_tegra_release', '/proc/device-tree/compatible']) {
    const to = join(dir, 'root', file);
    await mkdir(join(to, '..'), { recursive: true });
    await writeFile(to, files[file]!);
  }
  return { PATH: `${bin}:${process.env.PATH}`, ROOT: join(dir, 'root') };
}

const GOOD = 'Machine: AArch64\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n';

async function wheel(files: Record<string, string>): Promise<{ file: string; sha256: string }> {
  const from = join(dir, 'wheel');
  await rm(from, { recursive: true, force: true });
  await mkdir(join(from, 'onnxruntime/capi'), { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(from, 'onnxruntime/capi', name), content);
  const file = join(dir, 'onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl');
  await rm(file, { force: true });
  await exec(PYTHON, ['-m', 'zipfile', '-c', file, 'onnxruntime/'], { cwd: from });
  return {
    file,
    sha256: createHash('sha256')
      .update(await readFile(file))
      .digest('hex'),
  };
}

const LIBRARIES = {
  'libonnxruntime.so.1.23.0': GOOD,
  'libonnxruntime_providers_shared.so': GOOD,
  'libonnxruntime_providers_tensorrt.so': GOOD,
  'onnxruntime_pybind11_state.so': GOOD,
  '__init__.py': '',
};

test('shellcheck has nothing to say of any script', async () => {
  const files = (await readdir(SCRIPTS)).filter((name) => name.endsWith('.sh')).map((name) => join(SCRIPTS, name));
  expect(files.length).toBeGreaterThanOrEqual(3);
  const root = fileURLToPath(new URL('../../', import.meta.url));
  await exec('shellcheck', ['-x', ...files], { cwd: root });
});

describe('--dry-run', () => {
  test.each([
    ['5.1', /onnxruntime_gpu-1\.16\.0-cp38/],
    ['6.2', /onnxruntime_gpu-1\.23\.0-cp310/],
  ])('a wheel for JetPack %s: shown, nothing done', async (jetpack, name) => {
    const { code, out } = await script('install-onnxruntime-wheel.sh', [
      '--dry-run',
      '--jetpack',
      jetpack,
      '--work',
      join(dir, 'w'),
      '--prefix',
      join(dir, 'p'),
    ]);
    expect(code).toBe(0);
    expect(out).toMatch(name);
    expect(out).toMatch(/^\+ curl --fail --location .*--continue-at -/m);
    expect(out).toContain('doctor --build');
    expect(await readdir(dir)).toEqual([]);
  });
  test('JetPack 7 has none, and says what to do', async () => {
    const { code, err } = await script('install-onnxruntime-wheel.sh', ['--dry-run', '--jetpack', '7.2']);
    expect(code).toBe(1);
    expect(err).toContain('hint: give one with --wheel and --sha256');
  });
  test.each([
    ['5.1', ['v1.16.3', 'CMAKE_CUDA_ARCHITECTURES=72\\;87'], ['--enable_cuda_minimal_build']],
    ['6.2', ['v1.23.2', 'CMAKE_CUDA_ARCHITECTURES=87 ', '--enable_cuda_minimal_build'], ['--build_nodejs']],
    ['7.2', ['v1.25.1', 'CMAKE_CUDA_ARCHITECTURES=87\\;110'], ['--arm64']],
  ])('a build for JetPack %s, with the flags that it needs', async (jetpack, there, absent) => {
    const { code, out } = await script('build-onnxruntime.sh', ['--dry-run', '--jetpack', jetpack]);
    expect(code).toBe(0);
    for (const text of [...there, '--use_tensorrt', '--build_shared_lib', '--skip_tests']) expect(out).toContain(text);
    for (const text of absent) expect(out).not.toContain(text);
    expect(await readdir(dir)).toEqual([]);
  });
  test('the board tells its architecture and JetPack by itself', async () => {
    const thor = await fakeJetson('agx-thor-jetpack-7');
    const { out } = await script('build-onnxruntime.sh', ['--dry-run'], thor);
    expect(out).toContain('JetPack 7 (Jetson Linux 38.4.0)');
    expect(out).toContain('CMAKE_CUDA_ARCHITECTURES=110');
    const xavier = await fakeJetson('xavier-nx-jetpack-5.1');
    expect((await script('build-onnxruntime.sh', ['--dry-run'], xavier)).out).toContain('CMAKE_CUDA_ARCHITECTURES=72');
  });
  test('the binding takes the version of the package that it is for', async () => {
    const { out } = await script('build-onnxruntime.sh', ['--dry-run', '--jetpack', '6.2', '--with-nodejs']);
    const { version } = JSON.parse(
      await readFile(new URL('../../node_modules/onnxruntime-node/package.json', import.meta.url), 'utf8'),
    ) as { version: string };
    expect(out).toContain(`--branch v${version} `);
    expect(out).toContain('--build_nodejs');
  });
});

describe('wheel, on a pretended Jetson', () => {
  const install = async (file: string, env: Record<string, string>, more: string[] = []) =>
    script(
      'install-onnxruntime-wheel.sh',
      ['--wheel', file, '--work', join(dir, 'work'), '--prefix', join(dir, 'opt/ort'), ...more],
      env,
    );

  test('installs the libraries, proves them, and has nothing to do the second time', async () => {
    const env = await fakeJetson('orin-nano-super-jetpack-6.2');
    const { file, sha256 } = await wheel(LIBRARIES);
    const first = await install(file, env, ['--sha256', sha256]);
    expect(first).toMatchObject({ code: 0 });
    expect(first.out).toContain('TensorRT: libnvinfer 10');
    expect(first.out).toContain(`doctor of ${dir}/opt/ort/lib: doctor --build`);
    expect((await readdir(join(dir, 'opt/ort/lib'))).sort()).toEqual([
      'libonnxruntime.so',
      'libonnxruntime.so.1.23.0',
      'libonnxruntime_providers_shared.so',
      'libonnxruntime_providers_tensorrt.so',
    ]);
    expect(await readlink(join(dir, 'opt/ort/lib/libonnxruntime.so'))).toBe('libonnxruntime.so.1.23.0');
    const second = await install(file, env, ['--sha256', sha256]);
    expect(second.out.match(/: done already$/gm)).toHaveLength(3);
    // Cut off in the middle: it goes on with the step that is missing.
    await rm(join(dir, 'opt/ort'), { recursive: true });
    const third = await install(file, env, ['--sha256', sha256]);
    expect(third.out.match(/: done already$/gm)).toHaveLength(2);
    expect(await readdir(join(dir, 'opt'))).toEqual(['ort']);
  });

  test.each([
    ['another checksum', LIBRARIES, ['--sha256', '0'.repeat(64)], /another checksum/],
    ['no library for C', { 'onnxruntime_pybind11_state.so': GOOD }, [], /holds no libonnxruntime\.so/],
    [
      'no TensorRT provider',
      { ...LIBRARIES, 'libonnxruntime_providers_tensorrt.so': undefined },
      [],
      /providers_tensorrt\.so: missing/,
    ],
    [
      'another architecture',
      { ...LIBRARIES, 'libonnxruntime.so.1.23.0': 'Machine: Advanced Micro Devices X86-64\n' },
      [],
      /not for aarch64/,
    ],
    [
      'a library that it needs is missing',
      { ...LIBRARIES, 'libonnxruntime_providers_tensorrt.so': `${GOOD}\tlibnvinfer.so.8 => not found\n` },
      [],
      /needs, and there is none: libnvinfer\.so\.8/,
    ],
    [
      'built for a newer system',
      { ...LIBRARIES, 'libonnxruntime.so.1.23.0': `${GOOD}/lib/libc.so.6: version \`GLIBC_2.32' not found\n` },
      [],
      /built for a newer system/,
    ],
  ])('%s: refused, nothing is installed', async (_, files, more, message) => {
    const env = await fakeJetson('orin-nano-super-jetpack-6.2');
    const there = Object.fromEntries(Object.entries(files).filter(([, content]) => content !== undefined)) as Record<
      string,
      string
    >;
    const { file } = await wheel(there);
    const { code, out, err } = await install(file, env, [...more]);
    expect(code).toBe(1);
    expect(out + err).toMatch(message);
    expect(await readdir(dir)).not.toContain('opt');
  });

  test('a new one takes the place of the old one, which is kept', async () => {
    const env = await fakeJetson('orin-nano-super-jetpack-6.2');
    const one = await wheel(LIBRARIES);
    await install(one.file, env);
    const two = await wheel({ ...LIBRARIES, 'libonnxruntime.so.1.23.0': `${GOOD}newer\n` });
    await rm(join(dir, 'work'), { recursive: true });
    expect(await install(two.file, env)).toMatchObject({ code: 0 });
    expect(await readFile(join(dir, 'opt/ort/lib/libonnxruntime.so'), 'utf8')).toContain('newer');
    expect(await readFile(join(dir, 'opt/ort.old/lib/libonnxruntime.so'), 'utf8')).not.toContain('newer');
  });
});

test('a machine that is no Jetson, or a JetPack that is none, is refused in one line', async () => {
  const env = await fakeJetson('orin-nano-super-jetpack-6.2');
  await rm(join(dir, 'root'), { recursive: true });
  const none = await script('install-onnxruntime-wheel.sh', [], env);
  expect(none.code).toBe(1);
  expect(none.err).toContain('this is no Jetson');
  expect((await script('install-onnxruntime-wheel.sh', ['--jetpack', '3'], env)).err).toContain('unknown JetPack 3');
  expect((await script('install-onnxruntime-wheel.sh', ['--nonsense'], env)).code).toBe(64);
  expect(
    (await script('install-onnxruntime-wheel.sh', ['--wheel', 'https://x/y.whl', '--jetpack', '6.2'], env)).err,
  ).toContain('needs --sha256');
});
