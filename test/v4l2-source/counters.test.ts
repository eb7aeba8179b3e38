import { afterEach, expect, test } from 'vitest';
import { FakeSource } from '../fakes/fake-source.js';

let it: FakeSource;
afterEach(() => it?.stop());

test('every frame is delivered or dropped with its reason, over a loss and a stop', async () => {
  it = await FakeSource.started();
  await it.frame();
  it.fake.push({ error: true });
  it.fake.push({ bytesUsed: 10 });
  it.fake.push({ skip: 2 });
  await it.next();
  it.fake.push({ count: 4 });
  await it.next();
  expect(it.source.counters().dropped).toMatchObject({ corrupt: 1, short: 1, sequence: 2 });
  expect(it.balance()).toBe(0);
  it.fake.push();
  // The thread has taken it: only then does the stop find a frame that nobody fetched.
  await expect.poll(() => it.camera?.counters().pending, { timeout: 10_000 }).toBe(1);
  await it.stop();
  const { captured, delivered, dropped } = it.source.counters();
  expect({ captured, delivered }).toEqual({ captured: 11, delivered: 3 });
  expect(dropped).toEqual({ corrupt: 1, short: 1, sequence: 2, stale: 3, shutdown: 1 });
});

test('damaged and short frames are told of, with a code', async () => {
  it = await FakeSource.started();
  it.fake.push({ error: true });
  it.fake.push({ bytesUsed: 10 });
  await it.frame();
  expect(it.faults.map(([reason, { code }]) => [reason, code])).toEqual([
    ['corrupt', 'CAMERA_FRAME_CORRUPT'],
    ['short', 'CAMERA_FRAME_SHORT'],
  ]);
  await it.frame();
  expect(it.faults).toHaveLength(2);
});
