import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { boardOf, recordedBoard } from '../../test/fakes/boards.js';
import { readBoard } from './board.js';
import { boardFiles, readNumber, tableFiles } from './files.js';
import { BoardSampler } from './sampler.js';
import { hottest } from './thermal.js';

describe('recorded boards', () => {
  test('Orin Nano Super, JetPack 6.2', async () => {
    const board = await readBoard(boardOf('orin-nano-super-jetpack-6.2'));
    expect(board).toMatchObject({
      jetson: true,
      model: 'NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super',
      module: { name: 'Jetson Orin Nano 8GB (Super)', computeCapability: '8.7', gpuMhz: 1020, memoryGBps: 102 },
      release: { l4t: '36.4.3', gcid: '38968081', board: 'generic', date: 'Wed Jan  8 01:51:37 UTC 2025' },
      jetpack: { version: '6.2', tensorrt: '10.3' },
      system: 'Ubuntu 22.04.5 LTS',
      kernel: '5.15.148-tegra',
      software: { jetpack: '6.2+b77', tensorrt: '10.3.0', cuda: '12.6.68', cudnn: '9.3.0' },
      power: { mode: { id: 0, name: '15W' } },
      gpu: { name: '17000000.gpu', maxHz: 612e6, hardwareMaxHz: 1020e6, locked: false },
      gpuLoad: 0.612,
      watts: { rails: ['VDD_IN'], scope: 'input' },
      memory: { totalMiB: 7803384 / 1024 },
    });
    expect(board.watts?.watts).toBeCloseTo(5.096 * 1.216, 9);
    expect(board.power?.modes.map(({ name }) => name)).toEqual(['15W', '25W', 'MAXN_SUPER', '7W']);
    expect(board.cpus.map(({ name, hardwareMaxHz }) => [name, hardwareMaxHz])).toEqual([
      ['policy0', 1728e6],
      ['policy4', 1728e6],
    ]);
    // Sensors that are off have no value, and the hottest says what the kernel throttles at.
    expect(board.thermalZones.filter(({ celsius }) => celsius === undefined).map(({ name }) => name)).toEqual([
      'cv0-thermal',
      'cv1-thermal',
      'cv2-thermal',
    ]);
    expect(hottest(board.thermalZones)).toEqual({
      name: 'tj-thermal',
      celsius: 49.5,
      throttleAt: 99,
      shutdownAt: 104.5,
    });
    expect(board.throttleAlerts).toEqual([]);
  });

  test('AGX Orin: no input rail, so the module is added up, without what is counted elsewhere', async () => {
    const board = await readBoard(boardOf('agx-orin-64gb-jetpack-6.2'));
    expect(board.rails.map(({ name }) => name)).toEqual([
      'VDD_GPU_SOC',
      'VDD_CPU_CV',
      'VIN_SYS_5V0',
      'VDDQ_VDD2_1V8AO',
    ]);
    expect(board.watts).toMatchObject({ rails: ['VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0'], scope: 'module' });
    expect(board.watts?.watts).toBeCloseTo(20.08 * 0.158 + 20.08 * 0.039 + 5.048 * 0.9, 9);
    expect(board).toMatchObject({
      module: { name: 'Jetson AGX Orin 64GB', multiprocessors: 16 },
      jetpack: { version: '6.2.1' },
      power: { mode: { id: 0, name: 'MAXN' } },
      gpu: { locked: true },
      gpuLoad: 0,
      // The toolkit is not installed: the run-time library's package tells.
      software: { cuda: '12.6.68', tensorrt: '10.3.0' },
    });
    expect(board.software.jetpack).toBeUndefined();
  });

  test('Xavier NX, JetPack 5.1: older names, the load in its old place, throttling', async () => {
    const board = await readBoard(boardOf('xavier-nx-jetpack-5.1'));
    expect(board).toMatchObject({
      module: { name: 'Jetson Xavier NX (developer kit)', computeCapability: '7.2' },
      jetpack: { version: '5.1.2', tensorrt: '8.5' },
      software: { tensorrt: '8.5.2', cuda: '11.4.298', cudnn: '8.6.0' },
      power: { mode: { id: 2, name: 'MODE_15W_6CORE' } },
      gpu: { name: '17000000.gv11b' },
      gpuLoad: 0.173,
      throttleAlerts: ['cpu-throttle-alert'],
    });
    // The made-up zone of the power chip would be the third hottest.
    expect(board.thermalZones.map(({ name }) => name)).toEqual(['CPU-therm', 'GPU-therm', 'AUX-therm', 'AO-therm']);
  });

  test('AGX Thor, JetPack 7: input power from its own chip, no load of the GPU', async () => {
    const board = await readBoard(boardOf('agx-thor-jetpack-7'));
    expect(board).toMatchObject({
      module: { name: 'Jetson T5000 (AGX Thor)', computeCapability: '11.0' },
      release: { l4t: '38.4.0' },
      jetpack: { version: '7.1' },
      software: { tensorrt: '10.13.3', cuda: '13.0.48', cudnn: '9.12.0' },
      power: { mode: { id: 1, name: '120W' } },
      gpu: { name: 'gpu-gpc-0', hardwareMaxHz: 1575e6 },
      memoryClock: { name: 'bwmgr', currentHz: 4266e6 },
      watts: { watts: 26.686, rails: ['VIN'], scope: 'input' },
    });
    expect(board.gpuLoad).toBeUndefined();
  });

  test('a PC is no Jetson, and what it does not have is absent', async () => {
    const never = () => Promise.reject(new Error('nothing is run here'));
    const board = await readBoard(boardOf('pc-x86'), { output: never, firstLine: never });
    expect(board).toMatchObject({ jetson: false, system: 'Debian GNU/Linux 12 (bookworm)', software: {}, rails: [] });
    for (const key of ['model', 'module', 'release', 'jetpack', 'power', 'gpu', 'gpuLoad', 'watts'] as const)
      expect(board[key]).toBeUndefined();
    expect(hottest(board.thermalZones)).toEqual({ name: 'x86_pkg_temp', celsius: 61 });
  });

  test('the power mode is asked of nvpmodel where its file is not there', async () => {
    const asked: string[] = [];
    const board = await readBoard(boardOf('orin-nano-super-jetpack-6.2', { '/var/lib/nvpmodel/status': undefined }), {
      output: async (program, args) => {
        asked.push([program, ...args].join(' '));
        return 'NVPM WARN: fan mode is not set!\nNV Power Mode: 25W\n1\n';
      },
      firstLine: async () => undefined,
    });
    expect(asked).toEqual(['nvpmodel -q']);
    expect(board.power?.mode).toEqual({ id: 1, name: '25W' });
  });

  test('where sysfs shows no rails, tegrastats is asked', async () => {
    const { files, tegrastats } = recordedBoard('agx-orin-64gb-jetpack-6.2');
    const bare = Object.entries(files).filter(([name]) => !/^\/sys\/class\/(hwmon|thermal|devfreq)/.test(name));
    const asked: string[] = [];
    const board = await readBoard(tableFiles(Object.fromEntries(bare)), {
      output: async () => undefined,
      firstLine: async (program) => {
        asked.push(program);
        return tegrastats;
      },
    });
    expect(asked).toEqual(['tegrastats']);
    expect(board.watts?.watts).toBeCloseTo(3.178 + 0.794 + 4.543, 9);
    expect(board.gpuLoad).toBe(0);
    expect(hottest(board.thermalZones)).toEqual({ name: 'tj', celsius: 52.875 });
  });

  test('a machine in a container, without its release file, is known by its device tree', async () => {
    const board = await readBoard(
      boardOf('agx-thor-jetpack-7', { '/etc/nv_tegra_release': undefined, '/var/lib/dpkg/status': undefined }),
    );
    expect(board).toMatchObject({ jetson: true, module: { computeCapability: '11.0' } });
    expect(board.jetpack).toBeUndefined();
  });
});

test('tegrastats and the files of the same board agree on rails and temperatures', async () => {
  const { parseTegrastats } = await import('./tegrastats.js');
  for (const name of ['orin-nano-super-jetpack-6.2', 'agx-orin-64gb-jetpack-6.2', 'agx-thor-jetpack-7']) {
    const stats = parseTegrastats(recordedBoard(name).tegrastats)!;
    const board = await readBoard(boardOf(name));
    for (const rail of board.rails) {
      const printed = stats.watts[rail.name];
      if (printed !== undefined) expect(Math.abs(printed - rail.watts)).toBeLessThan(0.05);
    }
    expect(stats.temperatures.tj).toBeCloseTo(hottest(board.thermalZones)!.celsius, 3);
  }
});

test('files of the machine: bounded, never rejecting, sorted as people count', async () => {
  const root = await mkdtemp(join(tmpdir(), 'irst-board-'));
  try {
    for (const name of ['zone10', 'zone2', 'zone1']) await writeFile(join(root, name), `${name.slice(4)}\n`);
    const files = boardFiles(root);
    expect(await files.list('/')).toEqual(['zone1', 'zone2', 'zone10']);
    expect(await readNumber(files, '/zone10')).toBe(10);
    expect(await files.read('/none')).toBeUndefined();
    expect(await files.read('/')).toBeUndefined();
    expect(await files.list('/none')).toEqual([]);
  } finally {
    await rm(root, { recursive: true });
  }
  expect((await boardFiles().read('/proc/stat'))?.startsWith('cpu ')).toBe(true);
  expect(await tableFiles({ '/a/b/c': '1', '/a/d': '2' }).list('/a')).toEqual(['b', 'd']);
});

test('a sampler keeps means and maxima, and shares of the processor between its readings', async () => {
  const table: Record<string, string> = { ...recordedBoard('orin-nano-super-jetpack-6.2').files };
  let reads = 0;
  const stats = [
    'cpu  1000 0 0 9000 0 0 0 0 0 0\n',
    'cpu  1050 0 0 9050 0 0 0 0 0 0\n',
    'cpu  1150 0 0 9050 0 0 0 0 0 0\n',
  ];
  const files = tableFiles(table);
  const sampler = new BoardSampler(
    {
      ...files,
      read: async (file) => (file === '/proc/stat' ? stats[Math.min(reads++, stats.length - 1)] : files.read(file)),
    },
    5,
  );
  sampler.start();
  while (reads < 3) await new Promise((resolve) => setTimeout(resolve, 2));
  table['/sys/class/devfreq/17000000.gpu/device/load'] = '1000';
  const load = await sampler.stop();
  expect(load.samples).toBeGreaterThanOrEqual(2);
  expect(load.cpu?.max).toBe(1);
  expect(load.cpu?.mean).toBeCloseTo(0.75, 9);
  expect(load.gpu?.max).toBeGreaterThanOrEqual(0.612);
  expect(load.watts).toMatchObject({ rails: ['VDD_IN'], scope: 'input' });
  expect(load.watts?.mean).toBeCloseTo(5.096 * 1.216, 9);
  expect(load.railWatts).toHaveProperty('VDD_SOC');
  expect(load.zoneCelsius?.['tj-thermal']).toBe(49.5);
});
