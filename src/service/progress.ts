import { stallAfterMs } from '../capture/stall.js';
import type { CaptureState } from '../types/frame.js';

/** What a camera's worker last did; times in ms since then. */
export interface WorkerProgress {
  /** There is a worker thread; false: it ended, or waits for its restart. */
  running: boolean;
  /** Why it runs no more, or again: `restarting` waits for the next start. */
  state: 'starting' | 'running' | 'restarting' | 'ended' | 'failed';
  /** Model and inference library have been proven, by this worker or one before it. */
  modelUp: boolean;
  /** Source and detector of this worker are up: frames are due. */
  ready: boolean;
  /** Since any word of the worker; it gives one a second while its event loop goes round. */
  heardMs: number;
  /** Since its last frame; before the first, since it was ready. */
  frameMs: number;
  /** Of a source with a device. */
  capture?: CaptureState;
  /** Code of the error behind the state. */
  code?: string;
  /** Nominal time from frame to frame, ms. */
  framePeriodMs?: number;
  /** How long the source itself waits for a frame before it does something about it, ms, as it was told (`stallAfterMs`). */
  stallMs?: number;
  /** How long it waits for its first frame, ms; only until that has come. */
  startMs?: number;
}

/**
 * `serving`: frames are worked. `excused`: none come, for a known reason that is none of the worker's doing: no camera, or it is being
 * reconnected. `loading`: the model is not up yet. `stuck`: it makes no progress, and nothing excuses it. `failed`: it gave up for good.
 */
export type Condition = 'serving' | 'excused' | 'loading' | 'stuck' | 'ended' | 'failed';

export interface Judgement {
  condition: Condition;
  /** One line for people. */
  reason?: string;
}

/** Longest times without a sign of progress, ms. */
export interface WorkerLimits {
  /** Without a word: a worker whose event loop goes round is heard of every second; one inference blocks it for much less than this. */
  silentMs: number;
  /** The same while its driver opens the device: with a broken one it may block. */
  openingMs: number;
  /** The same while it loads its model: an engine built for a GPU blocks its thread for minutes. */
  loadingMs: number;
  /** Without a frame: a live source without frames for so long says so itself (`stalled`) or fails. */
  framelessMs: number;
}

export const WORKER_LIMITS: WorkerLimits = {
  silentMs: 10_000,
  openingMs: 120_000,
  loadingMs: 900_000,
  framelessMs: 10_000,
};

/** Whether a worker makes progress, and what excuses it if not. Pure. */
export function judgeWorker(worker: WorkerProgress, limits: WorkerLimits = WORKER_LIMITS): Judgement {
  const { running, state, modelUp, ready, heardMs, frameMs, capture } = worker;
  if (state === 'failed') return { condition: 'failed', ...(worker.code && { reason: worker.code }) };
  if (state === 'ended') return { condition: 'ended' };
  if (!running) return { condition: 'excused', reason: `restarts${behind(worker)}` };
  const opening = capture === 'opening';
  const patience = opening ? limits.openingMs : ready ? limits.silentMs : limits.loadingMs;
  if (heardMs > patience) return { condition: 'stuck', reason: `silent for ${seconds(heardMs)} s` };
  if (!ready) {
    if (!modelUp) return { condition: 'loading', reason: 'loads its model' };
    return { condition: 'excused', reason: `waits for its source or provider${behind(worker)}` };
  }
  if (capture !== undefined && capture !== 'streaming')
    return { condition: 'excused', reason: `${capture}${behind(worker)}` };
  if (frameMs > patienceMs(worker, limits)) return { condition: 'stuck', reason: `no frame for ${seconds(frameMs)} s` };
  return { condition: 'serving' };
}

/**
 * Longest time without a frame, ms: more than the source's own, after which it says itself what is wrong. With less the process would be
 * killed before that, again at each start.
 */
function patienceMs({ framePeriodMs = 0, stallMs, startMs }: WorkerProgress, { framelessMs }: WorkerLimits): number {
  const stall = stallMs === undefined ? 0 : stallAfterMs(stallMs, framePeriodMs);
  const start = startMs === undefined ? 0 : startMs + framelessMs;
  return Math.max(framelessMs, 3 * framePeriodMs, 2 * stall, start);
}

function behind({ code }: WorkerProgress): string {
  return code === undefined ? '' : ` (${code})`;
}

const seconds = (ms: number): number => Math.round(ms / 1000);
