import type { Command } from 'commander';
import { PREFIX } from '../config/environment.js';
import { loadConfig } from '../config/load.js';
import type { EdgeConfig, EdgeConfigInput } from '../config/schema.js';
import { Daemon } from '../service/daemon.js';
import { createLogger, type Logger } from '../service/log.js';
import { EdgeError } from '../types/errors.js';
import { PRIORITY } from '../util/journal.js';
import { configFrom, manifestPath, sourceFor, stopSignal } from './inputs.js';
import { printNote, usageError } from './shared.js';

interface RunOptions {
  config?: string;
  input?: string;
  mqtt?: string;
  device: string;
  camera: string;
  model?: string;
  fast?: true;
  loop?: true;
}

/** Options that mean nothing to a configuration file. */
const WITH_INPUT = ['mqtt', 'device', 'camera', 'model', 'fast', 'loop'] as const;

export function register(program: Command): void {
  program
    .command('run')
    .description('run the daemon: frames in, alerts out over MQTT, until the sources end or a signal stops it')
    .option('-c, --config <file>', 'configuration file (see: irst-edge config schema)')
    .option(
      '-i, --input <source>',
      'instead of a file: a folder of pictures, a .y16, a video, an RTSP URL, v4l2:/dev/video0, v4l2:usb:1e4e:0100, or "synthetic"',
    )
    .option('--mqtt <url>', 'with --input: broker; default: the embedded broker on 127.0.0.1:1883')
    .option('--device <id>', 'with --input: name of the device in the topics', 'irst-edge')
    .option('--camera <id>', 'with --input: name of the camera in the topics', 'cam0')
    .option('--model <manifest>', "with --input: a model's manifest.json")
    .option(
      '--fast',
      'with --input: every frame, as fast as it can be worked, instead of real time; speeds are those of its own rate',
    )
    .option('--loop', 'with --input: begin a recording again at its end')
    .action(run);
}

async function run(options: RunOptions, command: Command): Promise<void> {
  if (options.input !== undefined && options.config !== undefined)
    throw usageError('give --config or --input, not both');
  if (options.input === undefined) {
    const lost = WITH_INPUT.find((name) => command.getOptionValueSource(name) === 'cli');
    if (lost !== undefined) throw usageError(`--${lost} goes with --input; a configuration says it itself`);
  }
  const unused = Object.keys(process.env).filter((name) => name.startsWith(PREFIX));
  if (options.input !== undefined && unused.length > 0)
    await printNote(`warning: without effect beside --input: ${unused.join(', ')}`, PRIORITY.warning);
  const config = options.input === undefined ? await fromFile(options.config) : fromOptions(options, options.input);
  const log = createLogger(config.log);
  const signal = stopSignal();
  const daemon = new Daemon(config, log);
  if (options.input === undefined) reloadOnHangUp(daemon, options.config);
  await serve(daemon, log, signal);
}

/**
 * Runs a daemon until its sources end or a signal stops it.
 * @throws EdgeError WORKER_HUNG after which only a kill ends the process (util/fatal.ts); else, where the sources came to their end, what
 * ended a camera for good. A stop that was asked for ends well: the log and `health` have said since when a camera is gone, and with its
 * exit code systemd would call the unit failed, or keep the other cameras down (RestartPreventExitStatus=).
 */
export async function serve(daemon: Daemon, log: Logger, signal: AbortSignal): Promise<void> {
  // The first of the two: a stop finishes the cameras, too.
  const over = new Promise<'finished' | 'asked'>((resolve) => {
    daemon.once('finished', () => resolve('finished'));
    signal.addEventListener('abort', () => resolve('asked'), { once: true });
  });
  let end: 'finished' | 'asked' = 'asked';
  try {
    await daemon.start(signal);
    end = await over;
  } catch (error) {
    await daemon.stop();
    // A signal during the start is a stop, whatever it interrupted.
    if (!signal.aborted) throw error;
  }
  const outcome = await daemon.stop();
  const { cameras, alerts } = daemon.snapshot();
  log.info({ frames: cameras.map((c) => ({ camera: c.id, ...c.frames })), alerts }, 'stopped');
  if (outcome === 'hung') throw new EdgeError('WORKER_HUNG', 'a worker did not stop in time; the process is killed');
  if (end === 'finished' && daemon.failure) throw daemon.failure;
}

/** SIGHUP reads the file again; at a terminal it means that the terminal has gone, and ends the program as ever. */
function reloadOnHangUp(daemon: Daemon, file: string | undefined): void {
  // Of any of the three: stderr may go to a file.
  if (process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY) return;
  process.on('SIGHUP', () => void daemon.reload(() => loadConfig(file)));
}

async function fromFile(file: string | undefined): Promise<EdgeConfig> {
  const { config, warnings } = await loadConfig(file);
  for (const warning of warnings) await printNote(`warning: ${warning}`, PRIORITY.warning);
  return config;
}

function fromOptions(options: RunOptions, input: string): EdgeConfig {
  const source = sourceFor(input);
  if (options.loop && source.kind !== 'recording') throw usageError('--loop goes with a recording');
  const camera: EdgeConfigInput['cameras'][number] = {
    id: options.camera,
    source: source.kind === 'recording' ? { ...source, loop: options.loop === true } : source,
    rate: options.fast ? 'fast' : 'realtime',
  };
  return configFrom(
    {
      device: { id: options.device },
      cameras: [camera],
      ...(options.model === undefined ? {} : { detector: { model: manifestPath(options.model) } }),
      ...(options.mqtt === undefined ? {} : { mqtt: { url: options.mqtt } }),
    },
    {
      'device.id': '--device',
      'cameras[0].id': '--camera',
      'cameras[0].source': '--input',
      'detector.model': '--model',
      'mqtt.url': '--mqtt',
    },
  );
}
