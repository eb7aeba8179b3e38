import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { LoopDelay } from './loop-delay.js';

const BLOCK_MS = 400;
let loop: LoopDelay | undefined;
afterEach(() => loop?.stop());

function block(): void {
  const end = performance.now() + BLOCK_MS;
  while (performance.now() < end);
}

test('an idle loop is hardly late: the interval of the looks is not in it', async () => {
  loop = new LoopDelay();
  loop.start();
  let least = Number.POSITIVE_INFINITY;
  // Other work on the machine makes it late; hardly all the time.
  for (let n = 0; n < 20 && least > 20; n++) {
    await delay(150);
    least = Math.min(least, loop.take());
  }
  expect(least).toBeLessThanOrEqual(20);
  expect(least).toBeGreaterThanOrEqual(0);
});

test.each([0, 20, 120])('a loop that is blocked %i ms after the last word is late by that, told once', async (ms) => {
  loop = new LoopDelay();
  loop.start();
  await delay(120);
  loop.take();
  if (ms > 0) await delay(ms);
  block();
  await delay(120);
  // The turn that is late was due up to an interval after the block began.
  expect(loop.take()).toBeGreaterThanOrEqual(BLOCK_MS - 55);
  expect(loop.take()).toBe(0);
});
