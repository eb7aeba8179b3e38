import { afterEach, expect, test } from 'vitest';
import { FakeSource } from '../fakes/fake-source.js';

let it: FakeSource;
afterEach(() => it?.stop());

test('start chooses a profile and says what it is; frames come as counts with their times', async () => {
  it = new FakeSource({ card: 'FLIR Boson', padding: 6 });
  const info = await it.start();
  expect(info).toMatchObject({ width: 16, height: 8, bits: 16, fps: 60, profile: 'generic-y16' });
  expect(info.ffc).toMatchObject({ detect: ['freeze', 'step'] });
  expect(info.description).toBe('camera FLIR Boson at /dev/video0 (16x8, 16 bit, profile generic-y16)');
  await it.frame();
  const before = process.hrtime.bigint();
  const frame = await it.frame();
  expect(frame).toMatchObject({ sequence: 1, width: 16, height: 8, bits: 16 });
  expect(frame.captureMonotonicNs).toBeGreaterThanOrEqual(before - 1_000_000n);
  expect(Math.abs(frame.capturedAtMs - Date.now())).toBeLessThan(1000);
  // Picture 1 of the fake: x + y + 1, whatever the stride.
  expect([...frame.data.slice(0, 3), frame.data[16 * 7 + 15]]).toEqual([1, 2, 3, 23]);
});

test('nothing is opened before start, and stop leaves nothing open', async () => {
  it = new FakeSource();
  expect(it.fake.state().opens).toBe(0);
  await it.start();
  await it.frame();
  await it.stop();
  await it.stop();
  expect(it.fake.state()).toMatchObject({ open: 0, buffers: 0, mappings: 0 });
  expect(await it.source.next()).toBeNull();
  expect(it.states()).toEqual(['opening', 'streaming', 'closed']);
});

test('stop ends a next() that waits', async () => {
  it = await FakeSource.started();
  const next = it.source.next();
  setTimeout(() => void it.stop(), 10);
  expect(await next).toBeNull();
});

test('an abort while the camera is waited for ends the start', async () => {
  it = new FakeSource();
  it.present = false;
  it.onSleep = (attempt) => attempt === 3 && it.abort.abort();
  await expect(it.start()).rejects.toMatchObject({ code: 'SOURCE_STOPPED' });
});

test('a rate that is asked for is the nearest that the driver has', async () => {
  const interval = (denominator: number) => ({ numerator: 1, denominator });
  const sizes = [{ width: 16, height: 8, intervals: [interval(60), interval(30)] }];
  it = new FakeSource({ formats: [{ fourcc: 'Y16 ', sizes }] }, { fps: 25 });
  expect((await it.start()).fps).toBe(30);
});

test.each([
  ['ENOTTY', 25],
  ['EINVAL', 22],
])('a rate that can be read and not set is the one that there is (%s)', async (_, errno) => {
  it = new FakeSource({ card: 'FLIR Boson' }, { fps: 25 });
  it.fake.fail('VIDIOC_S_PARM', errno);
  expect((await it.start()).fps).toBe(60);
  await it.frame();
});

test('a driver that does not tell its rate gives frames all the same', async () => {
  it = new FakeSource({}, { fps: 25 });
  it.fake.fail('VIDIOC_G_PARM', 5, 1000);
  await it.start();
  await it.frame();
});

test.each([0, 6, 32])('a driver that lays its frames out anew with the rate (padding %i)', async (ratePadding) => {
  it = new FakeSource({ padding: 16, ratePadding }, { fps: 60 });
  await it.start();
  const { data } = await it.frame();
  expect([...data.slice(0, 3), data[16], data[16 * 7 + 15]]).toEqual([0, 1, 2, 1, 22]);
});
