// A worker that sees a flock: in its first frame so many tracks begin, in the second they are all gone.
import { parentPort } from 'node:worker_threads';

const SIZE = 64;
const model = { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' };
parentPort.postMessage({
  type: 'ready',
  model,
  provider: 'cpu',
  library: 'none',
  threshold: 0.5,
  source: { description: 'nothing', width: 640, height: 512, bits: 14 },
});

const moment = (sequence) => ({ sequence, monotonicNs: BigInt(sequence + 1) * 1_000_000_000n });
const track = (k, sequence) => ({
  id: k + 1,
  state: 'confirmed',
  x: 10 * k,
  y: 50,
  vx: 1,
  vy: 0,
  sigmaX: 0.1,
  sigmaY: 0.1,
  covarianceXY: 0,
  sigmaVx: 1,
  sigmaVy: 1,
  score: 0.8,
  topScore: 0.8,
  // Every fourth is severe, by the rule of the test.
  snr: k % 4 === 0 ? 20 : 5,
  extent: 0.8,
  detection: null,
  hits: 3,
  misses: 0,
  firstSeen: moment(0),
  confirmedAt: moment(0),
  lastSeen: moment(sequence),
  stationary: false,
  sensorFixed: false,
});
const frame = (sequence, lists) =>
  parentPort.postMessage({
    type: 'frame',
    sequence,
    capturedAtMs: Date.now(),
    captureMonotonicNs: moment(sequence).monotonicNs,
    width: 640,
    height: 512,
    detections: [],
    tracks: { moment: moment(sequence), started: [], updated: [], ended: [], ...lists },
    timings: { normalise: 1, infer: 1, decode: 1, track: 1, total: 4 },
  });
const all = (sequence) => Array.from({ length: SIZE }, (_, k) => track(k, sequence));
frame(0, { started: all(0) });
frame(1, { ended: all(1).map((t) => ({ ...t, state: 'lost', endReason: 'lost' })) });

const counters = { captured: 2, processed: 2, dropped: {}, invalidCells: 0 };
parentPort.on('message', () => {
  parentPort.postMessage({ type: 'ended', counters });
  parentPort.close();
});
