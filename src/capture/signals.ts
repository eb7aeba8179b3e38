/** Calls `then` when `signal` aborts, at once if it has; the result takes the listener away. */
export function onAbort(signal: AbortSignal, then: () => void): () => void {
  if (signal.aborted) then();
  else signal.addEventListener('abort', then, { once: true });
  return () => signal.removeEventListener('abort', then);
}

/** What `promise` resolves to, or `undefined` after `ms` or when `signal` aborts. Leaves no timer and no listener behind. */
export async function within<T>(promise: Promise<T>, ms: number, signal?: AbortSignal): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  let unlink: (() => void) | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
    if (signal !== undefined) unlink = onAbort(signal, () => resolve(undefined));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    unlink?.();
  }
}
