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
  expect(it.steps[2]!.reason).toBe('the source changed its format');
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
