// The daemon, as built, over a worker that hangs after two seconds; an impatient one, so that a test need not wait long. As `run` has it
// (`serve`), and as a command that does something after its daemon has stopped (`session`).
import { stopSignal } from '../../dist/commands/inputs.js';
import { serve } from '../../dist/commands/run.js';
import { main, print } from '../../dist/commands/shared.js';
import { configSchema } from '../../dist/config/schema.js';
import { Daemon } from '../../dist/service/daemon.js';
import { createLogger } from '../../dist/service/log.js';

const config = configSchema.parse({
  cameras: [{ id: 'cam0', source: { kind: 'synthetic' } }],
  embeddedBroker: { port: 0 },
});
const log = createLogger(config.log);
const daemon = new Daemon(config, log, {
  workerFile: new URL('./worker-hangs-later.mjs', import.meta.url),
  limits: { silentMs: 1000, openingMs: 1000, loadingMs: 1000, framelessMs: 1000 },
});
process.on('SIGUSR2', () => {
  throw new Error('out of luck');
});
const actions = {
  serve: () => serve(daemon, log, stopSignal()),
  session: async () => {
    const signal = stopSignal();
    await daemon.start(signal);
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    await daemon.stop();
    await print('the report');
  },
};
const command = (name) => ({
  name,
  load: async () => ({ register: (program) => program.command(name).action(actions[name]) }),
});
await main(process.argv, Object.keys(actions).map(command));
