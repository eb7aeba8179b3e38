// A worker that is ready at once and ends when asked to.
import { parentPort } from 'node:worker_threads';

const counters = { captured: 3, processed: 2, dropped: { stale: 1 }, invalidCells: 0 };
parentPort.postMessage({
  type: 'ready',
  model: { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' },
  provider: 'cpu',
  library: 'none',
  threshold: 0.5,
  source: { description: 'nothing', width: 8, height: 8, bits: 8 },
});
parentPort.postMessage({ type: 'counters', counters });
parentPort.on('message', () => {
  parentPort.postMessage({ type: 'ended', counters });
  parentPort.close();
});
