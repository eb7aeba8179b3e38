/** A Jetson module and what its GPU and memory can do, from NVIDIA's data sheets. */
export interface JetsonModule {
  name: string;
  /** `8.7`: CUDA's compute capability. */
  computeCapability: string;
  /** Streaming multiprocessors of the GPU. */
  multiprocessors: number;
  /** FP16 operations a multiprocessor's tensor cores finish in a clock, dense, a multiply-accumulate counted as two. */
  fp16PerClock: number;
  /** Highest clock of the GPU, MHz. */
  gpuMhz: number;
  /** Bandwidth of the memory, GB/s (10^9). */
  memoryGBps: number;
  /** What "Super" firmware (JetPack 6.2 and later) raises these to. */
  super?: { gpuMhz: number; memoryGBps: number };
  /** Where the figures are from. */
  source: string;
}

const ORIN = 'https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-orin/';
const XAVIER_NX = 'https://developer.nvidia.com/embedded/jetson-xavier-nx';
const AGX_XAVIER = 'https://developer.nvidia.com/embedded/jetson-agx-xavier-developer-kit';
const THOR = 'https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-thor/';

// Tensor cores, four a multiprocessor on Ampere: 256 FP16 multiply-accumulates a clock each, so 2048 operations a multiprocessor
// (an AGX Orin 64 GB: 16 x 2048 x 1.3 GHz = 42.6 TFLOPS, half of its 85 dense INT8 TOPS). Volta: 64 each and eight of them, 1024.
// Thor: its 1035 dense FP4 TFLOPS are 258 of FP16, 8192 a multiprocessor and clock.
const AMPERE = { computeCapability: '8.7', fp16PerClock: 2048 };
const VOLTA = { computeCapability: '7.2', fp16PerClock: 1024 };
const BLACKWELL = { computeCapability: '11.0', fp16PerClock: 8192 };

/** By the entry of `/proc/device-tree/compatible` that names the module. */
const MODULES: Readonly<Record<string, JetsonModule>> = {
  'nvidia,p3767-0000': {
    name: 'Jetson Orin NX 16GB',
    ...AMPERE,
    multiprocessors: 8,
    gpuMhz: 918,
    memoryGBps: 102.4,
    super: { gpuMhz: 1173, memoryGBps: 102.4 },
    source: ORIN,
  },
  'nvidia,p3767-0001': {
    name: 'Jetson Orin NX 8GB',
    ...AMPERE,
    multiprocessors: 8,
    gpuMhz: 765,
    memoryGBps: 102.4,
    super: { gpuMhz: 1173, memoryGBps: 102.4 },
    source: ORIN,
  },
  'nvidia,p3767-0003': orinNano8(),
  'nvidia,p3767-0004': {
    name: 'Jetson Orin Nano 4GB',
    ...AMPERE,
    multiprocessors: 4,
    gpuMhz: 625,
    memoryGBps: 34,
    super: { gpuMhz: 1020, memoryGBps: 51 },
    source: ORIN,
  },
  'nvidia,p3767-0005': orinNano8(),
  'nvidia,p3701-0000': agxOrin('Jetson AGX Orin (developer kit)', 16, 1300),
  'nvidia,p3701-0004': agxOrin('Jetson AGX Orin 32GB', 14, 930),
  'nvidia,p3701-0005': agxOrin('Jetson AGX Orin 64GB', 16, 1300),
  'nvidia,p3701-0008': agxOrin('Jetson AGX Orin Industrial', 16, 1185),
  'nvidia,p3668-0000': xavierNx('Jetson Xavier NX (developer kit)'),
  'nvidia,p3668-0001': xavierNx('Jetson Xavier NX 8GB'),
  'nvidia,p3668-0003': xavierNx('Jetson Xavier NX 16GB'),
  'nvidia,p2888-0001': agxXavier('Jetson AGX Xavier'),
  'nvidia,p2888-0004': agxXavier('Jetson AGX Xavier 32GB'),
  'nvidia,p2888-0005': agxXavier('Jetson AGX Xavier 64GB'),
  'nvidia,p3834-0008': {
    name: 'Jetson T5000 (AGX Thor)',
    ...BLACKWELL,
    multiprocessors: 20,
    gpuMhz: 1575,
    memoryGBps: 273,
    source: THOR,
  },
};

function orinNano8(): JetsonModule {
  return {
    name: 'Jetson Orin Nano 8GB',
    ...AMPERE,
    multiprocessors: 8,
    gpuMhz: 625,
    memoryGBps: 68,
    super: { gpuMhz: 1020, memoryGBps: 102 },
    source: ORIN,
  };
}

function agxOrin(name: string, multiprocessors: number, gpuMhz: number): JetsonModule {
  return { name, ...AMPERE, multiprocessors, gpuMhz, memoryGBps: 204.8, source: ORIN };
}

function xavierNx(name: string): JetsonModule {
  return { name, ...VOLTA, multiprocessors: 6, gpuMhz: 1100, memoryGBps: 59.7, source: XAVIER_NX };
}

function agxXavier(name: string): JetsonModule {
  return { name, ...VOLTA, multiprocessors: 8, gpuMhz: 1377, memoryGBps: 136.5, source: AGX_XAVIER };
}

/** All that are known, those with Super firmware twice. */
export function allModules(): JetsonModule[] {
  const named = new Map<string, JetsonModule>();
  for (const id of Object.keys(MODULES)) {
    for (const module of [moduleOf([id])!, moduleOf([id, `${id}-super`])!]) named.set(module.name, module);
  }
  return [...named.values()];
}

/** The module of a board, from its `compatible` list; undefined for one that is not in the table. */
export function moduleOf(compatible: readonly string[]): JetsonModule | undefined {
  const id = compatible.map((entry) => entry.replace(/-super$/, '')).find((entry) => Object.hasOwn(MODULES, entry));
  const module = id === undefined ? undefined : MODULES[id]!;
  const isSuper = compatible.some((entry) => entry.endsWith('-super'));
  if (module?.super === undefined || !isSuper) return module;
  return { ...module, ...module.super, name: `${module.name} (Super)` };
}
