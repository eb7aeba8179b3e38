// A worker whose camera is away for a moment, opened again, and gives no frame after that.
import { parentPort } from 'node:worker_threads';
import { READY } from './ready.mjs';

const tell = (from, to) =>
  parentPort.postMessage({ type: 'capture', transition: { from, to, reason: 'as told', atMs: Date.now() } });
parentPort.postMessage(READY);
tell('streaming', 'lost');
setTimeout(() => {
  tell('lost', 'opening');
  tell('opening', 'streaming');
}, 400);
parentPort.on('message', () => {
  const counters = { captured: 0, processed: 0, dropped: {}, invalidCells: 0 };
  parentPort.postMessage({ type: 'ended', counters });
  parentPort.close();
});
