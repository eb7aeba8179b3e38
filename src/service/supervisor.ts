import { EventEmitter } from 'node:events';
import { Worker } from 'node:worker_threads';
import { backoffMs } from '../alerts/backoff.js';
import type { CameraStatus } from '../alerts/schema.js';
import type { CameraJob, FrameCounters, FrameResult, WorkerEvent, WorkerRequest } from '../pipeline/messages.js';
import { EdgeError, EXIT, type PlainError, toPlainError } from '../types/errors.js';
import type { CaptureTransition, DropReason } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import type { FramePicture, FramePictureOptions } from '../types/picture.js';
import type { ProviderChange, ProviderStatus } from '../types/provider.js';
import { endStart, giveMemoryBack } from '../util/small-memory.js';
import { type Judgement, judgeWorker, type WorkerLimits, type WorkerProgress } from './progress.js';

const WORKER_FILE = new URL('../pipeline/worker.js', import.meta.url);
const FPS_WINDOW_MS = 5000;
/** A worker that ran for so long was not failing from the start. */
const STABLE_MS = 30_000;
/** From the first frame until what only the start needed is given back: by then all that a frame needs has run. */
const STARTED_MS = 1_000;

/** Errors that trying again does not mend: the same file will be as wrong as before. */
const PERMANENT: readonly number[] = [EXIT.config, EXIT.dataError, EXIT.noInput, EXIT.usage];

/** What a device says at a moment when another one has its name, or its pipeline is not set up yet. */
const MISFITS: readonly string[] = [
  'CAMERA_NOT_CAPTURE',
  'CAMERA_FORMAT_REFUSED',
  'CAMERA_FORMAT_UNSUPPORTED',
  'PROFILE_UNFIT',
];

export interface SupervisorOptions {
  /** Waiting time before a restart, ms; doubles with every failure in a row. */
  minBackoffMs?: number;
  maxBackoffMs?: number;
  /** The worker's entry; a test gives its own. */
  workerFile?: URL;
  random?: () => number;
  /** When it counts as stuck; a test gives its own. */
  limits?: WorkerLimits;
}

/** What a camera that runs says of itself. */
export interface Running {
  model: ModelIdentity;
  provider: string;
  library: string;
  source: string;
  /** Name of the camera profile in force. */
  profile?: string;
}

interface SupervisorEvents {
  frame: [result: FrameResult];
  /** The state, or what is known of it, changed. */
  state: [];
  /** The source came to its end, or the camera failed for good. Nothing follows. */
  done: [];
  /** A frame was dropped because of this. */
  fault: [reason: DropReason, error: PlainError];
  /** The source's device took a step. */
  capture: [transition: CaptureTransition];
  /** What runs the network took a step. */
  provider: [change: ProviderChange];
  /** The worker failed and will be restarted after `delayMs`. */
  restart: [error: PlainError, delayMs: number];
}

/**
 * The life of one camera's worker thread: starts it, counts what it reports, restarts it with back-off when it dies.
 * Never terminates it (see pipeline/worker.ts): a worker that does not answer `stop` is reported as hung.
 */
export class CameraSupervisor extends EventEmitter<SupervisorEvents> {
  private worker: Worker | undefined;
  private retry: NodeJS.Timeout | undefined;
  private attempts = 0;
  private stopping = false;
  private everReady = false;
  private misfitPasses = false;
  private state: CameraStatus['state'] = 'starting';
  private identity: Running | undefined;
  /** Of workers that are gone, summed, and of the one that runs. */
  private past: FrameCounters = { captured: 0, processed: 0, dropped: {}, invalidCells: 0 };
  private current: FrameCounters = { captured: 0, processed: 0, dropped: {}, invalidCells: 0 };
  private lastError: PlainError | undefined;
  private window: number[] = [];
  restarts = 0;
  /** Score from which a peak is a detection, as the worker says; before that undefined. */
  threshold: number | undefined;
  /** The last step of the source's device, where it has one. */
  capture: CaptureTransition | undefined;
  /** What runs the network, and why nothing better does, as of the last step. */
  runtime: ProviderStatus | undefined;
  /** What the next worker is asked for: the last that was held, or that a worker said is in force, by the number of its request. */
  private wanted: { value: number | null; request: number } | undefined;
  private requests = 0;
  private readonly waiting = new Map<number, (value: number | undefined) => void>();
  /** Of the next frame. One at a time: a camera may be away for days, and whoever asks meanwhile waits for the same frame. */
  private picture:
    | {
        request: number;
        promise: Promise<FramePicture | null | undefined>;
        resolve(picture: FramePicture | null | undefined): void;
      }
    | undefined;
  private readyAt = Number.POSITIVE_INFINITY;
  /** When the worker was last heard of, gave a frame, told that it is ready; ms of the performance clock. */
  private heardAt = 0;
  private frameAt = 0;
  /** This worker gave a frame. */
  private framed = false;
  private ready = false;
  private proven = false;
  private framePeriodMs: number | undefined;

  constructor(
    private currentJob: CameraJob,
    private readonly options: SupervisorOptions = {},
  ) {
    super();
  }

  /** It served in an earlier run, configured as now: that its device does not fit may pass. To be called before `start`. */
  servedBefore(): void {
    this.misfitPasses = true;
  }

  /** What its workers are started with. */
  get job(): CameraJob {
    return this.currentJob;
  }

  /** Whether the model has been proven to work here, by any worker. */
  get modelUp(): boolean {
    return this.proven;
  }

  /** What the worker last did, for who watches over it. */
  progress(): WorkerProgress {
    const now = performance.now();
    const { source } = this.currentJob;
    const code = this.capture?.code ?? this.lastError?.code;
    return {
      running: this.worker !== undefined,
      state: this.state,
      modelUp: this.proven,
      ready: this.ready,
      heardMs: now - this.heardAt,
      frameMs: now - this.frameAt,
      ...(this.capture && { capture: this.capture.to }),
      ...(code !== undefined && { code }),
      ...(this.framePeriodMs !== undefined && { framePeriodMs: this.framePeriodMs }),
      ...('stallTimeoutMs' in source && source.stallTimeoutMs !== undefined && { stallMs: source.stallTimeoutMs }),
      ...(!this.framed &&
        'startTimeoutMs' in source &&
        source.startTimeoutMs !== undefined && { startMs: source.startTimeoutMs }),
    };
  }

  /** Whether it makes progress, and what excuses it if not. */
  judgement(): Judgement {
    return judgeWorker(this.progress(), this.options.limits);
  }

  /** The threshold and the chips of the configuration changed; for the worker that runs and for those to come. */
  reconfigure(job: Pick<CameraJob, 'threshold' | 'chipSide'>): void {
    const { threshold: _, chipSide: __, ...rest } = this.currentJob;
    this.currentJob = { ...rest, ...job };
    this.ask({ type: 'configure', threshold: job.threshold ?? null, chipSide: job.chipSide ?? null });
  }

  start(): void {
    this.spawn();
  }

  get running(): boolean {
    return this.state === 'running';
  }

  get done(): boolean {
    return this.state === 'ended' || this.state === 'failed';
  }

  /** Its thread is there, whatever it does. */
  get alive(): boolean {
    return this.worker !== undefined;
  }

  /** The error that ended the camera for good. */
  get failure(): PlainError | undefined {
    return this.state === 'failed' ? this.lastError : undefined;
  }

  get model(): Running | undefined {
    return this.identity;
  }

  counters(): FrameCounters {
    return sum(this.past, this.current);
  }

  /** Frames processed per second over the last seconds. */
  fps(): number {
    const now = performance.now();
    while (this.window.length > 0 && now - this.window[0]! > FPS_WINDOW_MS) this.window.shift();
    const span = this.window.length > 1 ? now - this.window[0]! : 0;
    return span > 0 ? ((this.window.length - 1) * 1000) / span : 0;
  }

  status(): CameraStatus {
    const { captured, processed, dropped } = this.counters();
    return {
      id: this.currentJob.camera,
      state: this.state,
      ...(this.identity && {
        source: this.identity.source,
        provider: this.identity.provider,
        model: this.identity.model,
      }),
      fps: Math.round(this.fps() * 10) / 10,
      frames: { captured, processed, dropped },
      ...(this.lastError && { error: { code: this.lastError.code, message: this.lastError.message } }),
    };
  }

  /**
   * Asks the worker for another threshold; null: as configured. Resolves with what is in force then; undefined: it died, and the next
   * one is not asked for it.
   */
  setThreshold(value: number | null): Promise<number | undefined> {
    const request = ++this.requests;
    return new Promise((resolve) => {
      this.waiting.set(request, (inForce) => {
        this.waiting.delete(request);
        if (inForce !== undefined && request >= (this.wanted?.request ?? 0)) this.wanted = { value, request };
        resolve(inForce);
      });
      if (this.worker === undefined) this.waiting.get(request)?.(undefined);
      else this.ask({ type: 'threshold', value, request });
    });
  }

  /** The same of the worker that runs and of those to come, whether or not it lives to answer. */
  holdThreshold(value: number | null): void {
    this.wanted = { value, request: this.requests + 1 };
    void this.setThreshold(value);
  }

  /** Asks the worker for its next frame. Null: it does not fit; undefined: the worker died, or there is none. */
  snapshot(options: FramePictureOptions): Promise<FramePicture | null | undefined> {
    if (this.worker === undefined) return Promise.resolve(undefined);
    if (this.picture === undefined) {
      const request = ++this.requests;
      let resolve = (_: FramePicture | null | undefined): void => {};
      const promise = new Promise<FramePicture | null | undefined>((answer) => {
        resolve = answer;
      });
      this.picture = { request, promise, resolve };
      this.ask({ type: 'snapshot', options, request });
    }
    return this.picture.promise;
  }

  /** Asks the worker to stop and waits. `hung`: it did not; only ending the process ends it. */
  async stop(timeoutMs: number): Promise<'stopped' | 'hung'> {
    this.stopping = true;
    clearTimeout(this.retry);
    const worker = this.worker;
    if (worker === undefined) {
      if (this.state === 'restarting') this.finish('ended');
      return 'stopped';
    }
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve('hung'), timeoutMs);
      worker.once('exit', () => {
        clearTimeout(timer);
        resolve('stopped');
      });
      this.ask({ type: 'stop' });
    });
  }

  private answerPicture(picture: FramePicture | null | undefined): void {
    this.picture?.resolve(picture);
    this.picture = undefined;
  }

  private ask(request: WorkerRequest): void {
    this.worker?.postMessage(request);
  }

  private spawn(): void {
    const worker = new Worker(this.options.workerFile ?? WORKER_FILE, {
      workerData: this.currentJob,
      name: `camera ${this.currentJob.camera}`,
    });
    this.worker = worker;
    this.heardAt = performance.now();
    this.ready = false;
    this.framed = false;
    let starting = true;
    let outcome: PlainError | 'ended' | undefined;
    worker.on('message', (event: WorkerEvent) => {
      this.heardAt = performance.now();
      switch (event.type) {
        case 'threshold':
          this.threshold = event.value;
          this.waiting.get(event.request)?.(event.value);
          this.emit('state');
          break;
        case 'snapshot':
          if (this.picture?.request === event.request) this.answerPicture(event.picture);
          break;
        case 'model':
          this.proven = true;
          this.emit('state');
          break;
        case 'alive':
          break;
        case 'ready':
          this.proven = true;
          this.ready = true;
          this.frameAt = performance.now();
          this.framePeriodMs = event.source.fps === undefined ? undefined : 1000 / event.source.fps;
          this.threshold = event.threshold;
          // A worker that was restarted knows nothing of what was asked of the one before.
          if (this.wanted !== undefined) void this.setThreshold(this.wanted.value);
          this.everReady = true;
          this.readyAt = performance.now();
          this.lastError = undefined;
          this.identity = {
            model: event.model,
            provider: event.provider,
            library: event.library,
            source: event.source.description,
            ...(event.source.profile !== undefined && { profile: event.source.profile }),
          };
          this.setState('running');
          break;
        case 'frame':
          this.frameAt = performance.now();
          this.framed = true;
          this.window.push(this.frameAt);
          if (this.window.length > 4096) this.window.splice(0, 1024);
          if (starting) setTimeout(endStart, STARTED_MS).unref();
          starting = false;
          this.emit('frame', event);
          break;
        case 'counters':
          this.current = event.counters;
          break;
        case 'provider':
          this.runtime = event.status;
          if (this.identity !== undefined && event.model !== undefined) {
            const { provider = this.identity.provider, library = this.identity.library } = event.status;
            this.identity = { ...this.identity, model: event.model, provider, library };
          }
          this.emit('provider', event.change);
          break;
        case 'capture':
          this.capture = event.transition;
          // Its first frame is due from now on; what came before was the camera's absence.
          if (event.transition.to === 'streaming') this.frameAt = performance.now();
          this.emit('capture', event.transition);
          break;
        case 'fault':
          this.emit('fault', event.reason, event.error);
          break;
        case 'ended':
          this.current = event.counters;
          outcome = 'ended';
          break;
        case 'failed':
          this.current = event.counters;
          outcome = event.error;
          break;
      }
    });
    worker.on('error', (error) => {
      outcome = toPlainError(error);
    });
    worker.on('exit', (code) => {
      this.worker = undefined;
      this.ready = false;
      giveMemoryBack();
      for (const answer of [...this.waiting.values()]) answer(undefined);
      this.answerPicture(undefined);
      this.capture = undefined;
      this.runtime = undefined;
      this.past = sum(this.past, this.current);
      this.current = { captured: 0, processed: 0, dropped: {}, invalidCells: 0 };
      if (outcome === 'ended') this.finish('ended');
      else this.failed(outcome ?? died(this.currentJob.camera, code));
    });
  }

  private failed(error: PlainError): void {
    this.lastError = error;
    // What fails while it is told to stop has stopped.
    if (this.stopping) {
      this.finish('ended');
      return;
    }
    // One that ran for long starts with a short wait again; one that dies soon after each start waits longer each time.
    if (performance.now() - this.readyAt > STABLE_MS) this.attempts = 0;
    this.readyAt = Number.POSITIVE_INFINITY;
    // A recording that was readable once may come back (a mount, a share): only a first failure is for good.
    const passes = this.everReady || (this.misfitPasses && MISFITS.includes(error.code));
    if (!passes && PERMANENT.includes(error.exitCode)) {
      this.finish('failed');
      return;
    }
    const { minBackoffMs = 1000, maxBackoffMs = 30_000, random = Math.random } = this.options;
    const delay = backoffMs(this.attempts++, minBackoffMs, maxBackoffMs, random);
    this.restarts++;
    this.setState('restarting');
    this.emit('restart', error, delay);
    this.retry = setTimeout(() => this.spawn(), delay);
  }

  private finish(state: 'ended' | 'failed'): void {
    this.setState(state);
    this.emit('done');
  }

  private setState(state: CameraStatus['state']): void {
    this.state = state;
    this.emit('state');
  }
}

function died(camera: string, code: number): PlainError {
  return toPlainError(
    new EdgeError('WORKER_DIED', `the worker of camera ${camera} ended with code ${code} and without a word`),
  );
}

function sum(a: FrameCounters, b: FrameCounters): FrameCounters {
  const dropped = { ...a.dropped };
  for (const [reason, n] of Object.entries(b.dropped) as [keyof typeof dropped, number][]) {
    dropped[reason] = (dropped[reason] ?? 0) + n;
  }
  return {
    captured: a.captured + b.captured,
    processed: a.processed + b.processed,
    dropped,
    invalidCells: a.invalidCells + b.invalidCells,
    ...((a.sensor ?? b.sensor) && { sensor: sumSensor(a.sensor, b.sensor) }),
  };
}

function sumSensor(a: FrameCounters['sensor'], b: FrameCounters['sensor']): NonNullable<FrameCounters['sensor']> {
  return {
    corrections: (a?.corrections ?? 0) + (b?.corrections ?? 0),
    held: {
      ffc: (a?.held.ffc ?? 0) + (b?.held.ffc ?? 0),
      frozen: (a?.held.frozen ?? 0) + (b?.held.frozen ?? 0),
    },
  };
}
