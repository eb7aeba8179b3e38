import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CommandResult, Commands, type CommandsOptions, type CommandValue } from './commands.js';
import { commandAnswerSchema } from './schema.js';

function commands(options: Partial<CommandsOptions> = {}) {
  const orders: [string, string, CommandValue][] = [];
  const answers: [topic: string, answer: ReturnType<typeof commandAnswerSchema.parse>, retain: boolean][] = [];
  const c = new Commands({
    device: 'd',
    cameras: ['north', 'south'],
    onCommand: async (name, camera, value) => {
      orders.push([name, camera, value]);
      return { ok: true, value };
    },
    answer: (topic, payload, { retain }) => {
      answers.push([topic, commandAnswerSchema.parse(JSON.parse(payload)), retain]);
    },
    ratePerSecond: 1e6,
    burst: 1e6,
    ...options,
  });
  const send = (topic: string, payload: string | Uint8Array, retain = false) =>
    c.onMessage(topic, typeof payload === 'string' ? Buffer.from(payload) : payload, { retain });
  return { c, orders, answers, send };
}

const settle = () => delay(5);
/** Timers fire late on a busy machine. */
const SLOWLY = { timeout: 10_000, interval: 5 };
const SET = 'irst/d/north/threshold/set';

function balanced(c: Commands) {
  const n = c.counters();
  expect(n.done + n.refused + n.pending + Object.values(n.dropped).reduce((a, b) => a + b, 0)).toBe(n.received);
  return n;
}

describe('Commands', () => {
  it.each([
    ['threshold', '0.4', 0.4],
    ['threshold', '{"value": 0.4, "id": "x"}', 0.4],
    ['threshold', 'null', null],
    ['enabled', 'true', true],
    ['enabled', 'OFF', false],
    ['enabled', ' on ', true],
    ['enabled', 'True', true],
    ['profile', 'night', 'night'],
    ['profile', '"night"', 'night'],
    // What every object inherits is a name like any other.
    ['profile', 'constructor', 'constructor'],
    ['profile', 'valueOf', 'valueOf'],
    // Nor are the words of a switch anything else here.
    ['profile', 'on', 'on'],
    ['profile', 'False', 'False'],
    ['profile', 'true', 'true'],
    ['profile', '7', '7'],
    ['snapshot', 'true', true],
    ['snapshot', 'ON', true],
  ])('carries out %s %s', async (name, payload, value) => {
    const { c, orders, answers, send } = commands();
    send(`irst/d/north/${name}/set`, payload);
    await settle();
    expect(orders).toEqual([[name, 'north', value]]);
    expect(balanced(c)).toMatchObject({ received: 1, done: name === 'snapshot' ? 1 : 1 });
    const [topic, answer, retain] = answers[0] ?? [];
    expect(topic).toBe(`irst/d/north/${name}/state`);
    expect(answer).toMatchObject({ ok: true, command: name, camera: 'north' });
    expect(retain).toBe(name !== 'snapshot');
    if (payload.includes('"id"')) expect(answer?.id).toBe('x');
  });

  it.each([
    [SET, '2', 'COMMAND_VALUE'],
    [SET, 'loud', 'COMMAND_VALUE'],
    [SET, '{"value": "x"}', 'COMMAND_VALUE'],
    [SET, 'on', 'COMMAND_VALUE'],
    [SET, '{', 'COMMAND_MALFORMED'],
    [SET, '', 'COMMAND_MALFORMED'],
    [SET, '{"value": 0.3, "extra": 1}', 'COMMAND_MALFORMED'],
    [SET, Buffer.from([0xff, 0xfe]), 'COMMAND_MALFORMED'],
    [SET, Buffer.alloc(100_000, 49), 'COMMAND_TOO_LARGE'],
  ])('answers %s %j with an error, and with the value in force', async (topic, payload, code) => {
    const { c, orders, answers, send } = commands();
    c.tell('threshold', 'north', 0.25);
    send(topic, payload);
    await settle();
    expect(orders).toEqual([]);
    expect(answers.at(-1)?.[1]).toMatchObject({ ok: false, value: 0.25, error: { code } });
    expect(balanced(c)).toMatchObject({ refused: 1, refusedBy: { [code]: 1 } });
  });

  it.each<[string, () => Promise<CommandResult>, string, string]>([
    ['a refusal', async () => ({ ok: false, error: 'no such profile' }), 'COMMAND_REFUSED', 'no such profile'],
    ['its own code', async () => ({ ok: false, error: { code: 'X', message: 'y' } }), 'X', 'y'],
    ['a throw', () => Promise.reject(new Error('broken')), 'COMMAND_REFUSED', 'broken'],
    ['a hang', () => new Promise(() => {}), 'COMMAND_REFUSED', 'not done within 10 ms'],
  ])('answers %s', async (_, onCommand, code, message) => {
    const { c, answers, send } = commands({ onCommand, timeoutMs: 10 });
    send(SET, '0.5');
    await expect.poll(() => answers.length, SLOWLY).toBe(1);
    expect(answers[0]?.[1]).toMatchObject({ ok: false, error: { code, message } });
    expect(balanced(c)).toMatchObject({ refused: 1, pending: 0 });
  });

  it.each([
    ['threshold', '0.5', [false, true]],
    // A picture that nobody waits for any more.
    ['snapshot', 'on', [false]],
  ])('tells of %s that is done after it was refused for its time, where it is a state', async (name, payload, ok) => {
    let finish = (_: CommandResult) => {};
    const { c, answers, send } = commands({
      onCommand: () => new Promise((resolve) => (finish = resolve)),
      timeoutMs: 10,
    });
    send(`irst/d/north/${name}/set`, payload);
    await delay(40);
    finish({ ok: true, value: 0.5 });
    await settle();
    expect(answers.map(([, answer]) => answer.ok)).toEqual(ok);
    expect(balanced(c)).toMatchObject({ done: 0, refused: 1, pending: 0 });
    // What it is now goes into the refusals to come.
    send(`irst/d/north/${name}/set`, '{');
    expect(answers.at(-1)?.[1]).toMatchObject({ ok: false, ...(name === 'threshold' && { value: 0.5 }) });
  });

  it('ignores retained orders, other topics and other cameras', async () => {
    const { c, orders, answers, send } = commands();
    send(SET, '0.5', true);
    send('irst/d/west/threshold/set', '0.5');
    send('irst/d/north/selfdestruct/set', 'true');
    send('irst/other/north/threshold/set', '0.5');
    await settle();
    expect([orders, answers]).toEqual([[], []]);
    expect(balanced(c).dropped).toMatchObject({ retained: 1, unknown: 3 });
  });

  it('lets a flood pass at its rate only', async () => {
    let now = 0;
    const { c, orders, send } = commands({ ratePerSecond: 5, burst: 3, monotonic: () => now });
    for (let i = 0; i < 100; i++) send(`irst/d/${i % 2 ? 'north' : 'south'}/threshold/set`, '0.5');
    await settle();
    expect(orders.length).toBe(3);
    now = 1_000;
    for (let i = 0; i < 100; i++) send('irst/d/north/enabled/set', 'on');
    await settle();
    expect(balanced(c).dropped.rate).toBe(97 + 97);
  });

  it('does one at a time, and of those that wait the newest', async () => {
    const running: number[] = [];
    let most = 0;
    const { c, orders, answers, send } = commands({
      onCommand: async (name, camera, value) => {
        orders.push([name, camera, value]);
        running.push(1);
        most = Math.max(most, running.length);
        await delay(5);
        running.pop();
        return { ok: true, value };
      },
    });
    for (const value of [0.1, 0.2, 0.3, 0.4]) send(SET, JSON.stringify({ value, id: `c-${value}` }));
    await expect.poll(() => answers.length, SLOWLY).toBe(4);
    expect(orders.map(([, , value]) => value)).toEqual([0.1, 0.4]);
    expect(most).toBe(1);
    expect(answers.map(([, { id, ok, error }]) => [id, ok, error?.code])).toEqual([
      ['c-0.2', false, 'COMMAND_SUPERSEDED'],
      ['c-0.3', false, 'COMMAND_SUPERSEDED'],
      ['c-0.1', true, undefined],
      ['c-0.4', true, undefined],
    ]);
    expect(answers.at(-1)?.[1].value).toBe(0.4);
    expect(balanced(c)).toMatchObject({ done: 2, dropped: { superseded: 2 } });
  });

  it('takes and tells nothing after its stop', async () => {
    const { c, answers, send } = commands();
    c.stop();
    send(SET, '0.5');
    await settle();
    expect(answers).toEqual([]);
    expect(balanced(c).dropped.shutdown).toBe(1);
  });

  it('survives anything', async () => {
    const { c, send } = commands();
    fc.assert(
      fc.property(
        fc.oneof(fc.constant(SET), fc.string()),
        fc.oneof(
          fc.uint8Array(),
          fc.json().map((j) => Buffer.from(j)),
        ),
        (topic, payload) => {
          send(topic, payload);
        },
      ),
    );
    await settle();
    balanced(c);
  });
});
