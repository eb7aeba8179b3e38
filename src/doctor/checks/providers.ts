import { BUNDLED_MANIFEST, readManifest } from '../../detect/manifest.js';
import { wantedProviders } from '../../detect/provider-opener.js';
import { type ProviderOutcome, tryProviders } from '../../detect/try-providers.js';
import { runtimeOptions } from '../../service/runtime-options.js';
import type { DoctorContext } from '../context.js';
import { error, type Finding, fromError, info, ok, warning } from '../finding.js';

const CHECK = 'provider';

/** Tries the providers one by one, the most wanted first. */
export type TryProviders = typeof tryProviders;

export interface ProviderCheckOptions {
  /** Of the frames, px. */
  size: { width: number; height: number };
  /** Build missing engines, which may take minutes. */
  build: boolean;
}

/** Every provider, with what really came of it on the golden frame. The first that works is the one that serves. */
export async function checkProviders(
  { config, board, signal }: Pick<DoctorContext, 'config' | 'board' | 'signal'>,
  { size, build }: ProviderCheckOptions,
  tryAll: TryProviders = tryProviders,
): Promise<Finding[]> {
  const manifestPath = config.detector.model ?? BUNDLED_MANIFEST;
  const runtime = runtimeOptions(config);
  const required = runtime.require;
  let outcomes: ProviderOutcome[];
  try {
    const publicKey = config.security.modelPublicKey;
    const manifest = await readManifest(manifestPath, publicKey);
    const { precision, blocked, threads } = config.detector;
    outcomes = await tryAll(
      { ...runtime, providers: wantedProviders(runtime) },
      { manifestPath, ...(publicKey !== undefined && { publicKey }), manifest, precision, blocked, threads, ...size },
      { build, signal },
    );
  } catch (cause) {
    return [fromError(CHECK, cause)];
  }
  const serving = outcomes.find(({ outcome }) => outcome === 'proved');
  const findings = outcomes.map((outcome) =>
    finding(outcome, outcome === serving, board.jetson, required !== undefined),
  );
  if (serving === undefined && required !== undefined && outcomes[0]?.outcome === 'refused') {
    findings.push(
      error(
        CHECK,
        'PROVIDER_REQUIRED',
        `runtime.require asks for ${required}, which does not work here: the camera waits for it`,
        'see the reason above; without runtime.require the next provider would serve',
      ),
    );
  } else if (serving === undefined && required === undefined) {
    findings.push(
      error(
        CHECK,
        'NO_PROVIDER',
        'no provider computes the golden frame: nothing can be detected',
        'see the reasons above; npm ci installs the library for the CPU',
      ),
    );
  }
  return findings;
}

function finding(outcome: ProviderOutcome, serves: boolean, jetson: boolean, required: boolean): Finding {
  const { provider, library, precision, block, blockedRefused, latencyMs, heatError, peakErrorPx, code, reason, hint } =
    outcome;
  const data = { ...outcome };
  switch (outcome.outcome) {
    case 'proved':
      return ok(
        CHECK,
        'PROVIDER',
        `${provider} ${serves ? 'serves' : 'works too'}: ${latencyMs?.toFixed(2)} ms on the golden frame, heat off by ` +
          `${heatError?.toFixed(4)}, peak by ${peakErrorPx?.toFixed(3)} px (${library}, ${precision}${block === undefined ? '' : `, channels in blocks of ${block}`})` +
          (blockedRefused === undefined ? '' : `; the faster build is not used: ${blockedRefused}`),
        data,
      );
    case 'unbuilt':
      return info(
        CHECK,
        'ENGINE_UNBUILT',
        `${provider}: ${reason ?? 'its engine is not built yet'}`,
        data,
        `the daemon builds it at its first start and serves ${required ? 'nothing' : 'on the CPU'} meanwhile; irst-edge doctor --build builds it now`,
      );
    case 'refused': {
      const line = reason?.startsWith(`${provider}:`) ? reason : `${provider}: ${reason}`;
      const fix = hint ?? 'docs/jetson.md says how to install it';
      const name = code ?? 'PROVIDER_UNAVAILABLE';
      // Without an NVIDIA GPU of ours nothing is amiss.
      return jetson ? warning(CHECK, name, line, fix, data) : info(CHECK, name, line, data, fix);
    }
  }
}
