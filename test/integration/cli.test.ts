import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { access, constants, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { VERSION } from '../../src/version.js';

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const SAMPLE = fileURLToPath(new URL('../../systemd/irst-edge.sample.yaml', import.meta.url));

let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'irst-cli-'));
  await access(CLI, constants.X_OK).catch(() => {
    throw new Error('dist/cli.js is not built: npm run build');
  });
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Result {
  code: number | null;
  out: string;
  err: string;
}

/** Runs the command line as its users do: the file itself, in an empty folder, without variables of ours. */
function run(
  args: string[],
  options: { env?: Record<string, string>; stdout?: number; stderr?: number; command?: string } = {},
) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('IRST_EDGE')));
  return new Promise<Result>((resolve, reject) => {
    const child = spawn(options.command ?? CLI, args, {
      cwd: folder,
      env: { ...env, ...options.env },
      stdio: ['ignore', options.stdout ?? 'pipe', options.stderr ?? 'pipe'],
      timeout: 30_000,
    });
    let out = '';
    let err = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

const camera = 'cameras: [{id: a, source: {kind: synthetic}}]\n';

describe('irst-edge', () => {
  it.each([[['--version']], [['config', '--version']], [['config', 'check', '--version']]])('%j', async (args) => {
    expect(await run(args)).toEqual({ code: 0, out: `${VERSION}\n`, err: '' });
  });

  it.each([
    [['bench', '--alerts', '--directory', '/nope'], 73, 'OUTPUT_NOT_WRITABLE'],
    [['eval', '--subpixel', '--data', '/nope'], 66, 'INPUT_NOT_FOUND'],
  ])('%j is an error of the user', async (args, code, name) => {
    const result = await run(args);
    expect([result.code, result.err]).toEqual([code, expect.stringContaining(`irst-edge: ${name}: `)]);
  });

  it('names the variables that --input leaves without effect', async () => {
    const { code, err } = await run(['run', '--input', '/nope'], { env: { IRST_EDGE__LOG__LEVEL: 'bogus' } });
    expect([code, err]).toEqual([
      66,
      expect.stringContaining('without effect beside --input: IRST_EDGE__LOG__LEVEL\n'),
    ]);
  });

  it('looks with the doctor at the configuration that IRST_EDGE_CONFIG names', async () => {
    const { out } = await run(['doctor', '--json'], { env: { IRST_EDGE_CONFIG: '/nope.yaml' } });
    expect(JSON.parse(out).findings[0]).toMatchObject({ code: 'CONFIG_NOT_FOUND', severity: 'error' });
  });

  it.each([[['--help']], [['help']], [['config', '--help']], [['config', 'check', '-h']], [['help', 'config']]])(
    '%j shows the exit codes',
    async (args) => {
      const { code, out, err } = await run(args);
      expect([code, err]).toEqual([0, '']);
      expect(out).toContain('Usage: irst-edge');
      expect(out).toContain('78  wrong configuration');
      expect(out).toContain('--verbose');
    },
  );

  it.each([
    [[], 'irst-edge needs a command', 'irst-edge --help'],
    [['config'], 'irst-edge config needs a command', 'irst-edge config --help'],
    [['confg'], "unknown command 'confg' (Did you mean config?)", 'irst-edge --help'],
    [['config', 'chek'], "unknown command 'chek' (Did you mean check?)", 'irst-edge config --help'],
    [['config', 'check', '--prnt'], "unknown option '--prnt' (Did you mean --print?)", 'irst-edge config check --help'],
    [['config', 'check', 'a', 'b'], 'too many arguments', 'irst-edge config check --help'],
    [['config', 'schema', '--write'], "option '--write <dir>' argument missing", 'irst-edge config schema --help'],
    [['run', '-c', 'x.yaml', '--model', 'm.json'], '--model goes with --input', ''],
    [['run', '--loop'], '--loop goes with --input', ''],
    [['bench', '--alerts', '--report', 'out'], '--report is of the whole pipeline', ''],
    [['bench', '--directory', 'out'], '--directory goes with --alerts', ''],
    [['bench', '--capture', '--model', '/nope'], '--model is of the whole pipeline: without --capture', ''],
    [['bench', '--seconds', '3'], '--seconds goes with --capture', ''],
    [['bench', '--alerts', '--capture'], 'give --alerts or --capture, not both', ''],
    [['watch', '--ca', 'ca.pem'], '--ca, --cert and --key go with mqtts://', 'give the broker as'],
    [['config', 'schema', 'other'], "no schema 'other'", 'there are: config, '],
  ])('refuses %j with 64', async (args, message, hint) => {
    const { code, out, err } = await run(args);
    expect([code, out]).toEqual([64, '']);
    expect(err).toContain(`irst-edge: USAGE: ${message}`);
    expect(err).toContain(`\n  hint: ${hint}`);
    expect(err).not.toMatch(/^\s+at /m);

    const json = await run(['--json', ...args]);
    expect(json.code).toBe(64);
    expect(JSON.parse(json.out).error).toMatchObject({ code: 'USAGE', message: expect.stringContaining(message) });
  });

  it('takes what follows -- for an argument', async () => {
    const { code, out, err } = await run(['config', 'check', '--', '--json']);
    expect([code, out]).toEqual([78, '']);
    expect(err).toContain('no configuration at --json');
  });

  it('shows a stack trace only with --verbose', async () => {
    const quiet = await run(['config', 'check', 'none.yaml']);
    expect(quiet).toEqual({
      code: 78,
      out: '',
      err: expect.stringMatching(/^irst-edge: CONFIG_NOT_FOUND: no configuration at none\.yaml\n {2}hint: .+\n$/),
    });
    for (const args of [
      ['--verbose', 'config', 'check', 'none.yaml'],
      ['config', 'check', 'none.yaml', '--verbose'],
    ]) {
      expect((await run(args)).err).toMatch(/\n {4}at .*load\.js/);
    }
  });

  it('ends quietly when its reader has gone', async () => {
    const script = `for i in 1 2 3; do '${CLI}' config schema; echo "code $?" >&2; done | head -c 1`;
    const { err } = await run(['-c', script], { command: 'bash' });
    expect(err.trim().split('\n').at(-1)).toBe('code 0');
    expect(err.replaceAll(/code 0\n/g, '')).toBe('');
  });

  it('tells a full disk with 74', async () => {
    const full = openSync('/dev/full', 'w');
    try {
      const { code, err } = await run(['config', 'schema'], { stdout: full });
      expect(err).toContain('irst-edge: OUTPUT_FAILED: stdout: writing failed: ENOSPC');
      expect(code).toBe(74);
    } finally {
      closeSync(full);
    }
  });
});

describe('irst-edge run', () => {
  it.each(['json', 'pretty'])('goes on where the log (%s) goes to a full disk', async (format) => {
    const source = '{kind: synthetic, width: 64, height: 64, frames: 20}';
    const path = await file(
      'full.yaml',
      `cameras: [{id: a, source: ${source}, rate: fast}]\nembeddedBroker: {port: 0}\nlog: {level: trace, format: ${format}}\n`,
    );
    const full = openSync('/dev/full', 'w');
    try {
      expect(await run(['run', '-c', path], { stderr: full })).toMatchObject({ code: 0, out: '' });
    } finally {
      closeSync(full);
    }
  });
});

describe('irst-edge config check', () => {
  it('accepts the sample, warning of what is not there', async () => {
    const { code, out, err } = await run(['config', 'check', SAMPLE]);
    expect([code, out]).toEqual([0, `${SAMPLE}: ok, 1 camera\n`]);
    expect(err).toBe('warning: cameras[0].source.path: not there at present: /var/lib/irst-edge/recordings/sky\n');
  });

  it('finds the file by itself', async () => {
    const path = await file('named.yaml', camera);
    expect((await run(['config', 'check'], { env: { IRST_EDGE_CONFIG: path } })).out).toBe(`${path}: ok, 1 camera\n`);
    const local = await file('irst-edge.yaml', camera);
    expect((await run(['config', 'check'])).out).toBe(`${local}: ok, 1 camera\n`);
    rmSync(local);
  });

  it('prints what is in force, as YAML and as JSON, without secrets', async () => {
    const path = await file('secret.yaml', `${camera}mqtt: {url: 'mqtts://user:hunter2@broker'}\n`);
    const env = { IRST_EDGE__DEVICE__ID: 'mast-7' };
    const yaml = await run(['config', 'check', path, '--print'], { env });
    const json = await run(['--json', 'config', 'check', path], { env });
    expect([yaml.code, json.code, json.err]).toEqual([0, 0, '']);
    expect(parse(yaml.out)).toMatchObject({ device: { id: 'mast-7' }, mqtt: { url: 'mqtts://user:***@broker' } });
    expect(JSON.parse(json.out)).toMatchObject({
      ok: true,
      file: path,
      warnings: [expect.stringContaining('mqtt.url: holds a password')],
      config: parse(yaml.out),
    });
    for (const result of [yaml, json]) expect(result.out + result.err).not.toContain('hunter2');
  });

  it('prints every error, one a line, with 78', async () => {
    const path = await file('bad.yaml', 'cameras: [{id: a, source: {kind: recording}}]\nmqtt: {ulr: x}\n');
    const env = { IRST_EDGE__LOG__LEVEL: 'loud' };
    const text = await run(['config', 'check', path], { env });
    expect([text.code, text.out]).toEqual([78, '']);
    expect(text.err.split('\n')).toEqual([
      expect.stringMatching(/^irst-edge: CONFIG_INVALID: .*bad\.yaml: 3 errors, the first: cameras\[0\]\.source\.path/),
      '  cameras[0].source.path (line 1): expected a path, got nothing',
      '  mqtt.ulr (line 2): unknown key; did you mean url?',
      expect.stringContaining('  log.level (IRST_EDGE__LOG__LEVEL): expected one of fatal, '),
      expect.stringContaining('  hint: '),
      '',
    ]);

    const json = await run(['config', 'check', path, '--json'], { env });
    expect([json.code, json.err]).toEqual([78, '']);
    expect(JSON.parse(json.out).error).toMatchObject({
      code: 'CONFIG_INVALID',
      issues: [{ path: 'cameras[0].source.path', line: 1 }, { path: 'mqtt.ulr' }, { path: 'log.level' }],
    });
  });

  it('tells the line of broken syntax', async () => {
    const path = await file('syntax.yaml', 'cameras:\n  - id: [a\n');
    const { code, err } = await run(['config', 'check', path]);
    expect(code).toBe(78);
    expect(err).toMatch(/^irst-edge: CONFIG_SYNTAX: .*syntax\.yaml:\d:\d+: /);
  });
});

describe('irst-edge config schema', () => {
  it('prints the schema of the configuration, or of a message', async () => {
    expect(JSON.parse((await run(['config', 'schema'])).out)).toMatchObject({ title: 'irst-edge configuration' });
    expect(JSON.parse((await run(['config', 'schema', 'detections'])).out).properties).toHaveProperty('detections');
  });

  it('writes all of them', async () => {
    const into = join(folder, 'new/schemas');
    const { code, out } = await run(['config', 'schema', '--write', into]);
    expect(code).toBe(0);
    const names = (await readdir(into)).sort();
    expect(names).toContain('config.schema.json');
    expect(out.trim().split('\n').sort()).toEqual(names.map((name) => join(into, name)));
    for (const name of names) expect(JSON.parse(await readFile(join(into, name), 'utf8'))).toHaveProperty('$schema');
  });

  it('says with 73 where it cannot write', async () => {
    for (const blocked of [await file('blocked', ''), '/proc/x']) {
      const { code, err } = await run(['config', 'schema', '--write', blocked]);
      expect(code).toBe(73);
      expect(err).toContain('irst-edge: OUTPUT_NOT_WRITABLE: ');
    }
  });
});
