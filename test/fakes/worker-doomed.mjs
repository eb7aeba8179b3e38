// A worker that is ready, and throws when it is asked for a picture or a threshold, before it answers.
import { parentPort } from 'node:worker_threads';
import { READY } from './ready.mjs';

parentPort.postMessage(READY);
parentPort.on('message', (request) => {
  if (request.type === 'stop') parentPort.close();
  else throw new Error('out of luck');
});
