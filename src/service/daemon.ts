import { EventEmitter } from 'node:events';
import { readFile } from 'node:fs/promises';
import { EmbeddedBroker } from '../alerts/embedded-broker.js';
import { MqttPublisher } from '../alerts/publisher.js';
import { detectionsMessage, statusMessage } from '../alerts/schema.js';
import type { CameraConfig, EdgeConfig } from '../config/schema.js';
import { BUNDLED_MANIFEST } from '../detect/manifest.js';
import type { CameraJob, FrameResult } from '../pipeline/messages.js';
import { EdgeError, EXIT, errno, fromPlainError } from '../types/errors.js';
import { VERSION } from '../version.js';
import type { Logger } from './log.js';
import { CameraSupervisor, type SupervisorOptions } from './supervisor.js';
import { SystemdNotifier } from './systemd.js';

/** A worker asked to stop ends after the inference under way; with the broker's second this keeps a stop below 2 s. */
const STOP_WORKERS_MS = 900;
const FLUSH_MS = 800;
const STATUS_EVERY_MS = 5000;

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
  private statusTimer: NodeJS.Timeout | undefined;
  private ready = false;
  private stopped: Promise<'stopped' | 'hung'> | undefined;
  /** Where alerts go, without secrets; after `start`. */
  brokerUrl = '';

  constructor(
    private readonly config: EdgeConfig,
    private readonly log: Logger,
    supervisor: SupervisorOptions = {},
  ) {
    super();
    this.cameras = config.cameras
      .filter((camera) => camera.enabled)
      .map((camera) => new CameraSupervisor(cameraJob(config, camera), supervisor));
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
    const publisher = new MqttPublisher({
      url,
      device: config.device.id,
      software: VERSION,
      prefix: config.topicPrefix,
      protocolVersion,
      keepalive: config.mqtt.keepaliveSeconds,
      connectTimeoutMs: config.mqtt.connectTimeoutSeconds * 1000,
      maxQueued: config.mqtt.maxQueued,
      stopTimeoutMs: FLUSH_MS,
      ...(clientId !== undefined && { clientId }),
      ...(username !== undefined && { username }),
      ...(passwordFile !== undefined && { password: await readPassword(passwordFile) }),
      ...(ca !== undefined && { ca: await readSecret(ca, 'mqtt.ca') }),
      ...(cert !== undefined && { cert: await readSecret(cert, 'mqtt.cert') }),
      ...(key !== undefined && { key: await readSecret(key, 'mqtt.key') }),
    });
    publisher.on('connected', ({ broker, connections }) => log.info({ broker, connections }, 'broker connected'));
    publisher.on('problem', (error, suppressed) => warn(log, error, suppressed));
    publisher.start(signal);
    this.publisher = publisher;
    this.brokerUrl = publisher.broker;
    this.publishStatus();
    this.statusTimer = setInterval(() => this.publishStatus(), STATUS_EVERY_MS);
    await beforeCameras?.(url);
    for (const camera of this.cameras) {
      this.follow(camera);
      camera.start();
    }
  }

  /** Resolves when the broker answered; rejects with the reason after `timeoutMs`. */
  async waitConnected(timeoutMs: number): Promise<void> {
    await this.publisher?.waitConnected(timeoutMs);
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
    this.systemd.stopping();
    clearInterval(this.statusTimer);
    const outcomes = await Promise.all(this.cameras.map((c) => c.stop(STOP_WORKERS_MS)));
    this.publishStatus();
    await this.publisher?.stop();
    await this.broker?.stop();
    const hung = outcomes.includes('hung');
    if (hung) this.log.error({ code: 'WORKER_HUNG' }, 'a worker did not stop in time');
    return hung ? 'hung' : 'stopped';
  }

  private follow(camera: CameraSupervisor): void {
    const id = camera.job.camera;
    const log = this.log.child({ camera: id });
    camera.on('state', () => {
      const { state, source, provider, model } = camera.status();
      log.info({ state, ...(state === 'running' && { source, provider, model }) }, 'camera');
      if (camera.running && !this.ready) {
        this.ready = true;
        this.systemd.ready(`${id}: ${source ?? ''} on ${provider ?? ''}`);
      }
      this.publishStatus();
    });
    camera.on('fault', (reason, error) => {
      log.warn({ code: error.code, hint: error.hint, dropped: reason }, error.message);
    });
    camera.on('restart', (error, delayMs) => {
      log.error({ code: error.code, hint: error.hint, delayMs: Math.round(delayMs) }, error.message);
    });
    camera.on('frame', (result) => {
      this.publish(camera, result);
      this.emit('frame', id, result);
    });
    camera.on('done', () => {
      const error = camera.failure;
      if (error) log.error({ code: error.code, hint: error.hint }, error.message);
      if (this.cameras.every((c) => c.done)) this.emit('finished');
    });
  }

  private publish(camera: CameraSupervisor, result: FrameResult): void {
    if (result.detections.length === 0 || !camera.model) return;
    this.publisher?.publishDetections(
      detectionsMessage({
        device: this.config.device.id,
        camera: camera.job.camera,
        frame: result,
        detections: result.detections,
        model: camera.model.model,
        provider: camera.model.provider,
        software: VERSION,
        latencyMs: result.timings,
      }),
    );
  }

  private publishStatus(): void {
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
}

function cameraJob(config: EdgeConfig, camera: CameraConfig): CameraJob {
  const threshold = camera.detector.threshold ?? config.detector.threshold;
  return {
    camera: camera.id,
    source: { ...camera.source, rate: camera.rate },
    detector: {
      manifest: config.detector.model ?? BUNDLED_MANIFEST,
      // FP16 on a CPU is converted back and forth: slower, and no more exact.
      precision: config.detector.precision === 'auto' ? 'fp32' : config.detector.precision,
      threads: config.detector.threads,
    },
    ...(threshold === undefined ? {} : { threshold }),
  };
}

function warn(log: Logger, error: EdgeError, suppressed = 0): void {
  log.warn({ code: error.code, hint: error.hint, ...(suppressed > 0 && { suppressed }) }, error.message);
}

/** The first line, so that an editor's newline at the end is not part of the password. */
async function readPassword(file: string): Promise<string> {
  return (await readSecret(file, 'mqtt.passwordFile')).toString('utf8').split(/\r?\n/, 1)[0] ?? '';
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
