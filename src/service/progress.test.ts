import { describe, expect, it } from 'vitest';
import { judgeWorker, type WorkerProgress } from './progress.js';

const worker = (change: Partial<WorkerProgress> = {}): WorkerProgress => ({
  running: true,
  state: 'running',
  modelUp: true,
  ready: true,
  heardMs: 100,
  frameMs: 100,
  ...change,
});

describe('judgeWorker', () => {
  it.each<[string, Partial<WorkerProgress>, string, string?]>([
    ['frames come', {}, 'serving'],
    ['frames of a camera come', { capture: 'streaming' }, 'serving'],
    ['no frame, and no excuse', { frameMs: 11_000 }, 'stuck', 'no frame for 11 s'],
    ['no frame, though the camera streams', { capture: 'streaming', frameMs: 11_000 }, 'stuck', 'no frame for 11 s'],
    ['a slow source', { framePeriodMs: 10_000, frameMs: 29_000 }, 'serving'],
    ['a slow source that is late', { framePeriodMs: 10_000, frameMs: 31_000 }, 'stuck', 'no frame for 31 s'],
    ['a source that waits long by itself', { stallMs: 60_000, frameMs: 119_000 }, 'serving'],
    // Its source waits for five periods.
    ['a slow camera', { capture: 'streaming', framePeriodMs: 4000, stallMs: 3000, frameMs: 39_000 }, 'serving'],
    [
      'a slow camera that is late',
      { capture: 'streaming', framePeriodMs: 4000, stallMs: 3000, frameMs: 41_000 },
      'stuck',
      'no frame for 41 s',
    ],
    ['a source that waits long for its first frame', { startMs: 600_000, frameMs: 609_000 }, 'serving'],
    ['... without end', { startMs: 600_000, frameMs: 611_000 }, 'stuck', 'no frame for 611 s'],
    ['its thread blocks', { heardMs: 11_000, frameMs: 11_000 }, 'stuck', 'silent for 11 s'],
    [
      'its thread blocks, while the camera is away',
      { capture: 'back-off', heardMs: 11_000 },
      'stuck',
      'silent for 11 s',
    ],
    [
      'the camera is away',
      { capture: 'back-off', code: 'CAMERA_GONE', frameMs: 3_600_000 },
      'excused',
      'back-off (CAMERA_GONE)',
    ],
    ['the camera stalls', { capture: 'stalled', frameMs: 20_000 }, 'excused', 'stalled'],
    ['the driver blocks in open()', { capture: 'opening', heardMs: 100_000, frameMs: 100_000 }, 'excused', 'opening'],
    ['... without end', { capture: 'opening', heardMs: 121_000, frameMs: 121_000 }, 'stuck', 'silent for 121 s'],
    [
      'no camera at the start',
      { ready: false, state: 'starting', capture: 'back-off', code: 'CAMERA_NOT_FOUND' },
      'excused',
      'waits for its source or provider (CAMERA_NOT_FOUND)',
    ],
    [
      'the model loads',
      { ready: false, state: 'starting', modelUp: false, heardMs: 60_000 },
      'loading',
      'loads its model',
    ],
    [
      'the model loads without end',
      { ready: false, state: 'starting', modelUp: false, heardMs: 901_000 },
      'stuck',
      'silent for 901 s',
    ],
    [
      'it died and starts again',
      { running: false, ready: false, state: 'restarting', code: 'SOURCE_STALLED', heardMs: 60_000 },
      'excused',
      'restarts (SOURCE_STALLED)',
    ],
    ['a recording is over', { running: false, ready: false, state: 'ended', heardMs: 1e9 }, 'ended'],
    [
      'it failed for good',
      { running: false, ready: false, state: 'failed', code: 'MODEL_NOT_FOUND' },
      'failed',
      'MODEL_NOT_FOUND',
    ],
  ])('%s', (_, change, condition, reason) => {
    expect(judgeWorker(worker(change))).toEqual({ condition, ...(reason === undefined ? {} : { reason }) });
  });
});
