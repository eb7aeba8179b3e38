import { setTimeout as delay } from 'node:timers/promises';

type Until = (what: string, ready: () => boolean | Promise<boolean>, ms?: number) => Promise<void>;

/** A wait, of at most `most` ms unless told, for what comes from elsewhere: a process, a broker. It fails with what did not come. */
export function waiting(most: number): Until {
  return async (what, ready, ms = most) => {
    for (const end = Date.now() + ms; !(await ready()); await delay(10)) {
      if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
    }
  };
}
