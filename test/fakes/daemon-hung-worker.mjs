// The daemon, as built, over a worker that hangs after two seconds; an impatient one, so that a test need not wait long.
import { configSchema } from '../../dist/config/schema.js';
import { Daemon } from '../../dist/service/daemon.js';
import { createLogger } from '../../dist/service/log.js';

const config = configSchema.parse({
  cameras: [{ id: 'cam0', source: { kind: 'synthetic' } }],
  embeddedBroker: { port: 0 },
});
const daemon = new Daemon(config, createLogger(config.log), {
  workerFile: new URL('./worker-hangs-later.mjs', import.meta.url),
  limits: { silentMs: 1000, openingMs: 1000, loadingMs: 1000, framelessMs: 1000 },
});
await daemon.start(new AbortController().signal);
