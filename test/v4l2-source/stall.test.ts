import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { FakeSource } from '../fakes/fake-source.js';

let it: FakeSource;
let dir: string | undefined;
let pushing: NodeJS.Timeout | undefined;
afterEach(async () => {
  clearInterval(pushing);
  await it?.stop();
  if (dir !== undefined) rmSync(dir, { recursive: true });
  dir = undefined;
});

const QUIET = { formats: [{ fourcc: 'Y16 ', sizes: [{ width: 16, height: 8 }] }] };

test('no frame for the stall time: stalled; with the next frame streaming again, and not opened anew', async () => {
  it = await FakeSource.started(QUIET, { stallTimeoutMs: 60 });
  const waiting = it.source.next();
  await expect.poll(() => it.states().at(-1), { timeout: 10_000 }).toBe('stalled');
  expect(it.steps.at(-1)).toMatchObject({
    code: 'CAMERA_STALLED',
    reason: '/dev/video0 gave no good frame for 0.167 s',
  });
  it.fake.push();
  await waiting;
  expect(it.states()).toEqual(['opening', 'streaming', 'stalled', 'streaming']);
  expect(it.fake.state().opens).toBe(1);
});

test('a stall that lasts: the camera is opened anew', async () => {
  it = await FakeSource.started(QUIET, { stallTimeoutMs: 30 });
  const waiting = it.source.next();
  await expect.poll(() => it.states().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(7);
  it.fake.push();
  await waiting;
  expect(it.states().slice(0, 7)).toEqual([
    ...['opening', 'streaming', 'stalled', 'lost', 'back-off', 'opening', 'streaming'],
  ]);
  expect(it.steps[3]!.reason).toBe('/dev/video0 gave no good frame for 0.5 s');
});

test('a stall that lasts is given up after two more stall times, not three', async () => {
  const stallMs = 700;
  it = await FakeSource.started(QUIET, { stallTimeoutMs: stallMs });
  const waiting = it.source.next();
  await expect.poll(() => it.states(), { timeout: 10_000 }).toContain('lost');
  it.fake.push();
  await it.stop();
  await waiting;
  const at = (state: string) => it.steps.find(({ to }) => to === state)!.atMs;
  expect(at('lost') - at('stalled')).toBeGreaterThanOrEqual(2 * stallMs - 1);
  expect(at('lost') - at('stalled')).toBeLessThan(2.9 * stallMs);
});

/** Of a camera whose frames the driver takes for whole, and the decoder does not. */
async function undecodable(stallTimeoutMs: number): Promise<void> {
  dir = mkdtempSync(path.join(tmpdir(), 'irst-v4l2-'));
  const profile = { id: 'raw-mjpg', name: 'luma in MJPG', fourcc: 'MJPG', content: 'luma' };
  writeFileSync(path.join(dir, 'raw-mjpg.json'), JSON.stringify(profile));
  const formats = [{ fourcc: 'MJPG', sizes: [{ width: 16, height: 8 }] }];
  it = await FakeSource.started({ formats }, { stallTimeoutMs, profile: 'raw-mjpg', profilesDirectory: dir });
  pushing = setInterval(() => it.fake.push({ bytesUsed: 10 }), 5);
}

test('only frames that cannot be decoded for the stall time: stalled; with the first good one streaming again', async () => {
  await undecodable(1500);
  const waiting = it.source.next();
  await expect.poll(() => it.states().at(-1), { timeout: 10_000 }).toBe('stalled');
  expect(it.steps.at(-1)).toMatchObject({ code: 'CAMERA_STALLED' });
  expect(it.faults[0]).toMatchObject(['short', { code: 'FRAME_SHORT' }]);
  clearInterval(pushing);
  it.fake.push();
  await waiting;
  expect(it.states()).toEqual(['opening', 'streaming', 'stalled', 'streaming']);
  expect(it.balance()).toBe(0);
});

test('a camera that gives no other frames is opened anew', async () => {
  await undecodable(60);
  const waiting = it.source.next();
  await expect.poll(() => it.states().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(7);
  await it.stop();
  expect(await waiting).toBeNull();
  expect(it.states().slice(0, 7)).toEqual([
    ...['opening', 'streaming', 'stalled', 'lost', 'back-off', 'opening', 'streaming'],
  ]);
  expect(it.balance()).toBe(0);
});
