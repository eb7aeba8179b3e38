import { type Clock, readCpuClocks, readGpuClock, readGpuLoad, readMemoryClock } from './clocks.js';
import { parseTreeList, parseTreeString } from './device-tree.js';
import { parseDpkgStatus, shortVersion } from './dpkg.js';
import { type BoardFiles, readLine } from './files.js';
import { type Memory, parseMeminfo } from './memory.js';
import { type JetsonModule, moduleOf } from './modules.js';
import { type PowerMode, parseNvpmodelConf, parseNvpmodelQuery, parseNvpmodelStatus } from './nvpmodel.js';
import { type BoardPower, type Rail, readRails, totalPower } from './rails.js';
import { type JetPack, jetpackOf, parseTegraRelease, type TegraRelease } from './tegra-release.js';
import { parseTegrastats } from './tegrastats.js';
import { readThermalZones, readThrottleAlerts, type ThermalZone } from './thermal.js';

/** Programs of the board, for what its files do not tell. Each gives undefined where the program is not there or fails. */
export interface BoardPrograms {
  /** All that a program prints. */
  output(program: string, args: readonly string[]): Promise<string | undefined>;
  /** The first line of one that goes on for ever. */
  firstLine(program: string, args: readonly string[]): Promise<string | undefined>;
}

/** Versions of NVIDIA's software; absent: not installed, or not as a Debian package. */
export interface NvidiaSoftware {
  /** Package nvidia-jetpack: a summary, often not installed. */
  jetpack?: string;
  l4tCore?: string;
  tensorrt?: string;
  cuda?: string;
  cudnn?: string;
}

/** What a machine says of itself. Nothing here is asked of a network, nothing needs root. */
export interface Board {
  /** It is a Jetson, by its device tree or by its system software. */
  jetson: boolean;
  /** `NVIDIA Jetson Orin Nano Developer Kit`; absent on machines without a device tree. */
  model?: string;
  compatible: string[];
  /** What the module can do; absent for one that is not in the table. */
  module?: JetsonModule;
  release?: TegraRelease;
  jetpack?: JetPack;
  /** `Ubuntu 22.04.5 LTS`. */
  system?: string;
  kernel?: string;
  software: NvidiaSoftware;
  power?: { mode?: PowerMode; modes: PowerMode[] };
  gpu?: Clock;
  /** 0 to 1. */
  gpuLoad?: number;
  memoryClock?: Clock;
  cpus: Clock[];
  thermalZones: ThermalZone[];
  throttleAlerts: string[];
  rails: Rail[];
  watts?: BoardPower;
  memory?: Memory;
}

const PACKAGES = [
  'nvidia-jetpack',
  'nvidia-l4t-core',
  'tensorrt',
  /^libnvinfer\d+$/,
  /^cuda-cudart-\d+-\d+$/,
  /^libcudnn\d+(-cuda-\d+)?$/,
];

/**
 * Reads what the board's files say. Every part may be missing: each is read by itself and left out then.
 *
 * @param programs for the power mode where its file cannot be read (`nvpmodel -q`), and for rails, load and temperatures where sysfs
 * shows no rails, as in a container (`tegrastats`)
 */
export async function readBoard(files: BoardFiles, programs?: BoardPrograms): Promise<Board> {
  const model = parseTreeString((await files.read('/proc/device-tree/model')) ?? '');
  const compatible = parseTreeList((await files.read('/proc/device-tree/compatible')) ?? '');
  const release = parseTegraRelease((await files.read('/etc/nv_tegra_release')) ?? '');
  const jetson = release !== undefined || compatible.some((entry) => /^nvidia,tegra\d+$/.test(entry));
  const module = moduleOf(compatible);
  const software = await readSoftware(files);
  const l4t = release?.l4t ?? (software.l4tCore === undefined ? undefined : shortVersion(software.l4tCore));
  const jetpack = l4t === undefined ? undefined : jetpackOf(l4t);
  const system = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec((await files.read('/etc/os-release')) ?? '')?.[1];
  const kernel = await readLine(files, '/proc/sys/kernel/osrelease');
  const power = jetson ? await readPowerMode(files, programs) : undefined;
  const gpu = await readGpuClock(files);
  let gpuLoad = await readGpuLoad(files, gpu);
  const memoryClock = await readMemoryClock(files);
  let rails = await readRails(files);
  let thermalZones = await readThermalZones(files);
  if (jetson && rails.length === 0) {
    const line = await programs?.firstLine('tegrastats', ['--interval', '200']);
    const stats = line === undefined ? undefined : parseTegrastats(line);
    if (stats !== undefined) {
      rails = Object.entries(stats.watts).map(([name, watts]) => ({ name, watts }));
      gpuLoad ??= stats.gpuLoad;
      if (thermalZones.length === 0)
        thermalZones = Object.entries(stats.temperatures).map(([name, celsius]) => ({ name, celsius }));
    }
  }
  const watts = totalPower(rails);
  const memory = parseMeminfo((await files.read('/proc/meminfo')) ?? '');
  return {
    jetson,
    ...(model !== undefined && { model }),
    compatible,
    ...(module !== undefined && { module }),
    ...(release !== undefined && { release }),
    ...(jetpack !== undefined && { jetpack }),
    ...(system !== undefined && { system }),
    ...(kernel !== undefined && { kernel }),
    software,
    ...(power !== undefined && { power }),
    ...(gpu !== undefined && { gpu }),
    ...(gpuLoad !== undefined && { gpuLoad }),
    ...(memoryClock !== undefined && { memoryClock }),
    cpus: await readCpuClocks(files),
    thermalZones,
    throttleAlerts: await readThrottleAlerts(files),
    rails,
    ...(watts !== undefined && { watts }),
    ...(memory !== undefined && { memory }),
  };
}

async function readSoftware(files: BoardFiles): Promise<NvidiaSoftware> {
  const status = await files.read('/var/lib/dpkg/status');
  const packages = status === undefined ? new Map<string, string>() : parseDpkgStatus(status, PACKAGES);
  const named = (name: RegExp) => {
    const version = [...packages].find(([key]) => name.test(key))?.[1];
    return version === undefined ? undefined : shortVersion(version);
  };
  const jetpack = packages.get('nvidia-jetpack');
  const l4tCore = packages.get('nvidia-l4t-core');
  const tensorrt = named(/^libnvinfer\d+$/) ?? named(/^tensorrt$/);
  const cuda = (await cudaVersion(files)) ?? named(/^cuda-cudart-/);
  const cudnn = named(/^libcudnn/);
  return {
    ...(jetpack !== undefined && { jetpack }),
    ...(l4tCore !== undefined && { l4tCore }),
    ...(tensorrt !== undefined && { tensorrt }),
    ...(cuda !== undefined && { cuda }),
    ...(cudnn !== undefined && { cudnn }),
  };
}

/** Of the toolkit, where it is installed: `{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}, ...}`. */
async function cudaVersion(files: BoardFiles): Promise<string | undefined> {
  try {
    const versions = JSON.parse((await files.read('/usr/local/cuda/version.json')) ?? '') as {
      cuda?: { version?: unknown };
    };
    return typeof versions.cuda?.version === 'string' ? versions.cuda.version : undefined;
  } catch {
    return undefined;
  }
}

async function readPowerMode(files: BoardFiles, programs: BoardPrograms | undefined): Promise<Board['power']> {
  const { modes } = parseNvpmodelConf((await files.read('/etc/nvpmodel.conf')) ?? '');
  const id = parseNvpmodelStatus((await files.read('/var/lib/nvpmodel/status')) ?? '');
  const known = modes.find((mode) => mode.id === id);
  const mode =
    known ??
    parseNvpmodelQuery((await programs?.output('nvpmodel', ['-q'])) ?? '') ??
    (id === undefined ? undefined : { id, name: `mode ${id}` });
  return mode === undefined && modes.length === 0 ? undefined : { ...(mode !== undefined && { mode }), modes };
}
