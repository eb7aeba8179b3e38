import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { onAbort, within } from './signals.js';

describe('within', () => {
  it('gives what the promise gives, or undefined when it takes too long or is told to stop', async () => {
    const stop = new AbortController();
    const never = new Promise<number>(() => {});
    expect(await within(Promise.resolve(7), 60_000, stop.signal)).toBe(7);
    expect(await within(never, 5, stop.signal)).toBeUndefined();
    await expect(within(Promise.reject(new Error('no')), 60_000, stop.signal)).rejects.toThrow('no');
    setTimeout(() => stop.abort(), 1);
    expect(await within(never, 60_000, stop.signal)).toBeUndefined();
    expect(await within(never, 60_000, stop.signal)).toBeUndefined();
    expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
  });
});

describe('onAbort', () => {
  it('calls at once, later, or no more', () => {
    const calls: string[] = [];
    onAbort(AbortSignal.abort(), () => calls.push('at once'));
    const stop = new AbortController();
    const unlink = onAbort(stop.signal, () => calls.push('never'));
    onAbort(stop.signal, () => calls.push('later'));
    unlink();
    stop.abort();
    expect(calls).toEqual(['at once', 'later']);
  });
});
