import { setTimeout as delay } from 'node:timers/promises';
import { readGpuClock, readGpuLoad } from './clocks.js';
import type { BoardFiles } from './files.js';
import { type CpuTimes, cpuShare, parseCpuTimes } from './memory.js';
import { readRails, totalPower } from './rails.js';
import { hottest, readThermalZones } from './thermal.js';

/** Mean and largest of what was sampled. */
export interface Level {
  mean: number;
  max: number;
}

/** What a board did while it was watched; absent: it does not report that. */
export interface BoardLoad {
  seconds: number;
  samples: number;
  /** All cores together, 0 to 1. */
  cpu?: Level;
  /** 0 to 1. */
  gpu?: Level;
  gpuMhz?: Level;
  /** W. */
  watts?: Level & { rails: string[]; scope: 'input' | 'module' };
  /** W, mean of each rail. */
  railWatts?: Record<string, number>;
  /** °C, of the hottest zone. */
  celsius?: Level;
  /** °C, largest of each zone. */
  zoneCelsius?: Record<string, number>;
}

class Running {
  private sum = 0;
  private n = 0;
  private most = Number.NEGATIVE_INFINITY;

  add(value: number | undefined): void {
    if (value === undefined) return;
    this.sum += value;
    this.n++;
    this.most = Math.max(this.most, value);
  }

  level(): Level | undefined {
    return this.n === 0 ? undefined : { mean: this.sum / this.n, max: this.most };
  }
}

/** Watches a board's load, power and temperatures, once a second, until it is stopped. Keeps sums, not samples. */
export class BoardSampler {
  private readonly cpu = new Running();
  private readonly gpu = new Running();
  private readonly gpuMhz = new Running();
  private readonly watts = new Running();
  private readonly celsius = new Running();
  private readonly rails = new Map<string, Running>();
  private readonly zones = new Map<string, Running>();
  private power: { rails: string[]; scope: 'input' | 'module' } | undefined;
  private times: CpuTimes | undefined;
  private samples = 0;
  private startedAt = 0;
  private readonly end = new AbortController();
  private running: Promise<void> | undefined;

  constructor(
    private readonly files: BoardFiles,
    private readonly everyMs = 1000,
  ) {}

  /** Begins. Never throws. */
  start(): void {
    this.startedAt = performance.now();
    this.running ??= this.watch();
  }

  async stop(): Promise<BoardLoad> {
    this.end.abort();
    await this.running;
    const levels = {
      cpu: this.cpu.level(),
      gpu: this.gpu.level(),
      gpuMhz: this.gpuMhz.level(),
      celsius: this.celsius.level(),
    };
    const watts = this.watts.level();
    return {
      seconds: (performance.now() - this.startedAt) / 1000,
      samples: this.samples,
      ...defined(levels),
      ...(watts !== undefined && this.power !== undefined && { watts: { ...watts, ...this.power } }),
      ...(this.rails.size > 0 && { railWatts: table(this.rails, ({ mean }) => mean) }),
      ...(this.zones.size > 0 && { zoneCelsius: table(this.zones, ({ max }) => max) }),
    };
  }

  private async watch(): Promise<void> {
    const { files } = this;
    this.times = parseCpuTimes((await files.read('/proc/stat')) ?? '');
    for (;;) {
      // The first sample comes after the first interval: before it nothing runs yet.
      const stopped = await delay(this.everyMs, false, { signal: this.end.signal }).catch(() => true);
      await this.sample();
      if (stopped) return;
    }
  }

  private async sample(): Promise<void> {
    const { files } = this;
    const times = parseCpuTimes((await files.read('/proc/stat')) ?? '');
    if (times !== undefined && this.times !== undefined) this.cpu.add(cpuShare(this.times, times));
    this.times = times;
    const gpu = await readGpuClock(files);
    this.gpu.add(await readGpuLoad(files, gpu));
    this.gpuMhz.add(gpu?.currentHz === undefined ? undefined : gpu.currentHz / 1e6);
    const rails = await readRails(files);
    const total = totalPower(rails);
    if (total !== undefined) {
      this.watts.add(total.watts);
      this.power = { rails: total.rails, scope: total.scope };
    }
    for (const { name, watts } of rails) of(this.rails, name).add(watts);
    const zones = await readThermalZones(files);
    this.celsius.add(hottest(zones)?.celsius);
    for (const { name, celsius } of zones) if (celsius !== undefined) of(this.zones, name).add(celsius);
    this.samples++;
  }
}

function of(map: Map<string, Running>, name: string): Running {
  const running = map.get(name) ?? new Running();
  map.set(name, running);
  return running;
}

function table(map: Map<string, Running>, pick: (level: Level) => number): Record<string, number> {
  return Object.fromEntries([...map].map(([name, running]) => [name, pick(running.level()!)]));
}

function defined<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
