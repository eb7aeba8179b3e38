import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test('a frame flagged as damaged is dropped and counted, and its buffer goes back', async () => {
  it = FakeCamera.start();
  for (let i = 0; i < 20; i++) {
    it.fake.push({ error: true });
    await it.until(() => it.camera.counters().error === i + 1);
  }
  expect(await it.frame()).toMatchObject({ sequence: 20, dropped: 20 });
  expect(it.camera.counters()).toMatchObject({ taken: 1, error: 20, skipped: 0 });
  expect(it.fake.state()).toMatchObject({ starved: 0, queued: 4 });
});
