import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { configSchema } from '../config/schema.js';
import { Daemon } from '../service/daemon.js';
import { createLogger } from '../service/log.js';
import { serve } from './run.js';

const WORKER = new URL('../../test/fakes/worker-one-refused.mjs', import.meta.url);
const daemons: Daemon[] = [];
afterEach(async () => {
  for (const daemon of daemons.splice(0)) await daemon.stop();
});

/** `serve` over cameras of these names, of which "broken" fails for good; the lines of its log. */
function serving(...ids: string[]) {
  const config = configSchema.parse({
    cameras: ids.map((id) => ({ id, source: { kind: 'synthetic' } })),
    embeddedBroker: { port: 0 },
  });
  const lines: Record<string, unknown>[] = [];
  const log = createLogger({ level: 'info', format: 'json' }, { write: (line) => lines.push(JSON.parse(line)) }, false);
  const daemon = new Daemon(config, log, { workerFile: WORKER });
  daemons.push(daemon);
  const signal = new AbortController();
  return { daemon, lines, signal, served: serve(daemon, log, signal.signal) };
}

test('a stop that is asked for ends well, though a camera failed long ago; log and state say so', async () => {
  const { daemon, lines, signal, served } = serving('broken', 'well');
  const states = () => daemon.snapshot().cameras.map(({ id, state }) => `${id} ${state}`);
  while (states().join() !== 'broken failed,well running') await new Promise((resolve) => setTimeout(resolve, 20));
  signal.abort();
  await expect(served).resolves.toBeUndefined();
  expect(lines).toContainEqual(expect.objectContaining({ camera: 'broken', code: 'MODEL_SHA_MISMATCH' }));
  expect(states()).toEqual(['broken failed', 'well ended']);
});

test('where nothing is left to run, the error that ended a camera is the end of all', async () => {
  const { daemon, served } = serving('broken');
  const ended = expect(served).rejects.toMatchObject({ code: 'MODEL_SHA_MISMATCH', exitCode: 65 });
  await once(daemon, 'finished');
  await ended;
});
