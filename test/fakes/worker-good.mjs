// A worker that is ready at once and ends when asked to.
import { parentPort } from 'node:worker_threads';
import { READY } from './ready.mjs';

const counters = { captured: 3, processed: 2, dropped: { stale: 1 }, invalidCells: 0 };
parentPort.postMessage(READY);
parentPort.postMessage({ type: 'counters', counters });
parentPort.on('message', () => {
  parentPort.postMessage({ type: 'ended', counters });
  parentPort.close();
});
