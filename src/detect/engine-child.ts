/**
 * Entry of the process that builds an engine, or tries a provider for the first time: what crashes or takes minutes there costs no
 * frame here. It runs at the lowest priority, gets one `EngineJob` as a message, and ends by itself, also when its parent is gone.
 */
import { setPriority } from 'node:os';
import { toPlainError } from '../types/errors.js';
import { type EngineJob, type EngineJobEvent, runEngineJob } from './engine-job.js';

try {
  // Threads that are made from now on inherit it.
  setPriority(19);
} catch {
  // A service may not be allowed to (SystemCallFilter=~@resources); it builds all the same.
}
// It leads a process group: what it started goes with it.
process.once('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
process.once('message', async (job: EngineJob) => {
  const tell = (event: EngineJobEvent) =>
    new Promise<void>((resolve) => {
      if (process.connected) process.send!(event, undefined, {}, () => resolve());
      else resolve();
    });
  try {
    const golden = await runEngineJob(job, tell);
    await tell({ type: 'done', golden });
  } catch (error) {
    const { code, message, hint } = toPlainError(error);
    await tell({ type: 'failed', error: { code, message, ...(hint === undefined ? {} : { hint }) } });
  }
  // Not by running out of work: a library's threads may linger.
  process.exit(0);
});
