import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync, type MqttClient } from 'mqtt';
import { sendAtOnce } from '../alerts/publisher.js';
import { type DetectionsMessage, topics } from '../alerts/schema.js';
import type { EdgeConfig } from '../config/schema.js';
import { STAGES } from '../pipeline/messages.js';
import { EdgeError, EXIT } from '../types/errors.js';
import type { DropReason } from '../types/frame.js';
import type { ModelIdentity } from '../types/model.js';
import { Percentiles, type Summary } from '../util/percentiles.js';
import { Daemon } from './daemon.js';
import type { Logger } from './log.js';

/** Frames at the start that no figure counts: caches, JIT and connections warm up. */
const WARM_UP_FRAMES = 10;
const DRAIN_MS = 2000;

/** An alert as a subscriber got it. */
export interface ReceivedAlert {
  message: DetectionsMessage;
  /** From the frame's capture to this subscriber's callback, ms. */
  latencyMs: number;
}

export interface SessionReport {
  source: string;
  /** Of the frames, px. */
  frame: { width: number; height: number };
  model: ModelIdentity;
  provider: string;
  library: string;
  threads: number;
  frames: { captured: number; processed: number; dropped: Partial<Record<DropReason, number>> };
  /** Messages that reached the subscriber, and the detections in them. */
  alerts: number;
  detections: number;
  seconds: number;
  fps: number;
  /** From capture to the subscriber, ms, of frames with an alert. */
  latencyMs: Summary;
  /** The same without the inference: capture, normalisation, decoding, tracking, threads, and MQTT twice through the broker. */
  overheadMs: Summary;
  stages: Record<'normalise' | 'infer' | 'decode' | 'track', Summary>;
  /** From capture to the end of tracking, without the inference, ms, of every frame. */
  besidesInferenceMs: Summary;
  peakMemoryMiB: number;
}

export interface SessionHooks {
  onAlert?(alert: ReceivedAlert): void;
  onProgress?(progress: { frames: number; total: number | undefined; alerts: number; fps: number }): void;
}

/**
 * Runs the daemon with one camera until its source ends, beside a subscriber with a connection of its own to the same
 * broker, and measures what the subscriber sees. Stops early, in good order, when `signal` aborts.
 */
export async function runSession(
  config: EdgeConfig,
  log: Logger,
  hooks: SessionHooks,
  signal: AbortSignal,
): Promise<SessionReport> {
  const camera = config.cameras[0]?.id ?? '';
  const total = config.cameras[0]?.source.kind === 'synthetic' ? config.cameras[0].source.frames : undefined;
  const daemon = new Daemon(config, log);
  const latency = new Percentiles();
  const overhead = new Percentiles();
  const stages = {
    normalise: new Percentiles(),
    infer: new Percentiles(),
    decode: new Percentiles(),
    track: new Percentiles(),
  };
  const besides = new Percentiles();
  let frames = 0;
  let sent = 0;
  let alerts = 0;
  let detections = 0;
  let first = 0;
  let last = 0;
  let counted = 0;
  let frame = { width: 0, height: 0 };

  daemon.on('frame', (_, { timings, detections: found, sensor, width, height }) => {
    frames++;
    frame = { width, height };
    if (found.length > 0) sent++;
    last = performance.now();
    if (frames <= WARM_UP_FRAMES) first = last;
    else if (sensor?.held === undefined) {
      counted++;
      for (const stage of STAGES) stages[stage].add(timings[stage]);
      besides.add(timings.total - timings.infer);
    }
    hooks.onProgress?.({ frames, total, alerts, fps: rate(counted, last - first) });
  });
  const finished = new Promise<void>((resolve) => {
    daemon.once('finished', resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
  });

  let subscriber: MqttClient | undefined;
  try {
    // Between the broker and the cameras, so that the first alert already has its subscriber.
    await daemon.start(signal, async (url) => {
      subscriber = await subscribe(url, config, camera, (message, at) => {
        alerts++;
        detections += message.detections.length;
        const ms = Number(at - BigInt(message.captureMonotonicNs)) / 1e6;
        if (frames > WARM_UP_FRAMES) {
          latency.add(ms);
          overhead.add(ms - message.latencyMs.infer);
        }
        hooks.onAlert?.({ message, latencyMs: ms });
      });
    });
    await finished;
    // The last alerts are still on their way through the broker.
    const deadline = performance.now() + DRAIN_MS;
    while (alerts < sent && performance.now() < deadline) await delay(5);
    const failure = daemon.failure;
    if (failure) throw failure;
    const running = daemon.model(camera);
    if (!running) throw new EdgeError('STOPPED', 'stopped before the first frame', { exitCode: EXIT.unavailable });
    const state = daemon.snapshot().cameras[0];
    const { captured = 0, processed = 0, dropped = {} } = state?.frames ?? {};
    return {
      source: running.source,
      frame,
      model: running.model,
      provider: running.provider,
      library: running.library,
      threads: config.detector.threads,
      frames: { captured, processed, dropped },
      alerts,
      detections,
      seconds: (last - first) / 1000,
      fps: rate(counted, last - first),
      latencyMs: latency.summary(),
      overheadMs: overhead.summary(),
      stages: {
        normalise: stages.normalise.summary(),
        infer: stages.infer.summary(),
        decode: stages.decode.summary(),
        track: stages.track.summary(),
      },
      besidesInferenceMs: besides.summary(),
      peakMemoryMiB: process.resourceUsage().maxRSS / 1024,
    };
  } finally {
    subscriber?.end(true);
    if ((await daemon.stop()) === 'hung')
      log.error({ code: 'WORKER_HUNG' }, 'a worker did not stop; the process is killed at its end');
  }
}

const rate = (frames: number, ms: number): number => (ms > 0 ? (frames * 1000) / ms : 0);

async function subscribe(
  url: string,
  config: EdgeConfig,
  camera: string,
  onMessage: (message: DetectionsMessage, atNs: bigint) => void,
): Promise<MqttClient> {
  const client = await connectAsync(url, {
    protocolVersion: 4,
    clientId: `irst-edge-watch-${process.pid}`,
    reconnectPeriod: 0,
  });
  sendAtOnce(client);
  client.on('message', (_topic, payload) => {
    const at = process.hrtime.bigint();
    onMessage(JSON.parse(payload.toString()) as DetectionsMessage, at);
  });
  await client.subscribeAsync(topics(config.topicPrefix, config.device.id).detections(camera), { qos: 1 });
  return client;
}
