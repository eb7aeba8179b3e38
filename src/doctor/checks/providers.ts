import type { DoctorContext } from '../context.js';
import { error, type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'provider';

/** What came of one provider on a frame. */
export interface ProviderTrial {
  /** `tensorrt`, `cuda`, `cpu`. */
  provider: string;
  /** `onnxruntime-node 1.30.0`. */
  library?: string;
  /** Present: it computed the frame. */
  latencyMs?: number;
  /** Present: it did not. */
  refusal?: { code: string; message: string; hint?: string };
}

/** Tries the providers one by one, in the order of preference. */
export type TryProviders = (context: Pick<DoctorContext, 'config'>) => Promise<ProviderTrial[]>;

/** Every provider, with what really came of it. The first that works is the one that serves. */
export async function checkProviders(
  context: Pick<DoctorContext, 'config' | 'board'>,
  tryAll: TryProviders,
): Promise<Finding[]> {
  const trials = await tryAll(context);
  const serving = trials.find(({ latencyMs }) => latencyMs !== undefined);
  const findings = trials.map((trial): Finding => {
    const { provider, library, latencyMs, refusal } = trial;
    if (latencyMs !== undefined) {
      const role = trial === serving ? 'serves' : 'works too';
      return ok(
        CHECK,
        'PROVIDER',
        `${provider} ${role}: ${latencyMs.toFixed(2)} ms a frame, ${library ?? 'unknown library'}`,
        {
          ...trial,
        },
      );
    }
    const { code, message, hint } = refusal ?? { code: 'PROVIDER_UNAVAILABLE', message: 'it did not answer' };
    const line = message.startsWith(`${provider}:`) ? message : `${provider}: ${message}`;
    const fix = hint ?? 'docs/jetson.md';
    // Without an NVIDIA GPU nothing is amiss.
    return context.board.jetson
      ? warning(CHECK, code, line, fix, { ...trial })
      : info(CHECK, code, line, { ...trial }, fix);
  });
  if (serving === undefined) {
    findings.push(
      error(
        CHECK,
        'NO_PROVIDER',
        'no provider computes a frame: nothing can be detected',
        'see the reasons above; npm ci installs the library for the CPU',
      ),
    );
  }
  return findings;
}
