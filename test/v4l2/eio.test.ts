import { constants } from 'node:os';
import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

const { EIO, ENODEV } = constants.errno;

test('EIO restarts the stream; the sequence goes on', async () => {
  it = FakeCamera.start();
  await it.frame();
  it.fake.fail('VIDIOC_DQBUF', EIO);
  it.fake.push();
  expect(await it.event('restarted')).toMatchObject({ code: 'EIO', errno: -5, syscall: 'VIDIOC_DQBUF' });
  expect(await it.frame()).toMatchObject({ sequence: 1 });
  expect(it.camera.counters()).toMatchObject({ restarts: 1, taken: 2 });
  expect(it.fake.state()).toMatchObject({ streaming: true, streamOns: 2, queued: 4 });
});

test('a restart that is refused at first is tried again', async () => {
  it = FakeCamera.start();
  it.fake.fail('VIDIOC_STREAMON', EIO, 2);
  it.fake.fail('VIDIOC_DQBUF', EIO);
  it.fake.push();
  await it.event('restarted');
  expect(await it.frame()).toMatchObject({ sequence: 0 });
});

test('errors without end are given up after five restarts, and leave nothing behind', async () => {
  it = FakeCamera.start();
  it.fake.fail('VIDIOC_DQBUF', EIO, -1);
  it.fake.pollEvents(1, -1);
  expect(await it.event('failed')).toMatchObject({ code: 'EIO', syscall: 'VIDIOC_DQBUF' });
  expect(it.camera.counters().restarts).toBe(5);
  it.close();
  expect(it.fake.state()).toMatchObject({ open: 0, buffers: 0, mappings: 0, queued: 0, streaming: false });
});

test('a restart that finds the device gone says so', async () => {
  it = FakeCamera.start();
  it.fake.fail('VIDIOC_STREAMOFF', ENODEV);
  it.fake.fail('VIDIOC_DQBUF', EIO);
  it.fake.push();
  expect(await it.event('lost')).toMatchObject({ code: 'ENODEV', syscall: 'VIDIOC_STREAMOFF' });
});
