// A worker that is deaf: it blocks its thread, as a native call that never returns would, until the flag in workerData is set.
import { parentPort, workerData } from 'node:worker_threads';

parentPort.postMessage({ type: 'counters', counters: { captured: 0, processed: 0, dropped: {}, invalidCells: 0 } });
Atomics.wait(new Int32Array(workerData.release), 0, 0, 20_000);
