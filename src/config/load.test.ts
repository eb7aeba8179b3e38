import { mkdtempSync, rmSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EdgeError, EXIT } from '../types/errors.js';
import { ConfigInvalidError, formatIssue } from './issue.js';
import { DEFAULT_FILES, loadConfig } from './load.js';

let folder: string;
let count = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'irst-config-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function file(text: string | Buffer, extension = 'yaml'): Promise<string> {
  count += 1;
  const path = join(folder, `c${count}.${extension}`);
  await writeFile(path, text);
  return path;
}

async function failure(path: string | undefined, env: Record<string, string> = {}): Promise<EdgeError> {
  try {
    await loadConfig(path, env);
  } catch (error) {
    expect(error).toBeInstanceOf(EdgeError);
    expect((error as EdgeError).exitCode).toBe(EXIT.config);
    expect((error as EdgeError).message).not.toContain('\n');
    expect((error as EdgeError).hint).toBeTruthy();
    return error as EdgeError;
  }
  throw new Error('did not throw');
}

async function issues(text: string, env: Record<string, string> = {}): Promise<string[]> {
  const error = await failure(await file(text), env);
  expect(error).toBeInstanceOf(ConfigInvalidError);
  expect(error.code).toBe('CONFIG_INVALID');
  return (error as ConfigInvalidError).issues.map(formatIssue);
}

const camera = 'cameras: [{id: a, source: {kind: synthetic}}]\n';

describe('loadConfig reads', () => {
  it('YAML and JSON alike', async () => {
    const object = {
      cameras: [{ id: 'a', source: { kind: 'synthetic', fps: 5 } }],
      mqtt: { url: 'mqtt://broker:1884' },
    };
    const yaml = await loadConfig(await file(`${camera}mqtt:\n  url: mqtt://broker:1884\n`), {
      IRST_EDGE__CAMERAS__0__SOURCE__FPS: '5',
    });
    const json = await loadConfig(await file(JSON.stringify(object, null, '\t'), 'json'), {});
    expect(json.config).toEqual(yaml.config);
    expect(json.config.mqtt.url).toBe('mqtt://broker:1884');
    expect(json.warnings).toEqual([]);
  });

  it('the sample that is shipped', async () => {
    const sample = new URL('../../systemd/irst-edge.sample.yaml', import.meta.url);
    const { config } = await loadConfig(await file(await readFile(sample)), {});
    expect(config.cameras[0]?.source).toMatchObject({ kind: 'recording', loop: true });
  });

  it('the file that IRST_EDGE_CONFIG names, unless one is given', async () => {
    const named = await file(`${camera}topicPrefix: named\n`);
    const given = await file(`${camera}topicPrefix: given\n`);
    expect(await loadConfig(undefined, { IRST_EDGE_CONFIG: named })).toMatchObject({
      config: { topicPrefix: 'named' },
      file: named,
    });
    expect((await loadConfig(given, { IRST_EDGE_CONFIG: named })).config.topicPrefix).toBe('given');
  });

  it('variables over the file', async () => {
    const path = await file(`${camera}device: {id: from-file}\nlog: {level: warn}\n`);
    const { config } = await loadConfig(path, { IRST_EDGE__DEVICE__ID: 'from-env' });
    expect(config.device.id).toBe('from-env');
    expect(config.log.level).toBe('warn');
  });

  it('relative paths from the folder of the file, those of variables from the working directory', async () => {
    const inner = join(folder, 'inner');
    await mkdir(inner);
    const path = join(inner, 'c.yaml');
    await writeFile(
      path,
      `cameras:
  - {id: a, source: {kind: recording, path: clips/a}}
  - {id: b, source: {kind: ffmpeg, input: clips/b.mkv}}
  - {id: c, source: {kind: ffmpeg, input: 'rtsp://host/stream'}}
  - {id: d, source: {kind: recording, path: replaced}}
detector: {model: ../models/manifest.json}
mqtt: {url: 'mqtts://h', username: u, passwordFile: secret, ca: /etc/ca.pem}
`,
    );
    const { config, file: from } = await loadConfig(path, { IRST_EDGE__CAMERAS__3__SOURCE__PATH: 'clips/d' });
    expect(from).toBe(path);
    expect(
      config.cameras.map((c) => ('path' in c.source ? c.source.path : 'input' in c.source && c.source.input)),
    ).toEqual([
      join(inner, 'clips/a'),
      join(inner, 'clips/b.mkv'),
      'rtsp://host/stream',
      join(process.cwd(), 'clips/d'),
    ]);
    expect(config.detector.model).toBe(join(folder, 'models/manifest.json'));
    expect(config.mqtt.passwordFile).toBe(join(inner, 'secret'));
    expect(config.mqtt.ca).toBe('/etc/ca.pem');
  });

  it('anchors and aliases', async () => {
    const { config } = await loadConfig(
      await file('cameras:\n- {id: a, source: &s {kind: synthetic, seed: 9}}\n- {id: b, source: *s}\n'),
      {},
    );
    expect(config.cameras[1]?.source).toMatchObject({ kind: 'synthetic', seed: 9 });
  });

  it('a variable for one camera only, where an alias stands for both', async () => {
    const path = await file('cameras:\n- {id: a, source: &s {kind: synthetic, seed: 9}}\n- {id: b, source: *s}\n');
    const { config } = await loadConfig(path, { IRST_EDGE__CAMERAS__0__SOURCE__SEED: '5' });
    expect(config.cameras.map((c) => 'seed' in c.source && c.source.seed)).toEqual([5, 9]);
  });
});

describe('loadConfig refuses', () => {
  it('a file that is not there', async () => {
    const path = join(folder, 'none.yaml');
    expect(await failure(path)).toMatchObject({ code: 'CONFIG_NOT_FOUND', message: `no configuration at ${path}` });
    expect((await failure(join(await file(''), 'below'))).code).toBe('CONFIG_NOT_FOUND');
    expect((await failure(undefined, { IRST_EDGE_CONFIG: path })).message).toContain(path);
    expect(DEFAULT_FILES).toHaveLength(2);
  });

  it('what cannot be read', async () => {
    expect(await failure(folder)).toMatchObject({ code: 'CONFIG_UNREADABLE' });
    expect((await failure(await file(Buffer.alloc(1024 * 1024 + 1, 35)))).message).toContain('longer than');
    expect((await failure(await file(Buffer.from([0x69, 0x64, 0x3a, 0xff, 0xfe])))).message).toContain('UTF-8');
    if (process.getuid?.() !== 0) {
      const path = await file(camera);
      await chmod(path, 0);
      expect((await failure(path)).code).toBe('CONFIG_UNREADABLE');
    }
  });

  it.each([
    ['a: [1, 2\nb: 3\n', 2],
    ['cameras:\n  - id: a\n\tsource: x\n', 3],
    ['log: {level: info}\nlog: {level: warn}\n', 2],
    ['{"cameras": [}', 1],
    ['a: 1\n---\nb: 2\n', 2],
    ['a: 1\nb: [*nowhere]\n', 2],
  ])('broken syntax, with its line: %j', async (text, line) => {
    const path = await file(text);
    const error = await failure(path);
    expect(error.code).toBe('CONFIG_SYNTAX');
    expect(error.message.startsWith(`${path}:${line}:`), error.message).toBe(true);
  });

  it.each([
    ['lists in lists', '['.repeat(100_000)],
    ['lists in lists that end', '['.repeat(200) + ']'.repeat(200)],
    ['mappings in mappings', '{a: '.repeat(50_000)],
    ['an alias in itself', 'a: 1\nb: &b [*b]\n'],
    ['indentation', Array.from({ length: 1000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
  ])('endless nesting: %s', async (_, text) => {
    expect((await failure(await file(text))).code).toBe('CONFIG_SYNTAX');
  });

  it('aliases that multiply without end', async () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 1; i < 12; i++)
      lines.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(', ')}]`,
      );
    expect((await failure(await file(lines.join('\n')))).code).toBe('CONFIG_SYNTAX');
  });

  it.each([
    ['', 'cameras: expected a list of 1 to 4 entries, got nothing'],
    ['# nothing\n', 'cameras: expected a list of 1 to 4 entries, got nothing'],
    ['just text', '(file): expected a mapping (key: value), got "just text"'],
    ['- a\n', '(file): expected a mapping (key: value), got a list of 1'],
    ['cameras: []\n', 'cameras (line 1): expected a list of 1 to 4 entries, got an empty list'],
    [`${camera}mqtt: null\n`, 'mqtt (line 2): expected a mapping (key: value), got null'],
    [`${camera}device: {id: Über}\n`, 'device.id (line 2): expected a name of 1 to 64 characters a-z'],
    [`${camera}device: {id: ''}\n`, 'device.id (line 2): expected a text, got ""'],
    [`${camera}detector: {threads: 17}\n`, 'detector.threads (line 2): expected an integer from 1 to 16, got 17'],
    [`${camera}detector: {threads: 1.5}\n`, 'detector.threads (line 2): expected an integer from 1 to 16, got 1.5'],
    [`${camera}detector: {threshold: .nan}\n`, 'detector.threshold (line 2): expected a number from 0 to 1, got NaN'],
    [
      `${camera}detector: {threshold: '0.5'}\n`,
      'detector.threshold (line 2): expected a number from 0 to 1, got "0.5"',
    ],
    [`${camera}mqtt: {protocolVersion: 3}\n`, 'mqtt.protocolVersion (line 2): expected one of 5, 4, got 3'],
    [`${camera}mqtt: {url: 'http://h'}\n`, 'mqtt.url (line 2): expected a URL mqtt://host:port or mqtts://host:port'],
    [`${camera}mqtt: {url: 'mqtt://h:0'}\n`, 'mqtt.url (line 2): expected a URL mqtt://host:port or mqtts://host:port'],
    [`${camera}mqtt: {url: 'mqtt://h/p'}\n`, 'mqtt.url (line 2): expected a URL mqtt://host:port or mqtts://host:port'],
    [`${camera}mqtt: {url: 'mqtt://u:12#x@h'}\n`, 'mqtts://host:port, got "mqtt://u:***@h"'],
    [`${camera}mqtt: {url: 'u:secret@h:1883'}\n`, 'mqtts://host:port, got "u:***@h:1883"'],
    [`${camera}mqtt: {url: ' mqtt://u:secret@h'}\n`, 'mqtts://host:port, got " mqtt://u:***@h"'],
    [`${camera}log: {level: warning}\n`, 'got "warning"; did you mean warn?'],
    [`${camera}topicPrefix: irst/#\n`, 'topicPrefix (line 2): expected names of letters'],
    [`${camera}__proto__: {x: 1}\n`, '__proto__ (line 2): unknown key'],
    [`${camera}constructor: 1\n`, 'constructor (line 2): unknown key'],
    [
      'cameras: [{id: a, source: {kind: synthetic}, mount: {yawDeg: 1}}]',
      'cameras[0].intrinsics (line 1): expected a mapping beside mount, got nothing',
    ],
    [
      'cameras: [{id: a, source: {kind: synthetic}, intrinsics: {fx: 1, fy: 1, cx: 0, cy: 0}}]',
      'cameras[0].mount (line 1): expected a mapping beside intrinsics, got nothing',
    ],
    [
      'cameras: [{id: a, source: {kind: synthetic}, zones: [{name: z, kind: mark, polygon: [[0, 0], [1, 1]]}]}]',
      'cameras[0].zones[0].polygon (line 1): expected a list of 3 to 64 entries, got a list of 2',
    ],
    [
      'cameras: [{id: a, source: {kind: synthetic}, zones: [{name: z, kind: mark, polygon: [[0, 0], [1, 1], [2]]}]}]',
      'cameras[0].zones[0].polygon[2] (line 1): expected a list of 2 to 2 entries, got a list of 1',
    ],
    [
      'cameras: [{id: a, source: {kind: synthetic}, zones: [{name: z, kind: mark, polygon: [[0, 0], [1, 1], [2, 0]]}, ' +
        '{name: z, kind: mark, polygon: [[0, 0], [1, 1], [2, 0]]}]}]',
      'cameras[0].zones[1].name (line 1): expected a name of its own, got "z" as zones[0]',
    ],
    [
      'cameras: [{id: a, source: {kind: synthetic}}]\nalerts: {profiles: [{name: night}, {name: day}, {name: night}]}\n',
      'alerts.profiles[2].name (line 2): expected a name of its own, got "night" as profiles[0]',
    ],
    [
      'cameras: [{id: a, source: {kind: synthetic}}]\nalerts: {profiles: [{name: default}]}\n',
      'alerts.profiles[0].name (line 2): expected another name than "default", which is the configuration itself, got "default"',
    ],
    [
      'cameras: [{id: a, source: {kind: synthetic}, zones: [{name: gate, kind: mark, polygon: [[0, 0], [1, 1], [2, 0]]}]}]\n' +
        'alerts: {severity: {rules: [{severity: info, zone: gat}]}}\n',
      'alerts.severity.rules[0].zone (line 2): expected the name of a zone of a camera, got "gat"; did you mean gate?',
    ],
    [
      `${camera}alerts: {quietHours: {from: '22:00', to: '22:00'}}\n`,
      'alerts.quietHours.to (line 2): expected a time other than "from", got "22:00"',
    ],
    [`${camera}alerts: {quietHours: {from: '24:00', to: '06:00'}}\n`, 'expected a time of day HH:MM, got "24:00"'],
    [
      `${camera}tracker: {confirmHits: 6}\n`,
      'tracker.confirmHits (line 2): expected no more than confirmFrames (5), got 6',
    ],
    [
      `${camera}tracker: {confirmHits: 1}\n`,
      'tracker.confirmStrongHits (line 2): expected no more than confirmHits (1), got 2',
    ],
    ['cameras: [{id: a, source: {kind: recoding, path: x}}]', 'got "recoding"; did you mean recording?'],
    [
      'cameras: [{id: a, source: {path: x}}]',
      'source.kind (line 1): expected one of recording, ffmpeg, synthetic, v4l2, got nothing',
    ],
    ['cameras: [{id: a, source: clip}]', 'cameras[0].source (line 1): expected a mapping (key: value), got "clip"'],
    ['cameras: [{id: a, source: {kind: ffmpeg, input: -y}}]', 'that does not begin with "-", got "-y"'],
  ])('%j', async (text, expected) => {
    const found = await issues(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
  });

  it('everything at once, each with its path, line and what was there', async () => {
    const text = `device:
  id: 5
cameras:
  - id: a
    source: {kind: recording, loop: maybe}
  - id: a
    source:
      kind: synthetic
      bits: 20
      sead: 3
    treshold: 0.5
mqtt:
  ulr: mqtt://h
  keepalive_seconds: 5
  cert: /c.pem
  passwordFile: /p
logg: {}
`;
    const found = await issues(text);
    expect([...found].sort()).toEqual(
      [
        'device.id (line 2): expected a text, got 5',
        'cameras[0].source.path (line 5): expected a path, got nothing',
        'cameras[0].source.loop (line 5): expected true or false, got "maybe"',
        'cameras[1].id (line 6): expected a name of its own, got "a" as cameras[0]',
        'cameras[1].source.bits (line 9): expected an integer from 8 to 16, got 20',
        'cameras[1].source.sead (line 10): unknown key; did you mean seed?',
        'cameras[1].treshold (line 11): unknown key; known here: id, enabled, source, rate, detector, sensor, intrinsics, mount, zones',
        'mqtt.ulr (line 13): unknown key; did you mean url?',
        'mqtt.keepalive_seconds (line 14): unknown key; did you mean keepaliveSeconds?',
        'mqtt.key (line 12): expected a path beside mqtt.cert, got nothing',
        'mqtt.username (line 12): expected a text beside mqtt.passwordFile, got nothing',
        'logg (line 17): unknown key; did you mean log?',
      ].sort(),
    );
    const error = await failure(await file(text));
    expect(error.message).toContain('12 errors, the first: ');
  });

  it('certificates without mqtts', async () => {
    expect(await issues(`${camera}mqtt: {url: 'mqtt://h', ca: /ca.pem}\n`)).toEqual([
      'mqtt.url (line 2): expected mqtts:// because mqtt.ca is set, got "mqtt://h"',
    ]);
  });

  it('a password without a user name, for it cannot be sent', async () => {
    expect(await issues(`${camera}mqtt: {url: 'mqtt://:hunter2@h'}\n`)).toEqual([
      'mqtt.username (line 2): expected a text beside the password in mqtt.url, got nothing',
    ]);
    expect(await issues(`${camera}mqtt: {url: 'mqtt://h', passwordFile: /p}\n`)).toEqual([
      'mqtt.username (line 2): expected a text beside mqtt.passwordFile, got nothing',
    ]);
  });

  it('wrong variables, naming them, together with the errors of the file', async () => {
    const found = await issues(`${camera}detector: {threads: 99}\n`, {
      IRST_EDGE__MQTT__ULR: 'mqtt://h',
      IRST_EDGE__LOG__LEVEL: 'loud',
    });
    expect([...found].sort()).toEqual([
      'detector.threads (line 2): expected an integer from 1 to 16, got 99',
      'log.level (IRST_EDGE__LOG__LEVEL): expected one of fatal, error, warn, info, debug, trace, got "loud"',
      'mqtt.ULR (IRST_EDGE__MQTT__ULR): unknown key; did you mean IRST_EDGE__MQTT__URL?',
    ]);
  });

  it('wrong URLs without telling their passwords', async () => {
    const found = await issues(`${camera}mqtt: {url: 'http://user:hunter2@h'}\n`);
    expect(found[0]).toContain('user:***@h');
    expect(found.join()).not.toContain('hunter2');
  });
});

describe('loadConfig warns', () => {
  async function warnings(text: string, env: Record<string, string> = {}): Promise<string[]> {
    return (await loadConfig(await file(text), env)).warnings;
  }

  it('of nothing where nothing is odd', async () => {
    expect(await warnings(camera)).toEqual([]);
  });

  it.each([
    '{lowScore: 0.4}',
    '{faintScore: 0.2}',
    '{highScore: 0.1, faintScore: 0.1}',
    '{lowScore: 0.1, faintScore: 0.1}',
  ])('of nothing with tracker: %s', async (tracker) => {
    expect(await warnings(`${camera}tracker: ${tracker}\n`)).toEqual([]);
  });

  it('of no faint score that a low threshold lets in', async () => {
    expect(await warnings(`${camera}tracker: {faintScore: 0.1}\ndetector: {threshold: 0.1}\n`)).toEqual([]);
  });

  it.each([
    [`${camera}tracker: {faintScore: 0.1}\n`, 'tracker.faintScore: 0.1 works as 0.2'],
    [`${camera}tracker: {faintScore: 0.05, highScore: 0.1}\n`, 'tracker.faintScore: 0.05 works as 0.1'],
    [`${camera}mqtt: {username: u, clientId: c}\n`, 'mqtt.username, mqtt.clientId: without effect'],
    [`${camera}mqtt: {url: 'mqtt://localhost'}\nembeddedBroker: {port: 0}\n`, 'embeddedBroker: without effect'],
    [`${camera}embeddedBroker: {host: 0.0.0.0}\n`, 'everyone on the network'],
    [`${camera}mqtt: {url: 'mqtts://u:p@h'}\n`, 'mqtt.url: holds a password'],
    [`${camera}mqtt: {url: 'mqtt://h', username: u}\n`, 'unencrypted'],
    ['cameras: [{id: a, enabled: false, source: {kind: recording, path: /none}}]\n', 'cameras: none is enabled'],
    [
      'cameras: [{id: a, source: {kind: recording, path: /none}}]\n',
      'cameras[0].source.path: not there at present: /none',
    ],
    [`${camera}detector: {model: none.json}\n`, 'detector.model: not there at present: '],
    [`device: {id: !odd x}\n${camera}`, 'line 1: '],
  ])('%j', async (text, expected) => {
    const found = await warnings(text);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
  });
});
