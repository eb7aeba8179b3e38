import { afterEach, expect, test } from 'vitest';
import { ClockWatch, clockState } from './clock.js';

const NOW = 1_800_000_000_000;
const MARK = '/run/systemd/timesync/synchronized';
const FOLDER = '/run/systemd/timesync';
const DRIFT = '/var/lib/chrony/chrony.drift';
const HOUR = 3_600_000;

test.each([
  ['timesyncd answered a minute ago', { [FOLDER]: NOW - HOUR, [MARK]: NOW - 60_000 }, true],
  ['timesyncd runs and never had an answer', { [FOLDER]: NOW - 60_000 }, false],
  ['timesyncd has been silent for two hours', { [FOLDER]: NOW - 9 * HOUR, [MARK]: NOW - 2 * HOUR }, null],
  ['the mark is from the future: the clock was set back', { [FOLDER]: NOW, [MARK]: NOW + HOUR }, null],
  ['chrony wrote its drift an hour ago', { [DRIFT]: NOW - HOUR }, true],
  ['chrony beside a timesyncd that is switched off but left its folder', { [FOLDER]: NOW, [DRIFT]: NOW }, true],
  ['chrony has been silent since yesterday', { [DRIFT]: NOW - 24 * HOUR }, null],
  ['chrony wrote its drift shortly before the machine was started', { [DRIFT]: NOW - HOUR }, null, HOUR / 2],
  ['chrony wrote its drift since the machine was started', { [DRIFT]: NOW - HOUR / 4 }, true, HOUR / 2],
  ['nothing keeps the time', {}, null],
])('%s', async (_, files: Record<string, number>, synchronised, uptimeMs = 48 * HOUR) => {
  expect(await clockState(async (path) => files[path], NOW, uptimeMs)).toEqual({ synchronised });
});

let watch: ClockWatch;
afterEach(() => watch?.stop());

test('unknown before the first look, kept up to date, and unknown again where looking fails', async () => {
  const files: Record<string, number> = { [FOLDER]: NOW };
  let fail = false;
  let looks = 0;
  watch = new ClockWatch({
    everyMs: 5,
    now: () => NOW,
    lastWritten: async (path) => {
      looks++;
      if (fail) throw new Error('no such device');
      return files[path];
    },
  });
  expect(watch.state).toEqual({ synchronised: null });
  await watch.start();
  expect(watch.state).toEqual({ synchronised: false });
  files[MARK] = NOW;
  await expect.poll(() => watch.state).toEqual({ synchronised: true });
  fail = true;
  await expect.poll(() => watch.state).toEqual({ synchronised: null });
  watch.stop();
  const then = looks;
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(looks).toBe(then);
});

test('the real files can be looked at', async () => {
  watch = new ClockWatch();
  await watch.start();
  expect([true, false, null]).toContain(watch.state.synchronised);
});
