// The camera "broken" fails for good; any other is ready at once and ends when asked to.
import { workerData } from 'node:worker_threads';

await import(workerData.camera === 'broken' ? './worker-refused.mjs' : './worker-good.mjs');
