// What the tracker costs and how it does on simulated detections. Needs a build.
// node scripts/bench-tracker.mjs [cost] [confirm] [clutter]   (all three without arguments)
import { uniform } from '../dist/capture/random.js';
import { reported, SequenceScorer, scoreSequences } from '../dist/eval/sequence.js';
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

const parts = { cost, confirm, clutter: falseTracks };
for (const name of process.argv.length > 2 ? process.argv.slice(2) : Object.keys(parts)) parts[name]();
