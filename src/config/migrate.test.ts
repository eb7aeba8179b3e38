import { expect, test } from 'vitest';
import { migrate } from './migrate.js';

const steps = {
  1: ({ old, ...rest }: Readonly<Record<string, unknown>>) => ({ ...rest, renamed: old }),
  2: (raw: Readonly<Record<string, unknown>>) => ({ ...raw, list: [raw.renamed] }),
};

test('step by step to the version of the program; without one it is version 1', () => {
  const wanted = { version: 3, renamed: 5, list: [5] };
  expect(migrate({ old: 5 }, 'f', 3, steps)).toEqual(wanted);
  expect(migrate({ version: 1, old: 5 }, 'f', 3, steps)).toEqual(wanted);
  expect(migrate({ version: 2, renamed: 5 }, 'f', 3, steps)).toEqual(wanted);
  expect(migrate(wanted, 'f', 3, steps)).toEqual(wanted);
});

test('what was given is not changed', () => {
  const raw = { old: 5 };
  migrate(raw, 'f', 3, steps);
  expect(raw).toEqual({ old: 5 });
});

test('a newer one is refused, with its version', () => {
  expect(() => migrate({ version: 4 }, 'edge.yaml', 3, steps)).toThrow(
    expect.objectContaining({
      code: 'CONFIG_TOO_NEW',
      exitCode: 78,
      message: expect.stringContaining('edge.yaml is of version 4'),
    }),
  );
});

test.each([[null], [[]], ['text'], [{ version: 'one' }], [{ version: 0 }], [{ version: 1.5 }]])(
  'what is no configuration of a version is left to validation: %j',
  (raw) => {
    expect(migrate(raw, 'f', 3, steps)).toBe(raw);
  },
);
