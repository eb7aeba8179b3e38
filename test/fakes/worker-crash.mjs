// A worker that throws soon after it is ready.
import { parentPort } from 'node:worker_threads';
import { READY } from './ready.mjs';

parentPort.postMessage(READY);
parentPort.postMessage({ type: 'counters', counters: { captured: 1, processed: 1, dropped: {}, invalidCells: 0 } });
setTimeout(() => {
  throw new Error('out of luck');
}, 5);
