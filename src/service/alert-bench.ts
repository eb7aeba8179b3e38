import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { DurableOutbox, type OutboxRecord } from '../alerts/durable-outbox.js';
import { EmbeddedBroker } from '../alerts/embedded-broker.js';
import { MqttPublisher } from '../alerts/publisher.js';
import { EdgeError, EXIT } from '../types/errors.js';
import { answers, freePort } from '../util/ports.js';
import { monotonicMs, type SubscriberData, type SubscriberMessage } from './alert-bench-subscriber.js';

export interface AlertBenchOptions {
  /** Folder on the disk to measure; a folder of its own is made in it and removed. Default: the one for temporary files. */
  directory?: string;
  /** Events that wait for the broker. Default 10 000. */
  events?: number;
  /** Bytes of a message. Default 900, about what an event has. */
  payloadBytes?: number;
  /** Length of the part at 30 Hz, s. Default 20. */
  seconds?: number;
  /** As `DurableOutbox`, for tests that run from source. */
  storeProcess?: string;
  /** For tests that run from source: the compiled `alert-bench-subscriber.js`. */
  subscriber?: string;
  signal?: AbortSignal;
  /** For people: what is being measured. */
  onStep?: (text: string) => void;
}

/** Nearest-rank percentiles, ms. */
export interface Percentiles {
  count: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

export interface AlertBenchReport {
  broker: 'mosquitto' | 'embedded';
  /** MQTT version spoken. */
  protocolVersion: 4 | 5;
  cpus: number;
  payloadBytes: number;
  /** One process writes 4 KiB and syncs (fdatasync), again and again. */
  fsync: { perSecond: number; latencyMs: Percentiles };
  /** Events into the outbox, until all are on disk. */
  durable: {
    events: number;
    perSecond: number;
    /** Transactions, each synced: how many events share one is why `perSecond` may be above `fsync.perSecond`. */
    commits: number;
    /** One event alone: from the offer to being on disk. */
    singleMs: Percentiles;
  };
  /** Start of the outbox with those events on disk, ms. */
  recoverMs: number;
  /** Those events to the broker, with a fresh one every 20 ms: from its offer (and so with its way over the disk) to a subscriber. */
  drain: {
    events: number;
    seconds: number;
    perSecond: number;
    freshMs: Percentiles;
    /** Distinct messages that the subscriber got, of those published. */
    received: number;
    published: number;
  };
  /** From handing over to a subscriber, at 30 Hz; the subscriber is a thread of its own. */
  steady: {
    seconds: number;
    /** All messages, of which a quarter are `new`: far more than a camera sees. */
    allMs: Percentiles;
    /** Frames, from handing over to the last of a frame's two messages; every second frame has a `new`. */
    frameMs: Percentiles;
    /** Detections and updates: not over the disk. */
    detectionMs: Percentiles;
    updateMs: Percentiles;
    /** `new`: on disk first. */
    newMs: Percentiles;
  };
}

const DEVICE = 'bench';
const EVENTS = `irst/${DEVICE}/cam/events`;
const DETECTIONS = `irst/${DEVICE}/cam/detections`;
const STEP_MS = 60_000;

/**
 * Measures the way of an alert on this machine: disk, outbox, broker, subscriber. Takes about 15 s plus `seconds`. Starts mosquitto
 * where it is installed, else the broker inside. Rejects with `EdgeError` `ALERT_BENCH` where a step does not end.
 */
export async function runAlertBench(options: AlertBenchOptions = {}): Promise<AlertBenchReport> {
  const events = options.events ?? 10_000;
  const payloadBytes = options.payloadBytes ?? 900;
  const seconds = options.seconds ?? 20;
  const say = options.onStep ?? (() => {});
  const { signal } = options;
  const directory = await mkdtemp(join(options.directory ?? tmpdir(), 'irst-bench-'));
  const state = join(directory, 'state');
  const undo: (() => unknown)[] = [() => rm(directory, { recursive: true, force: true })];
  const box = () => {
    const outbox = new DurableOutbox({
      directory: state,
      ...(options.storeProcess === undefined ? {} : { storeProcess: options.storeProcess }),
    });
    undo.push(() => outbox.stop());
    return outbox;
  };
  let seq = 0;
  const record = (kind: OutboxRecord['kind'], id = `bench-${seq}`): OutboxRecord => {
    seq += 1;
    const now = Date.now();
    return {
      id,
      seq,
      kind,
      severity: 1,
      topic: EVENTS,
      payload: payload(`${id}/${kind}/${seq}`, payloadBytes),
      createdAtMs: now,
      expiresAtMs: now + 3_600_000,
    };
  };
  /** What goes to disk with a `new`. */
  const ending = ({ id, kind }: OutboxRecord) => (kind === 'new' ? () => record('end', id) : undefined);
  try {
    say('disk');
    const fsync = await measureFsync(join(directory, 'fsync'), signal);

    say('outbox');
    const writer = box();
    await writer.start();
    const singles: number[] = [];
    for (let i = 0; i < 100; i++) {
      signal?.throwIfAborted();
      const single = record('new');
      const start = performance.now();
      writer.offer(single, ending(single));
      if (!(await writer.flush(STEP_MS))) throw failed('the outbox did not write');
      singles.push(performance.now() - start);
    }
    const before = writer.counters().store.commits;
    const rest = Math.max(0, events - singles.length);
    const start = performance.now();
    for (let i = 0; i < rest; i++) {
      writer.offer(record('new'));
      // As events come: in small groups, the loop going on between.
      if (i % 50 === 49) await new Promise((resolve) => setImmediate(resolve));
    }
    if (!(await writer.flush(STEP_MS))) throw failed('the outbox did not write');
    const wrote = (performance.now() - start) / 1_000;
    const { store } = writer.counters();
    if (store.mode !== 'disk') throw failed(`the disk failed (${store.fault})`);
    await writer.stop();

    say('recovery');
    const outbox = box();
    const opening = performance.now();
    await outbox.start();
    const recoverMs = performance.now() - opening;

    say('broker');
    const { url, port, kind, protocolVersion, stop } = await startBroker(directory);
    undo.push(stop);
    const got = new Map<string, number>();
    const subscriber = await subscribe(port, protocolVersion, options.subscriber, (key, at) => {
      if (!got.has(key)) got.set(key, at);
    });
    undo.push(() => subscriber.terminate());
    const publisher = new MqttPublisher({ url, device: DEVICE, software: 'bench', protocolVersion, events: outbox });
    undo.push(() => publisher.stop());

    say('drain');
    const backlog = outbox.waiting;
    const sent = new Map<string, number>();
    const send = (kind: OutboxRecord['kind'], id?: string) => {
      const r = record(kind, id);
      sent.set(`${r.id}/${kind}/${r.seq}`, monotonicMs());
      publisher.publishEvent(r, ending(r));
      return `${r.id}/${kind}/${r.seq}`;
    };
    publisher.start(signal);
    await publisher.waitConnected(10_000);
    const draining = performance.now();
    const fresh: string[] = [];
    while (outbox.waiting > 0) {
      signal?.throwIfAborted();
      if (performance.now() - draining > STEP_MS) throw failed('the backlog did not drain');
      fresh.push(send('new'));
      await delay(20);
    }
    await until('the subscriber got not everything', () => got.size >= backlog + fresh.length, signal, 5_000).catch(
      () => {},
    );
    const drained = (performance.now() - draining) / 1_000;
    const received = got.size;

    say('30 Hz');
    const names = { detection: [] as string[], update: [] as string[], new: [] as string[] };
    const frames: [first: string, last: string][] = [];
    const ticks = Math.max(1, Math.round(seconds * 30));
    const from = performance.now();
    for (let i = 0; i < ticks; i++) {
      signal?.throwIfAborted();
      const key = `detection-${i}`;
      sent.set(key, monotonicMs());
      names.detection.push(key);
      publisher.publishMessage(DETECTIONS, payload(key, payloadBytes));
      const kind = i % 2 === 0 ? 'update' : 'new';
      const event = send(kind, `steady-${i}`);
      names[kind].push(event);
      frames.push([key, event]);
      await delay(Math.max(0, from + ((i + 1) * 1_000) / 30 - performance.now()));
    }
    const steady = [...names.detection, ...names.update, ...names.new];
    await until('the subscriber got not everything', () => steady.every((key) => got.has(key)), signal);
    const took = (key: string, start = key): number => (got.get(key) as number) - (sent.get(start) as number);
    const latencies = (keys: string[]) => percentiles(keys.filter((key) => got.has(key)).map((key) => took(key)));
    return {
      broker: kind,
      protocolVersion,
      cpus: availableParallelism(),
      payloadBytes,
      fsync,
      durable: {
        events: rest,
        perSecond: rest / wrote,
        commits: store.commits - before,
        singleMs: percentiles(singles),
      },
      recoverMs,
      drain: {
        events: backlog,
        seconds: drained,
        perSecond: (backlog + fresh.length) / drained,
        freshMs: latencies(fresh),
        received,
        published: backlog + fresh.length,
      },
      steady: {
        seconds: ticks / 30,
        allMs: latencies(steady),
        frameMs: percentiles(frames.map(([first, last]) => Math.max(took(first), took(last, first)))),
        detectionMs: latencies(names.detection),
        updateMs: latencies(names.update),
        newMs: latencies(names.new),
      },
    };
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

/** A JSON message of about `bytes` bytes whose `key` the subscriber reads. */
function payload(key: string, bytes: number): Buffer {
  return Buffer.from(JSON.stringify({ key, pad: 'x'.repeat(Math.max(0, bytes - key.length - 20)) }));
}

async function measureFsync(file: string, signal: AbortSignal | undefined): Promise<AlertBenchReport['fsync']> {
  const handle = await open(file, 'w');
  try {
    const page = Buffer.alloc(4_096, 1);
    const latencies: number[] = [];
    const start = performance.now();
    // Over the same megabyte, as a store does that uses its pages again.
    for (let i = 0; performance.now() - start < 1_000; i++) {
      signal?.throwIfAborted();
      const from = performance.now();
      await handle.write(page, 0, page.length, (i % 256) * page.length);
      await handle.datasync();
      latencies.push(performance.now() - from);
    }
    return {
      perSecond: latencies.length / ((performance.now() - start) / 1_000),
      latencyMs: percentiles(latencies),
    };
  } finally {
    await handle.close();
  }
}

interface RunningBroker {
  kind: 'mosquitto' | 'embedded';
  protocolVersion: 4 | 5;
  url: string;
  port: number;
  stop(): Promise<unknown>;
}

async function startBroker(directory: string): Promise<RunningBroker> {
  const port = await freePort();
  const file = join(directory, 'mosquitto.conf');
  const lines = [
    // As root it would become another user, who may not read our folder.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    'log_dest none',
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  // Debian puts it where a user's PATH does not look.
  const child = spawn('mosquitto', ['-c', file], {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` },
    stdio: 'ignore',
  });
  if (await started(child, port)) {
    const stop = async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    };
    return { kind: 'mosquitto', protocolVersion: 5, url: `mqtt://127.0.0.1:${port}`, port, stop };
  }
  child.kill('SIGKILL');
  const embedded = new EmbeddedBroker({ port: 0 });
  const info = await embedded.start();
  return { kind: 'embedded', protocolVersion: 4, url: info.url, port: info.port, stop: () => embedded.stop() };
}

async function started(child: ChildProcess, port: number): Promise<boolean> {
  let ended = false;
  child.on('error', () => {
    ended = true;
  });
  child.on('exit', () => {
    ended = true;
  });
  for (const deadline = Date.now() + 5_000; Date.now() < deadline && !ended; await delay(20)) {
    if ((await answers(port)) && !ended) return true;
  }
  return false;
}

async function subscribe(
  port: number,
  protocolVersion: 4 | 5,
  module: string | undefined,
  onKey: (key: string, at: number) => void,
): Promise<Worker> {
  const data: SubscriberData = { port, protocolVersion, topics: [EVENTS, DETECTIONS] };
  const worker = new Worker(module ?? new URL('./alert-bench-subscriber.js', import.meta.url), { workerData: data });
  await new Promise<void>((resolve, reject) => {
    worker.once('error', (error) => reject(failed((error as Error).message)));
    worker.on('message', (message: SubscriberMessage) => {
      if (message.type === 'ready') resolve();
      else for (const [key, at] of message.keys) onKey(key, at);
    });
  });
  return worker;
}

async function until(what: string, done: () => boolean, signal: AbortSignal | undefined, ms = STEP_MS): Promise<void> {
  for (const deadline = Date.now() + ms; !done(); await delay(5)) {
    signal?.throwIfAborted();
    if (Date.now() > deadline) throw failed(what);
  }
}

function failed(what: string): EdgeError {
  return new EdgeError('ALERT_BENCH', `the measurement of alerts failed: ${what}`, {
    hint: 'Is the machine very busy, or the disk full? Try again.',
    exitCode: EXIT.unavailable,
  });
}

function percentiles(values: number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number) => round(sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0);
  return { count: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

function round(ms: number): number {
  return Math.round(ms * 1_000) / 1_000;
}
