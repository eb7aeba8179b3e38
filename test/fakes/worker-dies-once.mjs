// A worker that is ready, and throws when it is asked for a threshold before it answers; the one after it gives what it is asked for.
import { parentPort, workerData } from 'node:worker_threads';
import { READY } from './ready.mjs';

const first = Atomics.add(new Int32Array(workerData.lives), 0, 1) === 0;
parentPort.postMessage(READY);
parentPort.on('message', ({ type, value, request }) => {
  if (type === 'stop') parentPort.close();
  else if (type === 'snapshot') parentPort.postMessage({ type, picture: null, request });
  else if (first && value === workerData.deadly) throw new Error('out of luck');
  else parentPort.postMessage({ type, value: value ?? 0.5, request });
});
