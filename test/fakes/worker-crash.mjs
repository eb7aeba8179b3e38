// A worker that throws soon after it is ready.
import { parentPort } from 'node:worker_threads';

parentPort.postMessage({
  type: 'ready',
  model: { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' },
  provider: 'cpu',
  library: 'none',
  threshold: 0.5,
  source: { description: 'nothing', width: 8, height: 8, bits: 8 },
});
parentPort.postMessage({ type: 'counters', counters: { captured: 1, processed: 1, dropped: {}, invalidCells: 0 } });
setTimeout(() => {
  throw new Error('out of luck');
}, 5);
