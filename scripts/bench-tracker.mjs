// What the tracker costs and how it does on simulated detections. Needs a build.
// node scripts/bench-tracker.mjs [cost] [confirm] [clutter] [search]   (all without arguments)
// node scripts/bench-tracker.mjs still DIR [LIST]   an hour before each still picture of a folder without targets; runs the detector
import { uniform } from '../dist/capture/random.js';
import { SyntheticScene } from '../dist/capture/synthetic.js';
import { reported, SequenceScorer, scoreSequences } from '../dist/eval/sequence.js';
import { FaintSearch } from '../dist/track/faint-search.js';
import { Tracker } from '../dist/track/tracker.js';

const WIDTH = 640;
const HEIGHT = 512;
const FPS = 30;

const normal = (r) => Math.sqrt(-2 * Math.log(1 - r())) * Math.cos(2 * Math.PI * r());
function poisson(r, mean) {
  const limit = Math.exp(-mean);
  let count = 0;
  for (let product = r(); product > limit; product *= r()) count++;
  return count;
}
const detection = (x, y, sigma, score, snr = 5) => ({ x, y, sigmaX: sigma, sigmaY: sigma, score, snr, extent: 0.8 });
const time = (k) => BigInt(Math.round((k * 1e9) / FPS));
/** Noise and clutter: weak with the share given, else strong. */
const clutter = (r, weakShare, from = 0.2) =>
  detection(
    r() * WIDTH,
    r() * HEIGHT,
    0.15 + 0.2 * r(),
    r() < weakShare ? from + (from < 0.2 ? 0.05 : 0.3) * r() : 0.5 + 0.3 * r(),
    3,
  );

function cost() {
  const r = uniform(1);
  const targets = Array.from({ length: 50 }, () => [r() * 540 + 50, r() * 412 + 50, r() - 0.5, r() - 0.5]);
  const tracker = new Tracker({ width: WIDTH, height: HEIGHT });
  const times = [];
  let most = 0;
  for (let k = 0; k < 3000; k++) {
    const detections = [];
    for (const t of targets) {
      for (const i of [0, 1]) {
        t[i] += t[i + 2];
        if (t[i] < 10 || t[i] > (i === 0 ? WIDTH : HEIGHT) - 10) t[i + 2] *= -1;
      }
      if (r() < 0.9) detections.push(detection(t[0] + 0.2 * normal(r), t[1] + 0.2 * normal(r), 0.2, 0.7));
    }
    for (let n = poisson(r, 5); n > 0; n--) detections.push(clutter(r, 0.5));
    // What the detector gives at the floor of faint targets.
    for (let n = poisson(r, 15); n > 0; n--) detections.push(clutter(r, 1, 0.05));
    const start = process.hrtime.bigint();
    tracker.update({ sequence: k, captureMonotonicNs: time(k), detections });
    times.push(Number(process.hrtime.bigint() - start) / 1e6);
    most = Math.max(most, tracker.counters().following);
  }
  const sorted = times.slice(300).sort((a, b) => a - b);
  const at = (q) => Number(sorted[Math.floor(q * (sorted.length - 1))].toFixed(3));
  console.log(JSON.stringify({ targets: 50, mostTracks: most, medianMs: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) }));
}

/** Targets of SNR 3 to 5: position noise 0.8 / SNR px, seen in 80 % of the frames. */
function confirm() {
  for (const snr of [3, 4, 5]) {
    for (const clutterRate of [0, 1, 3]) {
      const runs = 400;
      let inTen = 0;
      const counts = [];
      for (let run = 0; run < runs; run++) {
        const r = uniform(1000 * snr + 100_000 * clutterRate + run);
        const angle = 2 * Math.PI * r();
        const speed = 5 + 85 * r();
        const tracker = new Tracker({ width: WIDTH, height: HEIGHT });
        const scorer = new SequenceScorer(5);
        const sigma = 0.8 / snr;
        let first = null;
        for (let k = 0; k < 60; k++) {
          const x = WIDTH / 2 + (speed * Math.cos(angle) * k) / FPS;
          const y = HEIGHT / 2 + (speed * Math.sin(angle) * k) / FPS;
          const detections = [];
          if (r() < 0.8)
            detections.push(
              detection(x + sigma * normal(r), y + sigma * normal(r), sigma, 0.3 + 0.14 * snr * r() + 0.2),
            );
          for (let n = poisson(r, clutterRate); n > 0; n--) detections.push(clutter(r, 0.5));
          const tracks = reported(tracker.update({ sequence: k, captureMonotonicNs: time(k), detections }));
          if (first === null && tracks.some((t) => Math.hypot(t.x - x, t.y - y) < 3)) first = k + 1;
          scorer.add({ seconds: k / FPS, truth: [{ id: 1, x, y }], tracks, detections });
        }
        if (first !== null && first <= 10) inTen++;
        counts.push(scorer.counts());
      }
      const s = scoreSequences(counts);
      console.log(
        JSON.stringify({
          snr,
          clutterPerFrame: clutterRate,
          confirmedInTen: inTen / runs,
          trackPd: s.trackPd,
          detectionPd: s.detectionPd,
          framesMedian: s.timeToAlert.framesMedian,
          framesP95: s.timeToAlert.framesP95,
          rmsSmoothed: s.rmsSmoothed,
          rmsRaw: s.rmsRaw,
          idSwitches: s.idSwitches,
        }),
      );
    }
  }
}

/** False tracks from independent clutter only. */
function falseTracks() {
  for (const [rate, hours] of [
    [0.03, 4],
    [0.1, 4],
    [0.3, 4],
    [1, 2],
    [3, 1],
  ]) {
    for (const [name, options, weakShare] of [
      ['default, all strong', {}, 0],
      ['default, half weak', {}, 0.5],
      ['startSpeed 30', { startSpeed: 30 }, 0],
      ['4 of 6', { confirmHits: 4, confirmFrames: 6 }, 0],
    ]) {
      const r = uniform(7 + rate * 100);
      const tracker = new Tracker({ width: WIDTH, height: HEIGHT, ...options });
      for (let k = 0; k < hours * 3600 * FPS; k++) {
        const detections = [];
        for (let n = poisson(r, rate); n > 0; n--) detections.push(clutter(r, weakShare));
        tracker.update({ sequence: k, captureMonotonicNs: time(k), detections });
      }
      const c = tracker.counters();
      console.log(JSON.stringify({ perFrame: rate, rule: name, falseTracksPerHour: c.confirmed / hours, hours }));
    }
  }
}

/** The search of faint targets alone, without a network: an hour of scenes without targets, 320x256, a minute each; and what it costs. */
function search() {
  const seeds = 60;
  let targets = 0;
  const times = [];
  for (let seed = 5001; seed < 5001 + seeds; seed++) {
    const scene = new SyntheticScene({ kind: 'synthetic', rate: 'fast', seed, targets: 0 });
    const { width, height } = scene;
    const faint = new FaintSearch(width, height);
    const data = new Uint16Array(width * height);
    let shown = false;
    for (let k = 0; k < 60 * FPS; k++) {
      scene.render(k, data);
      const start = process.hrtime.bigint();
      const found = faint.update({ width, height, data, captureMonotonicNs: time(k) });
      times.push(Number(process.hrtime.bigint() - start) / 1e6);
      // One that goes on is one, however many frames it lasts.
      if (found.length > 0 && !shown) targets++;
      shown = found.length > 0;
    }
  }
  times.sort((a, b) => a - b);
  const at = (q) => Number(times[Math.floor(q * (times.length - 1))].toFixed(2));
  console.log(
    JSON.stringify({
      hours: (times.length / FPS / 3600).toFixed(2),
      falseTargets: targets,
      medianMs: at(0.5),
      p95Ms: at(0.95),
    }),
  );
}

/**
 * An hour of 30 Hz before each picture, with fresh noise (2 counts of the picture). The network runs on 60 frames of each; since noise is
 * independent from frame to frame, the hour is drawn from these, through the tracker.
 */
async function still(dir, list) {
  const { stillSequences } = await import('../dist/eval/sequence-run.js');
  const { Detector } = await import('../dist/detect/detector.js');
  const { Decoder } = await import('../dist/decode/decoder.js');
  const { BUNDLED_MANIFEST } = await import('../dist/detect/manifest.js');
  let atStart = 0;
  let later = 0;
  let scenes = 0;
  for (const { name, open } of await stillSequences(dir, 60, 2, 1, list)) {
    const source = open();
    const info = await source.start(new AbortController().signal);
    const detector = await Detector.create({ manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 2 }, info);
    const { threshold: highScore } = detector.manifest.decode;
    const decoder = new Decoder({ threshold: 0.2 });
    const frames = [];
    for (let frame = await source.next(); frame !== null; frame = await source.next()) {
      frames.push(decoder.run(await detector.run(frame, {}), frame).detections);
    }
    await source.stop();
    await detector.close();
    const r = uniform(scenes++);
    const tracker = new Tracker({ width: info.width, height: info.height, highScore });
    const seen = new Map();
    for (let k = 0; k < 3600 * FPS; k++) {
      const detections = frames[Math.floor(r() * frames.length)];
      for (const track of reported(tracker.update({ sequence: k, captureMonotonicNs: time(k), detections }))) {
        if (!track.stationary && !seen.has(track.id)) seen.set(track.id, k);
      }
    }
    const early = [...seen.values()].filter((k) => k < 20 * FPS).length;
    atStart += early;
    later += seen.size - early;
    if (seen.size > 0) console.log(JSON.stringify({ name, first20s: early, later: seen.size - early }));
  }
  console.log(
    JSON.stringify({
      scenes,
      hoursEach: 1,
      falseTracksFirst20s: atStart,
      falseTracksLater: later,
      perHour: (atStart + later) / scenes,
    }),
  );
}

const parts = { cost, confirm, clutter: falseTracks, search };
const [, , first, ...rest] = process.argv;
if (first === 'still') await still(...rest);
else for (const name of first === undefined ? Object.keys(parts) : [first, ...rest]) parts[name]();
