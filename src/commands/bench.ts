import os from 'node:os';
import { type Command, Option } from 'commander';
import { type CapturePhase, runCaptureBench } from '../capture/capture-bench.js';
import { runAlertBench } from '../service/alert-bench.js';
import { createLogger } from '../service/log.js';
import { runSession } from '../service/session.js';
import { VERSION } from '../version.js';
import { configFrom, manifestPath, numberOption, sizeOption, sourceFor, stopSignal } from './inputs.js';
import { ProgressLine } from './progress.js';
import { globalOptions, print, printJson } from './shared.js';

/** Of `--capture`, Hz. */
const CAPTURE_FPS = 120;

interface BenchOptions {
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
    .option('--seconds <s>', 'with --capture: length of each of the two parts', numberOption(1, 3600), 10)
    .option('--fps <hz>', 'frame rate of the synthetic source in real time', numberOption(0.1, 1000), 30)
    .action(bench);
}

async function bench(options: BenchOptions, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  if (options.alerts) return benchAlerts(options.directory, json);
  if (options.capture) return benchCapture(options.seconds, json);
  const source = sourceFor(options.source);
  const config = configFrom({
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
      ...(options.model === undefined ? {} : { model: manifestPath(options.model) }),
    },
    embeddedBroker: { port: 0 },
    log: { level: 'warn' },
  });
  const progress = new ProgressLine(!json);
  const report = await runSession(
    config,
    createLogger(config.log),
    {
      onProgress: ({ frames, total, fps }) =>
        progress.show(`frame ${frames}${total === undefined ? '' : `/${total}`}, ${fps.toFixed(1)} fps`),
    },
    stopSignal(),
  );
  progress.clear();
  const machine = machineOf();
  if (json) {
    await printJson({ ...report, machine, software: VERSION });
    return;
  }
  const row = (name: string, s: { p50: number; p95: number; p99: number }) =>
    `${name.padEnd(34)}${[s.p50, s.p95, s.p99].map((v) => v.toFixed(2).padStart(9)).join('')}`;
  await print(
    [
      `${report.source}; ${report.model.name} ${report.model.precision} on ${report.provider}, ${report.threads} threads; ${machine.cpu}, ${machine.cores} cores`,
      `${report.fps.toFixed(1)} fps over ${report.seconds.toFixed(1)} s; ${report.frames.processed} frames, ${report.alerts} alerts; peak memory ${report.peakMemoryMiB.toFixed(0)} MiB`,
      `${'ms'.padEnd(34)}${['p50', 'p95', 'p99'].map((h) => h.padStart(9)).join('')}`,
      row('normalise', report.stages.normalise),
      row('infer', report.stages.infer),
      row('decode', report.stages.decode),
      row('track', report.stages.track),
      row('frame, besides inference', report.besidesInferenceMs),
      row('frame to subscriber', report.latencyMs),
      row('frame to subscriber less inference', report.overheadMs),
    ].join('\n'),
  );
}

function machineOf(): { cpu: string; cores: number; node: string } {
  return { cpu: os.cpus()[0]?.model ?? 'unknown', cores: os.availableParallelism(), node: process.version };
}

async function benchAlerts(directory: string | undefined, json: boolean): Promise<void> {
  const progress = new ProgressLine(!json);
  const report = await runAlertBench({
    ...(directory === undefined ? {} : { directory }),
    signal: stopSignal(),
    onStep: (step) => progress.show(`bench: ${step}`, true),
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
