import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { boardOf } from '../../test/fakes/boards.js';
import { readBoard } from '../board/board.js';
import { configFrom } from '../commands/inputs.js';
import { checkClock } from './checks/clock.js';
import { checkEngineCache } from './checks/engine-cache.js';
import { checkMemory } from './checks/memory.js';
import { checkNode } from './checks/node.js';
import { checkPower } from './checks/power.js';
import { checkProviders, type TryProviders } from './checks/providers.js';
import { type Access, checkSoftware } from './checks/software.js';
import { checkThermal } from './checks/thermal.js';
import { runDoctor } from './doctor.js';
import { error, exitCodeOf, info, ok, warning, worst } from './finding.js';

const codes = (findings: { code: string }[]) => findings.map(({ code }) => code);
const open: Access = async (file) => (file === '/dev/nvidia0' ? 'missing' : 'open');
const config = configFrom({ device: { id: 'd' }, cameras: [{ id: 'a', source: { kind: 'synthetic' } }] });

test('severity and exit code: 0 well, 1 warnings, 2 errors', () => {
  const findings = [ok('a', 'A', ''), info('b', 'B', ''), warning('c', 'C', '', 'x'), error('d', 'D', '', 'x')];
  expect(findings.map((_, i) => exitCodeOf(worst(findings.slice(0, i + 1))))).toEqual([0, 0, 1, 2]);
  expect(worst([])).toBe('ok');
});

describe('node', () => {
  const facts = { version: '20.20.2', abi: '115', napi: '9', arch: 'arm64', platform: 'linux', glibc: '2.35' };
  const load = (version: string) => () => ({ version });
  const program = (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;
  test.each([
    ['20.19.0', 'NODE'],
    ['20.18.3', 'NODE_UNSUPPORTED'],
    ['21.7.0', 'NODE_UNSUPPORTED'],
    ['22.11.0', 'NODE_UNSUPPORTED'],
    ['22.12.0', 'NODE'],
    ['24.1.0', 'NODE'],
  ])('Node %s: %s', (version, code) => {
    expect(codes(checkNode({ ...facts, version }, load(program)))).toEqual([code, 'ADDON', 'STORE_LIBRARY']);
  });
  test.each([
    ['2.30', 'GLIBC_TOO_OLD'],
    ['2.4', 'GLIBC_TOO_OLD'],
    ['2.31', 'NODE'],
    ['3.0', 'NODE'],
    [undefined, 'GLIBC_TOO_OLD'],
  ])('glibc %s: %s', (glibc, code) => {
    expect(checkNode({ ...facts, glibc }, load(program))[0]?.code).toBe(code);
  });
  test('an addon of another version, and one that does not load', () => {
    expect(checkNode(facts, load('0.0.1'))[1]).toMatchObject({ severity: 'error', code: 'ADDON_STALE' });
    const broken = () => {
      throw new Error('wrong ELF class');
    };
    expect(checkNode(facts, broken)[1]).toMatchObject({ severity: 'error', check: 'addon' });
  });
  test("the event store's library does not load", () => {
    const tooNew = () => {
      throw new Error("/lib/libc.so.6: version `GLIBC_2.34' not found (required by node.napi.glibc.node)\nmore");
    };
    expect(checkNode(facts, load(program), tooNew)[2]).toMatchObject({
      severity: 'error',
      code: 'STORE_LIBRARY_BROKEN',
      message: expect.stringMatching(/GLIBC_2\.34' not found \([^)]*\): events are lost at a restart$/),
    });
  });
});

describe('recorded boards', () => {
  test('Orin Nano: whole, capped by its power mode, clocks follow the load', async () => {
    const board = await readBoard(boardOf('orin-nano-super-jetpack-6.2'));
    const findings = [...(await checkSoftware(board, open)), ...checkPower(board), ...checkThermal(board)];
    expect(codes(findings)).toEqual([
      'JETPACK',
      'TENSORRT',
      'GPU_NODES',
      'POWER_MODE_CAPPED',
      'CLOCKS_SCALE',
      'WATTS',
      'TEMPERATURE',
    ]);
    expect(findings[0]?.message).toContain('Jetson Orin Nano 8GB (Super), JetPack 6.2 (Jetson Linux 36.4.3)');
    expect(findings[1]?.message).toBe('TensorRT 10.3.0, CUDA 12.6.68, cuDNN 9.3.0');
    expect(findings[3]).toMatchObject({ severity: 'info', fix: expect.stringContaining('nvpmodel -m 2') });
    expect(findings[5]?.message).toMatch(/^6\.20 W at the input \(VDD_IN 6\.20 W, /);
  });
  test('AGX Orin: at its best', async () => {
    const board = await readBoard(boardOf('agx-orin-64gb-jetpack-6.2'));
    expect(codes(checkPower(board))).toEqual(['POWER_MODE', 'CLOCKS_LOCKED', 'WATTS']);
    expect(checkPower(board)[2]?.message).toContain('of the module');
  });
  test('Xavier NX: too hot, and slowing itself down', async () => {
    const board = await readBoard(boardOf('xavier-nx-jetpack-5.1'));
    const findings = checkThermal(board);
    expect(findings).toMatchObject([
      { severity: 'error', code: 'THROTTLED', message: expect.stringContaining('cpu-throttle-alert') },
      { severity: 'warning', code: 'TEMPERATURE_OVER', message: expect.stringContaining('CPU-therm 95.5') },
    ]);
    // It has no mode without caps to recommend.
    expect(codes(checkPower(board))[0]).toBe('POWER_MODE');
  });
  test('Thor: margins are its own', async () => {
    const hot = { '/sys/class/thermal/thermal_zone2/temp': '100000\n' };
    expect(codes(checkThermal(await readBoard(boardOf('agx-thor-jetpack-7', hot))))).toEqual(['TEMPERATURE']);
    const hotter = { '/sys/class/thermal/thermal_zone2/temp': '105000\n' };
    expect(codes(checkThermal(await readBoard(boardOf('agx-thor-jetpack-7', hotter))))).toEqual(['TEMPERATURE_HIGH']);
  });
  test('TensorRT that is missing or of another JetPack; the GPU denied or not there', async () => {
    const status = boardOf('orin-nano-super-jetpack-6.2', { '/var/lib/dpkg/status': '' });
    expect(codes(await checkSoftware(await readBoard(status), open))).toEqual([
      'JETPACK',
      'TENSORRT_MISSING',
      'GPU_NODES',
    ]);
    const other = boardOf('orin-nano-super-jetpack-6.2', {
      '/var/lib/dpkg/status': 'Package: libnvinfer10\nStatus: install ok installed\nVersion: 10.11.0.33-1+cuda12.9\n',
    });
    const board = await readBoard(other);
    expect(codes(await checkSoftware(board, open))).toContain('TENSORRT_MISMATCH');
    expect(codes(await checkSoftware(board, async () => 'missing'))).toContain('GPU_NODES_MISSING');
    const denied = (await checkSoftware(board, async () => 'denied')).find(({ check }) => check === 'gpu');
    expect(denied).toMatchObject({
      severity: 'error',
      code: 'GPU_DENIED',
      fix: expect.stringContaining('video,render'),
    });
  });
  test('JetPack 4 cannot be used; one that is newer than this program is a warning', async () => {
    const release = (line: string) => boardOf('xavier-nx-jetpack-5.1', { '/etc/nv_tegra_release': `${line}\n` });
    const old = await readBoard(release('# R32 (release), REVISION: 7.1'));
    expect(await checkSoftware(old, open)).toMatchObject([{ severity: 'error', code: 'JETPACK_UNSUPPORTED' }]);
    const future = await readBoard(release('# R41 (release), REVISION: 1.0'));
    expect(codes(await checkSoftware(future, open))).toEqual(['JETPACK_UNKNOWN', 'GPU_NODES']);
  });
  test('no Jetson: one line that says so', async () => {
    const board = await readBoard(boardOf('pc-x86'));
    expect(await checkSoftware(board, open)).toMatchObject([{ severity: 'info', code: 'NO_JETSON' }]);
    expect(checkPower(board)).toEqual([]);
  });
});

describe('clock', () => {
  const at = Date.UTC(2026, 10, 1);
  test.each([
    [true, at, 'ok', 'CLOCK'],
    [false, at, 'warning', 'CLOCK_UNSYNCHRONISED'],
    [null, at, 'info', 'CLOCK_UNKNOWN'],
    [true, Date.UTC(1970, 0, 1), 'error', 'CLOCK_WRONG'],
  ] as const)('%s at %s', async (synchronised, now, severity, code) => {
    expect(await checkClock(now, { synchronised })).toMatchObject([{ severity, code }]);
  });
});

test('little memory', () => {
  const memory = { totalMiB: 4096, availableMiB: 300, swapTotalMiB: 0, swapFreeMiB: 0 };
  expect(checkMemory({ memory })).toMatchObject([{ severity: 'warning', code: 'MEMORY_LOW' }]);
});

describe('providers', () => {
  const size = { size: { width: 256, height: 256 }, build: false };
  const cpu = {
    provider: 'cpu',
    outcome: 'proved',
    library: 'onnxruntime-node 1.30.0',
    precision: 'fp32',
    latencyMs: 12.3,
    heatError: 0.0004,
    peakErrorPx: 0.001,
  } as const;
  const trt = {
    provider: 'tensorrt',
    outcome: 'refused',
    code: 'PROVIDER_UNAVAILABLE',
    reason: 'tensorrt: the library has no TensorRT',
    hint: 'install it',
  } as const;
  const check = async (name: string, outcomes: Awaited<ReturnType<TryProviders>>) => {
    const board = await readBoard(boardOf(name));
    return checkProviders({ config, board, signal: new AbortController().signal }, size, async () => outcomes);
  };
  test('where one is required no other one is looked at, and the camera waits without it', async () => {
    const board = await readBoard(boardOf('pc-x86'));
    const cameras = [{ id: 'a', source: { kind: 'synthetic' as const } }];
    const required = configFrom({ device: { id: 'd' }, cameras, runtime: { providers: ['cpu'], require: 'tensorrt' } });
    const asked: unknown[] = [];
    const look = (outcome: Awaited<ReturnType<TryProviders>>[number]) =>
      checkProviders({ config: required, board, signal: new AbortController().signal }, size, async (runtime) => {
        asked.push(runtime.providers);
        return [outcome];
      });
    expect(await look(trt)).toMatchObject([
      { code: 'PROVIDER_UNAVAILABLE' },
      { severity: 'error', code: 'PROVIDER_REQUIRED', message: expect.stringContaining('asks for tensorrt') },
    ]);
    expect(await look({ provider: 'tensorrt', outcome: 'unbuilt' })).toMatchObject([
      { severity: 'info', code: 'ENGINE_UNBUILT', fix: expect.stringContaining('serves nothing meanwhile') },
    ]);
    expect(await look({ ...cpu, provider: 'tensorrt' })).toMatchObject([{ severity: 'ok' }]);
    expect(asked).toEqual([['tensorrt'], ['tensorrt'], ['tensorrt']]);
  });
  test('on a PC a missing GPU is worth a note, on a Jetson a warning', async () => {
    expect(await check('pc-x86', [trt, cpu])).toMatchObject([
      {
        severity: 'info',
        code: 'PROVIDER_UNAVAILABLE',
        message: 'tensorrt: the library has no TensorRT',
        fix: 'install it',
      },
      {
        severity: 'ok',
        message: expect.stringContaining('cpu serves: 12.30 ms on the golden frame, heat off by 0.0004'),
      },
    ]);
    expect((await check('agx-orin-64gb-jetpack-6.2', [trt, cpu]))[0]).toMatchObject({ severity: 'warning' });
  });
  test('the first that works serves; an engine that is not built is no fault', async () => {
    const findings = await check('agx-orin-64gb-jetpack-6.2', [
      { provider: 'tensorrt', outcome: 'unbuilt', reason: 'its engine is not built yet' },
      { ...cpu, provider: 'cuda' },
      cpu,
    ]);
    expect(findings.map(({ severity, code }) => [severity, code])).toEqual([
      ['info', 'ENGINE_UNBUILT'],
      ['ok', 'PROVIDER'],
      ['ok', 'PROVIDER'],
    ]);
    expect(findings[1]?.message).toContain('cuda serves');
    expect(findings[2]?.message).toContain('cpu works too');
  });
  test('none works', async () => {
    const none = await check('pc-x86', [trt, { ...trt, provider: 'cpu', code: 'MODEL_UNUSABLE', reason: 'broken' }]);
    expect(codes(none)).toEqual(['PROVIDER_UNAVAILABLE', 'MODEL_UNUSABLE', 'NO_PROVIDER']);
    expect(worst(none)).toBe('error');
  });
});

describe('engine cache', () => {
  const entry = {
    key: 'a'.repeat(64),
    provider: 'tensorrt',
    library: 'libonnxruntime 1.23.0',
    model: 'b',
    kind: 'library',
    builtAt: '2026-11-25T10:00:00Z',
    buildSeconds: 93.4,
    bytes: 4e6,
  };
  const check = async (name: string, state: object) =>
    checkEngineCache({ config, board: await readBoard(boardOf(name)) }, async () => ({
      directory: '/var/cache/irst-edge/engines',
      writable: true,
      entries: [],
      building: 0,
      ...state,
    }));
  test('empty, filled, damaged, being built, not writable', async () => {
    expect(codes(await check('pc-x86', {}))).toEqual(['NO_ENGINES']);
    const filled = await check('pc-x86', { entries: [entry] });
    expect(filled[0]?.message).toContain('1 engine, 4.0 MB (tensorrt of 2026-11-25, built in 93 s)');
    const damaged = await check('pc-x86', { entries: [{ ...entry, problem: 'm.engine is missing' }], building: 1 });
    expect(codes(damaged)).toEqual(['ENGINE_DAMAGED', 'ENGINE_BUILDING']);
    expect(await check('pc-x86', { writable: false })).toMatchObject([{ severity: 'info' }]);
    expect(await check('agx-orin-64gb-jetpack-6.2', { writable: false })).toMatchObject([{ severity: 'warning' }]);
  });
});

test('a check that fails or hangs is a finding, and the others go on', async () => {
  let ended = false;
  const options = { config, configured: true, size: { width: 256, height: 256 }, build: false };
  const report = await runDoctor(
    { ...options, signal: new AbortController().signal },
    {
      files: boardOf('agx-thor-jetpack-7'),
      env: {},
      checkTimeoutMs: 2000,
      probe: () => Promise.reject(new Error('not reached')),
      tryProviders: (_, __, hooks) => {
        hooks?.signal?.addEventListener('abort', () => {
          ended = true;
        });
        return new Promise(() => {});
      },
    },
  );
  // What is late is told to end: it must not disturb the next checks.
  expect(ended).toBe(true);
  expect(report.findings).toContainEqual(
    expect.objectContaining({ check: 'provider', code: 'CHECK_TIMEOUT', severity: 'warning' }),
  );
  expect(report.findings.map(({ check }) => check)).toEqual(
    expect.arrayContaining(['node', 'jetson', 'model', 'camera', 'clock', 'disk']),
  );
  expect(report.board.module?.name).toBe('Jetson T5000 (AGX Thor)');
  expect(report.severity).not.toBe('ok');
});

test('stopped before the end it does not say that nothing is wrong', async () => {
  const stop = new AbortController();
  const report = await runDoctor(
    {
      config,
      configured: true,
      size: { width: 256, height: 256 },
      build: false,
      signal: stop.signal,
      onStep: (check) => check === 'provider' && stop.abort(),
    },
    { files: boardOf('pc-x86'), env: {}, tryProviders: () => new Promise(() => {}) },
  );
  expect(report.findings.at(-1)).toMatchObject({ code: 'INTERRUPTED', severity: 'warning' });
  expect(report.findings.map(({ check }) => check)).not.toContain('disk');
});

test('every code of a finding stands in docs/doctor.md, and no other', () => {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const folders = ['src/doctor', 'src/doctor/checks', 'src/commands'];
  const files = folders.flatMap((folder) =>
    readdirSync(path.join(root, folder))
      .filter((name) => /(?<!\.test)\.ts$/.test(name) && (folder !== 'src/commands' || name === 'doctor.ts'))
      .map((name) => readFileSync(path.join(root, folder, name), 'utf8')),
  );
  const given = new Set<string>();
  for (const text of files) {
    for (const [, code] of text.matchAll(/\b(?:ok|info|warning|error)\(\s*(?:CHECK|'[a-z]+'|name),\s*'([A-Z0-9_]+)'/g))
      given.add(code!);
    for (const [, one, other] of text.matchAll(/\? '([A-Z0-9_]+)' : '([A-Z0-9_]+)',$/gm)) given.add(one!).add(other!);
  }
  const errors = readFileSync(path.join(root, 'docs/errors.md'), 'utf8');
  const own = [...given].filter((code) => !errors.includes(`| \`${code}\` |`)).sort();
  const listed = [...readFileSync(path.join(root, 'docs/doctor.md'), 'utf8').matchAll(/^\| `([A-Z0-9_]+)` \|/gm)].map(
    ([, c]) => c!,
  );
  expect(listed.sort()).toEqual(own);
});
