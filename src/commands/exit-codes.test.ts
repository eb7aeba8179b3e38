import { CommanderError } from 'commander';
import { expect, test } from 'vitest';
import { EXIT, toPlainError } from '../types/errors.js';
import * as bench from './bench.js';
import * as model from './model.js';
import * as probe from './probe.js';
import * as run from './run.js';
import { createProgram } from './shared.js';
import * as watch from './watch.js';

const INPUT = ['run', '--input', 'synthetic'];

/** None of these begins anything. What the process ends with is the error's exit code: test/integration/cli.test.ts. */
test.each<[string[], number, string]>([
  [[...INPUT, '--device', 'X Y'], 64, 'USAGE: --device: expected a name'],
  [[...INPUT, '--camera', 'a/b'], 64, 'USAGE: --camera: expected a name'],
  [[...INPUT, '--mqtt', 'http://x'], 64, 'USAGE: --mqtt: expected a URL'],
  [[...INPUT, '--mqtt', 'mqtt://h:0'], 64, 'USAGE: --mqtt: expected a URL'],
  [[...INPUT, '--device', 'X Y', '--mqtt', 'x'], 64, 'USAGE: --device: expected a name'],
  [['run', '--input', 'v4l2:video0'], 64, 'USAGE: --input: expected an absolute path'],
  [['run', '--config', '/nowhere/none.yaml'], 78, 'CONFIG_NOT_FOUND: '],
  [['bench', '--size', '10x10'], 64, 'USAGE: --size: expected '],
  [['bench', '--size', '10'], 64, 'commander.invalidArgument: '],
  [['watch', '--device', 'a b'], 64, 'USAGE: --device: '],
  [['watch', '--prefix', 'a/#'], 64, 'USAGE: --prefix: '],
  [['watch', '--url', 'http://x'], 64, 'USAGE: --url: '],
  [['watch', '--url', 'mqtt://h:0'], 64, 'USAGE: --url: '],
  [['watch', '--url', 'mqtts://h', '--ca', '/nowhere/none.pem'], 69, 'CREDENTIAL_UNREADABLE: '],
  [['watch', '--password-file', '/nowhere/none'], 64, 'USAGE: --password-file goes with --username'],
  [['watch', '--username', 'u', '--password-file', '/nowhere/none'], 69, 'CREDENTIAL_UNREADABLE: '],
  [['watch', '--cert', '/nowhere/none'], 64, 'USAGE: --cert and --key go together'],
  [['probe'], 64, 'USAGE: '],
  [['probe', '--device', 'video0'], 64, 'commander.invalidArgument: '],
  [['probe', '--device', '/dev/nowhere'], 66, 'CAMERA_NOT_FOUND: '],
  [['model', 'verify', '--public-key', '/nowhere/none.pub'], 64, 'USAGE: --public-key is neither'],
  [['model', 'verify', '--public-key', import.meta.filename], 65, 'MODEL_SIGNATURE_INVALID: '],
  [['model', 'verify', '/nowhere'], 66, 'MODEL_NOT_FOUND: '],
])('%j ends with %i', async (args, code, line) => {
  const program = createProgram();
  for (const { register } of [bench, model, probe, run, watch]) register(program);
  const error: unknown = await program.parseAsync(['node', 'irst-edge', ...args]).then(
    () => new Error('it ended well'),
    (thrown: unknown) => thrown,
  );
  const { code: name, message, exitCode } = toPlainError(error);
  const [shown, ends] = error instanceof CommanderError ? [error.code, EXIT.usage] : [name, exitCode];
  expect([ends, `${shown}: ${message}`]).toEqual([code, expect.stringContaining(line)]);
});
