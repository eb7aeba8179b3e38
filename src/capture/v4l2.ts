import { setImmediate as immediate } from 'node:timers/promises';
import { markAsUntransferable } from 'node:worker_threads';
import { FRAME_META, type NativeCamera, type PixelFormat, type StreamCounters, type StreamEvent } from '../native.js';
import { EdgeError } from '../types/errors.js';
import type {
  CaptureState,
  CaptureTransition,
  DropReason,
  Frame,
  FrameSource,
  SourceCounters,
  SourceInfo,
} from '../types/frame.js';
import { backoffMs } from '../util/backoff.js';
import {
  type CameraError,
  cameraError,
  changed,
  failed,
  formatRefused,
  formatUnsupported,
  frameCorrupt,
  frameShort,
  gone,
  ofCamera,
  sourceChanged,
  stalled,
} from './camera-errors.js';
import { checkDevice, type DeviceHooks, openCamera } from './device.js';
import { checkFps, optionError, stoppedError } from './faults.js';
import { type DecodedFrame, FrameDecoder } from './frame-decoder.js';
import type { V4l2Options } from './options.js';
import type { SourceHooks } from './paced-source.js';
import { type Clock, stampOf, systemClock } from './pacing.js';
import { type DeviceDescription, type Fit, matchProfiles, sizeUnder } from './profile-match.js';
import { loadProfiles, profileNamed } from './profile-store.js';
import { onAbort, within } from './signals.js';
import { stallAfterMs } from './stall.js';
import { Tally } from './tally.js';

/** Longer than a shutter event: a Lepton stands still for a second. */
const DEFAULT_STALL_MS = 3000;
/** A stalled stream that gets no frame for so many further stall times is opened anew. */
const STALLS_BEFORE_REOPENING = 2;
const MIN_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 10_000;
/** How often a camera that is not there is looked for, ms: it shall not be missed for long once it is plugged in. */
const ABSENT_MS = 1000;
/** A stream that ran for so long was not failing from the start. */
const STABLE_MS = 10_000;
/** After a source change a stream is opened anew at once if it ran for so long, or gave a frame. */
const SETTLED_MS = 1000;
const SLOTS = 3;

/** What keeps a camera from being opened now, but may pass by itself. All else that is wrong at the very first start is final. */
const PASSING: readonly string[] = ['CAMERA_NOT_FOUND', 'CAMERA_DENIED', 'CAMERA_BUSY', 'CAMERA_GONE', 'CAMERA_FAILED'];

/**
 * One field behind the other, or each in a frame of its own: not the rows of a picture in their order.
 * https://docs.kernel.org/userspace-api/media/v4l/field-order.html
 */
const APART: readonly PixelFormat['field'][] = ['seq-tb', 'seq-bt', 'alternate'];

export interface V4l2Hooks extends SourceHooks, DeviceHooks {
  /** Told of each step of the source's states. */
  onTransition?: (transition: CaptureTransition) => void;
  random?: () => number;
}

/** An open stream. */
interface Stream {
  camera: NativeCamera;
  path: string;
  format: PixelFormat;
  decoder: FrameDecoder;
  info: SourceInfo;
  slots: Uint8Array[];
  meta: BigInt64Array;
  stallMs: number;
  /** Number of this stream's frame 0 in the source. */
  base: number;
  /** Good frames that could not be decoded. */
  undecodable: number;
  startedAt: number;
  /** Since when there are only frames that cannot be decoded, ms of the performance clock. */
  undecodableSince: number | undefined;
  /** Since when it is stalled, ms of the performance clock. */
  stalledAt: number | undefined;
  /** Why nothing more comes. */
  ended: { error: CameraError; reopen: boolean } | undefined;
}

/**
 * A camera behind V4L2. It never gives up: closed, opening, streaming, stalled, lost, back-off, opening..., each step told with its
 * reason. A camera that is not there, or busy, is waited for, at the first start too; only what waiting cannot mend (no V4L2 device, no
 * profile that fits) is an error of the first `start`, where it stands in the way of its first attempt.
 *
 * The newest frame wins, whatever `rate` says: a camera does not wait. The size of the pictures stays that of the first start: when the
 * camera gives another one, `next()` throws `CAMERA_CHANGED`, and the source is to be made anew.
 *
 * The calls that open a camera block this thread as long as its driver does: for a worker thread. One call of `next()` at a time.
 */
export class V4l2Source implements FrameSource {
  private readonly clock: Clock;
  private readonly stopping = new AbortController();
  private readonly signal = this.stopping.signal;
  private readonly random: () => number;
  /** Of streams that are closed. */
  private readonly past = new Tally();
  private unlink: (() => void) | undefined;
  private stream: Stream | undefined;
  private info: SourceInfo | undefined;
  private state: CaptureState = 'closed';
  private wake: (() => void) | undefined;
  private failures = 0;
  private waited = false;
  private lastSequence = -1;
  private failure: EdgeError | undefined;
  /** Why the last stream ended: there is a rest before the next attempt. */
  private resting: EdgeError | undefined;
  /** Damaged and short frames that were told of. */
  private toldCorrupt = 0;
  private toldShort = 0;
  private kept: Uint8Array[] = [];
  /** When the addon had the frame that `next()` gave last, ns of CLOCK_MONOTONIC. */
  readyNs = 0n;

  constructor(
    private readonly options: V4l2Options,
    private readonly hooks: V4l2Hooks = {},
  ) {
    this.clock = hooks.clock ?? systemClock;
    this.random = hooks.random ?? Math.random;
  }

  async start(signal: AbortSignal): Promise<SourceInfo> {
    const { device, fps, stallTimeoutMs: stall } = this.options;
    checkDevice(device);
    checkFps(fps);
    if (stall !== undefined && !(stall > 0 && stall < 2 ** 31))
      throw optionError(`stallTimeoutMs ${stall} is not a time`, 'Give ms above 0.');
    this.unlink = onAbort(signal, () => void this.stop());
    const stream = await this.opened();
    if (stream === undefined) throw stoppedError();
    this.info = stream.info;
    return stream.info;
  }

  async next(): Promise<Frame | null> {
    if (this.failure !== undefined) throw this.failure;
    if (this.info === undefined) return null;
    // Timers, messages and a stop request must get their turn even when a frame is always ready.
    await immediate();
    for (;;) {
      const stream = this.stream ?? (await this.opened());
      if (stream === undefined || this.signal.aborted) return null;
      this.readEvents(stream);
      const frame = this.take(stream);
      if (frame !== undefined) return frame;
      this.giveUpStalled(stream);
      if (stream.ended === undefined) await this.waitForNews(stream);
      else this.leave(stream, stream.ended.error, stream.ended.reopen);
    }
  }

  counters(): SourceCounters {
    const { captured, delivered, dropped } = this.past.counters();
    if (this.stream === undefined) return { captured, delivered, dropped };
    const tally = new Tally();
    tally.deliver(delivered);
    for (const [reason, count] of Object.entries(dropped) as [DropReason, number][]) tally.drop(reason, count);
    addTo(tally, this.stream.camera.counters(), this.stream.undecodable);
    return tally.counters();
  }

  async stop(): Promise<void> {
    this.unlink?.();
    this.stopping.abort();
    this.wake?.();
    if (this.stream !== undefined) this.close(this.stream, 'shutdown');
    this.go('closed', 'stopped');
  }

  /** A stream, after as many attempts as it takes; undefined when the source is stopped. */
  private async opened(): Promise<Stream | undefined> {
    const { device } = this.options;
    const { resting } = this;
    this.resting = undefined;
    if (resting !== undefined) await this.backOff(resting);
    for (;;) {
      if (this.signal.aborted) return undefined;
      this.go('opening', `opening ${device}`);
      let error: unknown;
      try {
        const stream = await this.open();
        if (stream === undefined) return undefined;
        this.stream = stream;
        this.go('streaming', stream.info.description);
        return stream;
      } catch (cause) {
        error = ofCamera(cause, device);
      }
      if (!(error instanceof EdgeError)) throw error;
      // One that was waited for may still be setting itself up, or be taken out again for the right one.
      const first = this.info === undefined && !this.waited;
      if ((first && !PASSING.includes(error.code)) || error.code === 'CAMERA_CHANGED') {
        this.go('closed', error.message, error);
        this.failure = error;
        throw error;
      }
      await this.backOff(error);
    }
  }

  private async backOff(error: EdgeError): Promise<void> {
    const absent = error.code === 'CAMERA_NOT_FOUND';
    // Looking for a device that is not there costs next to nothing.
    const most = absent ? ABSENT_MS : MAX_BACKOFF_MS;
    const ms = backoffMs(this.failures++, MIN_BACKOFF_MS, most, this.random);
    this.waited = true;
    this.go('back-off', error.message, error);
    await this.clock.sleep(ms, this.signal);
  }

  private async open(): Promise<Stream | undefined> {
    const { options, hooks } = this;
    const profiles = await loadProfiles(options.profilesDirectory);
    const named = options.profile === undefined ? undefined : profileNamed(options.profile, profiles);
    if (this.signal.aborted) return undefined;
    const { camera, path, description } = openCamera(options.device, hooks);
    try {
      const { stored, width, height } =
        named === undefined
          ? bestFit(path, description, matchProfiles(description, profiles).fits)
          : { stored: named, ...sizeUnder(description, named.profile) };
      const { profile } = stored;
      camera.setFormat({ fourcc: profile.fourcc, width, height });
      const fps = rateOf(camera, options.fps) ?? profile.fpsNominal;
      // Read only now: with the rate a driver may have settled another stride and size of its frames (uvcvideo does).
      const format = camera.getFormat();
      const asked = `${profile.fourcc} ${width}x${height}`;
      const got = `${format.fourcc} ${format.width}x${format.height}`;
      if (asked !== got) throw formatRefused(path, asked, got);
      if (APART.includes(format.field))
        throw formatRefused(path, asked, `${got} with its fields apart (${format.field})`);
      const decoder = new FrameDecoder(profile, { width, height });
      decoder.checkFormat(format);
      const { info } = this;
      const size = `${decoder.width}x${decoder.height}, ${decoder.bits} bit`;
      const before = info && `${info.width}x${info.height}, ${info.bits} bit`;
      if (before !== undefined && before !== size) throw changed(path, before, size);
      const stallMs = stallAfterMs(options.stallTimeoutMs ?? DEFAULT_STALL_MS, fps === undefined ? 0 : 1000 / fps);
      const stream: Stream = {
        camera,
        path,
        format,
        decoder,
        info: {
          description: `camera ${description.card} at ${path} (${size}, profile ${profile.id})`,
          width: decoder.width,
          height: decoder.height,
          bits: decoder.bits,
          ...(fps === undefined ? {} : { fps }),
          profile: profile.id,
          ffc: profile.ffc,
        },
        slots: this.slots(format.sizeImage),
        meta: new BigInt64Array(FRAME_META.length),
        stallMs,
        base: this.lastSequence + 1,
        undecodable: 0,
        startedAt: performance.now(),
        undecodableSince: undefined,
        stalledAt: undefined,
        ended: undefined,
      };
      camera.start({ slots: stream.slots, meta: stream.meta, stallMs }, () => {
        this.readEvents(stream);
        this.wake?.();
      });
      return stream;
    } catch (error) {
      camera.close();
      throw cameraError(error, path);
    }
  }

  /** Memory that the stream's thread writes to: it must not move to another thread. Used again when the camera comes back. */
  private slots(bytes: number): Uint8Array[] {
    if (this.kept[0]?.length !== bytes) {
      this.kept = Array.from({ length: SLOTS }, () => new Uint8Array(bytes));
      for (const { buffer } of this.kept) markAsUntransferable(buffer);
    }
    return this.kept;
  }

  private readEvents(stream: Stream): void {
    if (this.stream !== stream) return;
    for (const event of stream.camera.events()) this.handle(stream, event);
  }

  private handle(stream: Stream, { kind, code, syscall }: StreamEvent): void {
    const { path } = stream;
    const call = { ...(code === undefined ? {} : { errno: code }), ...(syscall === '' ? {} : { syscall }) };
    switch (kind) {
      case 'stalled':
        this.stall(stream);
        break;
      case 'resumed':
        // Whole frames; whether they can be decoded is seen when they are taken.
        if (stream.undecodableSince === undefined) this.resume(stream);
        break;
      case 'restarted':
        this.go(this.state, `the driver's stream was restarted${code === undefined ? '' : ` (${code}, ${syscall})`}`);
        break;
      case 'lost':
        stream.ended = { error: gone(path, call), reopen: false };
        break;
      case 'failed':
      case 'end':
        stream.ended = { error: failed(path, call), reopen: false };
        break;
      case 'source-change':
        stream.ended = { error: sourceChanged(path, call), reopen: true };
        break;
    }
  }

  private take(stream: Stream): Frame | undefined {
    for (;;) {
      const slot = stream.camera.take();
      if (slot < 0) return undefined;
      const { meta, format, decoder } = stream;
      if (meta[FRAME_META.dropped] !== 0n) this.tellDrops(stream);
      let pixels: DecodedFrame;
      try {
        pixels = decoder.decode(stream.slots[slot]!, {
          bytesPerLine: format.bytesPerLine,
          bytesUsed: Number(meta[FRAME_META.bytesUsed]),
        });
      } catch (error) {
        if (!(error instanceof EdgeError)) throw error;
        this.countUndecodable(stream, error);
        continue;
      }
      if (stream.undecodableSince !== undefined) {
        stream.undecodableSince = undefined;
        this.resume(stream);
      }
      this.readyNs = meta[FRAME_META.readyNs]!;
      const { captureMonotonicNs, capturedAtMs } = stampOf(this.clock, meta[FRAME_META.captureNs]!);
      const sequence = stream.base + Number(meta[FRAME_META.sequence]);
      this.lastSequence = sequence;
      if (this.failures > 0 && performance.now() - stream.startedAt > STABLE_MS) this.failures = 0;
      const { width, height, bits, data, telemetry } = pixels;
      if (telemetry === undefined) return { sequence, captureMonotonicNs, capturedAtMs, width, height, bits, data };
      return { sequence, captureMonotonicNs, capturedAtMs, width, height, bits, data, telemetry };
    }
  }

  private countUndecodable(stream: Stream, error: EdgeError): void {
    const now = performance.now();
    stream.undecodable++;
    this.hooks.onFault?.('short', error);
    stream.undecodableSince ??= now;
    if (now - stream.undecodableSince >= stream.stallMs) this.stall(stream);
  }

  private stall(stream: Stream): void {
    if (stream.stalledAt !== undefined) return;
    const error = stalled(stream.path, stream.stallMs);
    stream.stalledAt = performance.now();
    this.go('stalled', error.message, error);
  }

  private resume(stream: Stream): void {
    if (stream.stalledAt === undefined) return;
    stream.stalledAt = undefined;
    this.go('streaming', 'frames come again');
  }

  private tellDrops({ camera, path }: Stream): void {
    const { error, badIndex, short } = camera.counters();
    if (error + badIndex > this.toldCorrupt)
      this.hooks.onFault?.('corrupt', frameCorrupt(path, error + badIndex - this.toldCorrupt));
    if (short > this.toldShort) this.hooks.onFault?.('short', frameShort(path, short - this.toldShort));
    this.toldCorrupt = error + badIndex;
    this.toldShort = short;
  }

  /** Some cameras come to life only when they are opened anew. */
  private giveUpStalled(stream: Stream): void {
    if (stream.ended !== undefined || stream.stalledAt === undefined) return;
    if (performance.now() - stream.stalledAt < STALLS_BEFORE_REOPENING * stream.stallMs) return;
    stream.ended = { error: stalled(stream.path, stream.stallMs * (1 + STALLS_BEFORE_REOPENING)), reopen: false };
  }

  private async waitForNews({ camera, stallMs, stalledAt }: Stream): Promise<void> {
    const news = new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    camera.ref();
    // The stream wakes for frames and events; the timer only for a stall that lasts.
    // No longer than until it is given up; a ms more, because a timer may fire a little early.
    const left =
      stalledAt === undefined ? stallMs : stalledAt + STALLS_BEFORE_REOPENING * stallMs - performance.now() + 1;
    await within(news, Math.max(1, Math.min(stallMs, left)), this.signal);
    this.wake = undefined;
    if (!this.signal.aborted) camera.unref();
  }

  /** From a stream that has ended to the next attempt. */
  private leave(stream: Stream, error: CameraError, reopen: boolean): void {
    this.tellDrops(stream);
    this.close(stream, 'stale');
    const ranMs = performance.now() - stream.startedAt;
    // A signal that comes and goes would be negotiated again and again.
    const gaveFrame = this.lastSequence >= stream.base;
    if (reopen && (gaveFrame || ranMs > SETTLED_MS)) {
      this.go('lost', error.message);
      return;
    }
    this.go('lost', error.message, error);
    // Whoever is gone may be back at once; who fails soon after each start is waited for longer and longer.
    if (ranMs > STABLE_MS) this.failures = 0;
    this.resting = error;
  }

  private close(stream: Stream, pending: 'stale' | 'shutdown'): void {
    stream.camera.stop();
    const counters = stream.camera.counters();
    addTo(this.past, counters, stream.undecodable);
    this.past.drop(pending, counters.pending);
    this.stream = undefined;
    this.toldCorrupt = 0;
    this.toldShort = 0;
    stream.camera.close();
  }

  private go(to: CaptureState, reason: string, error?: EdgeError): void {
    const from = this.state;
    if (from === to && to === 'closed') return;
    this.state = to;
    const { code, hint } = error ?? {};
    this.hooks.onTransition?.({
      from,
      to,
      reason,
      ...(code === undefined ? {} : { code }),
      ...(hint === undefined ? {} : { hint }),
      atMs: this.clock.wallMs(),
    });
  }
}

function bestFit(path: string, device: DeviceDescription, fits: readonly Fit[]): Fit {
  const [best] = fits;
  if (best !== undefined) return best;
  throw formatUnsupported(path, device.card, listed(device));
}

/** `"Y16 " 640x512, "MJPG" 1280x720`. */
function listed({ formats }: DeviceDescription): string {
  const parts = formats.map(({ fourcc, sizes }) => {
    const all = sizes.map((s) =>
      'width' in s ? `${s.width}x${s.height}` : `${s.minWidth}x${s.minHeight} to ${s.maxWidth}x${s.maxHeight}`,
    );
    return `"${fourcc}" ${all.slice(0, 4).join(' ')}${all.length > 4 ? ` and ${all.length - 4} more` : ''}`.trimEnd();
  });
  return parts.length === 0 ? 'no format at all' : parts.join(', ');
}

function addTo(tally: Tally, counters: StreamCounters, undecodable: number): void {
  const { taken, stale, skipped, short, error, badIndex } = counters;
  tally.deliver(taken - undecodable);
  tally.drop('stale', stale);
  tally.drop('sequence', skipped);
  tally.drop('short', short + undecodable);
  tally.drop('corrupt', error + badIndex);
}

/** Frames per second in force, after asking for `wanted`. */
function rateOf(camera: NativeCamera, wanted: number | undefined): number | undefined {
  const asked =
    wanted === undefined ? undefined : camera.setInterval({ numerator: 1000, denominator: Math.round(wanted * 1000) });
  const interval = asked ?? camera.getInterval();
  if (interval === undefined || interval.numerator === 0 || interval.denominator === 0) return undefined;
  return interval.denominator / interval.numerator;
}
