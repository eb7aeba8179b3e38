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

test('damaged frames that the driver does not number are counted once, and the good ones keep their numbers', async () => {
  it = FakeCamera.start();
  for (let i = 0; i < 3; i++) await it.frame();
  // Frames 3 and 4; then 5 is good, 6 damaged, 7 lost.
  it.fake.push({ error: true, sequence: 0 });
  it.fake.push({ error: true, sequence: 0 });
  await it.until(() => it.camera.counters().error === 2);
  expect(await it.frame({ sequence: 5 })).toMatchObject({ sequence: 5, dropped: 2 });
  it.fake.push({ error: true, sequence: 5 });
  await it.until(() => it.camera.counters().error === 3);
  expect(await it.frame({ sequence: 8 })).toMatchObject({ sequence: 8, dropped: 2 });
  expect(it.camera.counters()).toMatchObject({ taken: 5, error: 3, skipped: 1, sequenceResets: 0 });
});

test('damaged frames for which the driver counts no number at all', async () => {
  it = FakeCamera.start();
  await it.frame();
  it.fake.push({ error: true, sequence: 0 });
  await it.until(() => it.camera.counters().error === 1);
  expect(await it.frame({ sequence: 1 })).toMatchObject({ sequence: 1, dropped: 1 });
  expect(await it.frame({ sequence: 3 })).toMatchObject({ sequence: 3, dropped: 1 });
  expect(it.camera.counters()).toMatchObject({ error: 1, skipped: 1, sequenceResets: 0 });
});
