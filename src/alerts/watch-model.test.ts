import { describe, expect, it } from 'vitest';
import { EXAMPLES } from './examples.js';
import type { EventMessage } from './schema.js';
import {
  applyMessage,
  EMPTY_MODEL,
  expire,
  messageLine,
  readMessage,
  renderTable,
  type WatchModel,
  watchFilters,
} from './watch-model.js';

const EVENT: EventMessage = EXAMPLES.event;
const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const BASE = 'irst/edge-1';

function play(messages: [topic: string, body: unknown][], nowMs = 0, from = EMPTY_MODEL): WatchModel {
  return messages.reduce(
    (model, [topic, body]) => applyMessage(model, readMessage('irst', topic, bytes(body)), nowMs),
    from,
  );
}

const all: [string, unknown][] = [
  [`${BASE}/available`, 'online'],
  [`${BASE}/status`, EXAMPLES.status],
  [`${BASE}/north/state`, EXAMPLES['camera-state']],
  [`${BASE}/north/detections`, EXAMPLES.detections],
  [`${BASE}/north/events`, EVENT],
];

describe('topics', () => {
  it('are those of one device, or of all', () => {
    expect(watchFilters('site/irst', 'edge-1')).toContain('site/irst/edge-1/+/events');
    expect(watchFilters('irst')).toContain('irst/+/available');
  });

  it.each([
    [`${BASE}/available`, 'available', undefined],
    [`${BASE}/status`, 'status', undefined],
    [`${BASE}/north/events`, 'events', 'north'],
    [`${BASE}/north/state`, 'state', 'north'],
    [`${BASE}/north/threshold/state`, 'command', 'north'],
  ])('%s', (topic, kind, camera) => {
    expect(readMessage('irst', topic, bytes({}))).toMatchObject({ kind, device: 'edge-1' });
    expect(readMessage('irst', topic, bytes({}))?.camera).toBe(camera);
  });

  it.each([
    'other/edge-1/available',
    'irst',
    'irst/',
    `${BASE}/north`,
    `${BASE}/north/events/cbor`,
    `${BASE}/a/b/c/state`,
  ])('not %s', (topic) => {
    expect(readMessage('irst', topic, bytes({}))).toBeUndefined();
  });

  it('not what is no JSON, or too long', () => {
    expect(readMessage('irst', `${BASE}/north/events`, bytes('{'))).toBeUndefined();
    expect(readMessage('irst', `${BASE}/north/events`, Buffer.alloc(2 ** 20 + 1, '1'))).toBeUndefined();
  });
});

describe('the model', () => {
  it('holds devices, cameras and tracks', () => {
    const model = play(all, 1000);
    expect([...model.devices]).toEqual([['edge-1', 'online']]);
    expect([...model.cameras.values()]).toEqual([
      {
        device: 'edge-1',
        camera: 'north',
        state: 'running',
        fps: 30,
        provider: 'tensorrt',
        enabled: true,
        open: 1,
        detections: 1,
        detectionsAtMs: 1000,
      },
    ]);
    expect([...model.tracks.values()]).toMatchObject([{ id: EVENT.id, type: 'new', number: 5, x: 401.27, atMs: 1000 }]);
    expect([model.messages, model.unreadable]).toEqual([5, 0]);
  });

  it('shows messages of a newer version too', () => {
    const newer = {
      ...EVENT,
      schema: 'irst-edge/event/1',
      added: true,
      pixel: { ...EVENT.pixel, added: 1 },
      endReason: 'new-word',
    };
    expect(play([[`${BASE}/north/events`, { ...newer, type: 'end' }]]).tracks.get(EVENT.id)?.endReason).toBe(
      'new-word',
    );
  });

  it('counts what it cannot read, and keeps the rest', () => {
    const model = play([
      ...all,
      [`${BASE}/north/events`, { ...EVENT, pixel: 'here' }],
      [`${BASE}/north/events`, 'noise'],
      [`${BASE}/available`, 'maybe'],
      [`${BASE}/north/state`, []],
      [`${BASE}/north/detections`, 1],
      [`${BASE}/status`, null],
    ]);
    expect([model.messages, model.unreadable, model.tracks.size]).toEqual([11, 6, 1]);
  });

  it('follows an event to its end, and forgets it then', () => {
    let model = play(all, 0);
    model = play([[`${BASE}/north/events`, { ...EVENT, type: 'end', seq: 3, endReason: 'left' }]], 2000, model);
    expect([...model.tracks.values()]).toMatchObject([{ type: 'end', endReason: 'left' }]);
    expect(expire(model, 6999)).toBe(model);
    expect(expire(model, 7000).tracks.size).toBe(0);
  });

  it('forgets a track of which nothing is heard', () => {
    const model = play(all, 0);
    expect(expire(model, 59_999).tracks.size).toBe(1);
    expect(expire(model, 60_000).tracks.size).toBe(0);
  });

  it('is bounded', () => {
    const model = Array.from({ length: 1000 }, (_, i) => i).reduce(
      (m, i) =>
        play(
          [
            [`irst/d${i}/c${i}/events`, { ...EVENT, id: `e${i}` }],
            [`irst/d${i}/c/state`, { state: 'running' }],
          ],
          0,
          m,
        ),
      EMPTY_MODEL,
    );
    expect([model.tracks.size, model.cameras.size, model.devices.size]).toEqual([256, 256, 256]);
    expect(model.tracks.has('e999')).toBe(true);
  });

  it('does not change a model that was given away', () => {
    const before = play(all);
    const copy = structuredClone({ tracks: before.tracks, cameras: before.cameras, devices: before.devices });
    play(
      [
        [`${BASE}/available`, 'offline'],
        [`${BASE}/north/events`, { ...EVENT, type: 'end' }],
      ],
      1,
      before,
    );
    expect({ tracks: before.tracks, cameras: before.cameras, devices: before.devices }).toEqual(copy);
  });

  it('drops the error of a camera that runs again', () => {
    const failed = { state: 'failed', error: { code: 'SOURCE_FAILED', message: 'x' } };
    const model = play([[`${BASE}/north/state`, failed]]);
    expect(model.cameras.get('edge-1/north')?.error).toBe('SOURCE_FAILED');
    expect(
      play([[`${BASE}/north/state`, { state: 'running' }]], 0, model).cameras.get('edge-1/north')?.error,
    ).toBeUndefined();
  });
});

describe('the table', () => {
  const plain = { width: 140, colour: false, nowMs: 1500 };

  it('shows it all', () => {
    expect(renderTable(play(all, 1000), plain)).toEqual([
      'edge-1 online   (5 messages)',
      '',
      'CAMERA        STATE    FPS      PROVIDER  OPEN    NOW     NOTE',
      'edge-1/north  running  30.0 Hz  tensorrt  1 open  1 seen',
      '',
      'CAMERA        TRACK  SEVERITY  X px          Y px          SPEED px/s  SNR  SCORE  BEARING       AGE    NOTE',
      'edge-1/north  5      warning   401.27 ±0.09  118.64 ±0.11  12.9        7.8  0.91   31.48° 6.21°  0.6 s  approach',
    ]);
  });

  it('says when there is nothing', () => {
    expect(renderTable(EMPTY_MODEL, plain)).toEqual(['no device yet   (0 messages)', '', 'no targets']);
  });

  it.each([0, 1, 10, 79])('is no wider than %i columns', (width) => {
    for (const line of renderTable(play(all), { ...plain, width })) expect(line.length).toBeLessThanOrEqual(width);
  });

  it('is no higher than asked for', () => {
    const many = Array.from({ length: 50 }, (_, i): [string, unknown] => [
      `${BASE}/north/events`,
      { ...EVENT, id: `e${i}` },
    ]);
    const lines = renderTable(play([...all, ...many]), { ...plain, height: 10 });
    expect(lines).toHaveLength(10);
    expect(lines.at(-1)).toBe('... 48 more lines');
  });

  it('colours lines without making them wider', () => {
    const lines = renderTable(play([...all, [`${BASE}/north/events`, { ...EVENT, severity: 'critical' }]]), {
      ...plain,
      colour: true,
    });
    expect(lines.at(-1)?.startsWith('\x1b[31m') && lines.at(-1)?.endsWith('\x1b[0m')).toBe(true);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what a colour is
    const bare = lines.map((line) => line.replaceAll(/\x1b\[\d+m/g, ''));
    expect(Math.max(...bare.map((line) => line.length))).toBeLessThanOrEqual(140);
  });

  it('lets nobody steer the terminal', () => {
    const evil = '\x1b[2Jx\r\n\u202e';
    const model = play([
      [`irst/${evil}/${evil}/state`, { state: evil, provider: evil, error: { code: evil, message: evil } }],
      [`irst/${evil}/${evil}/events`, { ...EVENT, type: 'end', endReason: evil, zones: [evil] }],
    ]);
    for (const line of renderTable(model, plain)) expect(line).not.toMatch(/\p{C}/u);
    const message = readMessage('irst', `irst/${evil}/c/events`, bytes({ ...EVENT, id: evil }));
    expect(message && messageLine(message, 0)).not.toMatch(/\p{C}/u);
  });
});

describe('a line', () => {
  const line = (topic: string, body: unknown) => {
    const message = readMessage('irst', topic, bytes(body));
    return message && messageLine(message, 0);
  };

  it('tells of events, states and devices, and of nothing else', () => {
    expect(all.map(([topic, body]) => line(topic, body))).toEqual([
      'edge-1  online',
      undefined,
      'edge-1/north  running  30.0 Hz  tensorrt  1 open',
      undefined,
      `edge-1/north  new  ${EVENT.id}  track 5  severity warning  x px 401.27 ±0.09  y px 118.64 ±0.11  speed px/s 12.9  snr 7.8  score 0.91  bearing 31.48° 6.21°  age 0.1 s  note approach`,
    ]);
    expect(line(`${BASE}/north/events`, { ...EVENT, pixel: 0 })).toBeUndefined();
  });
});
