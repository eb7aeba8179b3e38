import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { confirmedTrack } from '../../test/fakes/detections.js';
import { Tracker } from '../track/tracker.js';
import type { EndedTrack, Track, TrackEndReason, TrackUpdate } from '../types/track.js';
import {
  EventEngine,
  type EventEngineOptions,
  type EventFrame,
  eventIds,
  HOLD_REASONS,
  type HoldReason,
} from './events.js';
import { type EventMessage, eventSchema, severityRank } from './schema.js';
import type { Zone } from './zones.js';

const START_NS = 5_000_000_000_000n;
const START_MS = Date.UTC(2026, 0, 31, 12);
const FRAME_MS = 100;

/** Frame `n` of a camera at 10 Hz. */
function frame(n: number, change: Partial<EventFrame> = {}): EventFrame {
  return {
    sequence: n,
    captureMonotonicNs: START_NS + BigInt(n * FRAME_MS) * 1_000_000n,
    capturedAtMs: START_MS + n * FRAME_MS,
    width: 320,
    height: 256,
    latencyMs: { normalise: 0.5, infer: 10, decode: 1, total: 12 },
    model: { name: 'm', sha256: 'a'.repeat(64), precision: 'fp32' },
    provider: 'cpu',
    ...change,
  };
}

function track(n: number, change: Partial<Track> = {}): Track {
  const moment = (k: number) => ({ sequence: k, monotonicNs: frame(k).captureMonotonicNs });
  const found = { x: 100, y: 50, sigmaX: 0.1, sigmaY: 0.2, score: 0.8, snr: 6, extent: 0.9 };
  return confirmedTrack(1, found, moment(n), {
    vx: 10,
    vy: -5,
    sigmaVy: 2,
    topScore: 0.9,
    detection: null,
    firstSeen: moment(Math.max(0, n - 2)),
    ...change,
  });
}

const ended = (t: Track, endReason: TrackEndReason): EndedTrack => ({ ...t, state: 'lost', endReason });

function update(n: number, lists: Partial<Pick<TrackUpdate, 'started' | 'updated' | 'ended'>>): TrackUpdate {
  const moment = { sequence: n, monotonicNs: frame(n).captureMonotonicNs };
  return { moment, started: [], updated: [], ended: [], ...lists };
}

/** Ids that tests can read, in the form of ULIDs. */
function ids(): (atMs: number) => string {
  let n = 0;
  return () => String(++n).padStart(26, '0');
}

function engine(options: Partial<EventEngineOptions> = {}): EventEngine {
  return new EventEngine({ device: 'edge-1', camera: 'north', software: '0.1.0', newId: ids(), ...options });
}

const brief = (messages: EventMessage[]): string[] =>
  messages.map((m) => `${m.type} ${m.id.replace(/^0+/, '')}.${m.seq}${m.endReason ? ` ${m.endReason}` : ''}`);

/** One track, from frame 0 on, with what changes by frame; the messages of each frame. */
function follow(
  target: EventEngine,
  frames: number,
  change: (n: number) => Partial<Track> = () => ({}),
  of: (n: number) => Partial<EventFrame> = () => ({}),
): string[][] {
  return Array.from({ length: frames }, (_, n) => {
    const list = n === 0 ? 'started' : 'updated';
    return brief(target.update(update(n, { [list]: [track(n, change(n))] }), frame(n, of(n))));
  });
}

const nothingHeld = Object.fromEntries(HOLD_REASONS.map((reason) => [reason, 0])) as Record<HoldReason, number>;
const box = (name: string, kind: Zone['kind']): Zone => ({
  name,
  kind,
  polygon: [
    [90, 40],
    [110, 40],
    [110, 60],
    [90, 60],
  ],
});

describe('an event', () => {
  it('looks like this', () => {
    const target = engine({
      zones: [box('gate', 'mark')],
      intrinsics: { fx: 1000, fy: 1000, cx: 100, cy: 50 },
      mount: { yawDeg: 45, pitchDeg: 10, rollDeg: 0, datum: 'true' },
    });
    const chip = { format: 'png', bits: 16, x: 92, y: 42, width: 16, height: 16, data: 'aGVsbG8=' } as const;
    const [message] = target.update(
      update(7, { started: [track(7)] }),
      frame(7, {
        dropped: 2,
        ffc: false,
        clock: { synchronised: true, offsetMs: 0.25 },
        sensor: { ffc: 'idle', health: 'ok' },
        latencyMs: { normalise: 0.5, infer: 10, decode: 1, track: 0.1, total: 12 },
        chips: new Map([[1, chip]]),
      }),
    );
    expect(message).toEqual({
      schema: 'irst-edge/event/1',
      type: 'new',
      id: '00000000000000000000000001',
      seq: 0,
      device: 'edge-1',
      camera: 'north',
      severity: 'warning',
      capturedAt: '2026-01-31T12:00:00.700Z',
      captureMonotonicNs: '5000700000000',
      clock: { synchronised: true, offsetMs: 0.25 },
      firstSeenAt: '2026-01-31T12:00:00.500Z',
      lastSeenAt: '2026-01-31T12:00:00.700Z',
      frame: { sequence: 7, dropped: 2, ffc: false },
      image: { width: 320, height: 256 },
      track: { number: 1, hits: 3, misses: 0, ageMs: 200 },
      pixel: { x: 100, y: 50, sigmaX: 0.1, sigmaY: 0.2 },
      velocity: { x: 10, y: -5, sigmaX: 1, sigmaY: 2 },
      score: 0.8,
      topScore: 0.9,
      snr: 6,
      extent: 0.9,
      stationary: false,
      zones: ['gate'],
      bearing: {
        azimuthDeg: expect.closeTo(45, 9),
        elevationDeg: expect.closeTo(10, 9),
        sigmaAzimuthDeg: expect.closeTo((0.1 / 1000 / Math.cos(Math.PI / 18)) * (180 / Math.PI), 9),
        sigmaElevationDeg: expect.closeTo((0.2 / 1000) * (180 / Math.PI), 9),
        datum: 'true',
      },
      latencyMs: { normalise: 0.5, infer: 10, decode: 1, track: 0.1, total: 12 },
      model: { name: 'm', sha256: 'a'.repeat(64), precision: 'fp32' },
      provider: 'cpu',
      software: '0.1.0',
      sensor: { ffc: 'idle', health: 'ok' },
      chip,
    } satisfies EventMessage);
    expect(eventSchema.parse(JSON.parse(JSON.stringify(message)))).toEqual(message);
  });

  it('is new once, updated at the rate, and ends once with its reason', () => {
    const target = engine();
    const messages = follow(target, 25);
    expect(messages[0]).toEqual(['new 1.0']);
    expect(messages.flatMap((m, n) => (m.length > 0 ? [[n, ...m]] : []))).toEqual([
      [0, 'new 1.0'],
      [10, 'update 1.1'],
      [20, 'update 1.2'],
    ]);
    const lost = track(18, { misses: 7, state: 'coasting' });
    const last = target.update(update(25, { ended: [ended(lost, 'lost')] }), frame(25));
    expect(brief(last)).toEqual(['end 1.3 lost']);
    expect(last[0]).toMatchObject({
      capturedAt: '2026-01-31T12:00:02.500Z',
      lastSeenAt: '2026-01-31T12:00:01.800Z',
      track: { misses: 7 },
    });
    expect(target.update(update(26, {}), frame(26))).toEqual([]);
    expect(target.counters()).toMatchObject({
      tracks: { confirmed: 1, reported: 1, opened: 1, closed: 1, open: 0, held: nothingHeld },
      updates: { sent: 2, withheld: { interval: 22 } },
    });
  });

  it('goes on with every frame where the interval is 0', () => {
    expect(follow(engine({ updateIntervalMs: 0 }), 3)).toEqual([['new 1.0'], ['update 1.1'], ['update 1.2']]);
  });

  it('has an id that the next one is greater than', () => {
    const next = eventIds();
    const made = Array.from({ length: 50 }, (_, i) => next(START_MS + (i % 3)));
    expect([...made].sort()).toEqual(made);
    expect(new Set(made).size).toBe(50);
    expect(made.every((id) => eventSchema.shape.id.safeParse(id).success)).toBe(true);
  });

  it('keeps its times when the wall clock is set', () => {
    const target = engine({ updateIntervalMs: 0 });
    follow(target, 1);
    const step = 3_600_000;
    const [message] = target.update(
      update(5, { updated: [track(5, { firstSeen: track(2).firstSeen })] }),
      frame(5, { capturedAtMs: frame(5).capturedAtMs + step }),
    );
    const ms = (text: string | undefined) => Date.parse(text ?? '');
    expect(ms(message?.capturedAt) - ms(message?.firstSeenAt)).toBe(message?.track.ageMs);
  });

  it('ages are those of the clock of the tracks, captures those of the run', () => {
    const at = (k: number) => ({ sequence: k, monotonicNs: BigInt(k) * 5_000_000_000n });
    const seen = track(0, { firstSeen: at(0), lastSeen: at(1) });
    const [message] = engine().update({ moment: at(2), started: [seen], updated: [], ended: [] }, frame(2));
    expect(message).toMatchObject({
      capturedAt: new Date(START_MS + 2 * FRAME_MS).toISOString(),
      firstSeenAt: new Date(START_MS + 2 * FRAME_MS - 10_000).toISOString(),
      lastSeenAt: new Date(START_MS + 2 * FRAME_MS - 5_000).toISOString(),
      track: { ageMs: 10_000 },
    });
  });

  it('carries no chip at its end', () => {
    const target = engine();
    follow(target, 1);
    const chips = new Map([
      [1, { format: 'png', bits: 16, x: 0, y: 0, width: 1, height: 1, data: 'aGVsbG8=' } as const],
    ]);
    const [end] = target.update(update(1, { ended: [ended(track(1), 'left')] }), frame(1, { chips }));
    expect(end).toMatchObject({ type: 'end', endReason: 'left' });
    expect(end).not.toHaveProperty('chip');
  });
});

describe('chips', () => {
  const chips = new Map([[1, { format: 'png', bits: 16, x: 0, y: 0, width: 1, height: 1, data: 'aGVsbG8=' } as const]]);
  const life = (target: EventEngine): EventMessage[] => [
    ...target.update(update(0, { started: [track(0)] }), frame(0, { chips })),
    ...target.update(update(1, { updated: [track(1)] }), frame(1, { chips })),
    // Not seen in this frame: there is no chip of it.
    ...target.update(
      update(2, { updated: [track(2, { misses: 1, state: 'coasting' })] }),
      frame(2, { chips: new Map() }),
    ),
    ...target.update(update(3, { ended: [ended(track(3), 'left')] }), frame(3, { chips })),
  ];

  it.each([
    ['new', [true, false, false, false]],
    ['all', [true, true, false, false]],
  ] as const)('on %s', (which, expected) => {
    const messages = life(engine({ chips: which, updateIntervalMs: 0 }));
    expect(messages.map((m) => m.type)).toEqual(['new', 'update', 'update', 'end']);
    expect(messages.map((m) => m.chip !== undefined)).toEqual(expected);
    for (const message of messages) expect(eventSchema.parse(message)).toEqual(message);
  });

  it('are asked for only where a message carries one', () => {
    const asked: number[] = [];
    const counting = {
      get: (n: number) => {
        asked.push(n);
        return chips.get(n);
      },
    };
    const target = engine({ chips: 'all', updateIntervalMs: 500 });
    for (let n = 0; n < 11; n++) {
      target.update(update(n, { [n === 0 ? 'started' : 'updated']: [track(n)] }), frame(n, { chips: counting }));
    }
    expect(asked).toEqual([1, 1, 1]);
  });
});

describe('configure', () => {
  it('sets the interval from the next message on', () => {
    const target = engine({ updateIntervalMs: 1000 });
    follow(target, 5);
    target.configure({ updateIntervalMs: 300, severity: 'warning' });
    const sent = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, k) => from + k).filter(
        (n) => target.update(update(n, { updated: [track(n)] }), frame(n)).length > 0,
      );
    // The last message was that of frame 0: 300 ms are over.
    expect(sent(5, 15)).toEqual([5, 8, 11, 14]);
    target.configure({ updateIntervalMs: 0, severity: 'warning' });
    expect(sent(15, 18)).toEqual([15, 16, 17]);
    target.configure({ updateIntervalMs: 2000, severity: 'warning' });
    expect(sent(18, 60)).toEqual([37, 57]);
  });

  it('sets the severity where no rule applies: open events rise at once and never fall, new ones begin with it', () => {
    const target = engine({ severity: { base: 'warning', rules: [{ severity: 'critical', snr: 50 }] } });
    target.update(update(0, { started: [track(0)] }), frame(0));
    target.configure({ updateIntervalMs: 1000, severity: 'critical' });
    const [risen] = target.update(update(1, { updated: [track(1)] }), frame(1));
    expect(risen).toMatchObject({ type: 'update', severity: 'critical' });
    target.configure({ updateIntervalMs: 1000, severity: 'info' });
    const next = target.update(
      update(20, { started: [track(20, { id: 2 }), track(20, { id: 3, snr: 60 })], updated: [track(20)] }),
      frame(20),
    );
    // The rules stay as they were.
    expect(next.map((m) => [m.type, m.track.number, m.severity])).toEqual([
      ['new', 2, 'info'],
      ['new', 3, 'critical'],
      ['update', 1, 'critical'],
    ]);
  });
});

describe('severity', () => {
  const rules = [
    { severity: 'critical', snr: 10, score: 0.9 },
    { severity: 'critical', zone: 'gate' },
    { severity: 'info', snr: 2 },
    { severity: 'warning', snr: 5 },
  ] as const;
  const severities = (changes: Partial<Track>[], options: Partial<EventEngineOptions> = {}) => {
    const target = engine({ updateIntervalMs: 0, severity: { base: 'warning', rules }, ...options });
    return changes.map(
      (change, n) =>
        target.update(update(n, { [n === 0 ? 'started' : 'updated']: [track(n, change)] }), frame(n))[0]?.severity,
    );
  };

  it.each([
    [{ snr: 1 }, 'warning'],
    [{ snr: 2 }, 'info'],
    [{ snr: 5 }, 'warning'],
    [{ snr: 10, score: 0.89 }, 'warning'],
    [{ snr: 10, score: 0.9 }, 'critical'],
  ])('of %j is %s', (change, expected) => {
    expect(severities([change])).toEqual([expected]);
  });

  it('follows the zone, and never falls', () => {
    const zones = [box('gate', 'mark')];
    const changes = [{ x: 0 }, { x: 100 }, { x: 0 }];
    expect(severities(changes, { zones })).toEqual(['warning', 'critical', 'critical']);
  });

  it('rises at once, whatever the interval, but not by a guess', () => {
    const target = engine({ severity: { base: 'info', rules } });
    const changes: Partial<Track>[] = [
      { snr: 3 },
      { snr: 3 },
      { snr: 6, state: 'coasting' },
      { snr: 6 },
      { snr: 6 },
      { snr: 11, score: 1 },
    ];
    expect(follow(target, changes.length, (n) => changes[n] ?? {})).toEqual([
      ['new 1.0'],
      [],
      [],
      ['update 1.1'],
      [],
      ['update 1.2'],
    ]);
  });
});

describe('what holds back', () => {
  const held = (target: EventEngine) => {
    const { held, suppressed, reported } = target.counters().tracks;
    const some = (counts: Record<string, number>) =>
      Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
    return { held: some(held), suppressed: some(suppressed), reported };
  };

  it.each<[HoldReason, Partial<EventEngineOptions>, Partial<Track>, Partial<EventFrame>]>([
    ['disabled', { enabled: false }, {}, {}],
    ['ffc', {}, {}, { ffc: true }],
    ['sensorFixed', {}, { sensorFixed: true }, {}],
    ['stationary', {}, { stationary: true }, {}],
    ['zone', { zones: [box('a', 'ignore')] }, {}, {}],
    ['zone', { zones: [box('a', 'include')] }, { x: 0 }, {}],
    ['quiet', { quietHours: { from: '11:00', to: '13:00', clock: 'utc', action: 'suppress' } }, {}, {}],
  ])('%s: no event, but a count', (reason, options, change, of) => {
    const target = engine(options);
    expect(
      follow(
        target,
        3,
        () => change,
        () => of,
      ).flat(),
    ).toEqual([]);
    expect(held(target)).toEqual({ held: { [reason]: 1 }, suppressed: {}, reported: 0 });
    expect(target.update(update(3, { ended: [ended(track(3, change), 'lost')] }), frame(3, of))).toEqual([]);
    expect(held(target)).toEqual({ held: {}, suppressed: { [reason]: 1 }, reported: 0 });
  });

  it('opens when it is over and the target is seen', () => {
    const target = engine({ zones: [box('a', 'ignore')] });
    const changes: Partial<Track>[] = [{}, {}, { x: 120, state: 'coasting' }, { x: 121 }, { x: 122 }];
    expect(follow(target, 5, (n) => changes[n] ?? {})).toEqual([[], [], [], ['new 1.0'], []]);
    expect(held(target)).toEqual({ held: {}, suppressed: {}, reported: 1 });
  });

  it('opens after the quiet hours when it is still there', () => {
    const quietHours = { from: '11:00', to: '12:00', clock: 'utc', action: 'suppress' } as const;
    const of = (n: number) => ({ capturedAtMs: START_MS + (n - 2) * FRAME_MS });
    expect(follow(engine({ quietHours }), 4, () => ({}), of)).toEqual([[], [], ['new 1.0'], []]);
  });

  it.each([
    ['was never set, and the time service says so', false, START_MS, true],
    ['says 1970, and no time service is known', null, Date.UTC(1970, 0, 1), true],
    ['is set', true, START_MS, false],
    ['has a battery, and no time service is known', null, START_MS, false],
  ])('keeps no quiet hours by a clock that %s', (_, synchronised, capturedAtMs, opens) => {
    const of = () => ({ capturedAtMs, clock: { synchronised } });
    // All day long, but for a minute.
    const hours = { from: '00:00', to: '23:59', clock: 'utc' } as const;
    const suppressing = engine({ quietHours: { ...hours, action: 'suppress' } });
    expect(follow(suppressing, 1, () => ({}), of)).toEqual([opens ? ['new 1.0'] : []]);
    const lowering = engine({ quietHours: { ...hours, action: 'lower' } });
    const [found] = lowering.update(update(0, { started: [track(0)] }), frame(0, of()));
    expect(found?.severity).toBe(opens ? 'warning' : 'info');
  });

  it('in quiet hours that lower, opens as info and rises at their end', () => {
    const quietHours = { from: '11:00', to: '12:00', clock: 'utc', action: 'lower' } as const;
    const target = engine({ quietHours });
    const found = [0, 1, 2, 3].flatMap((n) =>
      target.update(
        update(n, { [n === 0 ? 'started' : 'updated']: [track(n)] }),
        frame(n, { capturedAtMs: START_MS + (n - 2) * FRAME_MS }),
      ),
    );
    expect(found.map((m) => [m.type, m.severity])).toEqual([
      ['new', 'info'],
      ['update', 'warning'],
    ]);
  });

  it('does not touch an open event: it says so once when it stands still, and when it moves again', () => {
    const target = engine({ zones: [box('a', 'ignore')] });
    const change = (n: number) => ({ x: n < 5 ? 0 : 100, stationary: n >= 15 && n < 45 });
    const messages = follow(target, 60, change);
    expect(messages.flatMap((m, n) => m.map((text) => [n, text]))).toEqual([
      [0, 'new 1.0'],
      [10, 'update 1.1'],
      [20, 'update 1.2'],
      [45, 'update 1.3'],
      [55, 'update 1.4'],
    ]);
    expect(target.counters().updates.withheld.stationary).toBe(15);
  });

  it('stationary targets are events like others where configured', () => {
    expect(follow(engine({ stationary: 'report' }), 1, () => ({ stationary: true }))).toEqual([['new 1.0']]);
  });

  it('updates wait for the end of a flat-field correction, the end does not', () => {
    const target = engine({ updateIntervalMs: 0 });
    follow(target, 1);
    expect(target.update(update(1, { updated: [track(1)] }), frame(1, { ffc: true }))).toEqual([]);
    expect(target.counters().updates.withheld.ffc).toBe(1);
    const last = target.update(update(2, { ended: [ended(track(1), 'reset')] }), frame(2, { ffc: true }));
    expect(brief(last)).toEqual(['end 1.1 reset']);
  });
});

describe('switching off and on, and starting anew', () => {
  it('ends what is open; what is still there afterwards gets an event of its own', () => {
    const target = engine();
    follow(target, 2);
    expect(brief(target.setEnabled(false))).toEqual(['end 1.1 disabled']);
    expect(target.setEnabled(false)).toEqual([]);
    expect(target.update(update(2, { updated: [track(2)] }), frame(2))).toEqual([]);
    expect(target.setEnabled(true)).toEqual([]);
    expect(brief(target.update(update(3, { updated: [track(3)] }), frame(3)))).toEqual(['new 2.0']);
    expect(target.counters().tracks).toMatchObject({ confirmed: 1, reported: 1, opened: 2, closed: 1, open: 1 });
  });

  it('close ends everything with what was last known', () => {
    const target = engine({ zones: [box('a', 'ignore')] });
    const two = [track(0, { id: 1, x: 0 }), track(0, { id: 2 })];
    target.update(update(0, { started: two }), frame(0));
    const messages = target.close('stopped');
    expect(brief(messages)).toEqual(['end 1.1 stopped']);
    expect(messages[0]?.frame.sequence).toBe(0);
    expect(target.close('stopped')).toEqual([]);
    expect(target.counters().tracks).toMatchObject({ confirmed: 2, reported: 1, suppressed: { zone: 1 }, open: 0 });
    // Another run of the source: its numbers begin anew.
    expect(brief(target.update(update(1, { started: [track(1)] }), frame(1)))).toEqual([]);
    expect(brief(target.update(update(2, { updated: [track(2, { x: 0 })] }), frame(2)))).toEqual(['new 2.0']);
  });

  it('a track that vanishes, or a number that starts twice, is a reset', () => {
    const target = engine();
    follow(target, 1);
    expect(brief(target.update(update(1, { started: [track(1)] }), frame(1)))).toEqual(['end 1.1 reset', 'new 2.0']);
    expect(brief(target.update(update(2, {}), frame(2)))).toEqual(['end 2.1 reset']);
    expect(target.counters().tracks).toMatchObject({ confirmed: 2, reported: 2, opened: 2, closed: 2, open: 0 });
  });

  it('a frame that is not newer changes nothing; an end of an unknown track neither', () => {
    const target = engine();
    follow(target, 2);
    const before = target.counters();
    expect(target.update(update(1, {}), frame(1))).toEqual([]);
    expect(target.update(update(0, { ended: [ended(track(0), 'lost')] }), frame(0))).toEqual([]);
    expect(target.counters()).toEqual(before);
    expect(
      target.update(update(2, { updated: [track(2)], ended: [ended(track(2, { id: 9 }), 'lost')] }), frame(2)),
    ).toEqual([]);
    expect(target.counters().tracks).toEqual(before.tracks);
  });
});

describe('with the tracker', () => {
  it('a target that comes, moves, and goes is one event', () => {
    const target = engine();
    const tracker = new Tracker({ width: 320, height: 256 });
    const messages = Array.from({ length: 60 }, (_, n) => {
      const found = { x: 50 + 2 * n, y: 80 + n, sigmaX: 0.1, sigmaY: 0.1, score: 0.9, snr: 9, extent: 1 };
      const now = frame(n);
      const lists = tracker.update({
        sequence: n,
        captureMonotonicNs: now.captureMonotonicNs,
        detections: n >= 5 && n < 30 ? [found] : [],
      });
      return target.update(lists, now);
    }).flat();
    expect(messages[0]).toMatchObject({ type: 'new', frame: { sequence: 7 }, track: { number: 1, hits: 3 } });
    expect(messages.at(-1)).toMatchObject({ type: 'end', endReason: 'lost', track: { hits: 25 } });
    expect(messages.filter((m) => m.type !== 'update')).toHaveLength(2);
    const [late] = messages.filter((m) => m.frame.sequence > 20 && m.track.misses === 0);
    const n = late?.frame.sequence ?? 0;
    expect(late?.pixel.x).toBeCloseTo(50 + 2 * n, 0);
    expect(late?.velocity.x).toBeCloseTo(20, 0);
    expect(new Set(messages.map((m) => m.id)).size).toBe(1);
    expect(target.counters().tracks).toMatchObject({ confirmed: 1, reported: 1, opened: 1, closed: 1 });
  });
});

describe('whatever comes', () => {
  const step = fc.record({
    gapMs: fc.integer({ min: 1, max: 700 }),
    ffc: fc.boolean(),
    toggle: fc.constantFrom(null, null, null, null, true, false),
    close: fc.constantFrom(false, false, false, false, false, false, true),
    tracks: fc.array(
      fc.record({
        id: fc.integer({ min: 1, max: 6 }),
        end: fc.constantFrom<(TrackEndReason | null)[]>(null, null, null, 'lost', 'left', 'displaced'),
        state: fc.constantFrom<Track['state'][]>('confirmed', 'confirmed', 'coasting'),
        x: fc.integer({ min: 0, max: 150 }),
        snr: fc.integer({ min: 0, max: 12 }),
        stationary: fc.boolean(),
        sensorFixed: fc.constantFrom(false, false, true),
      }),
      { maxLength: 6 },
    ),
  });

  it('sums hold after every frame; every event is new, updates, end; updates keep their distance', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
        const target = engine({
          newId: eventIds(),
          zones: [box('a', 'ignore'), box('b', 'mark')],
          quietHours: { from: '12:00', to: '12:01', clock: 'utc', action: 'suppress' },
          severity: {
            base: 'info',
            rules: [
              { severity: 'warning', snr: 5 },
              { severity: 'critical', snr: 10 },
            ],
          },
        });
        const all: EventMessage[] = [];
        const known = new Set<number>();
        let confirmed = 0;
        let atMs = 0;
        const check = (messages: EventMessage[]): void => {
          all.push(...messages);
          const { tracks, updates } = target.counters();
          const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
          expect(tracks.confirmed).toBe(confirmed);
          expect(tracks.confirmed).toBe(tracks.reported + sum(tracks.held) + sum(tracks.suppressed));
          expect(tracks.open).toBe(tracks.opened - tracks.closed);
          expect(sum(tracks.held)).toBeLessThanOrEqual(known.size);
          expect(tracks.open).toBeLessThanOrEqual(known.size);
          const of = (type: EventMessage['type']) => all.filter((m) => m.type === type).length;
          expect([of('new'), of('update'), of('end')]).toEqual([tracks.opened, updates.sent, tracks.closed]);
        };
        for (const [n, { gapMs, ffc, toggle, close, tracks }] of steps.entries()) {
          atMs += gapMs;
          if (toggle !== null) check(target.setEnabled(toggle));
          if (close) {
            known.clear();
            check(target.close('reset'));
          }
          const captureMonotonicNs = START_NS + BigInt(atMs) * 1_000_000n;
          const now = { sequence: n, monotonicNs: captureMonotonicNs };
          const lists: TrackUpdate = { moment: now, started: [], updated: [], ended: [] };
          const here = new Set<number>();
          for (const { end, ...change } of tracks) {
            if (here.has(change.id)) continue;
            here.add(change.id);
            const t = track(n, { ...change, firstSeen: now, lastSeen: now });
            if (end !== null) {
              lists.ended.push(ended(t, end));
              known.delete(t.id);
            } else if (known.has(t.id)) lists.updated.push(t);
            else {
              confirmed++;
              known.add(t.id);
              lists.started.push(t);
            }
          }
          for (const id of known) if (!here.has(id)) known.delete(id);
          // Half of the runs' time lies in the quiet hours.
          const capturedAtMs = START_MS + 55_000 + atMs;
          check(target.update(lists, frame(n, { captureMonotonicNs, capturedAtMs, ffc })));
        }
        known.clear();
        check(target.close('stopped'));
        expect(target.counters().tracks.open).toBe(0);

        const byId = new Map<string, EventMessage[]>();
        for (const m of all) byId.set(m.id, [...(byId.get(m.id) ?? []), m]);
        for (const messages of byId.values()) {
          expect(messages.map((m) => m.seq)).toEqual(messages.map((_, i) => i));
          const types = messages.map((m) => m.type).join(' ');
          expect(types).toMatch(/^new( update)* end$/);
          for (const [i, m] of messages.entries()) {
            expect(eventSchema.safeParse(JSON.parse(JSON.stringify(m))).error).toBeUndefined();
            expect(m.endReason !== undefined).toBe(m.type === 'end');
            const before = messages[i - 1];
            if (before === undefined) continue;
            const rise = severityRank(m.severity) - severityRank(before.severity);
            expect(rise).toBeGreaterThanOrEqual(0);
            const gapNs = BigInt(m.captureMonotonicNs) - BigInt(before.captureMonotonicNs);
            if (m.type === 'update' && rise === 0) expect(gapNs).toBeGreaterThanOrEqual(1_000_000_000n);
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});

it('makes ids for capture times with fractions of a millisecond', () => {
  const newId = eventIds();
  const ids = [1_795_349_950_069.991, 1_795_349_950_069.2, 0.5].map(newId);
  expect(new Set(ids).size).toBe(3);
  for (const id of ids) expect(id).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/);
});
