import { expect, test } from 'vitest';
import type { FfcRule } from '../types/frame.js';
import { type FfcEvidence, FfcMonitor } from './ffc.js';

const FPS = 9;

/** What the monitor makes of so many seconds; `evidence` is of the time in s. */
function watch(rule: FfcRule, seconds: number, evidence: (t: number) => Partial<FfcEvidence>) {
  const monitor = new FfcMonitor(rule);
  const states: string[] = [];
  let held = 0;
  let stuck = false;
  for (let i = 0; i < seconds * FPS; i++) {
    const t = i / FPS;
    const atNs = BigInt(Math.round(t * 1e9));
    const state = monitor.observe({ atNs, same: false, step: false, ...evidence(t) });
    if (state === 'running' || state === 'settling') held++;
    stuck ||= monitor.stuck;
    const word = monitor.frozen ? 'frozen' : state;
    if (states.at(-1) !== word) states.push(word);
  }
  return { states, heldS: held / FPS, stuck };
}

test.each([2000, 20_000, 60_000])('a correction of 1 s that takes %d ms to settle is no fault', (settleMs) => {
  const { states, heldS, stuck } = watch({ detect: ['telemetry'], settleMs }, 90, (t) => ({
    telemetry: { ffc: t >= 5 && t < 6 ? 'running' : 'done' },
  }));
  expect(stuck).toBe(false);
  expect(states).toEqual(['idle', 'running', 'settling', 'idle']);
  expect(Math.abs(heldS - (1 + settleMs / 1000))).toBeLessThan(0.3);
});

test('signs that do not end are not believed any more, however long the time to settle', () => {
  const { states, heldS, stuck } = watch({ detect: ['telemetry'], settleMs: 20_000 }, 60, () => ({
    telemetry: { ffc: 'running' },
  }));
  expect(stuck).toBe(true);
  expect(states).toEqual(['running', 'idle']);
  expect(Math.abs(heldS - 15)).toBeLessThan(0.3);
});

test.each([7, 20])('a sensor that was frozen for %d s settles when it thaws, and is no fault', (seconds) => {
  const { states, stuck } = watch({ detect: ['freeze', 'step'], settleMs: 2000 }, 60, (t) => ({
    same: t >= 5 && t < 5 + seconds,
  }));
  expect(stuck).toBe(false);
  expect(states).toEqual(['idle', 'running', 'frozen', 'settling', 'idle']);
});
