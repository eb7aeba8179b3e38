import { describe, expect, test } from 'vitest';
import { dice, frameTime } from '../../test/fakes/detections.js';
import type { Detector } from '../detect/detector.js';
import { BUNDLED_MANIFEST, readManifest } from '../detect/manifest.js';
import { HEAT_STRIDE } from '../types/detection.js';
import type { Frame } from '../types/frame.js';
import type { TrackerJob } from './messages.js';
import { type Found, TargetFinder } from './target-finder.js';

const WIDTH = 160;
const HEIGHT = 96;
const manifest = await readManifest(BUNDLED_MANIFEST);
const own = manifest.decode.threshold;

/** Place of the target in frame `k`, px: one that drifts, as the edge of a cloud does. */
const place = (k: number) => ({ x: 10 + k, y: 40 });

/** A finder whose network sees one peak of `score` at the target's place. */
function make(score: number, threshold: number, tracker: TrackerJob = {}, runsApart = false) {
  const rows = HEIGHT / HEAT_STRIDE;
  const cols = WIDTH / HEAT_STRIDE;
  const run = async ({ sequence }: Pick<Frame, 'sequence'>) => {
    const { x, y } = place(sequence);
    const heat = new Float32Array(rows * cols);
    for (let v = 0; v < rows; v++)
      for (let u = 0; u < cols; u++)
        heat[v * cols + u] = score * Math.exp(-((u - x / HEAT_STRIDE) ** 2 + (v - y / HEAT_STRIDE) ** 2) / 3);
    return { heat, logsig: new Float32Array(rows * cols), rows, cols };
  };
  const detector = { manifest, runsApart, run: run as unknown as Detector['run'] };
  return new TargetFinder(tracker, detector, { width: WIDTH, height: HEIGHT }, threshold, 0);
}

/** Noise of 20 counts, and a point of so many at the target's place. */
function picture(k: number, r: ReturnType<typeof dice>, peak = 0): Frame {
  const { x, y } = place(k);
  const data = Uint16Array.from({ length: WIDTH * HEIGHT }, (_, i) => {
    const d2 = ((i % WIDTH) - x) ** 2 + (Math.floor(i / WIDTH) - y) ** 2;
    return Math.round(5000 + 20 * r.normal() + peak * Math.exp(-d2 / 2));
  });
  return {
    sequence: k,
    captureMonotonicNs: frameTime(k),
    capturedAtMs: 0,
    width: WIDTH,
    height: HEIGHT,
    bits: 14,
    data,
  };
}

/** Tracks that the frames from `first` on start. */
async function started(finder: TargetFinder, threshold: number, frames: number, first = 0, peak = 0): Promise<number> {
  const r = dice(first + 1);
  let count = 0;
  for (let k = first; k < first + frames; k++) {
    count += (await finder.find(picture(k, r, peak), threshold)).tracks.started.length;
  }
  return count;
}

describe('the search for faint targets', () => {
  test('finds the same beside a network that runs on another thread', async () => {
    const tracks = async (runsApart: boolean) => {
      const finder = make(0.5, own, {}, runsApart);
      const r = dice(1);
      const found: Pick<Found, 'tracks'>[] = [];
      for (let k = 0; k < 60; k++) {
        const { timings: _, ...rest } = await finder.find(picture(k, r, 100), own);
        found.push(structuredClone(rest));
      }
      return found;
    };
    const beside = await tracks(true);
    expect(beside).toEqual(await tracks(false));
    expect(beside.flatMap(({ tracks: { started } }) => started)).toHaveLength(1);
  });

  test('is made while the network runs there, and before the frame has failed', async () => {
    let running = 0;
    const frame = picture(0, dice(1));
    const searched: number[] = [];
    const data = frame.data;
    const watched = Object.defineProperty({ ...frame }, 'data', {
      enumerable: true,
      get: () => {
        searched.push(running);
        return data;
      },
    });
    const detector = {
      manifest,
      runsApart: true,
      run: (async () => {
        running++;
        await new Promise((resolve) => setTimeout(resolve, 50));
        running--;
        throw new Error('lost');
      }) as Detector['run'],
    };
    const finder = new TargetFinder({}, detector, { width: WIDTH, height: HEIGHT }, own, 0);
    await expect(finder.find(watched, own)).rejects.toThrow('lost');
    expect(searched).toContain(1);
    // A frame that the search fails on: the run has ended nevertheless when the next one may begin.
    const unreadable = Object.defineProperty({ ...frame }, 'data', {
      enumerable: true,
      get: () => {
        throw new Error('unreadable');
      },
    });
    await expect(finder.find(unreadable, own)).rejects.toThrow('unreadable');
    expect(running).toBe(0);
  });
});

describe('threshold', () => {
  test.each([
    [0.6, own, 1],
    [0.6, 0.3, 1],
    [0.4, own, 1],
    [0.4, 0.45, 1],
    [0.4, 0.7, 0],
    [0.6, 0.95, 0],
    [0.9, 0.95, 0],
    [0.99, 0.95, 1],
    [0.6, 1, 0],
    [0.97, 1, 0],
  ])('a moving peak of %f at %f: %i tracks', async (score, threshold, tracks) => {
    expect(await started(make(score, threshold, { faintSearch: false }), threshold, 60)).toBe(tracks);
  });

  test('holds back what the search over many frames finds, too', async () => {
    for (const [score, threshold, tracks] of [
      [0, own, 1],
      [0.5, 0.95, 0],
      [0.97, 1, 0],
    ] as const) {
      expect(await started(make(score, threshold), threshold, 60, 0, 100)).toBe(tracks);
    }
  });

  test('from the next frame on when it is changed', async () => {
    const finder = make(0.6, own, { faintSearch: false });
    expect(await started(finder, 1, 30)).toBe(0);
    expect(await started(finder, own, 30, 30)).toBe(1);
  });

  test('`highScore`, where it is configured, decides in its place', async () => {
    expect(await started(make(0.4, 1, { faintSearch: false, highScore: 0.5 }), 1, 60)).toBe(1);
  });

  test.each([
    // Below the low score, too: that is then no higher.
    [0.15, own, { highScore: 0.1 }, 1],
    [0.15, own, { highScore: 0.1, lowScore: 0.05 }, 1],
    [0.15, own, {}, 0],
    // Where nothing depends on the threshold, the low score does not.
    [0.15, 0.1, { highScore: 0.5, faintScore: 0.1 }, 0],
    [0.15, 0.1, {}, 1],
    // No track begins that nothing so weak may continue.
    [0.25, own, { lowScore: 0.3, faintScore: 0.1 }, 0],
  ])('a moving peak of %f at %f with %j: %i tracks', async (score, threshold, scores, tracks) => {
    expect(await started(make(score, threshold, { faintSearch: false, ...scores }), threshold, 60)).toBe(tracks);
  });
});
