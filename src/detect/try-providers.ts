import { toPlainError } from '../types/errors.js';
import type { Provider } from '../types/provider.js';
import {
  GPU_RUNS,
  type OpenerModel,
  type OpenerParts,
  ProviderOpener,
  RUNTIME_DEFAULTS,
  type RuntimeOptions,
} from './provider-opener.js';

/** What became of one provider. */
export interface ProviderOutcome {
  provider: Provider;
  /**
   * `proved`: it computed the golden frame's truth; `refused`: see `reason`; `unbuilt`: it needs an engine, which the daemon builds at
   * its first start, or `scripts/build-engine`.
   */
  outcome: 'proved' | 'refused' | 'unbuilt';
  library?: string;
  precision?: 'fp32' | 'fp16';
  /** Channels a block, where the CPU runs the build made for it. */
  block?: number;
  /** Why that build does not run here. */
  blockedRefused?: string;
  /** Median of a run on the golden frame, ms. */
  latencyMs?: number;
  heatError?: number;
  peakErrorPx?: number;
  /** Of the refusal (docs/errors.md). */
  code?: string;
  reason?: string;
  hint?: string;
}

/**
 * Tries every provider of the ladder by itself, with the golden frame, and closes it again. Never throws for a provider's sake.
 * @throws EdgeError MODEL_*
 */
export async function tryProviders(
  runtime: Partial<RuntimeOptions>,
  model: OpenerModel,
  options: { build?: boolean; signal?: AbortSignal; parts?: OpenerParts } = {},
): Promise<ProviderOutcome[]> {
  const full = { ...RUNTIME_DEFAULTS, ...runtime };
  const opener = new ProviderOpener(full, model, { cpuRuns: GPU_RUNS, ...options.parts });
  const outcomes: ProviderOutcome[] = [];
  for (const provider of full.providers) outcomes.push(await one(opener, provider, options));
  return outcomes;
}

async function one(
  opener: ProviderOpener,
  provider: Provider,
  { build = false, signal }: { build?: boolean; signal?: AbortSignal },
): Promise<ProviderOutcome> {
  try {
    // Without a build it only looks: a good engine may fail to load beside a daemon that has the memory.
    let opened = await opener.open(provider, !build);
    if ('pending' in opened && build) {
      await opener.build(opened, signal ? { signal } : {});
      opened = await opener.open(provider);
    }
    if ('pending' in opened) {
      return { provider, outcome: 'unbuilt', reason: opened.because ?? 'its engine is not built yet' };
    }
    const { backend, identity, golden, block, blockedRefused } = opened;
    const { library } = backend;
    await backend.close();
    return {
      provider,
      outcome: 'proved',
      library,
      precision: identity.precision,
      ...(block !== undefined && { block }),
      ...(blockedRefused !== undefined && { blockedRefused }),
      ...(golden && { latencyMs: golden.latencyMs, heatError: golden.heatError, peakErrorPx: golden.peakErrorPx }),
    };
  } catch (error) {
    const { code, message: reason, hint } = toPlainError(error);
    return { provider, outcome: 'refused', code, reason, ...(hint === undefined ? {} : { hint }) };
  }
}
