/** Execution providers, the most wanted first. */
export const PROVIDERS = ['tensorrt', 'cuda', 'cpu'] as const;
export type Provider = (typeof PROVIDERS)[number];

/** Libraries that run the network. */
export const BACKENDS = ['onnxruntime-node', 'libonnxruntime'] as const;
export type BackendKind = (typeof BACKENDS)[number];

/** Why a provider does not serve. Plain data. */
export interface ProviderRefusal {
  provider: Provider;
  /** Of the error behind it (docs/errors.md). */
  code: string;
  /** One line for people. */
  reason: string;
  hint?: string;
  /** Wall clock, ms since 1970. */
  atMs: number;
}

/** An engine that is being built, or a provider on trial, in a process of its own. */
export interface ProviderBuild {
  provider: Provider;
  /** `waiting`: another camera builds the same one. */
  phase: 'waiting' | 'building' | 'proving';
  /** Wall clock of the beginning, ms since 1970. */
  sinceMs: number;
  elapsedSeconds: number;
  /** The builder's latest words. */
  detail?: string;
}

/** What runs the network, and why nothing better does. Plain data. */
export interface ProviderStatus {
  /** Really runs; absent: none does yet. */
  provider?: Provider;
  library?: string;
  /** Providers asked for, the most wanted first. */
  wanted: readonly Provider[];
  /** The latest refusal of each provider that does not serve. */
  refused: readonly ProviderRefusal[];
  build?: ProviderBuild;
  /** Times that a provider failed while it served. */
  demotions: number;
  /** When the most wanted one that failed is tried again, ms since 1970. */
  retryAtMs?: number;
  /** On the golden frame: farthest heat from the truth, distance of the peak, px, and the median run, ms. */
  golden?: { heatError: number; peakErrorPx: number; latencyMs: number };
}

/** A step of the provider. */
export interface ProviderChange {
  kind: 'serving' | 'refused' | 'building' | 'built' | 'progress' | 'demoted';
  provider: Provider;
  /** One line for people. */
  message: string;
  code?: string;
  hint?: string;
}
