import { afterEach, expect, test } from 'vitest';
import { FakeSource } from '../fakes/fake-source.js';

let it: FakeSource;
afterEach(() => it?.stop());

test('a source change to the same size: negotiated and streaming again at once', async () => {
  it = await FakeSource.started();
  await it.frame();
  it.fake.changeSource(16, 8);
  const frame = await it.pushedUntilNext();
  expect(frame).toMatchObject({ width: 16, height: 8 });
  expect(it.states()).toEqual(['opening', 'streaming', 'lost', 'opening', 'streaming']);
  expect(it.sleeps).toEqual([]);
  expect(it.steps[2]!.reason).toBe('/dev/video0: the source changed its format');
});

test('a source change to another size ends the source, for it to be made anew; again at each call', async () => {
  it = await FakeSource.started();
  await it.frame();
  it.fake.changeSource(32, 4);
  const refused = {
    code: 'CAMERA_CHANGED',
    message: '/dev/video0 gives 32x4, 16 bit now, no longer 16x8, 16 bit',
    exitCode: 69,
    path: '/dev/video0',
  };
  await expect(it.source.next()).rejects.toMatchObject(refused);
  await expect(it.source.next()).rejects.toMatchObject(refused);
  expect(it.states().at(-1)).toBe('closed');
  expect(it.fake.state()).toMatchObject({ open: 0, buffers: 0 });
});

test('a source that changes again before a frame came is waited for, longer and longer', async () => {
  it = await FakeSource.started();
  await it.frame();
  it.fake.changeSource(16, 8);
  const timer = setInterval(() => {
    if (it.sleeps.length >= 3) it.fake.push();
    else if (it.states().at(-1) === 'streaming') it.fake.changeSource(16, 8);
  }, 2);
  try {
    expect(await it.next()).toMatchObject({ width: 16, height: 8 });
  } finally {
    clearInterval(timer);
  }
  expect(it.sleeps).toEqual([250, 500, 1000]);
  const again = it.steps.findIndex(({ to }) => to === 'back-off');
  expect(it.steps.slice(again - 1, again + 2)).toMatchObject([
    { to: 'lost', reason: '/dev/video0: the source changed its format' },
    { to: 'back-off', code: 'CAMERA_FAILED', reason: '/dev/video0: the source changed its format' },
    { to: 'opening' },
  ]);
});
