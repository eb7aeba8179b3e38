/** Of `/proc/meminfo` (proc(5)), MiB. A Jetson's GPU takes its memory from the same pool. */
export interface Memory {
  totalMiB: number;
  availableMiB: number;
  swapTotalMiB: number;
  swapFreeMiB: number;
}

export function parseMeminfo(text: string): Memory | undefined {
  const mib = (name: string) => {
    const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    return kib === undefined ? undefined : Number(kib) / 1024;
  };
  const totalMiB = mib('MemTotal');
  const availableMiB = mib('MemAvailable');
  if (totalMiB === undefined || availableMiB === undefined) return undefined;
  return { totalMiB, availableMiB, swapTotalMiB: mib('SwapTotal') ?? 0, swapFreeMiB: mib('SwapFree') ?? 0 };
}

/** Time of all processor cores together since boot, in ticks, of the first line of `/proc/stat` (proc(5)). */
export interface CpuTimes {
  busy: number;
  total: number;
}

export function parseCpuTimes(text: string): CpuTimes | undefined {
  const [, numbers] = /^cpu +([\d ]+)/.exec(text) ?? [];
  if (numbers === undefined) return undefined;
  const ticks = numbers.trim().split(/ +/).map(Number);
  // user nice system idle iowait irq softirq steal; guest times are within user and nice.
  const total = ticks.slice(0, 8).reduce((sum, t) => sum + t, 0);
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0);
  return total > 0 ? { busy: total - idle, total } : undefined;
}

/** Share of the time between two readings in which the cores worked, 0 to 1, over all of them. */
export function cpuShare(before: CpuTimes, after: CpuTimes): number | undefined {
  const total = after.total - before.total;
  return total > 0 ? Math.min(1, Math.max(0, (after.busy - before.busy) / total)) : undefined;
}
