import type { Board } from '../../board/board.js';
import type { Clock } from '../../board/clocks.js';
import { fullestMode } from '../../board/nvpmodel.js';
import { type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'power';

/** Power mode, clocks, and what the board takes. Silent on machines that report none of it. */
export function checkPower({ jetson, power, gpu, cpus, watts, rails }: Board): Finding[] {
  const findings: Finding[] = [];
  if (jetson) {
    const fullest = power === undefined ? undefined : fullestMode(power.modes);
    const { mode } = power ?? {};
    const data = { mode, modes: power?.modes };
    if (mode === undefined) {
      findings.push(
        info(CHECK, 'POWER_MODE_UNKNOWN', 'the power mode is not known', data, 'sudo nvpmodel -q shows it'),
      );
    } else if (fullest !== undefined && fullest.id !== mode.id) {
      findings.push(
        info(
          CHECK,
          'POWER_MODE_CAPPED',
          `power mode ${mode.name} (${mode.id}): ${fullest.name} would let it run faster`,
          data,
          `sudo nvpmodel -m ${fullest.id}, where supply and cooling allow it`,
        ),
      );
    } else findings.push(ok(CHECK, 'POWER_MODE', `power mode ${mode.name} (${mode.id})`, data));
  }
  if (gpu !== undefined) findings.push(clocks(gpu, cpus));
  if (watts !== undefined) {
    const each = rails.map((rail) => `${rail.name} ${rail.watts.toFixed(2)} W`).join(', ');
    const scope = watts.scope === 'input' ? 'at the input' : 'of the module, without the carrier board';
    findings.push(
      ok('watts', 'WATTS', `${watts.watts.toFixed(2)} W ${scope} (${each})`, {
        watts: watts.watts,
        scope: watts.scope,
        rails: rails.map(({ name, watts: w }) => ({ name, watts: w })),
      }),
    );
  }
  return findings;
}

const mhz = (hz: number | undefined): string => (hz === undefined ? '?' : `${Math.round(hz / 1e6)} MHz`);

function clocks(gpu: Clock, cpus: readonly Clock[]): Finding {
  const cpu = cpus.map(({ name, currentHz, maxHz }) => `${name} ${mhz(currentHz)} of ${mhz(maxHz)}`).join(', ');
  const line = `GPU ${mhz(gpu.currentHz)}, ${mhz(gpu.minHz)} to ${mhz(gpu.maxHz)} (${gpu.governor ?? 'no governor'}); CPU ${cpu || '?'}`;
  const data = { gpu, cpus };
  if (gpu.locked) return ok('clocks', 'CLOCKS_LOCKED', `${line}; fixed at their maximum`, data);
  const powersave = cpus.some(({ governor }) => governor === 'powersave');
  if (powersave) {
    return warning(
      'clocks',
      'CPU_POWERSAVE',
      `${line}; the CPU is held at its lowest clock`,
      'choose another governor: sudo jetson_clocks, or echo schedutil into /sys/devices/system/cpu/cpufreq/*/scaling_governor',
      data,
    );
  }
  return info(
    'clocks',
    'CLOCKS_SCALE',
    `${line}; clocks follow the load, which costs some milliseconds after a pause`,
    data,
    'sudo jetson_clocks fixes them at the maximum of the power mode, for measurements and steady latency',
  );
}
