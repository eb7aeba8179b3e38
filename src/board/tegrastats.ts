/** One line of `tegrastats`. What a release does not print is absent. */
export interface TegraStats {
  /** MiB. */
  ram?: { used: number; total: number };
  swap?: { used: number; total: number };
  /** Core by core: share of the time at work, 0 to 1, and clock, MHz; undefined: the core is off. */
  cpus: ({ load: number; mhz: number } | undefined)[];
  /** Share of the time in which the GPU works, 0 to 1; Thor does not tell. */
  gpuLoad?: number;
  /** One clock for each cluster of the GPU, MHz. */
  gpuMhz: number[];
  /** Share of the memory's bandwidth, 0 to 1; only to root. */
  memoryLoad?: number;
  /** °C, by name in lower case: `cpu`, `tj`. */
  temperatures: Record<string, number>;
  /** Present value, W, by rail: `VDD_IN`. */
  watts: Record<string, number>;
}

/**
 * Reads a line of `tegrastats` of JetPack 4 to 7:
 * https://docs.nvidia.com/jetson/archives/r36.3/DeveloperGuide/AT/JetsonLinuxDevelopmentTools/TegrastatsUtility.html
 *
 * The order and the spelling of names changed over the releases (`GR3D_FREQ 12%`, `12%@[1300,1300]`, `@[1000,1000,1000]`;
 * `CPU@41C`, `cpu@41.2C`; `VDD_IN 5088/5088`, `VDD_IN 5088mW/5088mW`), so each field is looked for by itself.
 *
 * @returns undefined for a line without RAM: it is none of tegrastats
 */
export function parseTegrastats(line: string): TegraStats | undefined {
  const amount = (name: string) => {
    const [, used, total] = new RegExp(`\\b${name} (\\d+)/(\\d+)MB`).exec(line) ?? [];
    return used === undefined ? undefined : { used: Number(used), total: Number(total) };
  };
  const ram = amount('RAM');
  if (ram === undefined) return undefined;
  const swap = amount('SWAP');
  const cores = /\bCPU \[([^\]]*)\]/.exec(line)?.[1];
  const [, gpu, gpuMhz] = /\bGR3D_FREQ (?:(\d+)%)?(?:@\[?([\d,]+)\]?)?/.exec(line) ?? [];
  const memory = /\bEMC_FREQ (\d+)%/.exec(line)?.[1];
  const temperatures: Record<string, number> = {};
  for (const [, name, celsius] of line.matchAll(/([A-Za-z][\w-]*)@(-?\d+(?:\.\d+)?)C\b/g)) {
    // A sensor that is off reads -256.
    if (Number(celsius) > -100) temperatures[name!.toLowerCase()] = Number(celsius);
  }
  const watts: Record<string, number> = {};
  for (const [, name, milliwatts] of line.matchAll(/\b([A-Z][A-Z0-9_]+) (\d+)(?:mW)?\/\d+(?:mW)?(?=\s|\/|$)/g)) {
    // "RAM 5137/62841MB" has the same shape but for its unit, which the pattern excludes.
    watts[name!] = Number(milliwatts) / 1000;
  }
  return {
    ram,
    ...(swap !== undefined && { swap }),
    cpus: cores === undefined ? [] : cores.split(',').map(core),
    ...(gpu !== undefined && { gpuLoad: Number(gpu) / 100 }),
    gpuMhz: gpuMhz === undefined ? [] : gpuMhz.split(',').map(Number),
    ...(memory !== undefined && { memoryLoad: Number(memory) / 100 }),
    temperatures,
    watts,
  };
}

function core(text: string): { load: number; mhz: number } | undefined {
  const [, load, mhz] = /^(\d+)%@(\d+)$/.exec(text.trim()) ?? [];
  return load === undefined ? undefined : { load: Number(load) / 100, mhz: Number(mhz) };
}
