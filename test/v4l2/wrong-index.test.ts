import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

test.each([4, 77, 0xffff_ffff])('a buffer index %i that is none is counted and believed nowhere', async (index) => {
  it = FakeCamera.start();
  await it.frame();
  it.fake.push({ index });
  expect(await it.event('restarted')).toMatchObject({ code: 'EBADMSG', syscall: 'VIDIOC_DQBUF' });
  expect(it.camera.counters()).toMatchObject({ badIndex: 1, restarts: 1 });
  expect(await it.frame()).toMatchObject({ sequence: 1, dropped: 1 });
  expect(it.fake.state()).toMatchObject({ queued: 4 });
});
