import { createSocket, type SocketOptions, type Socket as UdpSocket } from 'node:dgram';
import { EventEmitter } from 'node:events';
import { connect, isIPv6, type Socket as TcpSocket } from 'node:net';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { backoffMs } from './backoff.js';
import { NameResolver } from './name-resolver.js';

export const SINK_DROP_REASONS = [
  /** No room: the oldest goes (UDP: the newest). */
  'overflow',
  /** Longer than a datagram, or than we allow. */
  'oversized',
  /** Waited for the receiver for too long. */
  'expired',
  /** The network refused it. */
  'failed',
  /** Being written when the connection ended: it may have arrived. */
  'disconnected',
  /** Offered before the start or after the stop, or waiting at the stop. */
  'shutdown',
] as const;
export type SinkDropReason = (typeof SINK_DROP_REASONS)[number];

/** `accepted = sent + sum(dropped) + queued` at any time. `sent`: handed to the operating system; nobody acknowledges. */
export interface SinkCounters {
  accepted: number;
  sent: number;
  dropped: Record<SinkDropReason, number>;
  /** Waiting or being written. */
  queued: number;
}

export interface SinkOptions {
  /** `udp://host:port` or `tcp://host:port`; IPv6 addresses in brackets. */
  url: string;
  /** Most messages that wait. Default 256. */
  maxQueued?: number;
  /** TCP: a message that waited longer is not sent any more, ms. Default 30 000. */
  maxAgeMs?: number;
  /** TCP: longest wait for a connection, and for one write, ms. Default 10 000. */
  timeoutMs?: number;
  /** TCP: shortest and longest wait between two attempts, ms. Default 1 000 and 30 000. */
  reconnectMinMs?: number;
  reconnectMaxMs?: number;
  /** The same problem is reported at most once in this time, ms. Default 30 000. */
  problemIntervalMs?: number;
  /** For tests: 0 ≤ r < 1. */
  random?: () => number;
  /** For tests; stopped with the sink. */
  names?: NameResolver;
}

export interface SinkEvents {
  /** For the log. `suppressed`: how many were left out before. */
  problem: [error: EdgeError, suppressed: number];
  /** TCP: a connection was made. */
  connected: [];
}

/** Sends messages to one receiver, outside of MQTT. No call waits for the network but `stop`, and none throws for its sake. */
export interface Sink extends EventEmitter<SinkEvents> {
  /** `udp://host:port` */
  readonly url: string;
  start(signal?: AbortSignal): void;
  /** @returns false where it was dropped at once; it is counted all the same */
  send(message: Uint8Array): boolean;
  counters(): SinkCounters;
  /** Gives what waits a moment to leave; safe to call twice, and before the start. */
  stop(): Promise<void>;
}

interface Receiver {
  scheme: 'udp' | 'tcp';
  host: string;
  port: number;
}

/** Throws `EdgeError` `BAD_OUTPUT_URL`. */
export function createSink(options: SinkOptions): Sink {
  const receiver = parseReceiver(options.url);
  return receiver.scheme === 'udp' ? new UdpSink(receiver, options) : new TcpSink(receiver, options);
}

function parseReceiver(url: string): Receiver {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const scheme = parsed?.protocol === 'udp:' ? 'udp' : parsed?.protocol === 'tcp:' ? 'tcp' : undefined;
  const port = Number(parsed?.port);
  if (parsed === undefined || scheme === undefined || parsed.hostname === '' || !(port > 0)) {
    throw new EdgeError('BAD_OUTPUT_URL', 'the URL of an output cannot be read', {
      hint: 'write it like udp://239.2.3.1:6969 or tcp://host:8087',
      exitCode: EXIT.config,
    });
  }
  return { scheme, host: parsed.hostname.replace(/^\[(.*)\]$/, '$1'), port };
}

const STOP_MS = 500;

abstract class BaseSink extends EventEmitter<SinkEvents> implements Sink {
  readonly url: string;
  protected readonly options: Required<SinkOptions>;
  protected running = false;
  private accepted = 0;
  private sent = 0;
  private readonly dropped = Object.fromEntries(SINK_DROP_REASONS.map((r) => [r, 0])) as Record<SinkDropReason, number>;
  private readonly reported = new Map<string, { at: number; suppressed: number }>();
  private readonly changed = new EventEmitter<{ change: [] }>();
  private stopped: Promise<void> | undefined;
  private abort: AbortSignal | undefined;
  private readonly onAbort = () => void this.stop();

  constructor(
    protected readonly receiver: Receiver,
    options: SinkOptions,
  ) {
    super();
    const { scheme, host, port } = receiver;
    this.url = `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}`;
    this.options = {
      maxQueued: 256,
      maxAgeMs: 30_000,
      timeoutMs: 10_000,
      reconnectMinMs: 1_000,
      reconnectMaxMs: 30_000,
      problemIntervalMs: 30_000,
      random: Math.random,
      names: new NameResolver(),
      ...options,
    };
  }

  start(signal?: AbortSignal): void {
    if (this.running || this.stopped !== undefined || signal?.aborted) return;
    this.running = true;
    this.abort = signal;
    signal?.addEventListener('abort', this.onAbort, { once: true });
    this.open();
  }

  send(message: Uint8Array): boolean {
    this.accepted += 1;
    if (!this.running) return this.drop('shutdown');
    return this.offer(message);
  }

  counters(): SinkCounters {
    return { accepted: this.accepted, sent: this.sent, dropped: { ...this.dropped }, queued: this.queued };
  }

  stop(): Promise<void> {
    this.stopped ??= this.end();
    return this.stopped;
  }

  private async end(): Promise<void> {
    this.abort?.removeEventListener('abort', this.onAbort);
    const started = this.running;
    this.running = false;
    if (!started) return;
    const { names } = this.options;
    names.onlyKnown();
    const deadline = Date.now() + STOP_MS;
    while (this.queued > 0 && this.mayStillSend && Date.now() < deadline) await this.change(deadline - Date.now());
    this.close();
    names.stop();
  }

  private change(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.changed.off('change', done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.changed.on('change', done);
    });
  }

  protected abstract open(): void;
  protected abstract offer(message: Uint8Array): boolean;
  /** Lets go of the network and drops what waits. */
  protected abstract close(): void;
  protected abstract get queued(): number;
  /** Whether waiting makes sense. */
  protected abstract get mayStillSend(): boolean;

  protected drop(reason: SinkDropReason, count = 1): false {
    this.dropped[reason] += count;
    this.changed.emit('change');
    return false;
  }

  protected done(): void {
    this.sent += 1;
    this.changed.emit('change');
  }

  protected problem(what: string, cause: unknown): void {
    const code = errno(cause) ?? (cause instanceof Error ? cause.message : String(cause));
    const last = this.reported.get(code);
    const now = performance.now();
    if (last !== undefined && now - last.at < this.options.problemIntervalMs) {
      last.suppressed += 1;
      return;
    }
    // Codes of the operating system: few, but from outside.
    if (this.reported.size >= 32) this.reported.clear();
    this.reported.set(code, { at: now, suppressed: 0 });
    const error = new EdgeError('OUTPUT_UNREACHABLE', `${this.url}: ${what}: ${code}`, {
      hint: 'check address, port and network of the output; it is tried again',
      exitCode: EXIT.unavailable,
      cause,
    });
    this.emit('problem', error, last?.suppressed ?? 0);
  }
}

/** Payload of the largest datagram over IPv4. */
const MAX_DATAGRAM = 65_507;

/** A socket with the datagrams that it was given; Node does not always tell of those that a closed one still had. */
interface Datagrams {
  socket: UdpSocket;
  pending: number;
}

class UdpSink extends BaseSink {
  private datagrams: Datagrams | undefined;
  private retry: NodeJS.Timeout | undefined;
  private failures = 0;

  protected override open(): void {
    const { names } = this.options;
    const { host } = this.receiver;
    // Not connected: a name is looked up for each message, because addresses change; `names` remembers them. While the first lookup
    // goes on messages wait; when it has failed they are dropped.
    const socket = createSocket({
      type: isIPv6(host) ? 'udp6' : 'udp4',
      // One address is asked for and comes: dgram's type says so, net's does not.
      lookup: names.lookup as NonNullable<SocketOptions['lookup']>,
    });
    // Now: a stop lets a lookup end, but begins none.
    names.lookup(host, 4, () => {});
    this.datagrams = { socket, pending: 0 };
    socket.on('error', (error) => {
      if (socket !== this.datagrams?.socket) return;
      this.release('failed');
      if (!this.running) return;
      this.problem('the socket failed', error);
      const { reconnectMinMs, reconnectMaxMs, random } = this.options;
      this.retry = setTimeout(() => this.open(), backoffMs(this.failures++, reconnectMinMs, reconnectMaxMs, random));
      this.retry.unref();
    });
    // What comes back is of no interest, but would fill the socket's buffer.
    socket.on('message', () => {});
    socket.unref();
  }

  protected override offer(message: Uint8Array): boolean {
    const { datagrams } = this;
    if (message.length > MAX_DATAGRAM) return this.drop('oversized');
    if (datagrams === undefined) return this.drop('failed');
    if (datagrams.pending >= this.options.maxQueued) return this.drop('overflow');
    datagrams.pending += 1;
    const finish = (error: Error | null) => {
      if (datagrams !== this.datagrams) return;
      datagrams.pending -= 1;
      if (error === null) {
        this.failures = 0;
        this.done();
      } else {
        this.drop('failed');
        this.problem('a datagram could not be sent', error);
      }
    };
    try {
      datagrams.socket.send(message, this.receiver.port, this.receiver.host, finish);
    } catch (error) {
      finish(error instanceof Error ? error : new Error(String(error)));
      return false;
    }
    return true;
  }

  protected override get queued(): number {
    return this.datagrams?.pending ?? 0;
  }

  protected override get mayStillSend(): boolean {
    return this.datagrams !== undefined;
  }

  protected override close(): void {
    clearTimeout(this.retry);
    this.release('shutdown');
  }

  private release(reason: SinkDropReason): void {
    const { datagrams } = this;
    if (datagrams === undefined) return;
    this.datagrams = undefined;
    this.drop(reason, datagrams.pending);
    try {
      datagrams.socket.close();
    } catch {
      // Closed already.
    }
  }
}

interface Waiting {
  message: Uint8Array;
  /** `performance.now()` */
  since: number;
}

/** Largest message over TCP, bytes. */
const MAX_STREAMED = 1024 * 1024;

class TcpSink extends BaseSink {
  private socket: TcpSocket | undefined;
  private connected = false;
  private writing = false;
  private failures = 0;
  private retry: NodeJS.Timeout | undefined;
  private timer: NodeJS.Timeout | undefined;
  private waiting: Waiting[] = [];

  protected override open(): void {
    const { host, port } = this.receiver;
    let socket: TcpSocket;
    try {
      const { lookup } = this.options.names;
      socket = connect({ host, port, lookup, noDelay: true, keepAlive: true, keepAliveInitialDelay: 15_000 });
    } catch (error) {
      this.again(error);
      return;
    }
    this.socket = socket;
    let cause: unknown = 'the receiver closed the connection';
    this.arm(socket, 'no connection in time');
    socket.on('connect', () => {
      if (socket !== this.socket) return;
      clearTimeout(this.timer);
      this.connected = true;
      this.emit('connected');
      this.pump();
    });
    // Receivers send their own events: read, so that they do not stall.
    socket.resume();
    socket.on('error', (error) => {
      cause = error;
    });
    socket.on('close', () => {
      if (socket !== this.socket) return;
      this.again(cause);
    });
    socket.unref();
  }

  protected override offer(message: Uint8Array): boolean {
    if (message.length > MAX_STREAMED) return this.drop('oversized');
    if (this.waiting.length >= this.options.maxQueued) {
      this.waiting.shift();
      this.drop('overflow');
    }
    this.waiting.push({ message, since: performance.now() });
    this.pump();
    return true;
  }

  protected override get queued(): number {
    return this.waiting.length + (this.writing ? 1 : 0);
  }

  protected override get mayStillSend(): boolean {
    return this.connected;
  }

  protected override close(): void {
    clearTimeout(this.retry);
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = undefined;
    this.connected = false;
    const left = this.queued;
    this.waiting = [];
    this.writing = false;
    this.drop('shutdown', left);
    socket?.end();
    // What was handed over still leaves; a receiver that does not answer must not hold the process.
    socket?.setTimeout(STOP_MS, () => socket.destroy());
    socket?.unref();
  }

  private pump(): void {
    const { socket } = this;
    if (!this.connected || this.writing || socket === undefined) return;
    this.dropExpired();
    const next = this.waiting.shift();
    if (next === undefined) return;
    this.writing = true;
    this.arm(socket, 'a write was not taken in time');
    // One at a time: what is not written yet can still be dropped for a newer one.
    socket.write(next.message, (error) => {
      if (socket !== this.socket || error) return;
      clearTimeout(this.timer);
      this.writing = false;
      this.failures = 0;
      this.done();
      this.pump();
    });
  }

  private dropExpired(): void {
    const oldest = performance.now() - this.options.maxAgeMs;
    while (this.waiting[0] !== undefined && this.waiting[0].since < oldest) {
      this.waiting.shift();
      this.drop('expired');
    }
  }

  private arm(socket: TcpSocket, why: string): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => socket.destroy(new Error(why)), this.options.timeoutMs);
    this.timer.unref();
  }

  private again(cause: unknown): void {
    clearTimeout(this.timer);
    this.socket?.destroy();
    this.socket = undefined;
    this.connected = false;
    if (this.writing) {
      this.writing = false;
      this.drop('disconnected');
    }
    if (!this.running) return;
    this.problem('no connection', cause);
    const { reconnectMinMs, reconnectMaxMs, random } = this.options;
    this.retry = setTimeout(() => this.open(), backoffMs(this.failures++, reconnectMinMs, reconnectMaxMs, random));
    this.retry.unref();
  }
}
