import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.js';
import type { Health, HealthSeverity } from './health.js';
import { watchHealth } from './health-watch.js';

/** What it comes to, and after how long, where `said` answers at each second since the start. */
async function watch(said: (second: number) => [HealthSeverity, pid: number], waitS: number, stableS: number) {
  const clock = new FakeClock();
  const start = clock.nowMs;
  const verdict = await watchHealth({
    waitMs: waitS * 1000,
    stableMs: stableS * 1000,
    signal: new AbortController().signal,
    now: () => clock.nowMs,
    sleep: (ms, signal) => clock.sleep(ms, signal),
    ask: () => {
      const [severity, pid] = said((clock.nowMs - start) / 1000);
      const reasons = severity === 'ok' ? [] : [`it is ${severity}`];
      return { severity, reasons, ...(severity !== 'unknown' && { health: { pid } as Health }) };
    },
  });
  return [verdict.severity, (clock.nowMs - start) / 1000, verdict.reasons];
}

describe('watchHealth', () => {
  it.each<[string, (s: number) => [HealthSeverity, number], number, number, HealthSeverity, number]>([
    ['plainly good', () => ['ok', 1], 60, 10, 'ok', 10],
    ['good after a start', (s) => (s < 5 ? ['failing', 1] : ['ok', 1]), 60, 10, 'ok', 15],
    ['degraded all along', () => ['degraded', 1], 60, 10, 'degraded', 60],
    ['degraded, then good', (s) => (s < 40 ? ['degraded', 1] : ['ok', 1]), 60, 10, 'ok', 50],
    ['good too late, after it was degraded', (s) => (s < 55 ? ['degraded', 1] : ['ok', 1]), 60, 10, 'degraded', 60],
    ['good that breaks to degraded', (s) => (s % 8 < 6 ? ['ok', 1] : ['degraded', 1]), 60, 10, 'degraded', 60],
    ['good, and a new process again and again', (s) => ['ok', Math.floor(s / 2)], 9, 4, 'failing', 9],
    ['degraded, and restarting', (s) => ['degraded', Math.floor(s / 2)], 9, 4, 'failing', 9],
    ['restarting, with nobody there', (s) => (s % 3 < 2 ? ['degraded', 1] : ['unknown', 0]), 10, 4, 'failing', 10],
    ['failing just before the end', (s) => (s > 5 && s < 7 ? ['failing', 1] : ['degraded', 1]), 9, 4, 'failing', 9],
    ['a restart that is long ago', (s) => ['degraded', s < 3 ? 1 : 2], 9, 4, 'degraded', 9],
    ['nobody there', () => ['unknown', 0], 2, 1, 'unknown', 2],
    ['started anew in the last moment', (s) => ['ok', s < 9 ? 1 : 2], 9, 10, 'failing', 10],
  ])('%s', async (_, said, wait, stable, severity, seconds) => {
    expect((await watch(said, wait, stable)).slice(0, 2)).toEqual([severity, seconds]);
  });

  it('without a time to hold, what is so at the end counts', async () => {
    expect(await watch((s) => ['degraded', Math.floor(s)], 3, 0)).toEqual(['degraded', 3, ['it is degraded']]);
    expect(await watch((s) => ['ok', Math.floor(s)], 3, 0)).toEqual(['ok', 0, []]);
  });

  it('says what was too short, and what else there is', async () => {
    const [, , reasons] = await watch((s) => ['degraded', Math.floor(s / 2)], 9, 4);
    expect(reasons).toEqual(['it serves for 1.0 s only, asked for 4 s', 'it is degraded']);
  });
});
