import os from 'node:os';
import path from 'node:path';
import { type Command, Option } from 'commander';
import { readBoard } from '../board/board.js';
import { boardFiles } from '../board/files.js';
import { type BoardLoad, BoardSampler } from '../board/sampler.js';
import { type CapturePhase, runCaptureBench } from '../capture/capture-bench.js';
import { runAlertBench } from '../service/alert-bench.js';
import { benchReport, renderReport, reportName } from '../service/bench-report.js';
import { createLogger } from '../service/log.js';
import { runSession } from '../service/session.js';
import { EdgeError, EXIT } from '../types/errors.js';
import { firstLineOf, outputOf } from '../util/programs.js';
import { VERSION } from '../version.js';
import { configFrom, manifestPath, numberOption, sizeOption, sourceFor, stopSignal } from './inputs.js';
import { ProgressLine } from './progress.js';
import { globalOptions, outputError, print, printJson, printNote, usageError, writeOutputFile } from './shared.js';

/** Options that `--alerts` and `--capture` have no use for. */
const PIPELINE_ONLY = ['report', 'source', 'size', 'frames', 'model', 'threads', 'precision', 'rate', 'fps'] as const;

/** Of `--capture`, Hz. */
const CAPTURE_FPS = 120;

interface BenchOptions {
  report?: string;
  alerts?: true;
  capture?: true;
  seconds: number;
  directory?: string;
  source: string;
  size: { width: number; height: number };
  frames: number;
  threads: number;
  model?: string;
  precision: 'auto' | 'fp32' | 'fp16';
  blocked: boolean;
  rate: 'fast' | 'realtime';
  fps: number;
}

export function register(program: Command): void {
  program
    .command('bench')
    .description('measure the whole chain, source to MQTT subscriber, on this machine')
    .option('--source <source>', '"synthetic", or a recording, video or URL as for run --input', 'synthetic')
    .addOption(
      new Option('--size <WxH>', 'frame size of the synthetic source, px')
        .argParser(sizeOption)
        .default({ width: 256, height: 256 }, '256x256'),
    )
    .option('--frames <n>', 'frames of the synthetic source', numberOption(20, 1_000_000, true), 600)
    .option('--threads <n>', 'threads of one inference', numberOption(1, 16, true), 2)
    .option('--model <manifest>', "a model's manifest.json; default: the bundled one")
    .addOption(new Option('--precision <p>', 'number format').choices(['auto', 'fp32', 'fp16']).default('auto'))
    .option(
      '--no-blocked',
      "on a CPU: the standard build of the network instead of the one in the CPU's own order of channels",
    )
    .addOption(new Option('--rate <rate>', 'fast: as fast as it goes').choices(['fast', 'realtime']).default('fast'))
    .option(
      '--alerts',
      'measure the alerts alone instead: durable outbox and MQTT, with mosquitto where it is installed',
    )
    .option(
      '--directory <dir>',
      'with --alerts: where the outbox lies, to measure that disk; default: a temporary folder',
    )
    .option(
      '--capture',
      'measure the capture alone instead: 640x512 Y16 at 120 Hz from a V4L2 device in memory, with a prompt and with a blocked consumer',
    )
    .option(
      '--report <dir>',
      'write what was measured, with board, clocks, load, power and temperatures, into this folder: as JSON, and as Markdown to post',
    )
    .option('--seconds <s>', 'with --capture: length of each of the two parts', numberOption(1, 3600), 10)
    .option('--fps <hz>', 'frame rate of the synthetic source in real time', numberOption(0.1, 1000), 30)
    .action(bench);
}

async function bench(options: BenchOptions, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  const part = options.alerts ? '--alerts' : options.capture ? '--capture' : undefined;
  const given = (names: readonly string[]) => names.find((name) => command.getOptionValueSource(name) === 'cli');
  const idle = part === undefined ? undefined : given(PIPELINE_ONLY);
  if (idle !== undefined) throw usageError(`--${idle} is of the whole pipeline: without ${part}`);
  if (!options.capture && given(['seconds'])) throw usageError('--seconds goes with --capture');
  if (options.alerts && options.capture) throw usageError('give --alerts or --capture, not both');
  if (options.directory !== undefined && !options.alerts) throw usageError('--directory goes with --alerts');
  if (options.alerts) return benchAlerts(options.directory, json);
  if (options.capture) return benchCapture(options.seconds, json);
  const source = sourceFor(options.source);
  const config = configFrom(
    {
      device: { id: 'bench' },
      cameras: [
        {
          id: 'cam0',
          rate: options.rate,
          source:
            source.kind === 'synthetic'
              ? { ...source, ...options.size, frames: options.frames, fps: options.fps }
              : source,
        },
      ],
      detector: {
        threads: options.threads,
        precision: options.precision,
        blocked: options.blocked,
        ...(options.model === undefined ? {} : { model: manifestPath(options.model) }),
      },
      embeddedBroker: { port: 0 },
      log: { level: 'warn' },
    },
    {
      'cameras[0].source.width': '--size',
      'cameras[0].source.height': '--size',
      'cameras[0].source': '--source',
      'detector.model': '--model',
    },
  );
  const progress = new ProgressLine(!json);
  const files = boardFiles();
  const sampler = new BoardSampler(files);
  sampler.start();
  const session = await runSession(
    config,
    createLogger(config.log),
    {
      onProgress: ({ frames, total, fps }) =>
        progress.show(`frame ${frames}${total === undefined ? '' : `/${total}`}, ${fps.toFixed(1)} fps`),
    },
    stopSignal(),
  ).finally(() => sampler.stop());
  const report = await benchReport({
    board: await readBoard(files, { output: outputOf, firstLine: firstLineOf }),
    load: await sampler.stop(),
    session,
    machine: machineOf(),
    software: VERSION,
    at: new Date(),
    ...(options.model !== undefined && { manifest: manifestPath(options.model) }),
  });
  progress.clear();
  if (options.report !== undefined) {
    const name = path.join(options.report, reportName(report));
    await writeOutputFile(`${name}.json`, `${JSON.stringify(report, null, 2)}\n`);
    await writeOutputFile(`${name}.md`, renderReport(report));
    await printNote(`${name}.md and .json are written`);
  }
  if (json) {
    // The session's figures stand at the top, as they always did.
    const { session: _, machine, ...rest } = report;
    await printJson({ ...session, ...rest, machine });
    return;
  }
  const { machine, load } = report;
  const row = (name: string, s: { p50: number; p95: number; p99: number }) =>
    `${name.padEnd(34)}${[s.p50, s.p95, s.p99].map((v) => v.toFixed(2).padStart(9)).join('')}`;
  await print(
    [
      `${session.source}; ${session.model.name} ${session.model.precision} on ${session.provider}, ${session.threads} threads; ${machine.cpu}, ${machine.cores} cores`,
      `${session.fps.toFixed(1)} fps over ${session.seconds.toFixed(1)} s; ${session.frames.processed} frames, ${session.alerts} alerts; peak memory ${session.peakMemoryMiB.toFixed(0)} MiB`,
      ...boardLine(load),
      `${'ms'.padEnd(34)}${['p50', 'p95', 'p99'].map((h) => h.padStart(9)).join('')}`,
      row('normalise', session.stages.normalise),
      row('infer', session.stages.infer),
      row('decode', session.stages.decode),
      row('track', session.stages.track),
      row('frame, besides inference', session.besidesInferenceMs),
      row('frame to subscriber', session.latencyMs),
      row('frame to subscriber less inference', session.overheadMs),
    ].join('\n'),
  );
}

/** Nothing where the board reports nothing. */
function boardLine({ cpu, gpu, watts, celsius }: BoardLoad): string[] {
  const parts = [
    cpu && `processor ${(100 * cpu.mean).toFixed(0)} %`,
    gpu && `GPU ${(100 * gpu.mean).toFixed(0)} %`,
    watts && `${watts.mean.toFixed(1)} W`,
    celsius && `${celsius.max.toFixed(0)} °C at most`,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? [] : [`meanwhile: ${parts.join(', ')}`];
}

function machineOf(): { cpu: string; cores: number; node: string } {
  return { cpu: os.cpus()[0]?.model ?? 'unknown', cores: os.availableParallelism(), node: process.version };
}

async function benchAlerts(directory: string | undefined, json: boolean): Promise<void> {
  const progress = new ProgressLine(!json);
  const signal = stopSignal();
  const report = await runAlertBench({
    ...(directory === undefined ? {} : { directory }),
    signal,
    onStep: (step) => progress.show(`bench: ${step}`, true),
  }).catch((error) => {
    if (signal.aborted) throw new EdgeError('STOPPED', 'stopped before the end', { exitCode: EXIT.unavailable });
    if ((error as NodeJS.ErrnoException).syscall === 'mkdtemp') throw outputError(directory ?? os.tmpdir(), error);
    throw error;
  });
  progress.clear();
  await (json ? printJson(report) : print(JSON.stringify(report, null, 2)));
}

async function benchCapture(seconds: number, json: boolean): Promise<void> {
  const progress = new ProgressLine(!json);
  progress.show(`capturing for ${2 * seconds} s`);
  const report = await runCaptureBench(seconds, CAPTURE_FPS, stopSignal());
  progress.clear();
  if (json) {
    await printJson({ ...report, machine: machineOf(), software: VERSION });
    return;
  }
  const { width, height, fourcc, fps, blockMs, prompt, blocked } = report;
  await print(
    [
      `${width}x${height} ${fourcc.trim()} at ${fps} Hz, a device in memory; ms as p50 / p99`,
      phase('prompt consumer', prompt),
      phase(`consumer blocked ${blockMs} ms at a time`, blocked),
    ].join('\n'),
  );
}

function phase(name: string, { seconds, frames, readyToJs, age, cpuShare }: CapturePhase): string {
  const ms = ({ p50, p99 }: { p50: number; p99: number }): string => `${p50.toFixed(2)} / ${p99.toFixed(2)} ms`;
  const drops = Object.entries(frames.dropped).map(([reason, n]) => `${n} ${reason}`);
  return (
    `${name}, ${seconds.toFixed(1)} s: frame ready to JS ${ms(readyToJs)}; age ${ms(age)}; ` +
    `${(100 * cpuShare).toFixed(1)} % of a core; ${frames.delivered} of ${frames.captured} frames, dropped: ${drops.join(', ') || 'none'}`
  );
}
