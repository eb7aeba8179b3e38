import { afterEach, expect, test } from 'vitest';
import { FakeSource } from '../fakes/fake-source.js';

let it: FakeSource;
afterEach(() => it?.stop());

const QUIET = { formats: [{ fourcc: 'Y16 ', sizes: [{ width: 16, height: 8 }] }] };

test('no frame for the stall time: stalled; with the next frame streaming again, and not opened anew', async () => {
  it = await FakeSource.started(QUIET, { stallTimeoutMs: 60 });
  const waiting = it.source.next();
  await expect.poll(() => it.states().at(-1), { timeout: 10_000 }).toBe('stalled');
  expect(it.steps.at(-1)).toMatchObject({
    code: 'CAMERA_STALLED',
    reason: '/dev/video0 gave no good frame for 0.167 s',
  });
  it.fake.push();
  await waiting;
  expect(it.states()).toEqual(['opening', 'streaming', 'stalled', 'streaming']);
  expect(it.fake.state().opens).toBe(1);
});

test('a stall that lasts: the camera is opened anew', async () => {
  it = await FakeSource.started(QUIET, { stallTimeoutMs: 30 });
  const waiting = it.source.next();
  await expect.poll(() => it.states().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(7);
  it.fake.push();
  await waiting;
  expect(it.states().slice(0, 7)).toEqual([
    ...['opening', 'streaming', 'stalled', 'lost', 'back-off', 'opening', 'streaming'],
  ]);
  expect(it.steps[3]!.reason).toBe('/dev/video0 gave no good frame for 0.5 s');
});
