import { beforeEach, expect, test } from 'vitest';
import type { EdgeError } from '../types/errors.js';
import type { Judgement } from './progress.js';
import { Watchdog } from './watchdog.js';

let now: number;
let fed: number;
let held: EdgeError[];
let recovered: number;
let workers: Map<string, Judgement>;
let watchdog: Watchdog;

beforeEach(() => {
  [now, fed, held, recovered] = [0, 0, [], 0];
  workers = new Map([['a', { condition: 'serving' }]]);
  watchdog = new Watchdog(20_000, {
    feed: () => fed++,
    workers: () => workers,
    onHeld: (error) => held.push(error),
    onFed: () => recovered++,
    now: () => now,
  });
  watchdog.start();
  watchdog.stop();
});

function look(ms = 5000): void {
  now += ms;
  watchdog.look();
}

test('fed at the start and at each look while workers serve or are excused', () => {
  look();
  workers.set('b', { condition: 'excused', reason: 'back-off (CAMERA_GONE)' });
  workers.set('c', { condition: 'loading' });
  workers.set('d', { condition: 'ended' });
  look();
  expect([fed, held.length]).toEqual([3, 0]);
});

test('not fed while a worker is stuck, told once, fed again when it goes on', () => {
  workers.set('b', { condition: 'stuck', reason: 'silent for 12 s' });
  for (let i = 0; i < 4; i++) look();
  expect(fed).toBe(1);
  expect(held).toMatchObject([{ code: 'WATCHDOG_HELD', message: 'no progress: camera b: silent for 12 s' }]);
  expect(watchdog.heldBy).toBe('camera b: silent for 12 s');
  workers.set('b', { condition: 'serving' });
  look();
  expect([fed, held.length, recovered, watchdog.heldBy]).toEqual([2, 1, 1, undefined]);
});

test('one blocked turn of the event loop costs one look, being blocked again and again all of them', () => {
  look(10_500);
  expect([fed, held.map((e) => e.message)]).toEqual([1, ['no progress: the event loop was blocked for 6 s']]);
  look();
  expect(fed).toBe(2);
  for (let i = 0; i < 3; i++) look(11_000);
  expect(fed).toBe(2);
});

test('a turn that is a little late is prompt enough', () => {
  look(9000);
  expect(fed).toBe(2);
});
