import { EventEmitter } from 'node:events';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type CommandResult, Commands, type CommandValue, commandStats, commandsRefused } from '../alerts/commands.js';
import { CountsReport } from '../alerts/counts-report.js';
import { brokerPassword, readPem } from '../alerts/credentials.js';
import { DurableOutbox } from '../alerts/durable-outbox.js';
import { EmbeddedBroker } from '../alerts/embedded-broker.js';
import { eventIds } from '../alerts/events.js';
import { OutboxReport, outboxStats } from '../alerts/outbox-report.js';
import { formsDropped, Outputs } from '../alerts/outputs.js';
import { MqttPublisher } from '../alerts/publisher.js';
import { type CommandName, statsMessage, statusMessage, type Topics, topics } from '../alerts/schema.js';
import { ConfigInvalidError, formatIssue } from '../config/issue.js';
import type { CameraConfig, EdgeConfig } from '../config/schema.js';
import { EngineCache, engineDirectory } from '../detect/engine-cache.js';
import { BUNDLED_MANIFEST } from '../detect/manifest.js';
import type { CameraJob, FrameResult } from '../pipeline/messages.js';
import { type EdgeError, fromPlainError, toPlainError } from '../types/errors.js';
import { noteHung, onFatal } from '../util/fatal.js';
import { VERSION } from '../version.js';
import { Announced } from './announced.js';
import { CameraReporter, DEFAULT_PROFILE, NOT_RUNNING } from './camera-reporter.js';
import { ClockWatch } from './clock.js';
import { HEALTH_VERSION, type Health, HealthFile } from './health.js';
import type { Logger } from './log.js';
import { LoopDelay } from './loop-delay.js';
import type { Judgement } from './progress.js';
import { planReload } from './reload.js';
import { runtimeOptions } from './runtime-options.js';
import { Served } from './served.js';
import { CameraSupervisor, type SupervisorOptions } from './supervisor.js';
import { SystemdNotifier } from './systemd.js';
import { Watchdog } from './watchdog.js';

/** A worker asked to stop ends after the inference under way; with the broker's second this keeps a stop below 2 s. */
const STOP_WORKERS_MS = 900;
/** A worker that still loads its model hears of the stop only afterwards. */
const STOP_STARTING_MS = 1500;
/** All of a stop. */
const STOP_MS = 1900;
const FLUSH_MS = 700;
/** A camera that is waited for in vain is mentioned again after so long. */
const SAME_WAIT_EVERY_MS = 600_000;
const OUTBOX_STOP_MS = 200;
/** Longest that is waited for what an earlier run remembered of the cameras. */
const SERVED_MS = 2000;
const STATUS_EVERY_MS = 5000;
const STATS_EVERY_MS = 10_000;
const DROPS_LOOK_EVERY_MS = 1000;
const SAME_PROBLEM_EVERY_MS = 10_000;
const HEALTH_EVERY_MS = 1000;
/** How often a start that takes long asks systemd for more time, and for how much; for so long at most. */
const START_LOOK_EVERY_MS = 5000;
const START_EXTENSION_MS = 20_000;
const START_LIMIT_MS = 1_200_000;

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
  private readonly formsReport = new CountsReport();
  private readonly commandsReport = new CountsReport();
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
  private state: Health['state'] = 'starting';
  private ready = false;
  private readonly loopDelay = new LoopDelay();
  private health: HealthFile | undefined;
  private watchdog: Watchdog | undefined;
  private saidStatus = '';
  private readonly childLogs: Logger[] = [];
  private tellAssembled = (): void => {};
  /** Reloads, one after the other: the first when `start` has put together what they change, from the configuration before. */
  private reloading = new Promise<void>((resolve) => {
    this.tellAssembled = resolve;
  });

  constructor(
    private config: EdgeConfig,
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
      configured: config.cameras.map(({ id }) => id),
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
    this.loopDelay.start();
    // First of all: a missing addon must not go unnoticed until systemd's patience is over.
    this.systemd.status('starting');
    if (this.systemd.enabled) this.timers.push(setInterval(() => this.askForTime(), START_LOOK_EVERY_MS));
    this.startHealth();
    let url = config.mqtt.url;
    let protocolVersion = config.mqtt.protocolVersion;
    if (url === undefined) {
      this.broker = new EmbeddedBroker({ ...config.embeddedBroker, onProblem: (error) => warn(log, error) });
      const info = await this.broker.start(signal);
      url = info.url;
      protocolVersion = 4;
      log.info({ url }, 'embedded broker listens');
    }
    const { clientId, ca, cert, key } = config.mqtt;
    // The embedded broker asks for neither.
    const embedded = config.mqtt.url === undefined;
    const username = embedded ? undefined : config.mqtt.username;
    const { password, unused } = embedded ? {} : brokerPassword({ ...config.mqtt, url });
    if (unused !== undefined) warn(log, unused);
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
      ...(ca !== undefined && { ca: await readPem(ca, 'mqtt.ca in the configuration') }),
      ...(cert !== undefined && { cert: await readPem(cert, 'mqtt.cert in the configuration') }),
      ...(key !== undefined && { key: await readPem(key, 'mqtt.key in the configuration') }),
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
    const announcements = this.outputs.atStart();
    for (const { topic, payload, contentType } of announcements) publisher.publishState(topic, payload, contentType);
    void this.takeBack(
      publisher,
      announcements.map(({ topic }) => topic),
    );
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
    this.tellAssembled();
    this.publishStatus();
    this.timers.push(
      setInterval(() => {
        this.publishStatus();
        if (this.ready) this.sayStatus();
      }, STATUS_EVERY_MS),
      setInterval(() => this.publishStats(), STATS_EVERY_MS),
      setInterval(() => this.reportDrops(), DROPS_LOOK_EVERY_MS),
    );
    await beforeCameras?.(url);
    const served = new Served(this.stateDirectory, (error) => warn(log, error));
    // A disk that hangs keeps no camera from its start.
    await Promise.race([served.read(), aborted(signal), delay(SERVED_MS, undefined, { ref: false })]);
    if (signal.aborted) return;
    for (const camera of this.cameras) {
      const settings = config.cameras.find((c) => c.id === camera.job.camera)!;
      if (served.has(settings)) camera.servedBefore();
      camera.on('state', () => {
        // Of the others a file or an address says all there is to say.
        if (settings.source.kind === 'v4l2' && camera.status().state === 'running') void served.add(settings);
      });
      this.follow(camera, this.reporters.get(settings.id)!);
      camera.start();
    }
    this.readyWhenProven();
  }

  /**
   * Reads the configuration again, and applies what can be changed between two frames: no worker, source or connection is touched. What
   * needs a restart is named in the log and stays as it was; so does everything where `load` throws. One after the other. Never rejects.
   * @param load reads and checks the configuration
   */
  reload(load: () => Promise<{ config: EdgeConfig; warnings: readonly string[] }>): Promise<void> {
    this.reloading = this.reloading.then(() => this.applyReload(load));
    return this.reloading;
  }

  private async applyReload(load: () => Promise<{ config: EdgeConfig; warnings: readonly string[] }>): Promise<void> {
    if (this.stopped !== undefined) return;
    const { log } = this;
    // Before it is ready, READY=1 would tell something else.
    const tell = this.ready;
    if (tell) this.systemd.reloading();
    let outcome: string;
    try {
      const { config, warnings } = await load();
      for (const warning of warnings) log.warn(warning);
      const plan = planReload(this.config, config);
      this.reconfigure(plan.config);
      const { applied, restart } = plan;
      if (restart.length > 0) log.warn({ applied, restart }, 'configuration read again; a part needs a restart');
      else
        log.info({ applied }, applied.length === 0 ? 'configuration read again: nothing new' : 'configuration applied');
      outcome = restart.length > 0 ? `reloaded, a restart is needed for ${restart.join(', ')}` : 'reloaded';
    } catch (error) {
      const { code, message, hint } = toPlainError(error);
      const issues = error instanceof ConfigInvalidError ? error.issues.map(formatIssue) : undefined;
      log.error({ code, hint, ...(issues && { issues }) }, `the old configuration stays: ${message}`);
      outcome = `reload refused: ${code}`;
    }
    if (tell && this.stopped === undefined) this.systemd.ready(outcome);
  }

  private reconfigure(config: EdgeConfig): void {
    this.config = config;
    for (const log of [this.log, ...this.childLogs]) log.level = config.log.level;
    for (const supervisor of this.cameras) {
      const camera = config.cameras.find((c) => c.id === supervisor.job.camera);
      const reporter = this.reporters.get(supervisor.job.camera);
      if (camera === undefined || reporter === undefined) continue;
      const { threshold, chipSide } = cameraJob(config, camera);
      supervisor.reconfigure({
        ...(threshold !== undefined && { threshold }),
        ...(chipSide !== undefined && { chipSide }),
      });
      this.commands?.tell('profile', camera.id, reporter.reconfigure(config, camera));
    }
  }

  /** READY=1 as soon as every camera's model is proven, or its camera given up: neither a camera nor a broker is waited for. */
  private readyWhenProven(): void {
    const look = () => {
      if (this.ready || this.stopped !== undefined) return;
      // With all of them given up there is nothing to be ready for: the program ends, and says why.
      if (this.cameras.length > 0 && this.cameras.every((c) => c.failure !== undefined)) return;
      if (!this.cameras.every((c) => c.modelUp || c.done)) return;
      this.ready = true;
      this.state = 'running';
      this.systemd.ready(this.statusLine());
      this.startWatchdog();
      this.writeHealth();
    };
    for (const camera of this.cameras) camera.on('state', look);
    look();
  }

  private startWatchdog(): void {
    const intervalMs = this.systemd.watchdogIntervalMs;
    if (intervalMs === undefined) return;
    this.watchdog = new Watchdog(intervalMs, {
      feed: () => this.systemd.watchdog(),
      workers: () => this.judgements(),
      onHeld: (error) => this.log.error({ code: error.code, hint: error.hint }, error.message),
      onFed: () => this.log.info('progress again'),
    });
    this.watchdog.start();
  }

  private judgements(): Map<string, Judgement> {
    return new Map(this.cameras.map((c) => [c.job.camera, c.judgement()]));
  }

  /** While the start takes long but goes on. */
  private askForTime(): void {
    if (this.ready || performance.now() - this.startedAt > START_LIMIT_MS) return;
    if ([...this.judgements().values()].some(({ condition }) => condition === 'stuck')) return;
    this.systemd.extendTimeout(START_EXTENSION_MS);
    this.systemd.status(this.statusLine());
  }

  private startHealth(): void {
    // systemd may name several, separated by colons (systemd.exec(5)); ours is one.
    const directory = this.config.runtimeDirectory ?? (process.env.RUNTIME_DIRECTORY?.split(':')[0] || undefined);
    if (directory === undefined) return;
    this.health = new HealthFile(directory, (error) => warn(this.log, error));
    this.writeHealth();
    this.timers.push(setInterval(() => this.writeHealth(), HEALTH_EVERY_MS));
  }

  private writeHealth(): void {
    if (this.health === undefined) return;
    const outbox = this.outbox?.counters();
    const held = this.watchdog?.heldBy;
    this.health.write({
      version: HEALTH_VERSION,
      software: VERSION,
      pid: process.pid,
      atMs: monotonicMs(),
      startedMs: monotonicMs() - Math.round(performance.now() - this.startedAt),
      state: this.state,
      loopDelayMs: Math.round(this.loopDelay.take()),
      ...(held !== undefined && { held }),
      cameras: this.cameras.map((c) => ({
        id: c.job.camera,
        ...c.judgement(),
        fps: Math.round(c.fps() * 10) / 10,
        processed: c.counters().processed,
        ...(c.model && { provider: c.model.provider }),
      })),
      broker: { state: this.publisher?.state ?? 'idle', embedded: this.config.mqtt.url === undefined },
      outbox: {
        mode: outbox?.store.mode ?? 'memory',
        ...(outbox?.store.fault !== undefined && { fault: outbox.store.fault }),
        waiting: outbox?.waiting ?? 0,
      },
    });
  }

  /** For `systemctl status`: what each camera does, and the broker. */
  private statusLine(): string {
    const cameras = this.cameras.map((c) => {
      const { condition, reason } = c.judgement();
      const doing = condition === 'serving' ? `${c.fps().toFixed(0)} fps on ${c.model?.provider ?? '?'}` : condition;
      const build = c.runtime?.build;
      const building = build === undefined ? '' : `, ${build.provider} ${build.phase} for ${build.elapsedSeconds} s`;
      return `${c.job.camera}: ${doing}${reason === undefined ? '' : `, ${reason}`}${building}`;
    });
    const waiting = this.outbox?.waiting ?? 0;
    const broker = `broker ${this.publisher?.state ?? 'idle'}${waiting > 0 ? `, ${waiting} events wait` : ''}`;
    return [...cameras, broker].join('; ');
  }

  private sayStatus(): void {
    const line = this.statusLine();
    if (line === this.saidStatus) return;
    this.saidStatus = line;
    this.systemd.status(line);
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

  /** Stops cameras, delivers what waits, says goodbye. Below 2 s. `hung`: a worker did not answer; only a kill ends the process (util/fatal.ts). */
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
    this.state = 'stopping';
    this.writeHealth();
    this.watchdog?.stop();
    for (const timer of this.timers) clearInterval(timer);
    this.loopDelay.stop();
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
    this.health?.remove();
    // On a busy machine a thread may end a little late, while the links were stopped.
    const hung = outcomes.includes('hung') && this.cameras.some((camera) => camera.alive);
    if (hung) {
      noteHung();
      this.log.error({ code: 'WORKER_HUNG' }, 'a worker did not stop in time');
      await new EngineCache(engineDirectory(this.config.runtime.cacheDirectory)).forgetLoads();
    }
    return hung ? 'hung' : 'stopped';
  }

  private async stopLinks(): Promise<void> {
    await Promise.all([this.publisher?.stop(), this.outputs.stop()]);
    await this.outbox?.stop(OUTBOX_STOP_MS);
    this.reportDrops(true);
    await this.broker?.stop();
  }

  private follow(camera: CameraSupervisor, reporter: CameraReporter): void {
    const id = camera.job.camera;
    const log = this.log.child({ camera: id });
    this.childLogs.push(log);
    camera.on('state', () => {
      const { state, source, provider, model } = camera.status();
      log.info({ state, ...(state === 'running' && { source, provider, model }) }, 'camera');
      if (this.ready) this.sayStatus();
      if (camera.threshold !== undefined) this.commands?.tell('threshold', id, camera.threshold);
      this.publishStatus();
    });
    let waiting: { code: string | undefined; until: number } | undefined;
    camera.on('capture', ({ from, to, reason, code, hint }) => {
      reporter.captured(to);
      const well = code === undefined;
      const now = performance.now();
      // A camera that is waited for says so once, and again after some time; the attempts themselves are for who looks closely.
      const again = to === 'back-off' && waiting !== undefined && waiting.code === code && now < waiting.until;
      if (to === 'back-off' && !again) waiting = { code, until: now + SAME_WAIT_EVERY_MS };
      if (to === 'streaming') waiting = undefined;
      const level = to === 'opening' || again ? 'debug' : well ? 'info' : 'warn';
      log[level]({ from, to, ...(!well && { code, hint }) }, reason);
      if (to !== 'opening' && !again) reporter.state();
    });
    camera.on('provider', (change) => {
      const { kind, provider, message, code, hint } = change;
      log[kind === 'demoted' ? 'warn' : 'info']({ provider, step: kind, ...(code && { code, hint }) }, message);
      this.sayStatus();
      reporter.state();
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

  /** Where files stay over restarts. */
  private get stateDirectory(): string | undefined {
    // systemd may name several, separated by colons (systemd.exec(5)); ours is one.
    return this.config.stateDirectory ?? (process.env.STATE_DIRECTORY?.split(':')[0] || undefined);
  }

  /** Takes back what an earlier run announced and this one does not. Never rejects. */
  private async takeBack(publisher: MqttPublisher, topics: readonly string[]): Promise<void> {
    const announced = new Announced(this.stateDirectory, (error) => warn(this.log, error));
    publisher.on('cleared', (topic) => void announced.forget(topic));
    for (const topic of await announced.now(topics)) publisher.publishState(topic, '');
  }

  private async createOutbox(signal: AbortSignal): Promise<DurableOutbox> {
    const directory = this.stateDirectory;
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

  /** What was given up since it was said last: events, events in other forms, commands. */
  private reportDrops(last = false): void {
    const now = performance.now();
    for (const error of this.outbox ? this.outboxReport.look(this.outbox.counters(), now, last) : []) {
      warn(this.log, error);
    }
    const forms = this.publisher && this.formsReport.look(this.publisher.formCounters().dropped, now, last);
    if (forms) warn(this.log, formsDropped(forms));
    const { refusedBy, dropped } = this.commands?.counters() ?? {};
    const commands = this.commandsReport.look({ ...refusedBy, ...dropped }, now, last);
    if (commands !== '') warn(this.log, commandsRefused(commands));
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
    const commands = this.commands && commandStats(this.commands.counters());
    const { cbor, sapient } = this.config.outputs;
    const outputs = this.outputs.counters();
    const message = statsMessage({
      atMs: Date.now(),
      device: this.config.device.id,
      software: VERSION,
      uptimeSeconds: Math.round((performance.now() - this.startedAt) / 100) / 10,
      memory: { rssBytes: rss, heapUsedBytes: heapUsed },
      alerts: publisher.counters(),
      ...((cbor.enabled || sapient.enabled) && { forms: publisher.formCounters() }),
      ...(commands && { commands }),
      ...(Object.keys(outputs).length > 0 && { outputs }),
      ...(this.outbox && { outbox: outboxStats(this.outbox.counters()) }),
      cameras: [...this.reporters.values()].map((r) => r.stats()),
    });
    publisher.publishMessage(this.topics.stats, JSON.stringify(message));
  }
}

/** CLOCK_MONOTONIC: the same in every process of this boot. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function cameraJob(config: EdgeConfig, camera: CameraConfig): CameraJob {
  const threshold = camera.detector.threshold ?? config.detector.threshold;
  const { relativeThreshold } = config.detector;
  return {
    camera: camera.id,
    source: sourceOptions(config, camera),
    detector: {
      manifest: config.detector.model ?? BUNDLED_MANIFEST,
      precision: config.detector.precision,
      blocked: config.detector.blocked,
      threads: config.detector.threads,
      runtime: runtimeOptions(config),
      ...(config.security.modelPublicKey !== undefined && { publicKey: config.security.modelPublicKey }),
    },
    ...(threshold === undefined ? {} : { threshold }),
    ...(relativeThreshold === undefined ? {} : { relativeThreshold }),
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
