// A worker that is ready, and throws when it is asked for a picture or a threshold, before it answers.
import { parentPort } from 'node:worker_threads';

parentPort.postMessage({
  type: 'ready',
  model: { name: 'fake', sha256: '0'.repeat(64), precision: 'fp32' },
  provider: 'cpu',
  library: 'none',
  threshold: 0.5,
  source: { description: 'nothing', width: 8, height: 8, bits: 8 },
});
parentPort.on('message', (request) => {
  if (request.type === 'stop') parentPort.close();
  else throw new Error('out of luck');
});
