import { type EngineCacheState, engineCacheState } from '../../detect/engine-cache.js';
import { runtimeOptions } from '../../service/runtime-options.js';
import type { DoctorContext } from '../context.js';
import { type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'engines';

/** The cache of built engines: writable, each entry whole. Looks; removes nothing. */
export async function checkEngineCache(
  { config, board }: Pick<DoctorContext, 'config' | 'board'>,
  look: (configured: string | undefined) => Promise<EngineCacheState> = engineCacheState,
): Promise<Finding[]> {
  const state = await look(runtimeOptions(config).cacheDirectory);
  const { directory, writable, entries, building } = state;
  const data = { ...state };
  const findings: Finding[] = [];
  if (!writable) {
    const fix =
      'let this user write there, or set runtime.cacheDirectory elsewhere; in a service: CacheDirectory=irst-edge';
    const line = `${directory} cannot be written: engines would be built anew at every start`;
    // Without a GPU there are none.
    findings.push(
      board.jetson
        ? warning(CHECK, 'ENGINE_CACHE_NOT_WRITABLE', line, fix, data)
        : info(CHECK, 'ENGINE_CACHE_NOT_WRITABLE', line, data, fix),
    );
  }
  const bad = entries.filter(({ problem }) => problem !== undefined);
  for (const { key, problem } of bad) {
    findings.push(
      warning(
        CHECK,
        'ENGINE_DAMAGED',
        `engine ${key.slice(0, 12)}: ${problem}`,
        'none needed: it is built anew at the next start',
        {
          key,
          problem,
        },
      ),
    );
  }
  if (building > 0) {
    findings.push(
      info(CHECK, 'ENGINE_BUILDING', `${building} engine${building === 1 ? ' is' : 's are'} being built`, data),
    );
  }
  const good = entries.filter(({ problem }) => problem === undefined);
  const bytes = good.reduce((sum, entry) => sum + entry.bytes, 0);
  if (good.length > 0) {
    const each = good
      .map((e) => `${e.provider} of ${e.builtAt.slice(0, 10)}, built in ${e.buildSeconds.toFixed(0)} s`)
      .join('; ');
    const some = `${good.length} engine${good.length === 1 ? '' : 's'}`;
    findings.push(ok(CHECK, 'ENGINES', `${directory}: ${some}, ${(bytes / 1e6).toFixed(1)} MB (${each})`, data));
  } else if (writable && bad.length === 0) {
    findings.push(ok(CHECK, 'NO_ENGINES', `${directory}: writable, no engine yet`, data));
  }
  return findings;
}
