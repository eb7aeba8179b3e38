import { constants } from 'node:os';
import { afterEach, expect, test } from 'vitest';
import { FakeCamera } from '../fakes/fake-camera.js';

let it: FakeCamera;
afterEach(() => it?.close());

const { ENODEV } = constants.errno;
const CLEAN = { open: 0, buffers: 0, mappings: 0, queued: 0, streaming: false };

test('unplugged while it waits: lost, and closing leaves nothing behind', async () => {
  it = FakeCamera.start();
  await it.frame();
  it.fake.unplug();
  expect(await it.event('lost')).toMatchObject({ code: 'ENODEV', syscall: 'poll' });
  expect(it.take()).toBeUndefined();
  it.close();
  expect(it.fake.state()).toMatchObject(CLEAN);
});

test.each(['VIDIOC_DQBUF', 'VIDIOC_QBUF'])('gone in %s: lost', async (call) => {
  it = FakeCamera.start();
  it.fake.fail(call, ENODEV);
  it.fake.push();
  expect(await it.event('lost')).toMatchObject({ code: 'ENODEV', syscall: call });
});

test('POLLERR without a frame or a reason: lost', async () => {
  it = FakeCamera.start();
  it.fake.pollEvents(8, -1);
  expect(await it.event('lost')).toMatchObject({ code: 'ENODEV', syscall: 'poll' });
});

test('the calls on a lost device give ENODEV with call and path', async () => {
  it = FakeCamera.start();
  it.fake.unplug();
  await it.event('lost');
  expect(() => it.camera.getFormat()).toThrow(
    expect.objectContaining({ code: 'ENODEV', errno: -19, syscall: 'VIDIOC_G_FMT', path: '/dev/video0' }),
  );
});
