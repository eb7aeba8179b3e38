import { execFile } from 'node:child_process';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP, type LookupFunction } from 'node:net';
import { errno } from '../types/errors.js';
import { addressesIn, plainName } from './hosts-file.js';

export interface NameResolverOptions {
  /** Name servers, `192.0.2.1:53`. Default: those of resolv.conf(5), read at every lookup: they change with the network. */
  servers?: readonly string[];
  /** Default `/etc/hosts`. */
  hostsFile?: string;
  /** Asks the system: gets the name as its last argument, and prints what `getent ahosts` does. */
  program?: readonly [string, ...string[]];
  /** How long an answer is used before the name is looked up again, ms. Default 30 000. */
  freshMs?: number;
  /** How long an older answer waits for a new one, ms. Default 1 000. */
  patienceMs?: number;
  /** Longest lookup, ms. Default 8 000: less than an attempt to connect has. */
  limitMs?: number;
  /** After a lookup that failed, no other for so long, ms. Default 5 000. */
  holdMs?: number;
}

/** A lookup under way. */
interface Asking {
  /** Resolves when it ended, whichever way. */
  ended: Promise<void>;
  /** Resolves when it ended, or an older answer has waited for long enough. */
  enough: Promise<void>;
  release(): void;
  abort(): void;
}

interface Entry {
  /** The last answer; empty: none yet. */
  addresses: LookupAddress[];
  answeredAt: number;
  /** Of the lookups since the last answer. */
  failure: { error: Error; at: number } | undefined;
  asking: Asking | undefined;
}

/** Of one question to one server, the first time. */
const DNS_TIMEOUT_MS = 2_000;
const DNS_TRIES = 2;
/** How long IPv6 addresses are waited for when the IPv4 ones are there (https://www.rfc-editor.org/rfc/rfc8305#section-3). */
const RESOLUTION_DELAY_MS = 50;
const MOST_OUTPUT = 64 * 1024;
/** Exit status of getent(1): the name was not found. */
const NOT_FOUND = 2;

/**
 * Looks up host names as `dns.lookup` does, for the `lookup` option of sockets, without its getaddrinfo(3). That one occupies a
 * thread of libuv's pool (https://nodejs.org/docs/latest-v20.x/api/dns.html#implementation-considerations) which nothing can take back:
 * no process ends before it, by `process.exit()` neither, and with silent name servers it takes 10 s and more. Lookups get half of the
 * pool, two threads (`slow_work_thread_threshold`, https://github.com/libuv/libuv/blob/v1.x/src/threadpool.c); all others wait behind
 * them. And glibc remembers nothing.
 *
 * Asked are /etc/hosts, then the name servers, by c-ares, then the system, by a child process that can be killed: `getent`, for what
 * only nsswitch.conf(5) knows, such as mDNS and search domains. Not for everything: a fork of a large process holds up its event
 * loop (https://github.com/nodejs/node/issues/14917). c-ares itself reads no hosts file and knows no search domains
 * (https://c-ares.org/docs/ares_query.html).
 *
 * A name is asked for once at a time. An answer counts for `freshMs`; an older one is used where a new one is not to be had: on a
 * vehicle an address that worked is better than none.
 */
export class NameResolver {
  readonly #options: Required<Omit<NameResolverOptions, 'servers'>> & Pick<NameResolverOptions, 'servers'>;
  /** Literals do not come in: as many as its owner has receivers. */
  readonly #entries = new Map<string, Entry>();
  #onlyKnown = false;

  constructor(options: NameResolverOptions = {}) {
    this.#options = {
      hostsFile: '/etc/hosts',
      program: ['getent', 'ahosts'],
      freshMs: 30_000,
      patienceMs: 1_000,
      limitMs: 8_000,
      holdMs: 5_000,
      ...options,
    };
  }

  /** For `lookup` of net, tls, http and dgram; the last gives a number for the options. Fails with `ENOTFOUND` or `EAI_AGAIN`. */
  readonly lookup = (
    hostname: string,
    options: LookupOptions | number,
    callback: Parameters<LookupFunction>[2],
  ): void => {
    const { family, all = false } = typeof options === 'number' ? { family: options } : options;
    this.#addresses(hostname).then(
      (found) => {
        const addresses = found.filter((a) => isIP(hostname) !== 0 || suits(a, family));
        const [first] = addresses;
        // Not from within the promise, where what a callback throws would become a rejection.
        if (first === undefined) process.nextTick(callback, failure('ENOTFOUND', hostname), '');
        else if (all) process.nextTick(callback, null, addresses);
        else process.nextTick(callback, null, first.address, first.family);
      },
      (error) => process.nextTick(callback, error, ''),
    );
  };

  /** Whether there is an address without a lookup, be it an old one. */
  knows(hostname: string): boolean {
    return isIP(hostname) !== 0 || (this.#entries.get(plainName(hostname))?.addresses.length ?? 0) > 0;
  }

  /** From now on nothing new is asked for: answers are old ones, or come from what is under way. */
  onlyKnown(): void {
    this.#onlyKnown = true;
    for (const { asking } of this.#entries.values()) asking?.release();
  }

  /** Ends what is under way, which fails; as `onlyKnown` from then on. May be called twice. */
  stop(): void {
    this.onlyKnown();
    for (const { asking } of this.#entries.values()) asking?.abort();
  }

  async #addresses(hostname: string): Promise<LookupAddress[]> {
    const literal = isIP(hostname);
    if (literal !== 0) return [{ address: hostname, family: literal }];
    const name = plainName(hostname);
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = { addresses: [], answeredAt: 0, failure: undefined, asking: undefined };
      this.#entries.set(name, entry);
    }
    const known = entry.addresses.length > 0;
    if (known && performance.now() - entry.answeredAt < this.#options.freshMs) return entry.addresses;
    const failedBefore = entry.failure !== undefined;
    if (entry.asking === undefined && this.#mayAsk(entry)) this.#ask(name, entry);
    // One that failed just now is not waited for again.
    if (!known) await entry.asking?.ended;
    else if (!failedBefore) await entry.asking?.enough;
    if (entry.addresses.length > 0) return entry.addresses;
    throw entry.failure?.error ?? failure('EAI_AGAIN', name);
  }

  #mayAsk({ failure }: Entry): boolean {
    return !this.#onlyKnown && (failure === undefined || performance.now() - failure.at >= this.#options.holdMs);
  }

  #ask(name: string, entry: Entry): void {
    const { limitMs, patienceMs } = this.#options;
    const controller = new AbortController();
    const abort = () => controller.abort();
    const limit = setTimeout(abort, limitMs);
    let release = () => {};
    const enough = new Promise<void>((resolve) => {
      release = resolve;
    });
    const patience = setTimeout(release, patienceMs);
    const ended = this.#search(name, controller.signal)
      .then(
        (addresses) => {
          entry.addresses = addresses;
          entry.answeredAt = performance.now();
          entry.failure = undefined;
        },
        (error: Error) => {
          entry.failure = { error, at: performance.now() };
        },
      )
      .finally(() => {
        clearTimeout(limit);
        clearTimeout(patience);
        entry.asking = undefined;
        release();
      });
    entry.asking = { ended, enough, release, abort };
  }

  async #search(name: string, signal: AbortSignal): Promise<LookupAddress[]> {
    const listed = addressesIn(await readFile(this.#options.hostsFile, 'utf8').catch(() => ''), name);
    if (listed.length > 0) return listed.map(withFamily);
    // Theirs whatever others say (https://www.rfc-editor.org/rfc/rfc6761#section-6.3).
    if (/(^|\.)localhost$/.test(name)) return ['127.0.0.1', '::1'].map(withFamily);
    const servers = () => askServers(name, this.#options.servers, signal);
    const system = () => askSystem(name, this.#options.program, signal);
    let cause: unknown;
    let definite = false;
    for (const ask of isLocal(name) ? [system, servers] : [servers, system]) {
      try {
        if (signal.aborted) break;
        return await ask();
      } catch (error) {
        cause = error;
        const code = errno(error) ?? '';
        definite ||= ['ENOTFOUND', 'ENODATA'].includes(code);
        // The system would ask the same silent servers, and has asked them where it found nothing.
        if (code === 'ETIMEOUT' || (ask === system && definite)) break;
      }
    }
    throw failure(definite && !signal.aborted ? 'ENOTFOUND' : 'EAI_AGAIN', name, cause);
  }
}

/** Names of which name servers know nothing: mDNS, and those that lack a search domain. */
function isLocal(name: string): boolean {
  return !name.includes('.') || name.endsWith('.local');
}

async function askServers(
  name: string,
  servers: readonly string[] | undefined,
  signal: AbortSignal,
): Promise<LookupAddress[]> {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  if (servers !== undefined) resolver.setServers(servers);
  const cancel = () => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  let delay: NodeJS.Timeout | undefined;
  const ipv4 = resolver.resolve4(name).then((found) => {
    delay = setTimeout(cancel, RESOLUTION_DELAY_MS);
    return found;
  });
  const [four, six] = await Promise.allSettled([ipv4, resolver.resolve6(name)]);
  clearTimeout(delay);
  signal.removeEventListener('abort', cancel);
  // IPv4 first: sockets try one after the other, and have most to do with networks that have no IPv6.
  const addresses = [four, six].flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  if (addresses.length > 0) return addresses.map(withFamily);
  throw (four as PromiseRejectedResult).reason;
}

function askSystem(
  name: string,
  [program, ...args]: readonly [string, ...string[]],
  signal: AbortSignal,
): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    const options = { signal, killSignal: 'SIGKILL', maxBuffer: MOST_OUTPUT, encoding: 'utf8' } as const;
    execFile(program, [...args, '--', name], options, (error, stdout) => {
      const addresses = addressesOf(stdout);
      if (error === null && addresses.length > 0) resolve(addresses);
      else reject(error === null || error.code === NOT_FOUND ? failure('ENOTFOUND', name) : error);
    });
  });
}

/** Reads what `getent ahosts` prints: `192.0.2.1  STREAM name`, each address once a kind of socket. */
export function addressesOf(ahosts: string): LookupAddress[] {
  const addresses = ahosts.split('\n').map((line) => line.split(/\s/, 1)[0] ?? '');
  return [...new Set(addresses)].filter((a) => isIP(a) !== 0).map(withFamily);
}

function withFamily(address: string): LookupAddress {
  return { address, family: isIP(address) };
}

function suits(address: LookupAddress, family: LookupOptions['family'] = 0): boolean {
  return family === 0 || family === address.family || family === `IPv${address.family}`;
}

/** With a code of getaddrinfo's, which those who report it know. */
function failure(code: 'ENOTFOUND' | 'EAI_AGAIN', hostname: string, cause?: unknown): NodeJS.ErrnoException {
  const error = new Error(`lookup ${code} ${hostname}`, cause === undefined ? undefined : { cause });
  return Object.assign(error, { code, hostname, syscall: 'lookup' });
}
