import { constants } from 'node:os';
import { afterEach, expect, test } from 'vitest';
import { FakeSource } from '../fakes/fake-source.js';

let it: FakeSource;
afterEach(() => it?.stop());

test('a camera that is not there at the start is waited for', async () => {
  it = new FakeSource();
  it.present = false;
  it.onSleep = (attempt) => {
    it.present = attempt >= 4;
  };
  expect(await it.start()).toMatchObject({ width: 16 });
  expect(it.states().slice(0, 3)).toEqual(['opening', 'back-off', 'opening']);
  expect(it.states().at(-1)).toBe('streaming');
  expect(it.steps[1]).toMatchObject({ code: 'CAMERA_NOT_FOUND' });
  expect(it.steps[1]!.reason).toBe('there is no camera /dev/video0 (ENOENT, open)');
  // It is looked for at least once a second.
  expect(it.sleeps).toEqual([250, 500, 500, 500]);
});

test('one that comes late and does not fit is waited for too: the right one may take its place', async () => {
  it = new FakeSource({}, { profile: 'generic-grey' });
  it.present = false;
  it.onSleep = (attempt) => {
    it.present = attempt >= 2;
    if (attempt === 5) void it.stop();
  };
  await expect(it.start()).rejects.toMatchObject({ code: 'SOURCE_STOPPED' });
  const codes = it.steps.filter(({ to }) => to === 'back-off').map(({ code }) => code);
  expect(codes.slice(0, 2)).toEqual(['CAMERA_NOT_FOUND', 'CAMERA_NOT_FOUND']);
  expect(codes.slice(2, 5)).toEqual(['PROFILE_UNFIT', 'PROFILE_UNFIT', 'PROFILE_UNFIT']);
});

test('a driver that lists no sizes, and is set to another format, is asked for the size that it is set to', async () => {
  const formats = ['GREY', 'Y16 '].map((fourcc) => ({ fourcc, sizes: [{ width: 16, height: 8 }] }));
  it = new FakeSource({ formats }, { profile: 'generic-y16' });
  it.fake.fail('VIDIOC_ENUM_FRAMESIZES', constants.errno.EINVAL, 2);
  expect(await it.start()).toMatchObject({ width: 16, height: 8, profile: 'generic-y16' });
});

test('unplugged: lost, waited for, and streaming again with numbers that go on', async () => {
  it = await FakeSource.started();
  await it.frame();
  it.fake.unplug();
  it.present = false;
  it.onSleep = (attempt) => {
    if (attempt < 3) return;
    it.present = true;
    it.fake.plug();
  };
  const frame = await it.pushedUntilNext();
  expect(frame.sequence).toBeGreaterThanOrEqual(1);
  expect(it.states()).toEqual([
    ...[
      'opening',
      'streaming',
      'lost',
      'back-off',
      'opening',
      'back-off',
      'opening',
      'back-off',
      'opening',
      'streaming',
    ],
  ]);
  expect(it.steps[2]).toMatchObject({ from: 'streaming', code: 'CAMERA_GONE' });
  expect(it.steps[2]!.reason).toBe('/dev/video0 is gone (ENODEV, poll)');
  expect(it.fake.state().open).toBe(1);
  expect(it.balance()).toBe(0);
});

const { ENODEV } = constants.errno;
test.each([
  'VIDIOC_QUERYCAP',
  'VIDIOC_ENUM_FMT',
  'VIDIOC_G_FMT',
  'VIDIOC_S_FMT',
  'VIDIOC_REQBUFS',
  'VIDIOC_QUERYBUF',
  'mmap',
  'VIDIOC_QBUF',
  'VIDIOC_STREAMON',
])('gone in %s while it opens: tried again, and nothing left behind', async (call) => {
  it = new FakeSource();
  it.fake.fail(call, ENODEV);
  await it.start();
  expect(it.steps[1]).toMatchObject({ to: 'back-off', code: 'CAMERA_GONE' });
  expect(it.steps[1]!.reason).toBe(`/dev/video0 is gone (ENODEV, ${call})`);
  expect((await it.frame()).sequence).toBe(0);
  await it.stop();
  expect(it.fake.state()).toMatchObject({ open: 0, buffers: 0, mappings: 0 });
});

test('gone while it is stalled: lost', async () => {
  it = await FakeSource.started(
    { formats: [{ fourcc: 'Y16 ', sizes: [{ width: 16, height: 8 }] }] },
    { stallTimeoutMs: 40 },
  );
  const next = it.pushedUntilNext.bind(it);
  const waiting = it.source.next();
  await expect.poll(() => it.states().at(-1), { timeout: 10_000 }).toBe('stalled');
  it.fake.unplug();
  it.fake.plug();
  await expect.poll(() => it.states().at(-1), { timeout: 10_000 }).toBe('streaming');
  it.fake.push();
  await waiting;
  await next();
  expect(it.states().slice(2, 6)).toEqual(['stalled', 'lost', 'back-off', 'opening']);
});

test('a driver that fails again and again is waited for longer and longer, and never given up', async () => {
  it = await FakeSource.started();
  it.fake.unplug();
  it.onSleep = (attempt) => attempt === 9 && it.fake.plug();
  await it.pushedUntilNext();
  // An unplugged fake answers ENODEV to open: not there.
  expect(Math.max(...it.sleeps)).toBeLessThanOrEqual(1000);
  it.fake.fail('VIDIOC_STREAMON', constants.errno.EIO, 8);
  it.fake.unplug();
  it.sleeps.length = 0;
  it.onSleep = (attempt) => attempt === 1 && it.fake.plug();
  await it.pushedUntilNext();
  expect(it.sleeps.at(-1)).toBe(5000);
  expect(it.steps.filter(({ code }) => code === 'CAMERA_FAILED').length).toBe(8);
});
