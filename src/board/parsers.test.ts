import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { recordedBoard } from '../../test/fakes/boards.js';
import { parseTreeList, parseTreeString } from './device-tree.js';
import { parseDpkgStatus, shortVersion } from './dpkg.js';
import { cpuShare, parseCpuTimes, parseMeminfo } from './memory.js';
import { moduleOf } from './modules.js';
import { fullestMode, parseNvpmodelConf, parseNvpmodelQuery, parseNvpmodelStatus } from './nvpmodel.js';
import { jetpackOf, parseTegraRelease } from './tegra-release.js';
import { parseTegrastats } from './tegrastats.js';

describe('nv_tegra_release', () => {
  test.each([
    ['# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64, DATE: x', '36.4.3', '6.2'],
    ['# R36 (release), REVISION: 4.0, GCID: 1', '36.4.0', '6.1'],
    ['# R36 (release), REVISION: 4.4', '36.4.4', '6.2.1'],
    ['# R36 (release), REVISION: 5.0', '36.5.0', '6.2.2'],
    ['# R36 (release), REVISION: 3.0', '36.3.0', '6.0'],
    ['# R35 (release), REVISION: 4.1, BOARD: t186ref', '35.4.1', '5.1.2'],
    ['# R32 (release), REVISION: 7.1', '32.7.1', '4'],
    ['# R38 (release), REVISION: 2.2', '38.2.2', '7.0'],
    ['# R39 (release), REVISION: 2.1', '39.2.1', '7.2 or later'],
  ])('%s', (line, l4t, jetpack) => {
    expect(parseTegraRelease(`${line}\nTARGET_USERSPACE_LIB_DIR=nvidia\n`)?.l4t).toBe(l4t);
    expect(jetpackOf(l4t)?.version).toBe(jetpack);
  });

  test('what is none', () => {
    for (const text of ['', '\n', '# R36', 'REVISION: 4.3', 'hello']) expect(parseTegraRelease(text)).toBeUndefined();
    expect(jetpackOf('40.1')).toBeUndefined();
    // 35.40 would be another release than 35.4.
    expect(jetpackOf('35.40')?.version).toBeUndefined();
  });
});

test('strings of the device tree end at a NUL', () => {
  expect(parseTreeString('NVIDIA Jetson AGX Thor Developer Kit\0')).toBe('NVIDIA Jetson AGX Thor Developer Kit');
  expect(parseTreeString('\0')).toBeUndefined();
  expect(parseTreeList('nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0')).toHaveLength(3);
  expect(parseTreeList('')).toEqual([]);
});

test('modules: by their own entry, with Super firmware by the suffix', () => {
  const nano = ['nvidia,p3768-0000+p3767-0005', 'nvidia,p3767-0005', 'nvidia,tegra234'];
  expect(moduleOf(nano)).toMatchObject({ name: 'Jetson Orin Nano 8GB', gpuMhz: 625, memoryGBps: 68 });
  expect(moduleOf(['nvidia,p3768-0000+p3767-0005-super', ...nano.slice(1)])).toMatchObject({ gpuMhz: 1020 });
  // Peak of an AGX Orin 64GB from the table: 42.6 TFLOPS, half of its 85 dense INT8 TOPS.
  const agx = moduleOf(['nvidia,p3701-0005'])!;
  expect((agx.multiprocessors * agx.fp16PerClock * agx.gpuMhz) / 1e6).toBeCloseTo(42.6, 1);
  expect(moduleOf(['raspberrypi,5-model-b', 'brcm,bcm2712'])).toBeUndefined();
});

describe('dpkg', () => {
  const status = [
    'Package: libnvinfer10\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5\nDescription: x\n Version: 1\n',
    'Package: libnvinfer8\nStatus: deinstall ok config-files\nVersion: 8.6.2.3-1+cuda12.2\n',
    'Package: libnvinfer-dev\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5\n',
    'Package: tensorrt\nStatus: hold ok installed\nVersion: 10.3.0.30-1+cuda12.5',
  ].join('\n');
  test('only what is installed, by name or pattern', () => {
    expect([...parseDpkgStatus(status, [/^libnvinfer\d+$/, 'tensorrt'])]).toEqual([
      ['libnvinfer10', '10.3.0.30-1+cuda12.5'],
      ['tensorrt', '10.3.0.30-1+cuda12.5'],
    ]);
    expect(parseDpkgStatus('', ['tensorrt']).size).toBe(0);
  });
  test.each([
    ['10.3.0.30-1+cuda12.5', '10.3.0'],
    ['12.6.68-1', '12.6.68'],
    ['36.4.7-20250918154033', '36.4.7'],
    ['8.6.0.166-1+cuda11.4', '8.6.0'],
    ['1:2.3-4', '2.3'],
  ])('%s is %s', (version, short) => expect(shortVersion(version)).toBe(short));
});

describe('nvpmodel', () => {
  test('modes of the configuration; a comment defines none', () => {
    const conf =
      '# < POWER_MODEL ID=9 NAME=COMMENTED >\n< POWER_MODEL NAME=MAXN ID=3 >\n<POWER_MODEL ID=1 NAME=MODE_15W>\n< PM_CONFIG DEFAULT=1 >';
    expect(parseNvpmodelConf(conf)).toEqual({
      modes: [
        { id: 3, name: 'MAXN' },
        { id: 1, name: 'MODE_15W' },
      ],
      defaultId: 1,
    });
    expect(parseNvpmodelConf('')).toEqual({ modes: [] });
  });
  test('the mode in force', () => {
    expect(parseNvpmodelStatus('pmode:0002')).toBe(2);
    expect(parseNvpmodelStatus('pmode:0008 fmode:quiet\n')).toBe(8);
    expect(parseNvpmodelStatus('')).toBeUndefined();
    expect(parseNvpmodelQuery('NV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n')).toEqual({
      id: 2,
      name: 'MODE_15W_6CORE',
    });
    expect(
      parseNvpmodelQuery('NVPM VERB: Current mode: NV Power Mode: MAXN\n0\nNVPM VERB: PARAM CPU_ONLINE: 1'),
    ).toEqual({ id: 0, name: 'MAXN' });
    expect(parseNvpmodelQuery('nvpmodel: command failed')).toBeUndefined();
  });
  test('the fullest', () => {
    const named = (...names: string[]) => fullestMode(names.map((name, id) => ({ id, name })))?.name;
    expect(named('15W', '25W', 'MAXN_SUPER')).toBe('MAXN_SUPER');
    expect(named('MAXN', 'MODE_15W')).toBe('MAXN');
    expect(named('MODE_15W_2CORE', 'MODE_20W_6CORE')).toBeUndefined();
  });
});

describe('tegrastats', () => {
  test('JetPack 6 on an Orin Nano', () => {
    expect(parseTegrastats(recordedBoard('orin-nano-super-jetpack-6.2').tegrastats)).toEqual({
      ram: { used: 2047, total: 7620 },
      swap: { used: 0, total: 3810 },
      cpus: [
        { load: 0.12, mhz: 1510 },
        { load: 0.03, mhz: 1510 },
        { load: 0, mhz: 1510 },
        { load: 0.41, mhz: 1510 },
        { load: 0.01, mhz: 729 },
        undefined,
      ],
      gpuLoad: 0.61,
      gpuMhz: [611],
      memoryLoad: 0.03,
      temperatures: { cpu: 49.5, soc2: 48.281, soc0: 47.75, gpu: 49.062, tj: 49.5, soc1: 48.5 },
      watts: { VDD_IN: 6.213, VDD_CPU_GPU_CV: 1.893, VDD_SOC: 1.617 },
    });
  });
  test('JetPack 5: capitals, a sensor that is off, cores that are off', () => {
    const stats = parseTegrastats(recordedBoard('xavier-nx-jetpack-5.1').tegrastats)!;
    expect(stats.temperatures).toEqual({ ao: 39.5, gpu: 40, pmic: 50, aux: 39, cpu: 41, thermal: 39.95 });
    expect(stats.cpus.filter((c) => c === undefined)).toHaveLength(2);
    expect(stats.gpuLoad).toBe(0.17);
  });
  test('Thor: no load of the GPU, one clock for each of its clusters', () => {
    const stats = parseTegrastats(recordedBoard('agx-thor-jetpack-7').tegrastats)!;
    expect(stats.gpuLoad).toBeUndefined();
    expect(stats.gpuMhz).toEqual([1575, 1575, 1575]);
    expect(stats.watts).toEqual({ VDD_GPU: 3.561, VDD_CPU_SOC_MSS: 7.91, VIN_SYS_5V0: 7.62, VIN: 26.686 });
  });
  test('two GPU clusters; three power figures; JetPack 4 without units', () => {
    const stats = parseTegrastats(
      'RAM 1/2MB (lfb 1x1MB) CPU [1%@1,off] GR3D_FREQ 12%@[1300,1299] VDD_GPU_SOC 5139mW/5139mW/5139mW POM_5V_IN 1532/1500',
    )!;
    expect(stats.gpuMhz).toEqual([1300, 1299]);
    expect(stats.watts).toEqual({ VDD_GPU_SOC: 5.139, POM_5V_IN: 1.532 });
  });
  test('anything else is no line of tegrastats', () => {
    expect(parseTegrastats('tegrastats: command not found')).toBeUndefined();
    fc.assert(fc.property(fc.string(), (text) => parseTegrastats(text) === undefined || text.includes('RAM ')));
  });
});

test('memory and processor times', () => {
  expect(parseMeminfo('MemTotal:        2048 kB\nMemAvailable:    1024 kB\n')).toEqual({
    totalMiB: 2,
    availableMiB: 1,
    swapTotalMiB: 0,
    swapFreeMiB: 0,
  });
  expect(parseMeminfo('')).toBeUndefined();
  // user nice system idle iowait irq softirq steal guest: guests are in user already.
  expect(parseCpuTimes('cpu  10 0 5 80 5 0 0 0 10 0\ncpu0 1')).toEqual({ busy: 15, total: 100 });
  expect(parseCpuTimes('cpu0 1 2 3')).toBeUndefined();
  expect(cpuShare({ busy: 15, total: 100 }, { busy: 40, total: 200 })).toBe(0.25);
  expect(cpuShare({ busy: 15, total: 100 }, { busy: 15, total: 100 })).toBeUndefined();
});
