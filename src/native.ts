import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { EdgeError } from './types/errors.js';

/** What the C++ addon offers (`native/src/addon.cc`). */
export interface NativeAddon {
  /** The package version that the addon was built from. */
  readonly version: string;
  /**
   * Sends `state` as one datagram to the notification socket at `path` (an absolute path, or `@name` for an abstract socket),
   * never blocking. `false` when `path` is undefined. Throws a `NativeSystemError`.
   */
  sdNotify(state: string, path?: string): boolean;
}

/** The errors of the addon, in the manner of Node's own. */
export interface NativeSystemError extends Error {
  /** `ECONNREFUSED`. */
  code: string;
  /** Negative, as in Node. */
  errno: number;
  /** `sendto`. */
  syscall: string;
  path?: string;
}

// This file is one level below the package root both in src/ and in dist/.
const ADDON_PATH = fileURLToPath(new URL('../native/build/Release/irst_edge.node', import.meta.url));

let loaded: NativeAddon | undefined;

/** The addon, loaded at the first call in each thread. Throws `EdgeError` `ADDON_MISSING`. */
export function loadNative(): NativeAddon {
  loaded ??= loadAddon(ADDON_PATH);
  return loaded;
}

/** Loads the addon from a given file; `loadNative` is what to use. */
export function loadAddon(path: string): NativeAddon {
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (error) {
    // Node's message goes on with a require stack over several lines.
    const reason = (error instanceof Error ? error.message : String(error)).split('\n', 1)[0];
    throw new EdgeError('ADDON_MISSING', `the native addon does not load: ${reason}`, {
      hint: 'build it with: npm run install',
      cause: error,
    });
  }
}
