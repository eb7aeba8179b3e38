import type { EdgeConfig } from '../config/schema.js';
import type { RuntimeOptions } from '../detect/provider-opener.js';
import { PROVIDERS } from '../types/provider.js';

/** What the configuration says of the run time, as the detector takes it. */
export function runtimeOptions({ runtime, detector }: Pick<EdgeConfig, 'runtime' | 'detector'>): RuntimeOptions {
  const { buildMinutes, retryMinSeconds, retryMaxSeconds, tensorrtOptions = [], cudaOptions = [], ...rest } = runtime;
  const table = (options: { name: string; value: string }[]) =>
    Object.fromEntries(options.map(({ name, value }) => [name, value]));
  return {
    providers: PROVIDERS,
    ...rest,
    backend: detector.backend,
    buildTimeoutMs: buildMinutes * 60_000,
    retryMinMs: retryMinSeconds * 1000,
    retryMaxMs: retryMaxSeconds * 1000,
    tensorrtOptions: table(tensorrtOptions),
    cudaOptions: table(cudaOptions),
  };
}
