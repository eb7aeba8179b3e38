const cleanups = new Set<() => Promise<unknown>>();
let hung = false;

/**
 * Has `cleanup` run before a fault ends the process: workers must not be inside native code when it does (ending one inside
 * `session.run` of onnxruntime-node 1.30 aborts). Returns how to take it back.
 */
export function onFatal(cleanup: () => Promise<unknown>): () => void {
  cleanups.add(cleanup);
  return () => cleanups.delete(cleanup);
}

/** Runs every cleanup, all at once, for at most `limitMs`; whatever they throw is dropped: a fault is being reported already. */
export async function cleanUp(limitMs: number): Promise<void> {
  const all = Promise.allSettled([...cleanups].map((cleanup) => cleanup()));
  cleanups.clear();
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    all,
    new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        // What has not said that it stopped may be inside native code.
        hung = true;
        resolve();
      }, limitMs);
    }),
  ]);
  clearTimeout(timer);
}

/** A worker does not stop: exit() would wait for it, or abort inside its native code. Whoever ends the process then kills it. */
export function noteHung(): void {
  hung = true;
}

/** To be called before each exit(), and where the process would end by itself. */
export function killIfHung(): void {
  if (hung) process.kill(process.pid, 'SIGKILL');
}
