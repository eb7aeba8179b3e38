import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { configSchema } from '../config/schema.js';
import { Daemon } from './daemon.js';
import { createLogger } from './log.js';

test('a reload waits until what it changes has been put together', async () => {
  const config = configSchema.parse({ cameras: [{ id: 'a', source: { kind: 'synthetic' } }] });
  const daemon = new Daemon(config, createLogger({ ...config.log, level: 'fatal' }));
  let read = 0;
  void daemon.reload(async () => {
    read++;
    return { config, warnings: [] };
  });
  await delay(20);
  expect(read).toBe(0);
});
