import { EventEmitter } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type CommandResult, Commands, type CommandValue } from '../alerts/commands.js';
import { passwordSource } from '../alerts/credentials.js';
import { DurableOutbox } from '../alerts/durable-outbox.js';
import { EmbeddedBroker } from '../alerts/embedded-broker.js';
import { eventIds } from '../alerts/events.js';
import { OutboxReport, outboxStats } from '../alerts/outbox-report.js';
import { Outputs } from '../alerts/outputs.js';
import { MqttPublisher } from '../alerts/publisher.js';
import { type CommandName, statsMessage, statusMessage, type Topics, topics } from '../alerts/schema.js';
import type { CameraConfig, EdgeConfig } from '../config/schema.js';
import { BUNDLED_MANIFEST } from '../detect/manifest.js';
import type { CameraJob, FrameResult } from '../pipeline/messages.js';
import { EdgeError, EXIT, errno, fromPlainError } from '../types/errors.js';
import { onFatal } from '../util/fatal.js';
import { VERSION } from '../version.js';
import { CameraReporter, DEFAULT_PROFILE, NOT_RUNNING } from './camera-reporter.js';
import { ClockWatch } from './clock.js';
import type { Logger } from './log.js';
import { CameraSupervisor, type SupervisorOptions } from './supervisor.js';
import { SystemdNotifier } from './systemd.js';

/** A worker asked to stop ends after the inference under way; with the broker's second this keeps a stop below 2 s. */
const STOP_WORKERS_MS = 900;
/** A worker that still loads its model hears of the stop only afterwards. */
const STOP_STARTING_MS = 1500;
/** All of a stop. */
const STOP_MS = 1900;
const FLUSH_MS = 700;
const OUTBOX_STOP_MS = 200;
const STATUS_EVERY_MS = 5000;
const STATS_EVERY_MS = 10_000;
const OUTBOX_LOOK_EVERY_MS = 1000;
const SAME_PROBLEM_EVERY_MS = 10_000;

interface DaemonEvents {
  /** A frame was worked, whether or not something was found. */
  frame: [camera: string, result: FrameResult];
  /** Every camera's source came to its end, or failed for good. */
  finished: [];
}

/**
 * The control plane, on the main thread: the broker or the connection to one, a supervisor for each camera, the status topic
 * and systemd. Never touches pixels.
 */
export class Daemon extends EventEmitter<DaemonEvents> {
  private broker: EmbeddedBroker | undefined;
  private publisher: MqttPublisher | undefined;
  private readonly cameras: CameraSupervisor[];
  private readonly systemd: SystemdNotifier;
  private outbox: DurableOutbox | undefined;
  private readonly outboxReport = new OutboxReport();
  private commands: Commands | undefined;
  private readonly clock = new ClockWatch();
  private readonly reporters = new Map<string, CameraReporter>();
  private readonly topics: Topics;
  private readonly outputs: Outputs;
  private readonly startedAt = performance.now();
  private readonly timers: NodeJS.Timeout[] = [];
  private forgetFatal: (() => void) | undefined;
  private reportFailedAt = Number.NEGATIVE_INFINITY;
  private stopped: Promise<'stopped' | 'hung'> | undefined;

  constructor(
    private readonly config: EdgeConfig,
    private readonly log: Logger,
    supervisor: SupervisorOptions = {},
  ) {
    super();
    this.cameras = config.cameras
      .filter((camera) => camera.enabled)
      .map((camera) => new CameraSupervisor(cameraJob(config, camera), supervisor));
    this.topics = topics(config.topicPrefix, config.device.id);
    this.outputs = new Outputs({
      device: config.device.id,
      prefix: config.topicPrefix,
      cameras: this.cameras.map((c) => c.job.camera),
      software: VERSION,
      outputs: config.outputs,
      onProblem: (error, suppressed) => warn(log, error, suppressed),
    });
    this.systemd = new SystemdNotifier({
      onError: (error) => log.warn({ err: error.message }, 'systemd does not listen'),
    });
  }

  /**
   * Brings up the broker side, then the cameras; does not wait for either to answer. Throws `EdgeError`.
   * @param beforeCameras awaited in between, with the broker's URL
   */
  async start(signal: AbortSignal, beforeCameras?: (brokerUrl: string) => Promise<void>): Promise<void> {
    const { config, log } = this;
    this.forgetFatal = onFatal(() => this.stop());
    let url = config.mqtt.url;
    let protocolVersion = config.mqtt.protocolVersion;
    if (url === undefined) {
      this.broker = new EmbeddedBroker({ ...config.embeddedBroker, onProblem: (error) => warn(log, error) });
      const info = await this.broker.start(signal);
      url = info.url;
      protocolVersion = 4;
      log.info({ url }, 'embedded broker listens');
    }
    const { username, passwordFile, clientId, ca, cert, key } = config.mqtt;
    const password = passwordSource(passwordFile === undefined ? {} : { file: passwordFile });
    await this.clock.start();
    const outbox = await this.createOutbox(signal);
    const commands = this.createCommands();
    const publisher = new MqttPublisher({
      url,
      device: config.device.id,
      software: VERSION,
      prefix: config.topicPrefix,
      protocolVersion,
      keepalive: config.mqtt.keepaliveSeconds,
      connectTimeoutMs: config.mqtt.connectTimeoutSeconds * 1000,
      maxQueued: config.mqtt.maxQueued,
      topicAliases: config.mqtt.topicAliases,
      stopTimeoutMs: FLUSH_MS,
      events: outbox,
      // Home Assistant asks for the plain word.
      availability: config.mqtt.willTopic === 'available' || config.outputs.homeAssistant.enabled,
      subscriptions: {
        filters: commands.filters,
        onMessage: (topic, payload, packet) => commands.onMessage(topic, payload, packet),
      },
      ...(clientId !== undefined && { clientId }),
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(ca !== undefined && { ca: await readSecret(ca, 'mqtt.ca') }),
      ...(cert !== undefined && { cert: await readSecret(cert, 'mqtt.cert') }),
      ...(key !== undefined && { key: await readSecret(key, 'mqtt.key') }),
    });
    publisher.on('connected', ({ broker, connections }) => {
      log.info({ broker, connections }, 'broker connected');
      // What an outage cost is told as soon as it is over.
      this.publishStats();
    });
    publisher.on('problem', (error, suppressed) => warn(log, error, suppressed));
    publisher.start(signal);
    this.publisher = publisher;
    // Without the signal: the last events are still to come when it aborts; shutDown() stops the sinks.
    this.outputs.start();
    for (const { topic, payload, contentType } of this.outputs.atStart()) {
      publisher.publishState(topic, payload, contentType);
    }
    const newId = eventIds();
    for (const camera of this.cameras) {
      const settings = config.cameras.find((c) => c.id === camera.job.camera)!;
      this.reporters.set(
        settings.id,
        new CameraReporter(config, settings, camera, publisher, this.outputs, this.topics, newId, this.clock),
      );
      commands.tell('enabled', settings.id, true);
      commands.tell('profile', settings.id, DEFAULT_PROFILE);
    }
    this.publishStatus();
    this.timers.push(
      setInterval(() => this.publishStatus(), STATUS_EVERY_MS),
      setInterval(() => this.publishStats(), STATS_EVERY_MS),
      setInterval(() => this.reportOutbox(), OUTBOX_LOOK_EVERY_MS),
    );
    await beforeCameras?.(url);
    if (signal.aborted) return;
    for (const camera of this.cameras) {
      this.follow(camera, this.reporters.get(camera.job.camera)!);
      camera.start();
    }
    this.systemd.ready();
    const watchdogMs = this.systemd.watchdogIntervalMs;
    if (watchdogMs !== undefined) this.timers.push(setInterval(() => this.systemd.watchdog(), watchdogMs / 2));
  }

  /** What is known of each camera, and of what was published. */
  snapshot(): {
    cameras: ReturnType<CameraSupervisor['status']>[];
    alerts: ReturnType<MqttPublisher['counters']> | undefined;
  } {
    return { cameras: this.cameras.map((c) => c.status()), alerts: this.publisher?.counters() };
  }

  /** The model of a camera and what runs it, once it is ready. */
  model(camera: string): CameraSupervisor['model'] {
    return this.cameras.find((c) => c.job.camera === camera)?.model;
  }

  /** The first error that ended a camera for good. */
  get failure(): EdgeError | undefined {
    const plain = this.cameras.map((c) => c.failure).find((e) => e !== undefined);
    return plain && fromPlainError(plain);
  }

  /** Stops cameras, delivers what waits, says goodbye. Below 2 s. `hung`: a worker did not answer; end the process. */
  stop(): Promise<'stopped' | 'hung'> {
    this.stopped ??= this.shutDown();
    return this.stopped;
  }

  private async shutDown(): Promise<'stopped' | 'hung'> {
    this.forgetFatal?.();
    try {
      this.systemd.stopping();
    } catch (error) {
      // Without the addon systemd hears nothing; everything else must still stop.
      this.log.error({ err: error }, 'systemd was not told');
    }
    const start = performance.now();
    for (const timer of this.timers) clearInterval(timer);
    this.clock.stop();
    const outcomes = await Promise.all(this.cameras.map((c) => c.stop(c.running ? STOP_WORKERS_MS : STOP_STARTING_MS)));
    for (const reporter of this.reporters.values()) reporter.close('stopped');
    this.commands?.stop();
    this.publishStatus();
    this.publishStats();
    // Each has its own limit; together they might take longer than a stop may.
    const left = Math.max(100, STOP_MS - (performance.now() - start));
    const timer = new AbortController();
    await Promise.race([
      this.stopLinks().finally(() => timer.abort()),
      // Aborted, it rejects: by then the race is over.
      delay(left, undefined, { signal: timer.signal }).catch(() => {}),
    ]);
    // On a busy machine a thread may end a little late, while the links were stopped.
    const hung = outcomes.includes('hung') && this.cameras.some((camera) => camera.alive);
    if (hung) this.log.error({ code: 'WORKER_HUNG' }, 'a worker did not stop in time');
    return hung ? 'hung' : 'stopped';
  }

  private async stopLinks(): Promise<void> {
    await Promise.all([this.publisher?.stop(), this.outputs.stop()]);
    await this.outbox?.stop(OUTBOX_STOP_MS);
    this.reportOutbox(true);
    await this.broker?.stop();
  }

  private follow(camera: CameraSupervisor, reporter: CameraReporter): void {
    const id = camera.job.camera;
    const log = this.log.child({ camera: id });
    camera.on('state', () => {
      const { state, source, provider, model } = camera.status();
      log.info({ state, ...(state === 'running' && { source, provider, model }) }, 'camera');
      if (camera.running) this.systemd.status(`${id}: ${source ?? ''} on ${provider ?? ''}`);
      if (camera.threshold !== undefined) this.commands?.tell('threshold', id, camera.threshold);
      this.publishStatus();
    });
    camera.on('capture', ({ from, to, reason, code, hint }) => {
      const well = code === undefined;
      // A camera that is waited for says so once a step; the attempts themselves are for who looks closely.
      log[to === 'opening' ? 'debug' : well ? 'info' : 'warn']({ from, to, ...(!well && { code, hint }) }, reason);
      if (to !== 'opening') reporter.state();
    });
    camera.on('fault', (reason, error) => {
      log.warn({ code: error.code, hint: error.hint, dropped: reason }, error.message);
    });
    camera.on('restart', (error, delayMs) => {
      log.error({ code: error.code, hint: error.hint, delayMs: Math.round(delayMs) }, error.message);
      reporter.close('reset');
    });
    let issues = '';
    camera.on('frame', (result) => {
      const now = result.sensor?.issues.join() ?? '';
      if (now !== issues) {
        issues = now;
        const { health, deadPixels } = result.sensor ?? {};
        log[now === '' ? 'info' : 'warn']({ health, issues: result.sensor?.issues, deadPixels }, 'sensor');
      }
      try {
        reporter.frame(result);
      } catch (error) {
        // An alert that cannot be made must not take the cameras down with it.
        this.reportFailed(log, error);
      }
      this.emit('frame', id, result);
    });
    camera.on('done', () => {
      reporter.close('stopped');
      const error = camera.failure;
      if (error) log.error({ code: error.code, hint: error.hint }, error.message);
      if (this.cameras.every((c) => c.done)) this.emit('finished');
    });
  }

  private reportFailed(log: Logger, error: unknown): void {
    const now = performance.now();
    if (now - this.reportFailedAt < SAME_PROBLEM_EVERY_MS) return;
    this.reportFailedAt = now;
    log.error({ err: error }, 'the alerts of a frame could not be made');
  }

  private async createOutbox(signal: AbortSignal): Promise<DurableOutbox> {
    // systemd may name several, separated by colons (systemd.exec(5)); ours is one.
    const directory = this.config.stateDirectory ?? (process.env.STATE_DIRECTORY?.split(':')[0] || undefined);
    const { maxEvents, maxMegabytes, maxAgeSeconds } = this.config.outbox;
    const outbox = new DurableOutbox({
      maxCount: maxEvents,
      maxBytes: maxMegabytes * 1e6,
      maxAgeMs: maxAgeSeconds * 1000,
      ...(directory !== undefined && { directory: path.join(directory, 'outbox') }),
    });
    outbox.on('problem', (error) => warn(this.log, error));
    outbox.on('recovered', () => this.log.info('events are kept on disk again'));
    this.outbox = outbox;
    // A slow disk may take long; a signal need not wait for it.
    await Promise.race([outbox.start(), aborted(signal)]);
    return outbox;
  }

  private reportOutbox(last = false): void {
    if (this.outbox === undefined) return;
    for (const error of this.outboxReport.look(this.outbox.counters(), performance.now(), last)) warn(this.log, error);
  }

  private createCommands(): Commands {
    const commands = new Commands({
      device: this.config.device.id,
      prefix: this.config.topicPrefix,
      cameras: this.cameras.map((c) => c.job.camera),
      onCommand: (name, camera, value) => this.command(name, camera, value),
      answer: (topic, payload, { retain }) => {
        if (retain) this.publisher?.publishState(topic, payload);
        else this.publisher?.publishMessage(topic, payload);
      },
    });
    this.commands = commands;
    return commands;
  }

  private async command(name: CommandName, id: string, value: CommandValue): Promise<CommandResult> {
    this.log.info({ camera: id, command: name, value }, 'command');
    const reporter = this.reporters.get(id);
    if (reporter === undefined) return { ok: false, error: 'there is no such camera' };
    switch (name) {
      case 'enabled':
        reporter.setEnabled(value === true);
        return { ok: true, value: value === true };
      case 'threshold': {
        const inForce = await reporter.setThreshold(value as number | null);
        return inForce === undefined ? { ok: false, error: NOT_RUNNING } : { ok: true, value: inForce };
      }
      case 'profile':
        return reporter.setProfile(value as string);
      case 'snapshot':
        return reporter.snapshot();
    }
  }

  private publishStatus(): void {
    for (const reporter of this.reporters.values()) reporter.state();
    this.publisher?.setStatus(
      statusMessage({
        device: this.config.device.id,
        state: 'online',
        atMs: Date.now(),
        software: VERSION,
        cameras: this.cameras.map((c) => c.status()),
      }),
    );
  }

  private publishStats(): void {
    const { publisher } = this;
    // Figures are of now: those of an outage would only fill the queue of alerts.
    if (publisher?.state !== 'connected') return;
    const { rss, heapUsed } = process.memoryUsage();
    const message = statsMessage({
      atMs: Date.now(),
      device: this.config.device.id,
      software: VERSION,
      uptimeSeconds: Math.round((performance.now() - this.startedAt) / 100) / 10,
      memory: { rssBytes: rss, heapUsedBytes: heapUsed },
      alerts: publisher.counters(),
      ...(this.outbox && { outbox: outboxStats(this.outbox.counters()) }),
      cameras: [...this.reporters.values()].map((r) => r.stats()),
    });
    publisher.publishMessage(this.topics.stats, JSON.stringify(message));
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function cameraJob(config: EdgeConfig, camera: CameraConfig): CameraJob {
  const threshold = camera.detector.threshold ?? config.detector.threshold;
  return {
    camera: camera.id,
    source: sourceOptions(config, camera),
    detector: {
      manifest: config.detector.model ?? BUNDLED_MANIFEST,
      // FP16 on a CPU is converted back and forth: slower, and no more exact.
      precision: config.detector.precision === 'auto' ? 'fp32' : config.detector.precision,
      threads: config.detector.threads,
      ...(config.security.modelPublicKey !== undefined && { publicKey: config.security.modelPublicKey }),
    },
    ...(threshold === undefined ? {} : { threshold }),
    tracker: config.tracker,
    sensor: {
      watch: camera.sensor.watch,
      deadPixels: camera.sensor.deadPixels,
      ...(camera.sensor.settleSeconds === undefined ? {} : { settleMs: camera.sensor.settleSeconds * 1000 }),
    },
    ...(config.alerts.chip.enabled && { chipSide: config.alerts.chip.side }),
  };
}

function sourceOptions({ profilesDirectory }: EdgeConfig, { source, rate }: CameraConfig): CameraJob['source'] {
  if (source.kind !== 'v4l2' || profilesDirectory === undefined) return { ...source, rate };
  return { ...source, rate, profilesDirectory };
}

function warn(log: Logger, error: EdgeError, suppressed = 0): void {
  log.warn({ code: error.code, hint: error.hint, ...(suppressed > 0 && { suppressed }) }, error.message);
}

async function readSecret(file: string, key: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new EdgeError('CREDENTIAL_UNREADABLE', `cannot read ${file} (${errno(cause) ?? 'unknown error'})`, {
      hint: `check ${key} in the configuration, and who may read the file`,
      exitCode: EXIT.config,
      cause,
    });
  }
}
