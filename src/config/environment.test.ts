import { describe, expect, it } from 'vitest';
import { applyEnvironment } from './environment.js';

const base = { cameras: [{ id: 'a', source: { kind: 'recording', path: 'clip' } }] };

function apply(env: Record<string, string>, raw: unknown = base) {
  return applyEnvironment(raw, env);
}

describe('applyEnvironment', () => {
  it('leaves everything alone without variables of its own', () => {
    const result = apply({
      PATH: '/bin',
      IRST_EDGE_CONFIG: 'x.yaml',
      IRST_EDGE: '1',
      irst_edge__mqtt__url: 'mqtt://x',
    });
    expect(result).toEqual({ raw: base, overrides: [], issues: [] });
  });

  it('sets keys, makes sections, does not touch its input', () => {
    const before = structuredClone(base);
    const { raw, overrides, issues } = apply({
      IRST_EDGE__MQTT__URL: 'mqtt://broker:1883',
      IRST_EDGE__MQTT__KEEPALIVE_SECONDS: '30',
      IRST_EDGE__EMBEDDEDBROKER__PORT: '0',
      IRST_EDGE__CAMERAS__0__SOURCE__LOOP: 'true',
      IRST_EDGE__CAMERAS__0__DETECTOR__THRESHOLD: '0.25',
    });
    expect(issues).toEqual([]);
    expect(raw).toEqual({
      cameras: [{ id: 'a', source: { kind: 'recording', path: 'clip', loop: true }, detector: { threshold: 0.25 } }],
      mqtt: { url: 'mqtt://broker:1883', keepaliveSeconds: 30 },
      embeddedBroker: { port: 0 },
    });
    expect(overrides).toContainEqual({
      variable: 'IRST_EDGE__CAMERAS__0__SOURCE__LOOP',
      path: ['cameras', 0, 'source', 'loop'],
    });
    expect(base).toEqual(before);
  });

  it.each([
    ['007', '007'],
    ['true', 'true'],
    ['"007"', '007'],
    ["'a: b'", 'a: b'],
    ['pass # word', 'pass # word'],
    ['{a: 1}', '{a: 1}'],
    ['"half', '"half'],
    ['', ''],
  ])('takes a text as it is: %j', (text, expected) => {
    expect(apply({ IRST_EDGE__MQTT__USERNAME: text }).raw).toMatchObject({ mqtt: { username: expected } });
  });

  it('takes whole sections, and single keys over them', () => {
    const { raw, issues } = apply(
      {
        IRST_EDGE__CAMERAS: '[{id: b, source: {kind: synthetic}}]',
        IRST_EDGE__CAMERAS__0__ID: 'c',
        IRST_EDGE__CAMERAS__1: '{id: d, source: {kind: synthetic, fps: 5}}',
        IRST_EDGE__CAMERAS__1__SOURCE__FPS: '7',
      },
      null,
    );
    expect(issues).toEqual([]);
    expect(raw).toEqual({
      cameras: [
        { id: 'c', source: { kind: 'synthetic' } },
        { id: 'd', source: { kind: 'synthetic', fps: 7 } },
      ],
    });
  });

  it.each([
    ['v4l2', 'DEVICE', 'device', '/dev/video0'],
    ['ffmpeg', 'INPUT', 'input', 'rtsp://camera/live'],
  ])('sets the kind of a source before what only a %s has', (kind, upper, key, value) => {
    const raw = { cameras: [{ id: 'a', source: { kind: 'synthetic' } }] };
    const at = 'IRST_EDGE__CAMERAS__0__SOURCE__';
    for (const name of ['KIND', 'kind']) {
      const result = apply({ [at + upper]: value, [at + name]: kind }, raw);
      expect(result).toMatchObject({ issues: [], raw: { cameras: [{ id: 'a', source: { kind, [key]: value } }] } });
    }
  });

  it('adds entries of a list in order, 10 after 2, each before the next begins', () => {
    const zone = (i: number) => `IRST_EDGE__CAMERAS__0__ZONES__${i}__`;
    const env: Record<string, string> = {};
    for (let i = 11; i >= 0; i--) {
      env[`${zone(i)}NAME`] = `z${i}`;
      env[`${zone(i)}POLYGON`] = '[[0, 0], [9, 0], [9, 9]]';
    }
    // Deeper than the name of the second camera, and yet before it.
    env.IRST_EDGE__CAMERAS__0__SOURCE__KIND = 'synthetic';
    env.IRST_EDGE__CAMERAS__1__ID = 'b';
    const { raw, issues } = apply(env, null);
    expect(issues).toEqual([]);
    const { cameras } = raw as { cameras: { id?: string; zones?: { name: string }[] }[] };
    expect(cameras[0]?.zones?.map(({ name }) => name)).toEqual(Array.from({ length: 12 }, (_, i) => `z${i}`));
    expect(cameras[1]).toEqual({ id: 'b' });
  });

  it.each([
    ['IRST_EDGE__MQTT__ULR', 'mqtt.ULR', 'did you mean IRST_EDGE__MQTT__URL?'],
    ['IRST_EDGE__MQTT__KEEPALIVE_SECOND', 'mqtt.KEEPALIVE_SECOND', 'did you mean IRST_EDGE__MQTT__KEEPALIVE_SECONDS?'],
    ['IRST_EDGE__COLOUR', 'COLOUR', 'known here: version, device, cameras'],
    ['IRST_EDGE__MQTT__URL__HOST', 'mqtt.url.HOST', 'nothing is below this key'],
    ['IRST_EDGE____PROTO__', '[""]', 'unknown key'],
    ['IRST_EDGE__constructor', 'constructor', 'unknown key'],
    ['IRST_EDGE__', '[""]', 'unknown key'],
    ['IRST_EDGE__CAMERAS__2__ID', 'cameras', 'expected an index from 0 to 1, got "2"'],
    ['IRST_EDGE__CAMERAS__FIRST__ID', 'cameras', 'expected an index from 0 to 1, got "FIRST"'],
    ['IRST_EDGE__CAMERAS__0__SOURCE__SNR', 'cameras[0].source.SNR', 'known here: kind, path, loop, fps'],
  ])('refuses %s', (variable, path, message) => {
    const { raw, issues } = apply({ [variable]: '1' });
    expect(raw).toEqual(base);
    expect(issues).toMatchObject([{ path, variable, message: expect.stringContaining(message) }]);
  });

  it('refuses a fifth camera', () => {
    const four = { cameras: Array.from({ length: 4 }, (_, i) => ({ id: `c${i}`, source: { kind: 'synthetic' } })) };
    expect(apply({ IRST_EDGE__CAMERAS__4__ID: 'x' }, four).issues[0]?.message).toContain('an index from 0 to 3');
  });

  it('refuses a key set twice and a value that is not YAML', () => {
    const { issues } = apply({
      IRST_EDGE__MQTT__MAXQUEUED: '1',
      IRST_EDGE__MQTT__MAX_QUEUED: '2',
      IRST_EDGE__DETECTOR: '{threads: 2',
    });
    expect(issues).toMatchObject([
      { path: 'detector', message: expect.stringContaining('not YAML') },
      { path: 'mqtt.maxQueued', message: expect.stringContaining('set twice') },
    ]);
  });

  it.each(['*nowhere', '['.repeat(50_000), '{a: 1', 'a: b: c', '!!int x: ['])('survives the value %#', (text) => {
    expect(apply({ IRST_EDGE__DETECTOR: text }).issues).toMatchObject([
      { path: 'detector', message: expect.stringContaining('not YAML') },
    ]);
  });

  it('leaves a file alone whose section is no section', () => {
    const raw = { mqtt: 'mqtt://x', cameras: 'none' };
    const result = apply({ IRST_EDGE__MQTT__USERNAME: 'u' }, raw);
    expect(result).toEqual({ raw, overrides: [], issues: [] });
  });
});
