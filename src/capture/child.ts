import { type ChildProcess, spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { within } from './signals.js';

const STDERR_TAIL = 4096;
/** Between SIGTERM and SIGKILL, and the longest wait after that, ms. */
const GRACE_MS = 1000;
/** Between the first SIGTERM and the second, ms. */
const SECOND_MS = 200;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** It could not be started at all. */
  error?: Error;
}

/** A program whose output is read; started by the constructor's caller through `run`, without a shell. */
export class Child {
  /** Resolves when the program has ended and its output was read to the end. Never rejects. */
  readonly closed: Promise<Exit>;
  readonly stdout: Readable;
  private readonly gone: Promise<true>;
  private stderrText = '';
  private ended = false;

  private constructor(private readonly process: ChildProcess) {
    // Node makes no pipes when the system has no file handles left; the error event follows.
    this.stdout = process.stdout ?? Readable.from([]);
    this.gone = new Promise((resolve) => {
      const done = (): void => {
        this.ended = true;
        resolve(true);
      };
      process.once('exit', done);
      process.once('error', done);
    });
    this.closed = new Promise((resolve) => {
      process.once('close', (code, signal) => resolve({ code, signal }));
      process.once('error', (error) => resolve({ code: null, signal: null, error }));
    });
    process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderrText = (this.stderrText + text).slice(-STDERR_TAIL);
    });
  }

  static run(command: string, args: string[]): Child {
    const child = new Child(
      // Its own group: Ctrl-C at a terminal must not end it before its owner knows, and a wrapper script dies with what it started.
      spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, shell: false }),
    );
    const release = child.guard();
    const killAtExit = (): void => child.kill('SIGKILL');
    process.once('exit', killAtExit);
    void child.gone.then(() => {
      process.off('exit', killAtExit);
      release();
    });
    return child;
  }

  /** The last lines that it wrote to stderr, oldest first. */
  stderrLines(): string[] {
    return this.stderrText
      .split(/[\r\n]+/)
      .map((line) => line.trim())
      .filter((line) => line !== '');
  }

  /** Ends it and waits until it is gone: SIGTERM, then SIGKILL. */
  async terminate(): Promise<void> {
    // A program that blocks in write(2) to a full pipe would not see the signal's flag.
    this.stdout.destroy();
    if (!this.ended) {
      this.kill('SIGTERM');
      if (await within(this.gone, SECOND_MS)) return;
      // The first asks ffmpeg to end in order, the second to give up waiting for the network: decode_interrupt_cb in
      // https://github.com/FFmpeg/FFmpeg/blob/n5.1/fftools/ffmpeg.c
      this.kill('SIGTERM');
      if (await within(this.gone, GRACE_MS - SECOND_MS)) return;
      this.kill('SIGKILL');
      await within(this.gone, GRACE_MS);
    }
  }

  /**
   * Sees to it that the group dies with its owner, however that goes: a worker thread that is terminated, or whose process exits, runs
   * no exit handler, nor does a process that is killed. A shell waits at the end of a pipe that the kernel closes for all of them.
   * @returns lets the shell go without a kill; once the program has ended, its number may be another's
   */
  private guard(): () => void {
    const { pid } = this.process;
    if (pid === undefined) return () => {};
    const shell = spawn('/bin/sh', ['-c', 'read -r _ || kill -s KILL -- "-$0"', String(pid)], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    // Without a shell there is the exit handler alone.
    shell.on('error', () => {});
    shell.stdin?.on('error', () => {});
    shell.unref();
    return () => shell.stdin?.end('\n');
  }

  private kill(signal: NodeJS.Signals): void {
    const { pid } = this.process;
    if (this.ended || pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // Gone in between, or the group is not there yet.
      this.process.kill(signal);
    }
  }
}
