import { loadNative } from '../native.js';
import { EdgeError, errno } from '../types/errors.js';

export interface SystemdNotifierOptions {
  /** Where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked up; `process.env` when absent. */
  env?: NodeJS.ProcessEnv;
  /** Told of a message that could not be sent, once for each error code until one gets through again. */
  onError?: (error: Error) => void;
  /** The call that sends; the native addon's when absent. */
  send?: (state: string, path: string) => void;
}

/**
 * Tells systemd how the service is doing: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
 *
 * Does nothing where there is no NOTIFY_SOCKET. Every method says whether the message went out. A message that systemd does
 * not take never stops the service: it is counted in `failures` and told to `onError`. A missing addon does throw
 * (`ADDON_MISSING`): under `Type=notify` the service would otherwise be killed after its start time-out without a word why.
 */
export class SystemdNotifier {
  /** Messages that could not be sent. */
  failures = 0;
  readonly #path: string | undefined;
  readonly #watchdogMs: number | undefined;
  readonly #onError: (error: Error) => void;
  readonly #send: (state: string, path: string) => void;
  readonly #reported = new Set<string>();

  constructor(options: SystemdNotifierOptions = {}) {
    const env = options.env ?? process.env;
    this.#path = env.NOTIFY_SOCKET || undefined;
    this.#watchdogMs = this.#path === undefined ? undefined : watchdogInterval(env);
    this.#onError = options.onError ?? (() => {});
    this.#send = options.send ?? ((state, path) => void loadNative().sdNotify(state, path));
  }

  /** Whether systemd listens. */
  get enabled(): boolean {
    return this.#path !== undefined;
  }

  /** Within how many ms `watchdog()` must be called again (call it twice as often); undefined: no watchdog. */
  get watchdogIntervalMs(): number | undefined {
    return this.#watchdogMs;
  }

  /** The service is up. */
  ready(status?: string): boolean {
    return this.#notify(status === undefined ? 'READY=1' : `READY=1\n${statusLine(status)}`);
  }

  /** The start, or whatever else systemd waits for, takes this much longer from now, ms. */
  extendTimeout(ms: number): boolean {
    return this.#notify(`EXTEND_TIMEOUT_USEC=${Math.round(ms * 1000)}`);
  }

  /** The configuration is being read again; `ready()` says when it is done. The time is CLOCK_MONOTONIC, as `Type=notify-reload` wants it. */
  reloading(): boolean {
    return this.#notify(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  /** One line for `systemctl status`. */
  status(text: string): boolean {
    return this.#notify(statusLine(text));
  }

  /** The service is going down. */
  stopping(status?: string): boolean {
    return this.#notify(status === undefined ? 'STOPPING=1' : `STOPPING=1\n${statusLine(status)}`);
  }

  /** The service is alive and makes progress. */
  watchdog(): boolean {
    return this.#notify('WATCHDOG=1');
  }

  #notify(state: string): boolean {
    if (this.#path === undefined) return false;
    try {
      this.#send(state, this.#path);
    } catch (error) {
      if (error instanceof EdgeError) throw error;
      this.failures += 1;
      const code = errno(error) ?? 'UNKNOWN';
      if (!this.#reported.has(code)) {
        this.#reported.add(code);
        this.#onError(error instanceof Error ? error : new Error(String(error)));
      }
      return false;
    }
    this.#reported.clear();
    return true;
  }
}

/** A newline would begin another assignment. */
function statusLine(text: string): string {
  return `STATUS=${text.replaceAll(/[\r\n]+/g, ' ')}`;
}

/** As sd_watchdog_enabled(3): only for the process that is meant. */
function watchdogInterval(env: NodeJS.ProcessEnv): number | undefined {
  if (env.WATCHDOG_PID !== undefined && Number(env.WATCHDOG_PID) !== process.pid) return undefined;
  const microseconds = Number(env.WATCHDOG_USEC);
  return Number.isSafeInteger(microseconds) && microseconds > 0 ? microseconds / 1000 : undefined;
}
