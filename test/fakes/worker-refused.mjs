// A worker whose model is broken.
import { parentPort } from 'node:worker_threads';

parentPort.postMessage({
  type: 'failed',
  error: { code: 'MODEL_SHA_MISMATCH', message: 'x.onnx is not the file', hint: 'restore it', exitCode: 65 },
  counters: { captured: 0, processed: 0, dropped: {}, invalidCells: 0 },
});
