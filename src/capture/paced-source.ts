import { EdgeError, EXIT } from '../types/errors.js';
import type { Frame, FrameSource, SourceCounters, SourceInfo } from '../types/frame.js';
import { checkFps, type FaultListener, optionError, stoppedError } from './faults.js';
import type { FrameReader } from './frame-reader.js';
import type { SourceRate } from './options.js';
import { type Clock, DEFAULT_FPS, Pacer, systemClock } from './pacing.js';
import { onAbort } from './signals.js';
import { Tally } from './tally.js';

export interface SourceHooks {
  clock?: Clock;
  onFault?: FaultListener;
}

export interface PacedOptions {
  rate: SourceRate;
  fps?: number | undefined;
  loop?: boolean | number | undefined;
}

/**
 * A source that owns its clock: takes frames from a `FrameReader` at the pace of a `Pacer`. Frame numbers go on over the passes of
 * a loop. One call of `next()` at a time; once it has thrown, each further call throws the same.
 */
export class PacedSource implements FrameSource {
  private readonly tally = new Tally();
  private readonly stopping = new AbortController();
  private readonly clock: Clock;
  private readonly signal = this.stopping.signal;
  private unlink: (() => void) | undefined;
  private reader: FrameReader | undefined;
  private pacer: Pacer | undefined;
  /** Frames before this one have been counted. */
  private position = 0;
  private end = 0;
  private badInRow = 0;
  private lastFault: EdgeError | undefined;
  private failure: EdgeError | undefined;
  private settled = false;
  private closing: Promise<void> | undefined;

  constructor(
    private readonly open: (signal: AbortSignal) => Promise<FrameReader>,
    private readonly options: PacedOptions,
    private readonly hooks: SourceHooks = {},
  ) {
    this.clock = hooks.clock ?? systemClock;
  }

  async start(signal: AbortSignal): Promise<SourceInfo> {
    const passes = passesOf(this.options.loop);
    checkFps(this.options.fps);
    this.unlink = onAbort(signal, () => this.stopping.abort());
    if (this.signal.aborted) throw stoppedError();
    const reader = await this.open(this.signal);
    if (this.signal.aborted) {
      await reader.close();
      throw stoppedError();
    }
    const { rate } = this.options;
    const fps = this.options.fps ?? reader.fps ?? (rate === 'realtime' ? DEFAULT_FPS : undefined);
    this.reader = reader;
    this.end = reader.frames * passes;
    this.pacer = new Pacer(rate, fps ?? DEFAULT_FPS, this.clock);
    const { description, width, height, bits } = reader;
    return {
      description,
      width,
      height,
      bits,
      ...(fps === undefined ? {} : { fps }),
      ...(Number.isFinite(this.end) ? { frames: this.end } : {}),
    };
  }

  async next(): Promise<Frame | null> {
    const { reader, pacer } = this;
    if (this.failure !== undefined) throw this.failure;
    if (reader === undefined || pacer === undefined || this.settled) return null;
    while (this.position < this.end) {
      const sequence = await pacer.turn(this.position, this.end, this.signal);
      const result = sequence === null ? null : await reader.read(sequence % reader.frames);
      if (sequence === null || result === null || this.signal.aborted) {
        this.settle();
        return null;
      }
      this.tally.drop('stale', sequence - this.position);
      if (result.ok) {
        this.tally.deliver();
        this.advance(sequence + 1);
        this.badInRow = 0;
        return { sequence, ...pacer.stamp(sequence), ...result.pixels };
      }
      this.tally.drop(result.reason);
      this.advance(sequence + 1);
      this.badInRow++;
      this.lastFault = result.error;
      this.hooks.onFault?.(result.reason, result.error);
      // A loop over nothing but bad frames would spin for ever.
      if (this.badInRow >= reader.frames) this.fail(reader);
    }
    if (this.badInRow > 0 && this.tally.counters().delivered === 0) this.fail(reader);
    return null;
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
    await this.reader?.close();
  }

  private advance(position: number): void {
    const { frames, missing } = this.reader!;
    if (missing > 0) {
      const passes = Math.floor(position / frames) - Math.floor(this.position / frames);
      this.tally.drop('short', passes * missing);
    }
    this.position = position;
  }

  /** Counts what was due but not handed out, once. */
  private settle(): void {
    if (this.settled) return;
    this.settled = true;
    const pending = (this.pacer?.dueCount(this.end) ?? 0) - this.position;
    if (pending > 0) {
      this.tally.drop('stale', pending - 1);
      this.tally.drop('shutdown');
      this.advance(this.position + pending);
    }
    this.end = this.position;
  }

  private fail(reader: FrameReader): never {
    this.failure = new EdgeError(
      'RECORDING_UNREADABLE',
      `no frame of ${reader.description} can be read: ${this.lastFault?.message ?? 'unknown fault'}`,
      {
        hint: 'Check that the files are whole; record or copy them again.',
        cause: this.lastFault,
        exitCode: EXIT.dataError,
      },
    );
    throw this.failure;
  }
}

function passesOf(loop: boolean | number | undefined): number {
  if (loop === undefined || loop === false) return 1;
  if (loop === true) return Number.POSITIVE_INFINITY;
  if (!Number.isInteger(loop) || loop < 1) {
    throw optionError(`loop ${loop} is not a number of times`, 'Give loop as true, false or a whole number from 1 on.');
  }
  return loop;
}
