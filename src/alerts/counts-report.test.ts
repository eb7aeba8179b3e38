import { expect, it } from 'vitest';
import { CountsReport } from './counts-report.js';

it('says what rose since the last line, at once, then not for a while', () => {
  const report = new CountsReport(30_000);
  expect(report.look({ rate: 0, unknown: 0 }, 0)).toBe('');
  expect(report.look({ rate: 3, unknown: 0 }, 1_000)).toBe('rate 3');
  expect(report.look({ rate: 5, unknown: 1 }, 30_000)).toBe('');
  expect(report.look({ rate: 6, unknown: 1 }, 31_000)).toBe('rate 3, unknown 1');
  expect(report.look({ rate: 7, unknown: 1 }, 31_001, true)).toBe('rate 1');
});
