import { afterEach, beforeEach, expect, type MockInstance, test, vi } from 'vitest';

let cleanUp: typeof import('./fatal.js').cleanUp;
let onFatal: typeof import('./fatal.js').onFatal;
let killIfHung: typeof import('./fatal.js').killIfHung;
let noteHung: typeof import('./fatal.js').noteHung;
let kill: MockInstance<typeof process.kill>;
beforeEach(async () => {
  // It knows of one process, which begins anew here.
  vi.resetModules();
  ({ cleanUp, onFatal, killIfHung, noteHung } = await import('./fatal.js'));
  kill = vi.spyOn(process, 'kill').mockReturnValue(true);
});
afterEach(() => kill.mockRestore());

test('runs every cleanup once, whatever the others do, and not those taken back', async () => {
  const ran: string[] = [];
  onFatal(async () => {
    throw new Error('no');
  });
  onFatal(async () => void ran.push('a'));
  onFatal(async () => void ran.push('b'))();
  await cleanUp(1000);
  await cleanUp(1000);
  expect(ran).toEqual(['a']);
  killIfHung();
  expect(kill).not.toHaveBeenCalled();
});

test('does not wait for ever; what did not end in time is not waited for by exit() either', async () => {
  onFatal(() => new Promise(() => {}));
  await cleanUp(20);
  killIfHung();
  expect(kill.mock.calls).toEqual([[process.pid, 'SIGKILL']]);
});

test('a process with a worker that hangs is killed', () => {
  noteHung();
  killIfHung();
  expect(kill.mock.calls).toEqual([[process.pid, 'SIGKILL']]);
});
