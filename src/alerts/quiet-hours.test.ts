import { afterEach, expect, it } from 'vitest';
import { isQuiet, type QuietHours } from './quiet-hours.js';

const zone = process.env.TZ;
afterEach(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

const utc = (from: string, to: string): QuietHours => ({ from, to, clock: 'utc' });
const at = (time: string): number => Date.parse(`2026-01-31T${time}Z`);

it.each([
  ['09:00', '17:30', '09:00:00.000', true],
  ['09:00', '17:30', '17:29:59.999', true],
  ['09:00', '17:30', '17:30:00.000', false],
  ['09:00', '17:30', '08:59:59.999', false],
  ['22:00', '06:00', '23:00:00.000', true],
  ['22:00', '06:00', '00:00:00.000', true],
  ['22:00', '06:00', '05:59:00.000', true],
  ['22:00', '06:00', '06:00:00.000', false],
  ['22:00', '06:00', '21:59:59.999', false],
  ['22:00', '22:00', '22:00:00.000', false],
])('from %s to %s: %s is %s', (from, to, time, expected) => {
  expect(isQuiet(utc(from, to), at(time))).toBe(expected);
});

it("goes by the machine's time zone, with daylight saving time", () => {
  process.env.TZ = 'Europe/Berlin';
  const hours: QuietHours = { from: '22:00', to: '06:00', clock: 'local' };
  // CET: UTC+1. CEST: UTC+2.
  expect(isQuiet(hours, Date.parse('2026-01-31T20:59:00Z'))).toBe(false);
  expect(isQuiet(hours, Date.parse('2026-01-31T21:00:00Z'))).toBe(true);
  expect(isQuiet(hours, Date.parse('2026-07-31T20:00:00Z'))).toBe(true);
  expect(isQuiet(hours, Date.parse('2026-07-31T04:00:00Z'))).toBe(false);
});
