import type { Command } from 'commander';
import { ALERT_SCHEMAS } from '../alerts/schema.js';
import { print } from './shared.js';

export function register(program: Command): void {
  program
    .command('event-schema')
    .description('print the JSON Schema of an event (see also: irst-edge config schema)')
    .action(() => print(JSON.stringify(ALERT_SCHEMAS.event, null, 2)));
}
