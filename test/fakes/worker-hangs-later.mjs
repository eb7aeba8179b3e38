// A worker that gives frames for a while, then blocks its thread as a native call that never returns would: until the flag in workerData,
// if there is one, is set.
import { parentPort, workerData } from 'node:worker_threads';

const model = { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' };
parentPort.postMessage({
  type: 'ready',
  model,
  provider: 'cpu',
  library: 'none',
  threshold: 0.5,
  source: { description: 'nothing', width: 8, height: 8, bits: 8 },
});
const release = workerData.release ?? new SharedArrayBuffer(4);
let sequence = 0;
const frames = setInterval(() => {
  if (sequence === 20) Atomics.wait(new Int32Array(release), 0, 0, 60_000);
  const moment = { sequence, monotonicNs: process.hrtime.bigint() };
  parentPort.postMessage({
    type: 'frame',
    sequence: sequence++,
    capturedAtMs: Date.now(),
    captureMonotonicNs: moment.monotonicNs,
    width: 8,
    height: 8,
    detections: [],
    tracks: { moment, started: [], updated: [], ended: [] },
    timings: { normalise: 1, infer: 1, decode: 1, track: 1, total: 4 },
  });
}, 100);
parentPort.on('message', ({ type }) => {
  if (type !== 'stop') return;
  clearInterval(frames);
  parentPort.postMessage({
    type: 'ended',
    counters: { captured: sequence, processed: sequence, dropped: {}, invalidCells: 0 },
  });
  parentPort.close();
});
