import { readFile } from 'node:fs/promises';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { parse } from 'yaml';
import type { SourceOptions } from '../capture/options.js';
import { type CameraConfig, configJsonSchema, configSchema, type EdgeConfig, type EdgeConfigInput } from './schema.js';
import { allKeys, isMapping, nodesAt, ROOT, type SchemaNode, walk } from './tree.js';

const minimal: EdgeConfigInput = { cameras: [{ id: 'a', source: { kind: 'recording', path: '/clip' } }] };

function everyNode(node: SchemaNode, name = '(root)'): [string, SchemaNode][] {
  return [
    [name, node],
    ...Object.entries(node.properties ?? {}).flatMap(([key, child]) => everyNode(child, `${name}.${key}`)),
    ...(node.items ? everyNode(node.items, `${name}[]`) : []),
    ...(node.oneOf ?? []).flatMap((branch, i) => everyNode(branch, `${name}<${i}>`)),
  ];
}

describe('the schema', () => {
  it('fills in every default', () => {
    expect(configSchema.parse(minimal)).toEqual({
      device: { id: 'irst-edge' },
      cameras: [
        {
          id: 'a',
          enabled: true,
          source: { kind: 'recording', path: '/clip', loop: false },
          rate: 'realtime',
          detector: {},
          sensor: { watch: 'auto', deadPixels: 'replace' },
        },
      ],
      detector: { precision: 'auto', blocked: true, threads: 2, backend: 'auto' },
      runtime: {
        engineBuilder: 'auto',
        trtexec: '/usr/src/tensorrt/bin/trtexec',
        buildMinutes: 30,
        retryMinSeconds: 30,
        retryMaxSeconds: 3600,
      },
      tracker: {
        lowScore: 0.2,
        confirmHits: 3,
        confirmFrames: 5,
        confirmStrongHits: 2,
        faintScore: 0.3,
        faintFrames: 10,
        faintSearch: true,
        maxCoastFrames: 15,
        maxCoastSeconds: 1.5,
        startSpeed: 60,
        processNoise: 50,
        maxTracks: 64,
        egoMotion: false,
        stationarySeconds: 10,
      },
      alerts: {
        updateIntervalSeconds: 1,
        detectionsTopic: true,
        stationary: 'suppress',
        severity: { base: 'warning' },
        chip: { enabled: false, side: 32, messages: 'new' },
        snapshot: { maxSide: 320, bits: 8, minIntervalSeconds: 1 },
      },
      outputs: {
        homeAssistant: { enabled: false, prefix: 'homeassistant' },
        cot: { enabled: false, url: 'udp://239.2.3.1:6969', draw: 'sensor', rangeMetres: 5000, staleSeconds: 60 },
        sapient: { enabled: false },
        cbor: { enabled: false },
        mavlink: { enabled: false, url: 'udp://127.0.0.1:14550', systemId: 1, componentId: 100 },
      },
      mqtt: {
        keepaliveSeconds: 15,
        connectTimeoutSeconds: 10,
        protocolVersion: 5,
        willTopic: 'available',
        topicAliases: false,
        maxQueued: 1000,
      },
      outbox: {
        maxEvents: 50_000,
        maxMegabytes: 64,
        maxAgeSeconds: 604_800,
        eventLifeSeconds: 86_400,
        updateLifeSeconds: 60,
      },
      embeddedBroker: { host: '127.0.0.1', port: 1883 },
      log: { level: 'info' },
      security: { untrustedFiles: 'warn' },
      topicPrefix: 'irst',
      version: 1,
    } satisfies EdgeConfig);
    expect(configSchema.parse({ cameras: [{ id: 's', source: { kind: 'synthetic' } }] }).cameras[0]?.source).toEqual({
      kind: 'synthetic',
      width: 320,
      height: 256,
      fps: 30,
      seed: 1,
      bits: 14,
      snr: 8,
      targets: 3,
      targetSigma: 0.9,
      deadPixels: 0,
      borders: 'bounce',
    });
  });

  it.each([
    ['cot', 'tcp://tak.example:8087', true],
    ['cot', 'udp://[ff02::1]:6969', true],
    ['cot', 'http://tak.example:8087', false],
    ['cot', 'tcp://tak.example', false],
    ['cot', 'tcp://tak.example:8087/path', false],
    ['cot', 'tcp://user:secret@tak.example:8087', false],
    ['mavlink', 'udp://192.0.2.1:14550', true],
    ['mavlink', 'tcp://192.0.2.1:14550', false],
  ] as const)('%s to %s: %s', (output, url, good) => {
    expect(configSchema.safeParse({ ...minimal, outputs: { [output]: { url } } }).success).toBe(good);
  });

  it('gives what the sources take', () => {
    const toOptions = (camera: CameraConfig): SourceOptions => ({ ...camera.source, rate: camera.rate });
    expectTypeOf(toOptions).returns.toExtend<SourceOptions>();
    const camera = configSchema.parse(minimal).cameras[0] as CameraConfig;
    expect(toOptions(camera)).toEqual({ kind: 'recording', path: '/clip', loop: false, rate: 'realtime' });
  });

  it('describes every key, and gives units with every range', () => {
    const nodes = everyNode(ROOT);
    expect(nodes.length).toBeGreaterThan(50);
    expect(nodes.filter(([, node]) => !node.description).map(([name]) => name)).toEqual([]);
    const numbers = nodes.filter(([, node]) => node.type === 'integer' || node.type === 'number');
    const bare = numbers.filter(
      ([, node]) =>
        node.enum === undefined && node.const === undefined && !/\(.*\d to \d+.*\)/.test(node.description ?? ''),
    );
    expect(bare.map(([name]) => name)).toEqual([]);
  });

  it('bounds every number, list and text', () => {
    const loose = everyNode(ROOT).filter(([, node]) => {
      if (node.type === 'integer' || node.type === 'number')
        return node.enum === undefined && node.const === undefined && node.maximum === undefined;
      return node.type === 'array' && node.maxItems === undefined;
    });
    expect(loose.map(([name]) => name)).toEqual([]);
  });

  it('is JSON Schema 2020-12 that refuses unknown keys everywhere', () => {
    expect(configJsonSchema()).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      $id: 'urn:irst-edge:schema:config',
      required: ['cameras'],
    });
    const objects = everyNode(ROOT).filter(([, node]) => node.type === 'object');
    expect(
      objects.filter(([, node]) => (node as { additionalProperties?: unknown }).additionalProperties !== false),
    ).toEqual([]);
  });
});

describe('the sample configuration', async () => {
  const text = await readFile(new URL('../../systemd/irst-edge.sample.yaml', import.meta.url), 'utf8');
  const full = text.replaceAll(/^(\s*)#(?=[^\s#])/gm, '$1');

  it('is valid as it is', () => {
    expect(configSchema.parse(parse(text)).cameras).toHaveLength(1);
  });

  it('is valid with every setting in force', () => {
    expect(configSchema.parse(parse(full)).cameras.map((c) => c.source.kind)).toEqual([
      'recording',
      'ffmpeg',
      'v4l2',
      'synthetic',
    ]);
  });

  it('holds every key of the schema', () => {
    const found = new Set<string>();
    walk(parse(full), (_node, _value, path) => {
      found.add(path.reduce<string>((s, p) => (typeof p === 'number' ? `${s}[]` : s === '' ? p : `${s}.${p}`), ''));
    });
    expect(allKeys().filter((key) => !found.has(key))).toEqual([]);
  });

  it('shows the default of every setting that is not in force and has one', () => {
    const raw: unknown = parse(full);
    const written: unknown = parse(text);
    const wrong: string[] = [];
    let compared = 0;
    walk(raw, (node, value, path) => {
      if (node.default === undefined || isMapping(value)) return;
      let inForce: unknown = written;
      for (const part of path) inForce = (inForce as Record<string | number, unknown> | undefined)?.[part];
      if (inForce !== undefined) return;
      compared += 1;
      if (value !== node.default) wrong.push(`${path.join('.')}: ${String(value)} instead of ${String(node.default)}`);
    });
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(15);
  });

  it("shows the model's own threshold where that is the default", async () => {
    const manifest = await readFile(new URL('../../models/manifest.json', import.meta.url), 'utf8');
    const { threshold } = (JSON.parse(manifest) as { decode: { threshold: number } }).decode;
    const { cameras, detector, tracker } = configSchema.parse(parse(full));
    expect([cameras[0]?.detector?.threshold, detector.threshold, tracker.highScore]).toEqual(Array(3).fill(threshold));
  });
});

describe('nodesAt', () => {
  it('takes the branch of the kind that is written', () => {
    const raw = { cameras: [{ source: { kind: 'synthetic' } }] };
    expect(nodesAt(['cameras', 0, 'source', 'snr'], raw)).toHaveLength(1);
    expect(nodesAt(['cameras', 0, 'source', 'path'], raw)).toHaveLength(0);
    expect(nodesAt(['cameras', 0, 'source', 'fps'], {})).toHaveLength(3);
    expect(nodesAt(['toString'], raw)).toHaveLength(0);
  });
});
