#!/usr/bin/env node
import { type CommandEntry, main } from './commands/shared.js';
import { forbidPacketDebug } from './util/no-packet-debug.js';
import { forbidTelemetry } from './util/no-telemetry.js';
import { keepMemorySmall } from './util/small-memory.js';

/** In the order of the help. */
const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'run',
    load: () => {
      keepMemorySmall();
      return import('./commands/run.js');
    },
  },
  { name: 'health', load: () => import('./commands/health.js') },
  { name: 'demo', load: () => import('./commands/demo.js') },
  { name: 'detect', load: () => import('./commands/detect.js') },
  { name: 'eval', load: () => import('./commands/eval.js') },
  { name: 'bench', load: () => import('./commands/bench.js') },
  { name: 'watch', load: () => import('./commands/watch.js') },
  { name: 'doctor', load: () => import('./commands/doctor.js') },
  { name: 'probe', load: () => import('./commands/probe.js') },
  { name: 'model', load: () => import('./commands/model.js') },
  { name: 'event-schema', load: () => import('./commands/event-schema.js') },
  { name: 'config', load: () => import('./commands/config.js') },
];

forbidTelemetry();
forbidPacketDebug();
await main(process.argv, COMMANDS);
