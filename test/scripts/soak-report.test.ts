import { expect, test } from 'vitest';
// @ts-expect-error: a script without types
import { judge } from '../../scripts/soak-report.mjs';

interface Figures {
  arrived: number;
  opened: number;
  published: { new: number; update: number; end: number };
  dropped: Record<string, number>;
  recovered?: number;
}

/** What the soak says of the events of a short run with one life. */
function events({ arrived, opened, published, dropped, recovered = 0 }: Figures): { ok: boolean; figure: string } {
  const all = Object.values(dropped).reduce((a, b) => a + b, 0);
  const outbox = {
    accepted: { new: opened, update: published.update + all, end: published.end },
    recovered,
    published,
    coalesced: 0,
    dropped,
    waiting: 0,
    inFlight: 0,
  };
  const message = {
    cameras: [
      {
        camera: 'a',
        frames: { captured: 9, processed: 9, dropped: {} },
        tracks: { confirmed: opened, reported: opened, held: {}, suppressed: {}, opened, closed: opened, open: 0 },
      },
    ],
    outbox,
  };
  const sample = { life: 0, rssKiB: 100_000, handles: 20, threads: 10, faulting: false };
  const { checks } = judge({
    minutes: 1,
    options: {},
    samples: [0, 1000, 2000].map((at) => ({ at, ...sample })),
    stats: [{ at: 2000, life: 0, message }],
    latencies: [{ at: 0, ms: 20 }],
    events: Array.from({ length: arrived }, () => ({ new: 1, end: 1 })),
    lives: [{ number: 0, ended: { code: 0, signal: null } }],
    faults: [],
    duplicates: 0,
    unreadable: 0,
    codes: {},
  });
  return checks.find(({ name }: { name: string }) => name === 'every event that was opened arrived');
}

const none = { new: 0, update: 0, end: 0 };
const idle = { accepted: none, recovered: 0, published: none, coalesced: 0, dropped: {}, waiting: 0, inFlight: 0 };

const published = { new: 10, update: 30, end: 10 };

test.each<[string, Figures, boolean]>([
  ['all of them', { arrived: 10, opened: 10, published, dropped: {} }, true],
  ['one less', { arrived: 9, opened: 10, published, dropped: {} }, false],
  // What the outbox gave up were updates: it had each `new` acknowledged.
  [
    'one less, beside updates that were given up',
    { arrived: 9, opened: 10, published, dropped: { expired: 5 } },
    false,
  ],
  [
    'one less, which the outbox gave up',
    { arrived: 9, opened: 10, published: { ...published, new: 9 }, dropped: { overflow: 5 } },
    true,
  ],
  [
    'two less, of which the outbox gave up one',
    { arrived: 8, opened: 10, published: { ...published, new: 9 }, dropped: { overflow: 5 } },
    false,
  ],
  [
    'one less that never reached the broker, beside what cannot be the `new` of an event',
    { arrived: 9, opened: 10, published: { ...published, new: 9 }, dropped: { duplicate: 3, after_end: 3 } },
    false,
  ],
  [
    'one less, beside events of an earlier life',
    { arrived: 9, opened: 10, published, dropped: { duplicate: 1, after_end: 2 }, recovered: 4 },
    false,
  ],
])('of ten events arrived %s', (_, figures, ok) => {
  const said = events(figures);
  expect(said.ok, said.figure).toBe(ok);
});

test.each<[string, object, 'disk' | 'degraded', boolean]>([
  ['an end', { new: 1, end: 1 }, 'disk', true],
  ['none though the disk worked', { new: 1 }, 'disk', false],
  ['none since the disk failed', { new: 1 }, 'degraded', true],
  ['two though the disk worked', { new: 1, end: 2 }, 'disk', false],
  ['two since the disk failed', { new: 1, end: 2 }, 'degraded', true],
])('an event that was open when the daemon was killed has %s', (_, event, mode, ok) => {
  const { checks } = judge({
    minutes: 1,
    options: {},
    samples: [0, 1000, 2000].map((at) => ({ at, life: 1, rssKiB: 100_000, handles: 20, threads: 10, faulting: false })),
    stats: [{ at: 500, life: 0, message: { cameras: [], outbox: { ...idle, store: { mode } } } }],
    latencies: [{ at: 0, ms: 20 }],
    events: [{ new: 1, end: 1 }, event],
    lives: [
      { number: 0, ended: { code: null, signal: 'SIGKILL' } },
      { number: 1, ended: { code: 0, signal: null } },
    ],
    faults: [],
    duplicates: 0,
    unreadable: 0,
    codes: {},
  });
  const said = checks.find(({ name }: { name: string }) => name === 'one new and one end an event');
  expect(said.ok, said.figure).toBe(ok);
});
