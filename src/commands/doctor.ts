import { type Command, Option } from 'commander';
import { ConfigInvalidError, formatIssue } from '../config/issue.js';
import { loadConfig } from '../config/load.js';
import type { EdgeConfig } from '../config/schema.js';
import { type DoctorReport, runDoctor } from '../doctor/doctor.js';
import { error, exitCodeOf, type Finding, fromError, info, ok, type Severity, warning } from '../doctor/finding.js';
import { EdgeError } from '../types/errors.js';
import { configFrom, sizeOption, stopSignal } from './inputs.js';
import { ProgressLine } from './progress.js';
import { globalOptions, print, printJson } from './shared.js';

interface DoctorCommandOptions {
  config?: string;
  size: { width: number; height: number };
  build?: true;
}

export function register(program: Command): void {
  program
    .command('doctor')
    .description(
      'look at everything that the daemon needs on this machine, and say how to mend what is wrong; exit code 0 well, 1 warnings, 2 errors',
    )
    .option('-c, --config <file>', 'configuration file; default: the one that run would take, else none')
    .addOption(
      new Option('--size <WxH>', 'frame size for which the providers are tried, px')
        .argParser(sizeOption)
        .default({ width: 256, height: 256 }, '256x256'),
    )
    .option('--build', 'build missing TensorRT engines now; may take minutes')
    .action(doctor);
}

async function doctor(options: DoctorCommandOptions, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  const progress = new ProgressLine(!json);
  const { config, configured, findings } = await configuration(options.config);
  const report = await runDoctor({
    config,
    configured,
    findings,
    size: options.size,
    build: options.build === true,
    signal: stopSignal(),
    onStep: (check) => progress.show(`doctor: ${check}`),
  });
  progress.clear();
  await (json ? printJson(report) : print(render(report)));
  process.exitCode = exitCodeOf(report.severity);
}

/** A configuration that is missing or wrong must not keep the rest from being looked at. */
async function configuration(
  file: string | undefined,
): Promise<{ config: EdgeConfig; configured: boolean; findings: Finding[] }> {
  try {
    const { config, warnings, file: from } = await loadConfig(file);
    return {
      config,
      configured: true,
      findings: [
        ok('config', 'CONFIG', `${from} is valid`),
        ...warnings.map((line) =>
          warning('config', 'CONFIG_WARNING', line, `irst-edge config check ${from} shows it, and the line`),
        ),
      ],
    };
  } catch (cause) {
    // Only its sections count here; the camera is never opened.
    const config = configFrom({ device: { id: 'doctor' }, cameras: [{ id: 'none', source: { kind: 'synthetic' } }] });
    const missing =
      cause instanceof EdgeError &&
      cause.code === 'CONFIG_NOT_FOUND' &&
      file === undefined &&
      !process.env.IRST_EDGE_CONFIG;
    const finding = missing
      ? info('config', 'NO_CONFIG', 'no configuration: the rest is looked at with the defaults', undefined, cause.hint)
      : cause instanceof ConfigInvalidError
        ? error(
            'config',
            cause.code,
            cause.issues.map((issue) => formatIssue(issue)).join('; '),
            cause.hint ?? 'irst-edge config check',
          )
        : fromError('config', cause);
    return { config, configured: false, findings: [finding] };
  }
}

const MARKS: Record<Severity, string> = { ok: 'ok  ', info: 'info', warning: 'WARN', error: 'FAIL' };

/** For people: one line a finding, what to do below it; last the count. */
export function render({
  findings,
  software,
  severity,
}: Pick<DoctorReport, 'findings' | 'software' | 'severity'>): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.flatMap(({ check, severity: weight, code, message, fix }) => [
    `${MARKS[weight]}  ${check.padEnd(width)}  ${message}${weight === 'warning' || weight === 'error' ? ` [${code}]` : ''}`,
    ...(fix === undefined ? [] : [`${' '.repeat(width + 8)}→ ${fix}`]),
  ]);
  const count = (weight: Severity) => findings.filter((f) => f.severity === weight).length;
  const [errors, warnings] = [count('error'), count('warning')];
  const verdict =
    severity === 'error'
      ? `${plural(errors, 'error')}, ${plural(warnings, 'warning')}`
      : severity === 'warning'
        ? `no error, ${plural(warnings, 'warning')}`
        : 'nothing is wrong';
  return [...lines, `irst-edge ${software}: ${verdict}`].join('\n');
}

function plural(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}
