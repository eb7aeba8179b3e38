import { access, constants } from 'node:fs/promises';
import { setImmediate as immediate, setTimeout as sleep } from 'node:timers/promises';
import { EdgeError, EXIT } from '../types/errors.js';
import type { Frame, FrameSource, SourceCounters, SourceInfo } from '../types/frame.js';
import { Child, type Exit } from './child.js';
import { inputError, optionError, stoppedError } from './faults.js';
import { type FfmpegInput, parseInput, reasonOf } from './ffmpeg-input.js';
import { type Probe, probe, startError, timeoutError, unreadableError } from './ffmpeg-probe.js';
import { type AssembledFrame, FrameAssembler } from './frame-assembler.js';
import type { FfmpegOptions } from './options.js';
import type { SourceHooks } from './paced-source.js';
import { DEFAULT_FPS, recordedNs, systemClock } from './pacing.js';
import { onAbort } from './signals.js';
import { stallAfterMs } from './stall.js';
import { Tally } from './tally.js';

const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * Any file or stream that ffmpeg reads, decoded by an ffmpeg process. 8-bit streams come as 8-bit luma, deeper ones as 16-bit;
 * 9- to 16-bit grey comes exactly as stored. A frame counts as captured when its last byte has arrived here.
 *
 * A file is opened by the first `next()` (so none of it plays while a model loads), a live stream by `start`. `next()` throws
 * `SOURCE_STALLED` when no frame comes for too long and `SOURCE_FAILED` when ffmpeg ends with an error; again at each further call.
 *
 * The input, password included, is an argument of ffmpeg and so visible to other users of the machine; it is in no message.
 * A stream that changes its size on the way is scaled by ffmpeg to its first size.
 */
export class FfmpegSource implements FrameSource {
  private readonly tally = new Tally();
  private readonly stopping = new AbortController();
  private readonly input: FfmpegInput;
  private readonly signal = this.stopping.signal;
  private unlink: (() => void) | undefined;
  private info: Probe | undefined;
  private live = false;
  private child: Child | undefined;
  private assembler: FrameAssembler | undefined;
  private exit: Exit | undefined;
  private failure: EdgeError | undefined;
  private finished = false;
  private bytesSeen = 0;
  private wake: (() => void) | undefined;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly options: FfmpegOptions,
    private readonly hooks: SourceHooks = {},
  ) {
    this.input = parseInput(options.input);
  }

  async start(signal: AbortSignal): Promise<SourceInfo> {
    const { input, options } = this;
    for (const name of ['startTimeoutMs', 'stallTimeoutMs'] as const) {
      const ms = options[name];
      if (ms !== undefined && !(ms > 0 && ms < 2 ** 31))
        throw optionError(`${name} ${ms} is not a time`, 'Give ms above 0.');
    }
    if (options.input.includes('\0')) throw optionError('the input holds a NUL character', 'Give a path or a URL.');
    // ffmpeg must not outlive an aborted run even if nobody calls stop.
    this.unlink = onAbort(signal, () => void this.stop());
    if (this.signal.aborted) throw stoppedError();
    if (input.path !== undefined) {
      await access(input.path, constants.R_OK).catch((error: unknown) => {
        throw inputError(input.name, error);
      });
    }
    const { startTimeoutMs = DEFAULT_TIMEOUT_MS } = options;
    const info = await probe(options.ffprobePath ?? 'ffprobe', input, this.transport(), startTimeoutMs, this.signal);
    this.info = info;
    this.live = input.live || (input.path === undefined && info.duration === undefined);
    if (this.live) await this.firstFrame(info, startTimeoutMs);
    const { width, height, bits, fps, frames } = info;
    return {
      description: `ffmpeg ${input.name} (${width}x${height}, ${bits} bit)`,
      width,
      height,
      bits,
      ...(fps === undefined ? {} : { fps }),
      ...(frames === undefined || this.live ? {} : { frames }),
    };
  }

  async next(): Promise<Frame | null> {
    const { info } = this;
    if (info === undefined) return null;
    if (this.signal.aborted || this.finished) return this.over();
    const started = this.child !== undefined;
    const assembler = this.launch(info);
    if (this.options.rate === 'realtime') await this.drain(assembler, info);
    else await immediate();
    const { startTimeoutMs = DEFAULT_TIMEOUT_MS } = this.options;
    const stallMs = this.stallMs(info);
    if (!(await this.frameWithin(assembler, started ? stallMs : startTimeoutMs))) {
      await this.fail(started ? this.stalledError(stallMs) : timeoutError(this.input, startTimeoutMs));
    }
    const frame = this.signal.aborted ? undefined : assembler.take();
    if (frame === undefined) return this.over();
    this.tally.deliver();
    if (this.options.rate === 'fast' && !assembler.hasFrame) this.child?.stdout.resume();
    if (this.options.rate === 'realtime' || this.live) return toFrame(frame, info);
    return { ...toFrame(frame, info), recordedNs: recordedNs(frame.sequence, info.fps ?? DEFAULT_FPS) };
  }

  counters(): SourceCounters {
    return this.tally.counters();
  }

  stop(): Promise<void> {
    this.closing ??= this.close();
    return this.closing;
  }

  private async close(): Promise<void> {
    this.unlink?.();
    this.settle();
    this.stopping.abort();
    this.wake?.();
    await this.child?.terminate();
  }

  private transport(): string[] {
    const { scheme } = this.input;
    return scheme === 'rtsp' || scheme === 'rtsps' ? ['-rtsp_transport', this.options.transport ?? 'tcp'] : [];
  }

  private stallMs(info: Probe): number {
    return stallAfterMs(
      this.options.stallTimeoutMs ?? DEFAULT_TIMEOUT_MS,
      info.fps === undefined ? 0 : 1000 / info.fps,
    );
  }

  private async firstFrame(info: Probe, timeoutMs: number): Promise<void> {
    const assembler = this.launch(info);
    const came = await this.frameWithin(assembler, timeoutMs);
    if (this.signal.aborted) throw stoppedError();
    if (!came) await this.fail(timeoutError(this.input, timeoutMs));
    if (!assembler.hasFrame) this.over();
  }

  /** Starts ffmpeg, once. */
  private launch(info: Probe): FrameAssembler {
    if (this.assembler !== undefined) return this.assembler;
    const { input, live } = this;
    const realtime = this.options.rate === 'realtime';
    const frameBytes = info.width * info.height * (info.bits > 8 ? 2 : 1);
    const assembler = new FrameAssembler(frameBytes, realtime, this.hooks.clock ?? systemClock, () =>
      this.tally.drop('stale'),
    );
    const child = Child.run(this.options.ffmpegPath ?? 'ffmpeg', [
      ...['-hide_banner', '-v', 'error', '-nostdin', ...this.transport()],
      ...(live ? ['-fflags', 'nobuffer'] : realtime ? ['-re'] : []),
      // Frame threads hold back a frame each: measured on H.264 with 8 threads, 7 frames; and one more in the rawvideo encoder.
      ...(realtime ? ['-thread_type', 'slice'] : []),
      // Coordinates are the camera's own: no rotation; and no frame is made or left out to even out the rate.
      ...['-noautorotate', '-i', input.argument, '-map', '0:v:0', '-an', '-sn', '-dn'],
      ...[info.hasFpsMode ? '-fps_mode' : '-vsync', 'passthrough'],
      // Small frames must not wait in ffmpeg's output buffer for others.
      ...['-f', 'rawvideo', '-pix_fmt', info.pixelFormat, '-threads', '1', '-flush_packets', '1', 'pipe:1'],
    ]);
    child.stdout.on('data', (chunk: Buffer) => {
      if (this.finished) return;
      this.bytesSeen += chunk.length;
      if (!assembler.push(chunk)) child.stdout.pause();
      if (assembler.hasFrame) this.wake?.();
    });
    // Reading from a process that was just ended may fail; its exit says all there is to say.
    child.stdout.on('error', () => {});
    void child.closed.then((exit) => {
      this.exit = exit;
      this.wake?.();
    });
    this.child = child;
    this.assembler = assembler;
    return assembler;
  }

  /** Waits until a frame is there, ffmpeg has ended or the source is stopped (true), or the time is over (false). */
  private async frameWithin(assembler: FrameAssembler, ms: number): Promise<boolean> {
    const ready = (): boolean => assembler.hasFrame || this.exit !== undefined || this.signal.aborted;
    if (ready()) return true;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    this.wake = undefined;
    // After a long block of the event loop timers run before the data that has long been there.
    if (!ready()) for (let i = 0; i < 3; i++) await immediate();
    return ready();
  }

  /**
   * The caller may have blocked this thread: reads what has come meanwhile, so that the frame handed out is the newest. The socket
   * holds but a few frames, so ffmpeg may have waited with the next one: while one is half here, a little patience is due.
   */
  private async drain(assembler: FrameAssembler, info: Probe): Promise<void> {
    const limitMs = Math.min(40, Math.max(5, 1000 / (info.fps ?? 50)));
    const end = performance.now() + limitMs;
    let quiet = 0;
    while (quiet < 2 && this.exit === undefined && !this.signal.aborted && performance.now() < end) {
      const before = this.bytesSeen;
      await immediate();
      if (this.bytesSeen === before && quiet === 1 && assembler.partial > 0) await sleep(1);
      quiet = this.bytesSeen === before ? quiet + 1 : 0;
    }
  }

  /** No further frame: `null`, or the reason as an exception. */
  private over(): null {
    if (this.failure !== undefined) throw this.failure;
    if (this.finished || this.signal.aborted || this.exit === undefined) {
      this.settle();
      return null;
    }
    const { exit, assembler, input, child } = this;
    if (assembler !== undefined && assembler.partial > 0) this.tally.drop('short');
    this.finished = true;
    const reason = reasonOf(child?.stderrLines() ?? [], input);
    const ended = exit.signal === null ? `ffmpeg ended with code ${exit.code}` : `ffmpeg was ended by ${exit.signal}`;
    if (exit.error !== undefined) this.failure = startError(this.options.ffmpegPath ?? 'ffmpeg', exit.error);
    else if ((assembler?.completed ?? 0) === 0) {
      this.failure = unreadableError(input, reason ?? (exit.code === 0 ? 'it holds no frame' : ended));
    } else if (exit.code !== 0) {
      this.failure = new EdgeError('SOURCE_FAILED', `${input.name} broke off: ${reason ?? ended}`, {
        hint: 'Check the camera, the network and the file; `ffmpeg -i INPUT -f null -` shows whether it plays.',
        exitCode: input.path === undefined ? EXIT.unavailable : EXIT.dataError,
      });
    }
    // A live stream has no end: whoever sent it went away, and may come back.
    else if (this.live) {
      this.failure = new EdgeError('SOURCE_FAILED', `${input.name} ended: the other side closed the stream`, {
        hint: 'Check the camera and the network; it is opened again.',
        exitCode: EXIT.unavailable,
      });
    }
    if (this.failure !== undefined) throw this.failure;
    return null;
  }

  private async fail(error: EdgeError): Promise<never> {
    this.failure = error;
    this.settle();
    await this.child?.terminate();
    throw error;
  }

  /** Nothing is captured from now on; a frame that still waits is counted. */
  private settle(): void {
    if (this.finished) return;
    this.finished = true;
    if (this.assembler?.hasFrame) this.tally.drop('shutdown');
  }

  private stalledError(stallMs: number): EdgeError {
    return new EdgeError('SOURCE_STALLED', `${this.input.name} gave no frame for ${stallMs / 1000} s`, {
      hint: 'Check the camera and the network; stallTimeoutMs allows longer gaps.',
      exitCode: EXIT.unavailable,
    });
  }
}

function toFrame(frame: AssembledFrame, info: Probe): Frame {
  const { width, height, bits } = info;
  const { sequence, captureMonotonicNs, capturedAtMs, bytes } = frame;
  // Little-endian like every machine this runs on; a frame's buffer starts at offset 0.
  const data = bits > 8 ? new Uint16Array(bytes.buffer, 0, width * height) : bytes;
  return { sequence, captureMonotonicNs, capturedAtMs, width, height, bits, data };
}
