// A worker that is ready on the CPU, and tells at once that TensorRT has taken over, then failed.
import { parentPort } from 'node:worker_threads';

const model = (precision) => ({ name: 'fake', sha256: '0'.repeat(64), precision });
const status = (provider, more = {}) => ({
  provider,
  library: `${provider} library`,
  wanted: ['tensorrt', 'cpu'],
  refused: [],
  demotions: 0,
  ...more,
});
const step = (kind, provider, now, precision) =>
  parentPort.postMessage({
    type: 'provider',
    change: { kind, provider, message: `${kind} ${provider}` },
    status: now,
    ...(precision && { model: model(precision) }),
  });

step('serving', 'cpu', status('cpu'));
parentPort.postMessage({
  type: 'ready',
  model: model('fp32'),
  provider: 'cpu',
  library: 'cpu library',
  threshold: 0.5,
  source: { description: 'nothing', width: 8, height: 8, bits: 8 },
});
step('serving', 'tensorrt', status('tensorrt'), 'fp16');
parentPort.on('message', (request) => {
  if (request.type === 'stop') parentPort.close();
  else step('serving', 'cpu', status('cpu', { demotions: 1 }), 'fp32');
});
