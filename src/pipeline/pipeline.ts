import { createSource } from '../capture/create-source.js';
import { SensorMonitor } from '../capture/sensor-monitor.js';
import { Detector, type DetectorHooks } from '../detect/detector.js';
import { proveModel } from '../detect/prove.js';
import { EdgeError, EXIT, toPlainError } from '../types/errors.js';
import type { CaptureTransition, DropReason, Frame, FrameSource, SourceInfo } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import type { Crop, FramePictureOptions } from '../types/picture.js';
import type { TrackUpdate } from '../types/track.js';
import type { CameraJob, FrameCounters, WorkerEvent } from './messages.js';
import { cropAround, framePicture } from './pictures.js';
import { TargetFinder } from './target-finder.js';

/** After so many failed inferences in a row the worker gives up and is restarted. */
const MAX_FAILURES = 10;
const COUNTERS_EVERY_MS = 1000;
const SAME_FAULT_EVERY_MS = 10_000;

/** The parts that a test replaces. */
export interface PipelineParts {
  createSource(
    job: CameraJob,
    onFault: (reason: DropReason, error: EdgeError) => void,
    onTransition: (transition: CaptureTransition) => void,
  ): FrameSource;
  createDetector(
    job: CameraJob,
    info: SourceInfo,
    hooks: DetectorHooks,
  ): Promise<Pick<Detector, 'run' | 'close' | 'manifest' | 'identity' | 'provider' | 'library' | 'runsApart'>>;
  /** Before a source that may be waited for. */
  proveModel?(job: CameraJob): Promise<ModelIdentity>;
}

const REAL_PARTS: PipelineParts = {
  createSource: (job, onFault, onTransition) => createSource(job.source, { onFault, onTransition }),
  createDetector: (job, info, hooks) => Detector.create(job.detector, info, hooks),
  proveModel: (job) => proveModel(job.detector),
};

/** Sources that may not be there yet; the others open at once, and the detector is its own proof. */
const WAITED_FOR: readonly CameraJob['source']['kind'][] = ['v4l2', 'ffmpeg'];

/**
 * The data plane of one camera: source, detector, decoder, in one loop on one thread. It owns no socket; what it finds leaves
 * through `emit`. Every captured frame is processed or dropped with a reason.
 */
export class Pipeline {
  private processed = 0;
  private failedFrames = 0;
  private invalidCells = 0;
  private source: FrameSource | undefined;
  /** A frame is under way: the counters do not add up. */
  private busy = false;
  private monitor: SensorMonitor | undefined;
  private readonly faults = new Map<string, number>();

  private threshold: number | undefined;
  /** What a command asked for, over the configuration. */
  private override: number | null = null;
  private modelThreshold: number | undefined;
  private snapshots: { options: FramePictureOptions; request: number }[] = [];

  constructor(
    private job: CameraJob,
    private readonly emit: (event: WorkerEvent) => void,
    private readonly parts: PipelineParts = REAL_PARTS,
  ) {
    this.threshold = job.threshold;
  }

  /** From the next frame on; null: as configured, else the model's. Answered with a `threshold` event. */
  setThreshold(value: number | null, request: number): void {
    this.override = value;
    this.threshold = value ?? this.job.threshold ?? this.modelThreshold;
    if (this.threshold !== undefined) this.emit({ type: 'threshold', value: this.threshold, request });
  }

  /** The configuration changed; a threshold that a command asked for stays. Answered with a `threshold` event of request 0. */
  configure({ threshold, chipSide }: { threshold: number | null; chipSide: number | null }): void {
    const { threshold: _, chipSide: __, ...job } = this.job;
    this.job = { ...job, ...(threshold !== null && { threshold }), ...(chipSide !== null && { chipSide }) };
    this.setThreshold(this.override, 0);
  }

  /** Of the next frame. Answered with a `snapshot` event. */
  takeSnapshot(options: FramePictureOptions, request: number): void {
    this.snapshots.push({ options, request });
  }

  counters(): FrameCounters {
    const source = this.source?.counters() ?? { captured: 0, delivered: 0, dropped: {} };
    const dropped = { ...source.dropped };
    if (this.failedFrames > 0) dropped.inference = this.failedFrames;
    // Delivered by the source but neither processed nor failed: the frame that was under way when the pipeline stopped.
    const pending = source.delivered - this.processed - this.failedFrames;
    if (pending > 0) dropped.shutdown = (dropped.shutdown ?? 0) + pending;
    return {
      captured: source.captured,
      processed: this.processed,
      dropped,
      invalidCells: this.invalidCells,
      ...(this.monitor && { sensor: this.monitor.counters() }),
    };
  }

  /**
   * To be called about once a second while it runs: says that this thread goes round, and what was counted meanwhile. Where no frame can
   * be used (all damaged, the camera gone) nothing else tells of those that were dropped.
   */
  pulse(): void {
    this.emit({ type: 'alive' });
    if (this.source !== undefined && !this.busy) this.emit({ type: 'counters', counters: this.counters() });
  }

  /** Runs until the source ends or `signal` aborts; its last event is `ended` or `failed`. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const source = this.parts.createSource(
      this.job,
      (reason, error) => this.fault(reason, error),
      (transition) => this.emit({ type: 'capture', transition }),
    );
    this.source = source;
    try {
      await this.loop(source, signal);
      await source.stop();
      this.emit({ type: 'ended', counters: this.counters() });
    } catch (error) {
      await source.stop().catch(() => {});
      // Told to stop while the source was opening: that is no failure.
      if (signal.aborted) return this.emit({ type: 'ended', counters: this.counters() });
      this.emit({ type: 'failed', error: toPlainError(error), counters: this.counters() });
    }
  }

  private fault(reason: DropReason, error: EdgeError): void {
    const now = performance.now();
    if (now - (this.faults.get(error.code) ?? Number.NEGATIVE_INFINITY) < SAME_FAULT_EVERY_MS) return;
    this.faults.set(error.code, now);
    this.emit({ type: 'fault', reason, error: toPlainError(error) });
  }

  private async loop(source: FrameSource, signal: AbortSignal): Promise<void> {
    const { source: what, detector: how } = this.job;
    // A provider that must serve may be waited for as well.
    const waits = WAITED_FOR.includes(what.kind) || (how.runtime?.require ?? 'cpu') !== 'cpu';
    if (this.parts.proveModel !== undefined && waits) {
      this.emit({ type: 'model', model: await this.parts.proveModel(this.job) });
      if (signal.aborted) return;
    }
    const info = await source.start(signal);
    if (signal.aborted) return;
    let running: Awaited<ReturnType<PipelineParts['createDetector']>> | undefined;
    const detector = await this.parts.createDetector(this.job, info, {
      onChange: (change, status) =>
        this.emit({ type: 'provider', change, status, ...(running && { model: running.identity }) }),
      signal,
    });
    running = detector;
    try {
      this.modelThreshold = detector.manifest.decode.threshold;
      this.threshold ??= this.modelThreshold;
      const threshold = this.threshold;
      const finder = new TargetFinder(this.job.tracker ?? {}, detector, info, threshold, this.job.relativeThreshold);
      this.monitor = SensorMonitor.for(info, this.job.sensor);
      const { identity: model, provider, library } = detector;
      this.emit({ type: 'ready', model, provider, library, threshold, source: info });
      let failures = 0;
      let reported = performance.now();
      while (!signal.aborted) {
        const frame = await source.next();
        if (frame === null || signal.aborted) break;
        const { processed } = this;
        try {
          this.busy = true;
          await this.process(frame, finder);
          failures = 0;
        } catch (cause) {
          // What fails after the search does not count the frame twice.
          if (this.processed === processed) this.failedFrames++;
          this.fault(
            'inference',
            new EdgeError('INFERENCE_FAILED', `an inference failed: ${(cause as Error).message}`, { cause }),
          );
          if (++failures >= MAX_FAILURES) {
            throw new EdgeError(
              'INFERENCE_FAILED',
              `${failures} inferences in a row failed: ${(cause as Error).message}`,
              {
                exitCode: EXIT.software,
                cause,
              },
            );
          }
        } finally {
          this.busy = false;
        }
        const now = performance.now();
        if (now - reported >= COUNTERS_EVERY_MS) {
          reported = now;
          this.emit({ type: 'counters', counters: this.counters() });
        }
      }
    } finally {
      await detector.close();
    }
  }

  private async process(taken: Frame, finder: TargetFinder): Promise<void> {
    const frame = this.monitor?.inspect(taken) ?? taken;
    const { sensor } = frame;
    const found = sensor?.held === undefined ? await finder.find(frame, this.threshold ?? 1) : finder.hold(frame);
    const { detections, tracks, invalidCells, timings } = found;
    this.invalidCells += invalidCells;
    this.processed++;
    const { sequence, capturedAtMs, captureMonotonicNs, width, height } = frame;
    const chips = this.chips(frame, tracks);
    this.emit({
      type: 'frame',
      sequence,
      capturedAtMs,
      captureMonotonicNs,
      width,
      height,
      detections,
      tracks,
      ...(sensor && { sensor }),
      timings,
      ...(chips && { chips }),
    });
    // After the alerts: a picture may take as long as a frame.
    for (const { options, request } of this.snapshots.splice(0)) {
      this.emit({ type: 'snapshot', picture: framePicture(frame, options), request });
    }
  }

  private chips(frame: Frame, tracks: TrackUpdate): Map<number, Crop> | undefined {
    const side = this.job.chipSide;
    if (side === undefined) return undefined;
    const seen = [...tracks.started, ...tracks.updated].filter((track) => track.detection !== null);
    if (seen.length === 0) return undefined;
    return new Map(seen.map((track) => [track.id, cropAround(frame, track.x, track.y, side)]));
  }
}
