const cleanups = new Set<() => Promise<unknown>>();

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
      timer = setTimeout(resolve, limitMs);
    }),
  ]);
  clearTimeout(timer);
}
