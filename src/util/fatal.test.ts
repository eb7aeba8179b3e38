import { expect, test } from 'vitest';
import { cleanUp, onFatal } from './fatal.js';

test('runs every cleanup once, whatever the others do, and not those taken back', async () => {
  const ran: string[] = [];
  onFatal(async () => {
    throw new Error('no');
  });
  onFatal(async () => void ran.push('a'));
  onFatal(async () => void ran.push('b'))();
  await cleanUp(1000);
  await cleanUp(1000);
  expect(ran).toEqual(['a']);
});

test('does not wait for ever', async () => {
  onFatal(() => new Promise(() => {}));
  await cleanUp(20);
});
