import { type BoardFiles, readLine, readNumber } from './files.js';

/** A clock of the kernel's devfreq or cpufreq framework, Hz. https://docs.kernel.org/driver-api/devfreq.html */
export interface Clock {
  /** `17000000.gpu`, `policy0`. */
  name: string;
  currentHz?: number;
  /** Limits in force: a power mode lowers `maxHz`, `jetson_clocks` raises `minHz` to it. */
  minHz?: number;
  maxHz?: number;
  /** What the hardware can do, whatever the power mode. */
  hardwareMaxHz?: number;
  governor?: string;
  /** The clock stands still at its maximum (`jetson_clocks`). */
  locked: boolean;
}

const DEVFREQ = '/sys/class/devfreq';
const CPUFREQ = '/sys/devices/system/cpu/cpufreq';

// The GPU's node: ga10b and gpu on Orin, gv11b on Xavier, gpu-gpc-0 on Thor.
const GPU = /^(17000000\.(gpu|ga10b|gv11b)|gpu-gpc-0)$/;

/** The GPU's clock, with its load; undefined where there is no Jetson's GPU. */
export async function readGpuClock(files: BoardFiles): Promise<Clock | undefined> {
  const name = (await files.list(DEVFREQ)).find((entry) => GPU.test(entry));
  return name === undefined ? undefined : readDevfreq(files, name);
}

/** The memory controller's clock where the kernel shows one (`bwmgr` on Thor). */
export async function readMemoryClock(files: BoardFiles): Promise<Clock | undefined> {
  const name = (await files.list(DEVFREQ)).find((entry) => entry === 'bwmgr');
  return name === undefined ? undefined : readDevfreq(files, name);
}

async function readDevfreq(files: BoardFiles, name: string): Promise<Clock> {
  const folder = `${DEVFREQ}/${name}`;
  const steps = ((await files.read(`${folder}/available_frequencies`)) ?? '')
    .split(/\s+/)
    .map(Number)
    .filter((hz) => hz > 0);
  return clock(
    name,
    await readNumber(files, `${folder}/cur_freq`),
    await readNumber(files, `${folder}/min_freq`),
    await readNumber(files, `${folder}/max_freq`),
    steps.length === 0 ? undefined : Math.max(...steps),
    await readLine(files, `${folder}/governor`),
  );
}

/** One clock for each cluster of processor cores. */
export async function readCpuClocks(files: BoardFiles): Promise<Clock[]> {
  const names = (await files.list(CPUFREQ)).filter((name) => /^policy\d+$/.test(name));
  // cpufreq counts in kHz.
  const hz = (khz: number | undefined) => (khz === undefined ? undefined : khz * 1000);
  return Promise.all(
    names.map(async (name) => {
      const folder = `${CPUFREQ}/${name}`;
      return clock(
        name,
        hz(await readNumber(files, `${folder}/scaling_cur_freq`)),
        hz(await readNumber(files, `${folder}/scaling_min_freq`)),
        hz(await readNumber(files, `${folder}/scaling_max_freq`)),
        hz(await readNumber(files, `${folder}/cpuinfo_max_freq`)),
        await readLine(files, `${folder}/scaling_governor`),
      );
    }),
  );
}

function clock(
  name: string,
  currentHz: number | undefined,
  minHz: number | undefined,
  maxHz: number | undefined,
  hardwareMaxHz: number | undefined,
  governor: string | undefined,
): Clock {
  return {
    name,
    ...(currentHz !== undefined && { currentHz }),
    ...(minHz !== undefined && { minHz }),
    ...(maxHz !== undefined && { maxHz }),
    ...(hardwareMaxHz !== undefined && { hardwareMaxHz }),
    ...(governor !== undefined && { governor }),
    locked: maxHz !== undefined && minHz === maxHz,
  };
}

/**
 * Share of the time in which the GPU works, 0 to 1, of the driver's own `load` (per mille); undefined where the kernel does not
 * tell: on Thor, and without a Jetson.
 */
export async function readGpuLoad(files: BoardFiles, gpu: Clock | undefined): Promise<number | undefined> {
  const places = [
    '/sys/devices/gpu.0/load',
    '/sys/devices/platform/gpu.0/load',
    ...(gpu === undefined ? [] : [`${DEVFREQ}/${gpu.name}/device/load`]),
  ];
  for (const place of places) {
    const load = await readNumber(files, place);
    if (load !== undefined && load >= 0 && load <= 1000) return load / 1000;
  }
  return undefined;
}
