import { expect, test } from 'vitest';
import { configSchema, type EdgeConfigInput } from '../config/schema.js';
import { planReload } from './reload.js';

const parse = (input: Partial<EdgeConfigInput> = {}) =>
  configSchema.parse({
    cameras: [
      { id: 'a', source: { kind: 'synthetic' } },
      { id: 'b.c', source: { kind: 'synthetic', seed: 2 } },
    ],
    ...input,
  });
const camera = (more: object) => ({ id: 'a', source: { kind: 'synthetic' }, ...more }) as EdgeConfigInput['cameras'][0];

test('the same: nothing to do', () => {
  expect(planReload(parse(), parse())).toEqual({ config: parse(), applied: [], restart: [] });
});

test('what changes between two frames is applied, set and taken back', () => {
  const zones = [
    {
      name: 'z',
      kind: 'ignore' as const,
      polygon: [
        [0, 0],
        [9, 0],
        [9, 9],
      ],
    },
  ];
  const after = parse({
    cameras: [camera({ zones, detector: { threshold: 0.7 } }), { id: 'b.c', source: { kind: 'synthetic', seed: 2 } }],
    log: { level: 'debug' },
    detector: { threshold: 0.6 },
    alerts: { updateIntervalSeconds: 5, quietHours: { from: '22:00', to: '06:00' } },
    outbox: { updateLifeSeconds: 10 },
  });
  const there = planReload(parse(), after);
  expect(there).toMatchObject({ config: after, restart: [] });
  expect(there.applied.sort()).toEqual([
    'alerts.quietHours',
    'alerts.updateIntervalSeconds',
    'cameras.a.detector.threshold',
    'cameras.a.zones',
    'detector.threshold',
    'log.level',
    'outbox.updateLifeSeconds',
  ]);
  const back = planReload(after, parse());
  expect(back).toMatchObject({ restart: [] });
  expect(back.config).toEqual(parse());
});

test('the rest needs a restart and stays as it was', () => {
  const after = parse({
    cameras: [
      { id: 'a', source: { kind: 'synthetic', seed: 9 } },
      { id: 'new', source: { kind: 'synthetic' } },
    ],
    device: { id: 'other' },
    mqtt: { url: 'mqtt://broker' },
    log: { level: 'warn', format: 'json' },
  });
  const plan = planReload(parse(), after);
  expect(plan.applied).toEqual(['log.level']);
  expect(plan.restart.sort()).toEqual([
    'cameras.a.source.seed',
    'cameras.b.c',
    'cameras.new',
    'device.id',
    'log.format',
    'mqtt.url',
  ]);
  expect(plan.config).toEqual({ ...parse(), log: { level: 'warn' } });
});

test('a dot in the id of a camera is no step of its path', () => {
  const cameras = (id: string, more: object) => parse({ cameras: [camera({ id, ...more })] });
  const live = planReload(cameras('roof.north', {}), cameras('roof.north', { detector: { threshold: 0.7 } }));
  expect(live).toMatchObject({ applied: ['cameras.roof.north.detector.threshold'], restart: [] });
  expect(live.config.cameras[0]?.detector?.threshold).toBe(0.7);
  const other = { source: { kind: 'synthetic', seed: 9 } };
  const { applied, restart } = planReload(cameras('roof.detector', {}), cameras('roof.detector', other));
  expect({ applied, restart }).toEqual({ applied: [], restart: ['cameras.roof.detector.source.seed'] });
});

test('the configurations given are not changed', () => {
  const [before, after] = [parse(), parse({ detector: { threshold: 0.9 } })];
  const plan = planReload(before, after);
  expect([before.detector.threshold, plan.config.detector.threshold]).toEqual([undefined, 0.9]);
});
