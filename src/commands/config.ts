import path from 'node:path';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { asyncApiDocument } from '../alerts/asyncapi.js';
import { ALERT_SCHEMAS } from '../alerts/schema.js';
import { profileJsonSchema } from '../capture/profile-schema.js';
import { loadProfiles } from '../capture/profile-store.js';
import { DEFAULT_FILES, loadConfig } from '../config/load.js';
import { redactConfig } from '../config/redact.js';
import { configJsonSchema } from '../config/schema.js';
import { globalOptions, print, printJson, printNote, usageError, writeOutputFile } from './shared.js';

/** Every JSON Schema of the program, by the stem of its file in docs/schemas. */
export function allSchemas(): Record<string, object> {
  return { config: configJsonSchema(), 'camera-profile': profileJsonSchema(), ...ALERT_SCHEMAS };
}

/** The name under which the AsyncAPI document is printed. */
const ASYNCAPI = 'asyncapi';

/** A schema, or the AsyncAPI document, as it stands in its file. */
export function schemaText(schema: object): string {
  return `${JSON.stringify(schema, null, 2)}\n`;
}

export function register(program: Command): void {
  const config = program.command('config').description('check a configuration, or print its schema');

  config
    .command('check')
    .description('check a configuration: every error and every warning in one go')
    .argument('[file]', `YAML or JSON; default: IRST_EDGE_CONFIG, else ${DEFAULT_FILES.join(', ')}`)
    .option(
      '--print',
      'print the whole configuration as it is in force, defaults and variables included, without secrets',
    )
    .action(check);

  config
    .command('schema')
    .description('print the JSON Schema of the configuration, or of the messages')
    .argument(
      '[name]',
      `one of ${Object.keys(allSchemas()).join(', ')}; or ${ASYNCAPI}; default: config, or all with --write`,
    )
    .option('--write <dir>', 'write NAME.schema.json into this folder instead')
    .option('--asyncapi <file>', 'write the AsyncAPI document of all messages and topics into this file')
    .action(schema);
}

async function check(file: string | undefined, options: { print?: true }, command: Command): Promise<void> {
  const loaded = await loadConfig(file);
  const config = redactConfig(loaded.config);
  if (config.profilesDirectory !== undefined) await loadProfiles(config.profilesDirectory);
  if (globalOptions(command).json) {
    await printJson({ ok: true, file: loaded.file, warnings: loaded.warnings, config });
    return;
  }
  for (const warning of loaded.warnings) await printNote(`warning: ${warning}`);
  const cameras = config.cameras.length === 1 ? '1 camera' : `${config.cameras.length} cameras`;
  // YAML on stdout stays YAML.
  if (options.print) await print(`# ${loaded.file}\n${stringify(config).trimEnd()}`);
  else await print(`${loaded.file}: ok, ${cameras}`);
}

async function schema(
  name: string | undefined,
  options: { write?: string; asyncapi?: string },
  command: Command,
): Promise<void> {
  const schemas = allSchemas();
  if (name === ASYNCAPI) {
    if (options.write !== undefined) throw usageError('the AsyncAPI document is not a schema', 'use --asyncapi FILE');
  } else if (name !== undefined && !Object.hasOwn(schemas, name)) {
    throw usageError(`no schema '${name}'`, `there are: ${[...Object.keys(schemas), ASYNCAPI].join(', ')}`);
  }
  if (options.write === undefined && options.asyncapi === undefined) {
    const text = schemaText(name === ASYNCAPI ? asyncApiDocument() : (schemas[name ?? 'config'] as object));
    await print(text.trimEnd());
    return;
  }
  const files: string[] = [];
  const write = async (file: string, content: object): Promise<void> => {
    await writeOutputFile(file, schemaText(content));
    files.push(file);
  };
  if (options.write !== undefined) {
    for (const [stem, content] of Object.entries(schemas)) {
      if (name === undefined || stem === name) await write(path.join(options.write, `${stem}.schema.json`), content);
    }
  }
  if (options.asyncapi !== undefined) await write(options.asyncapi, asyncApiDocument());
  if (globalOptions(command).json) await printJson({ files });
  else await print(files.join('\n'));
}
