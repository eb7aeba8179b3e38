/**
 * Entry of a camera's worker thread. It may block inside inference; it owns no socket. It is asked to stop and never
 * terminated: ending a worker inside `session.run` of onnxruntime-node 1.30 aborts the whole process.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { CameraJob, WorkerEvent, WorkerRequest } from './messages.js';
import { Pipeline } from './pipeline.js';

const ALIVE_EVERY_MS = 1000;

const port = parentPort;
if (port === null) throw new Error('pipeline/worker is a worker thread, not a program');

const stop = new AbortController();
const pipeline = new Pipeline(workerData as CameraJob, (event: WorkerEvent) => port.postMessage(event));
port.on('message', (request: WorkerRequest) => {
  if (request.type === 'stop') stop.abort();
  else if (request.type === 'threshold') pipeline.setThreshold(request.value, request.request);
  else if (request.type === 'configure') pipeline.configure(request);
  else pipeline.takeSnapshot(request.options, request.request);
});
const pulse = setInterval(() => pipeline.pulse(), ALIVE_EVERY_MS);
await pipeline.run(stop.signal);
clearInterval(pulse);
// The last message is posted; without this listener the thread ends by itself.
port.close();
