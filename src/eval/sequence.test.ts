import { describe, expect, test } from 'vitest';
import { confirmedTrack, detection, dice, frameTime } from '../../test/fakes/detections.js';
import { Tracker } from '../track/tracker.js';
import type { Track } from '../types/track.js';
import { reported, type SequenceFrame, SequenceScorer, scoreSequences } from './sequence.js';

function track(id: number, x: number, y: number, over: Partial<Track> = {}): Track {
  const found = detection(x, y);
  return confirmedTrack(
    id,
    found,
    { sequence: 0, monotonicNs: 0n },
    { sigmaX: 0.1, sigmaY: 0.1, score: 0.9, topScore: 0.9, ...over },
  );
}
const score = (frames: Omit<SequenceFrame, 'seconds'>[], fps = 10) => {
  const scorer = new SequenceScorer(5);
  frames.forEach((f, k) => {
    scorer.add({ ...f, seconds: 100 + k / fps });
  });
  return scoreSequences([scorer.counts()]);
};
const at = (id: number, x: number, y = 0) => ({ id, x, y });

describe('sequences', () => {
  test('probability of detection, time to alert, errors', () => {
    const s = score([
      { truth: [at(1, 0)], tracks: [], detections: [{ x: 1, y: 0 }] },
      { truth: [at(1, 10)], tracks: [], detections: [] },
      {
        truth: [at(1, 20)],
        tracks: [track(7, 20.3, 0.4, { detection: detection(21, 0) })],
        detections: [{ x: 21, y: 0 }],
      },
      {
        truth: [at(1, 30)],
        tracks: [track(7, 34, 0, { state: 'coasting', detection: null })],
        detections: [{ x: 90, y: 0 }],
      },
      { truth: [at(1, 40)], tracks: [track(7, 46, 0)] },
    ]);
    expect(s).toMatchObject({
      sequences: 1,
      frames: 5,
      targets: 1,
      targetsFound: 1,
      trackPd: 2 / 5,
      detectionPd: 2 / 4,
      falseDetectionsPerFrame: 1 / 4,
      tracks: 1,
      idSwitches: 0,
      rmsCoasting: 4,
      rmsRaw: 1,
    });
    expect(s.seconds).toBeCloseTo(0.5, 9);
    expect(s.rmsSmoothed).toBeCloseTo(0.5, 9);
    expect(s.timeToAlert).toMatchObject({ framesMedian: 3, framesP95: 3, framesMax: 3 });
    expect(s.timeToAlert!.secondsMedian).toBeCloseTo(0.2, 9);
  });

  test('false tracks per hour: those without a target in most frames; coasting proves nothing', () => {
    const frames = Array.from({ length: 10 }, (_, k) => ({
      truth: [at(1, 0)],
      tracks: [
        track(1, 0, 0),
        track(2, 100, 0),
        // On the target's place only after it took over: on it in fewer frames than off it.
        track(3, 200, 0, k < 4 ? {} : { detection: null, state: 'coasting' as const }),
      ],
    }));
    const s = score(frames);
    expect(s).toMatchObject({ tracks: 3, falseTracks: 2, stationaryTracks: 0 });
    expect(s.falseTracksPerHour).toBeCloseTo((2 * 3600) / 1, 6);
  });

  test('frames that nobody labelled prove nothing, and take no time', () => {
    const found = {
      tracks: [track(1, 0, 0), track(2, 100, 0)],
      detections: [
        { x: 1, y: 0 },
        { x: 100, y: 0 },
      ],
    };
    const s = score([
      ...Array.from({ length: 4 }, () => ({ truth: [at(1, 0)], ...found, tracks: [track(1, 0, 0)] })),
      ...Array.from({ length: 6 }, () => ({ truth: null, ...found })),
    ]);
    expect(s).toMatchObject({ frames: 10, unlabelledFrames: 6, trackPd: 1, detectionPd: 1, tracks: 1, falseTracks: 0 });
    expect(s.falseDetectionsPerFrame).toBe(1);
    expect(s.seconds).toBeCloseTo(1, 9);
    const empty = score(
      Array.from({ length: 10 }, (_, k) => ({ truth: k < 4 ? null : [], tracks: [track(2, 100, 0)] })),
    );
    expect(empty.falseTracksPerHour).toBeCloseTo(3600 / 0.6, 6);
  });

  test('suppressed clutter is counted apart; a stationary track does not count as an alert', () => {
    const stationary = { stationary: true };
    const s = score([
      { truth: [at(1, 0)], tracks: [track(1, 0, 0, stationary), track(2, 50, 0, stationary), track(3, 90, 0)] },
      {
        truth: [at(1, 0)],
        tracks: [track(1, 0, 0, stationary), track(2, 50, 0, stationary), track(3, 90, 0, stationary)],
      },
    ]);
    expect(s).toMatchObject({
      trackPd: 1,
      targetsFound: 0,
      timeToAlert: null,
      tracks: 3,
      falseTracks: 1,
      stationaryTracks: 1,
    });
  });

  test('id switches: a pair stays while it can, and an interruption by another track counts', () => {
    const s = score([
      { truth: [at(1, 0), at(2, 6)], tracks: [track(1, 0, 0), track(2, 6, 0)] },
      // Each is nearer to the other's target now, but still on its own.
      { truth: [at(1, 0), at(2, 6)], tracks: [track(1, 4, 0), track(2, 2, 0)] },
      { truth: [at(1, 0), at(2, 6)], tracks: [track(2, 6, 0)] },
      { truth: [at(1, 0), at(2, 6)], tracks: [track(1, 0, 0), track(2, 6, 0)] },
      { truth: [at(1, 0), at(2, 6)], tracks: [track(3, 0, 0), track(2, 6, 0)] },
    ]);
    expect(s).toMatchObject({ idSwitches: 1, trackPd: 9 / 10 });
  });

  test('a pair of an older frame has no claim: the targets get the tracks nearest to them', () => {
    const s = score([
      { truth: [at(1, 0), at(2, 6)], tracks: [track(1, 0, 0)] },
      { truth: [at(1, 0), at(2, 6)], tracks: [] },
      // Track 1 is within reach of target 1 still, but target 2 would go without then.
      { truth: [at(1, 0), at(2, 6)], tracks: [track(1, 4, 0), track(3, 0, 0)] },
    ]);
    expect(s).toMatchObject({ trackPd: 3 / 6, idSwitches: 1 });
  });

  test('sets add up; nothing at all gives nulls, not NaN', () => {
    const one = new SequenceScorer();
    const two = new SequenceScorer();
    for (let k = 0; k < 10; k++) {
      one.add({ seconds: k, truth: [at(1, 0)], tracks: [track(1, 0, 0)] });
      two.add({ seconds: k, truth: [at(1, 0)], tracks: [] });
    }
    expect(scoreSequences([one.counts(), two.counts()])).toMatchObject({
      sequences: 2,
      frames: 20,
      seconds: 20,
      targets: 2,
      targetsFound: 1,
      trackPd: 0.5,
      falseTracksPerHour: 0,
    });
    const empty = scoreSequences([]);
    for (const v of Object.values(empty)) expect(Number.isNaN(v)).toBe(false);
    expect(empty).toMatchObject({ trackPd: null, falseTracksPerHour: null, rmsSmoothed: null, timeToAlert: null });
  });
});

test('with the tracker: two targets that cross, their errors smoothed, one gone and come back as another', () => {
  const r = dice(4);
  const tracker = new Tracker({ width: 640, height: 512 });
  const scorer = new SequenceScorer(5);
  for (let k = 0; k < 200; k++) {
    const truth = [at(1, 100 + k, 100 + k), at(2, 100 + k, 300 - k)];
    // Target 2 is hidden for longer than a track may coast.
    const visible = k >= 150 && k < 180 ? truth.slice(0, 1) : truth;
    const detections = visible.map((p) => detection(p.x + 0.2 * r.normal(), p.y + 0.2 * r.normal()));
    const update = tracker.update({ sequence: k, captureMonotonicNs: frameTime(k), detections });
    scorer.add({ seconds: k / 30, truth, tracks: reported(update), detections });
  }
  const s = scoreSequences([scorer.counts()]);
  expect(s).toMatchObject({ targets: 2, targetsFound: 2, tracks: 3, falseTracks: 0, idSwitches: 1 });
  expect(s.timeToAlert).toMatchObject({ framesMedian: 3, framesMax: 3 });
  expect(s.rmsRaw).toBeCloseTo(0.2 * Math.SQRT2, 1);
  expect(s.rmsSmoothed!).toBeLessThan(0.75 * s.rmsRaw!);
  expect(s.trackPd).toBeGreaterThan(0.9);
});
