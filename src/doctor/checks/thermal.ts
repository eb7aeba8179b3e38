import type { Board } from '../../board/board.js';
import { hottest } from '../../board/thermal.js';
import { error, type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'temperature';
/** Where the kernel names no trip points. */
const THROTTLE_C = 95;
/** Closer than this to throttling is too close. */
const MARGIN_C = 5;

export function checkThermal({ thermalZones, throttleAlerts }: Board): Finding[] {
  const zones = thermalZones.filter(({ celsius }) => celsius !== undefined);
  const data = { celsius: Object.fromEntries(zones.map(({ name, celsius }) => [name, celsius])), throttleAlerts };
  const fix = 'better cooling (fan, heat sink, shade), or a lower power mode: sudo nvpmodel -m ID';
  const findings: Finding[] = [];
  if (throttleAlerts.length > 0) {
    findings.push(
      error(
        CHECK,
        'THROTTLED',
        `the board slows itself down because of heat (${throttleAlerts.join(', ')})`,
        fix,
        data,
      ),
    );
  }
  const top = hottest(zones);
  if (top === undefined) {
    if (findings.length === 0)
      findings.push(info(CHECK, 'TEMPERATURE_UNKNOWN', 'no sensor of temperature is to be seen'));
    return findings;
  }
  // A zone of its own may throttle earlier than the hottest one.
  const close = zones
    .map(({ name, celsius, throttleAt }) => ({ name, celsius: celsius!, limit: throttleAt ?? THROTTLE_C }))
    .filter(({ celsius, limit }) => celsius > limit - MARGIN_C)
    .sort((a, b) => b.celsius - b.limit - (a.celsius - a.limit))[0];
  if (close === undefined) {
    findings.push(ok(CHECK, 'TEMPERATURE', `hottest: ${top.name} ${top.celsius.toFixed(1)} °C`, data));
  } else {
    const over = close.celsius >= close.limit;
    findings.push(
      warning(
        CHECK,
        over ? 'TEMPERATURE_OVER' : 'TEMPERATURE_HIGH',
        `${close.name} ${close.celsius.toFixed(1)} °C; it is slowed down from ${close.limit.toFixed(1)} °C`,
        fix,
        data,
      ),
    );
  }
  return findings;
}
