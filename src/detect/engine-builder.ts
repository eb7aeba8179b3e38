import { type ChildProcess, fork } from 'node:child_process';
import { EdgeError, EXIT } from '../types/errors.js';
import type { EngineJob, EngineJobEvent } from './engine-job.js';
import type { GoldenResult } from './golden.js';

const CHILD = new URL('./engine-child.js', import.meta.url);
const TAIL = 4096;

export interface BuildHooks {
  onPhase?(phase: 'building' | 'proving'): void;
  onDetail?(text: string): void;
  signal?: AbortSignal;
}

/** Builds engines in a process of its own (`engine-child`). */
export class EngineBuilder {
  constructor(
    /** Longest time of one build. */
    private readonly timeoutMs: number,
    /** The process's entry; a test gives its own. */
    private readonly child: URL = CHILD,
  ) {}

  /** Resolves when the engine lies in the job's folder and gave the golden frame's truth. @throws EdgeError */
  build(job: EngineJob, hooks: BuildHooks = {}): Promise<GoldenResult> {
    return new Promise((resolve, reject) => {
      const child = fork(this.child, [], {
        serialization: 'advanced',
        execArgv: [],
        // A group of its own, to be ended with all that it started (trtexec).
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      });
      let outcome: Extract<EngineJobEvent, { type: 'done' | 'failed' }> | undefined;
      let ended: EdgeError | undefined;
      const end = (error: EdgeError) => {
        ended ??= error;
        kill(child);
      };
      const timer = setTimeout(
        () => end(failed(`took longer than ${Math.round(this.timeoutMs / 1000)} s`, 'raise runtime.buildMinutes')),
        this.timeoutMs,
      );
      const stop = () => end(failed('was stopped'));
      hooks.signal?.addEventListener('abort', stop, { once: true });
      if (hooks.signal?.aborted) stop();
      const tail = tailOf(child);
      child.on('message', (event: EngineJobEvent) => {
        if (event.type === 'phase') hooks.onPhase?.(event.phase);
        else if (event.type === 'detail') hooks.onDetail?.(event.text);
        else outcome = event;
      });
      child.once('error', (cause) => {
        ended ??= failed(`cannot be started: ${cause.message}`);
        // Where there is no process there is no exit.
        if (child.pid === undefined) finish(null, null);
      });
      const finish = (code: number | null, signal: NodeJS.Signals | null) => {
        clearTimeout(timer);
        hooks.signal?.removeEventListener('abort', stop);
        if (ended !== undefined) reject(ended);
        else if (outcome?.type === 'done') resolve(outcome.golden);
        else if (outcome !== undefined) reject(fromChild(outcome.error));
        else reject(crashed(job, code, signal, tail()));
      };
      child.once('close', finish);
      if (child.pid !== undefined) child.send(job, () => {});
    });
  }
}

/** The child and what it started. */
function kill(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}

/** The last lines that a process printed. */
function tailOf(child: ChildProcess): () => string {
  let text = '';
  const take = (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-TAIL);
  };
  child.stdout?.on('data', take);
  child.stderr?.on('data', take);
  return () => text.trim().split('\n').at(-1)?.slice(0, 200) ?? '';
}

function failed(why: string, hint = 'see the log; docs/runtime.md'): EdgeError {
  return new EdgeError('ENGINE_BUILD_FAILED', `the engine build ${why}`, { hint, exitCode: EXIT.unavailable });
}

function crashed(job: EngineJob, code: number | null, signal: string | null, last: string): EdgeError {
  const how = signal === null ? `ended with ${code} and without a word` : `was ended by ${signal}`;
  return new EdgeError(
    'ENGINE_BUILD_CRASHED',
    `the process that builds for ${job.provider} ${how}${last && `: ${last}`}`,
    {
      hint:
        signal === 'SIGKILL' ? 'out of memory? dmesg tells' : 'the library or its driver crashed; see docs/runtime.md',
      exitCode: EXIT.unavailable,
    },
  );
}

/** Its own words, and its code. */
function fromChild({ code, message, hint }: { code: string; message: string; hint?: string }): EdgeError {
  return new EdgeError(code, message, { exitCode: EXIT.unavailable, ...(hint === undefined ? {} : { hint }) });
}
