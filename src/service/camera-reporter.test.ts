import { expect, test, vi } from 'vitest';
import { Outputs } from '../alerts/outputs.js';
import type { MqttPublisher } from '../alerts/publisher.js';
import { topics } from '../alerts/schema.js';
import { configSchema, type EdgeConfigInput } from '../config/schema.js';
import { CameraReporter } from './camera-reporter.js';
import type { CameraSupervisor } from './supervisor.js';

const parse = (alerts: EdgeConfigInput['alerts']) =>
  configSchema.parse({ cameras: [{ id: 'a', source: { kind: 'synthetic' } }], alerts });
const NIGHT = { profiles: [{ name: 'night', threshold: 0.7 }] };

function make() {
  const config = parse(NIGHT);
  const asked: (number | null)[] = [];
  const states: Record<string, unknown>[] = [];
  const supervisor = {
    running: true,
    threshold: 0.5,
    status: () => ({ id: 'a', state: 'running', restarts: 0 }),
    counters: () => ({ captured: 0, processed: 0, dropped: {}, invalidCells: 0 }),
    setThreshold: async (value: number | null) => {
      asked.push(value);
      return value ?? 0.5;
    },
  } as unknown as CameraSupervisor;
  const publisher = {
    publishState: (_: string, text: string) => states.push(JSON.parse(text)),
  } as unknown as MqttPublisher;
  const outputs = Object.create(Outputs.prototype) as Outputs;
  const where = topics('irst', config.device.id);
  const clock = { state: 'synchronised' } as unknown as ConstructorParameters<typeof CameraReporter>[7];
  const camera = config.cameras[0]!;
  const reporter = new CameraReporter(config, camera, supervisor, publisher, outputs, where, () => 'id', clock);
  /** The threshold that a reload asks for, if it asks. */
  const reload = (alerts: EdgeConfigInput['alerts']) => {
    asked.length = 0;
    const profile = reporter.reconfigure(parse(alerts), camera);
    return { profile, asked: [...asked] };
  };
  return { reporter, reload, states };
}

test('a threshold that a command set survives a reload, with a profile in force too, until the command takes it back', async () => {
  const { reporter, reload } = make();
  await reporter.setProfile('night');
  expect(reload(NIGHT)).toEqual({ profile: 'night', asked: [0.7] });
  await reporter.setThreshold(0.6);
  expect(reload(NIGHT)).toEqual({ profile: 'night', asked: [0.6] });
  await reporter.setThreshold(null);
  expect(reload(NIGHT)).toEqual({ profile: 'night', asked: [0.7] });
});

test('a profile that came into force later wins over the threshold of a command; one that is gone is left, and said', async () => {
  const { reporter, reload, states } = make();
  await reporter.setThreshold(0.6);
  await reporter.setProfile('night');
  expect(reload({})).toEqual({ profile: 'default', asked: [null] });
  expect(states.at(-1)).toMatchObject({ profile: 'default' });
  // The configuration itself is in force: its threshold is the worker's to know.
  expect(reload({})).toEqual({ profile: 'default', asked: [] });
});

test('a camera that is away for longer than a loose plug ends what is open', () => {
  vi.useFakeTimers();
  try {
    const { reporter } = make();
    const ended: string[] = [];
    vi.spyOn(reporter, 'close').mockImplementation((reason) => ended.push(reason));
    for (const to of ['opening', 'streaming', 'lost', 'back-off', 'opening'] as const) reporter.captured(to);
    vi.advanceTimersByTime(4_000);
    reporter.captured('streaming');
    vi.advanceTimersByTime(60_000);
    expect(ended).toEqual([]);
    for (const to of ['stalled', 'lost', 'back-off'] as const) reporter.captured(to);
    vi.advanceTimersByTime(4_000);
    reporter.captured('opening');
    vi.advanceTimersByTime(60_000);
    expect(ended).toEqual(['reset']);
  } finally {
    vi.useRealTimers();
  }
});
