export interface Summary {
  count: number;
  mean: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** The newest `capacity` samples of a figure and their percentiles. Memory is bounded; older samples are forgotten. */
export class Percentiles {
  private readonly samples: Float64Array;
  private added = 0;

  constructor(capacity = 65_536) {
    this.samples = new Float64Array(capacity);
  }

  add(value: number): void {
    this.samples[this.added++ % this.samples.length] = value;
  }

  /** Nearest-rank percentiles; NaN when nothing was added. */
  summary(): Summary {
    const count = Math.min(this.added, this.samples.length);
    const sorted = this.samples.slice(0, count).sort();
    const at = (share: number) => (count === 0 ? Number.NaN : sorted[Math.max(0, Math.ceil(share * count) - 1)]!);
    let sum = 0;
    for (const v of sorted) sum += v;
    return { count, mean: sum / count, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
  }
}
