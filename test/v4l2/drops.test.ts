import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('a gap in the driver sequence is counted, and told with the next frame', async () => {
  it = FakeCamera.start({ firstSequence: 7 });
  expect(await it.frame()).toMatchObject({ sequence: 0, dropped: 0 });
  expect(await it.frame({ skip: 3 })).toMatchObject({ sequence: 4, dropped: 3 });
  expect(await it.frame()).toMatchObject({ sequence: 5, dropped: 0 });
  expect(it.camera.counters()).toMatchObject({ taken: 3, skipped: 3, stale: 0 });
});
