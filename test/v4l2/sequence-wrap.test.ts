import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('the driver sequence wraps at 2^32 without a drop', async () => {
  it = FakeCamera.start({ firstSequence: 0xffff_fffe });
  const seen = [await it.frame(), await it.frame(), await it.frame({ skip: 1 })];
  expect(seen.map((frame) => frame.sequence)).toEqual([0, 1, 3]);
  expect(it.camera.counters()).toMatchObject({ skipped: 1, sequenceResets: 0 });
});

test('a sequence that goes back or stands still is no gap', async () => {
  it = FakeCamera.start();
  const sequences: number[] = [];
  for (const sequence of [10, 11, 3, 4, 4]) sequences.push((await it.frame({ sequence })).sequence);
  expect(sequences).toEqual([0, 1, 2, 3, 4]);
  expect(it.camera.counters()).toMatchObject({ skipped: 0, sequenceResets: 2 });
});
