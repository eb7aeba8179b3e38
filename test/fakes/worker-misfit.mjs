// A worker whose device is another camera than the one it was configured for, until the third attempt.
import { parentPort, workerData } from 'node:worker_threads';
import { READY } from './ready.mjs';

const counters = { captured: 0, processed: 0, dropped: {}, invalidCells: 0 };
const attempts = new Int32Array(workerData.release);
if (Atomics.add(attempts, 0, 1) < 2) {
  const error = { code: 'PROFILE_UNFIT', message: 'another camera', hint: 'plug in the right one', exitCode: 78 };
  parentPort.postMessage({ type: 'failed', error, counters });
} else {
  parentPort.postMessage(READY);
  parentPort.on('message', () => {
    parentPort.postMessage({ type: 'ended', counters });
    parentPort.close();
  });
}
