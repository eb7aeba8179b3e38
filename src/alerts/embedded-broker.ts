import type { EventEmitter } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { Aedes, type Client } from 'aedes';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { FilterAllowance, type FilterLimits } from './filter-allowance.js';
import { PacketSizes, SUBSCRIBE, UNSUBSCRIBE } from './packet-sizes.js';

/** Home Assistant with a device of four cameras subscribes to about eighty filters at once. */
const FILTER_LIMITS: FilterLimits = { maxFilters: 128, perSecond: 16, maxBytes: 1_024 };
/** Largest packet that subscribes or gives up, bytes: aedes takes one packet in one go. */
const SUBSCRIBE_MAX_BYTES = 64 * 1024;
/** Room in a packet beside its payload: the longest topic, and headers. */
const PACKET_OVERHEAD = 64 * 1024 + 16;
/** Messages of QoS 2 that one client may leave half sent: aedes keeps them whole. */
const MAX_HALF_SENT = 20;
/** Clients that were closed are mentioned at most so often, ms. */
const REFUSED_EVERY_MS = 30_000;

export interface EmbeddedBrokerOptions {
  /** Default 127.0.0.1: it asks for no password, so other machines get in only where this is changed on purpose. */
  host?: string;
  /** Default 1883; 0: any free one. */
  port?: number;
  /** Further connections are closed at once. Default 32. */
  maxConnections?: number;
  /** Largest payload a client may publish, bytes. Default 256 KiB. */
  maxMessageBytes?: number;
  /** Most topics with a retained message. Default 1 000. */
  maxRetained?: number;
  /** For what goes wrong after `start`. */
  onProblem?: (error: EdgeError) => void;
}

export interface EmbeddedBrokerInfo {
  host: string;
  /** The port it really listens on. */
  port: number;
  /** `mqtt://127.0.0.1:40123` */
  url: string;
}

/**
 * An MQTT broker inside the process, for where none is configured. Speaks MQTT 3.1.1 only (aedes): connect with
 * `protocolVersion: 4`. Everything is in memory; sessions are not kept.
 */
export class EmbeddedBroker {
  readonly #options: Required<Omit<EmbeddedBrokerOptions, 'onProblem'>> & Pick<EmbeddedBrokerOptions, 'onProblem'>;
  #server: Server | undefined;
  #aedes: Aedes | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #retained = new Set<string>();
  readonly #filters = new WeakMap<Client, FilterAllowance>();
  #refused = 0;
  #refusedSaid = 0;
  #refusedAt = Number.NEGATIVE_INFINITY;
  #info: EmbeddedBrokerInfo | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: EmbeddedBrokerOptions = {}) {
    this.#options = {
      host: options.host ?? '127.0.0.1',
      port: options.port ?? 1883,
      maxConnections: options.maxConnections ?? 32,
      maxMessageBytes: options.maxMessageBytes ?? 256 * 1024,
      maxRetained: options.maxRetained ?? 1_000,
      ...(options.onProblem === undefined ? {} : { onProblem: options.onProblem }),
    };
  }

  /** Where it listens; undefined unless started. */
  get info(): EmbeddedBrokerInfo | undefined {
    return this.#info;
  }

  /** Clients closed, and subscriptions refused, because they went over a limit. */
  get refused(): number {
    return this.#refused;
  }

  /** Listens. Throws `EdgeError`: `PORT_IN_USE`, `PORT_FORBIDDEN`, `BAD_LISTEN_ADDRESS`. */
  async start(signal?: AbortSignal): Promise<EmbeddedBrokerInfo> {
    signal?.throwIfAborted();
    if (this.#info !== undefined) return this.#info;
    const { host, port } = this.#options;
    const server = createServer({ noDelay: true, keepAlive: true }, (socket) => this.#accept(socket));
    server.maxConnections = this.#options.maxConnections;
    this.#server = server;
    try {
      // Listen first: where that fails, there is nothing else to take down.
      await listen(server, host, port);
      this.#aedes = await this.#createAedes();
    } catch (error) {
      server.close();
      this.#server = undefined;
      throw listenError(error, host, port);
    }
    const report = (error: Error) =>
      this.#options.onProblem?.(
        new EdgeError('EMBEDDED_BROKER', `embedded broker: ${error.message}`, {
          cause: error,
          exitCode: EXIT.software,
        }),
      );
    server.on('error', report);
    // Missing in its types: a fault of its storage, fatal without a listener.
    (this.#aedes as EventEmitter).on('error', report);
    if (signal?.aborted) {
      await this.stop();
      signal.throwIfAborted();
    }
    const real = (server.address() as AddressInfo).port;
    this.#info = { host, port: real, url: `mqtt://${host.includes(':') ? `[${host}]` : host}:${real}` };
    return this.#info;
  }

  /** Closes everything, within a second, for good. May be called twice, and before `start`. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const server = this.#server;
    const aedes = this.#aedes;
    this.#info = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    if (aedes !== undefined) await within(500, new Promise<void>((resolve) => aedes.close(() => resolve())));
    for (const socket of this.#sockets) socket.destroy();
    await within(400, closed);
  }

  #accept(socket: Socket): void {
    const aedes = this.#aedes;
    if (aedes === undefined) {
      // Between listening and the broker's being ready, a few microtasks.
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    // Aedes listens too, but not to the very end.
    socket.on('error', () => {});
    aedes.handle(socket);
    const { maxMessageBytes } = this.#options;
    const sizes = new PacketSizes((type) =>
      type === SUBSCRIBE || type === UNSUBSCRIBE ? SUBSCRIBE_MAX_BYTES : maxMessageBytes + PACKET_OVERHEAD,
    );
    // Aedes reads by itself; this only looks on: with a 'readable' listener, 'data' comes from its `read()`.
    socket.on('data', (chunk) => {
      const over = socket.destroyed ? undefined : sizes.take(chunk);
      if (over === undefined) return;
      this.#refuse(`a packet of ${over.bytes} bytes`);
      socket.destroy();
    });
  }

  /** Counts what is refused, and says so now and then. Returns what to give to aedes, which then closes the client. */
  #refuse(why: string, what = 'a client was closed'): Error {
    this.#refused += 1;
    const now = performance.now();
    if (now - this.#refusedAt >= REFUSED_EVERY_MS) {
      const before = this.#refused - this.#refusedSaid - 1;
      this.#refusedAt = now;
      this.#refusedSaid = this.#refused;
      this.#options.onProblem?.(
        new EdgeError(
          'EMBEDDED_BROKER_CLIENT',
          `embedded broker: ${what}: ${why}${before > 0 ? `; ${before} more before` : ''}`,
          { hint: 'Where clients need more, use a broker of its own (mqtt.url).', exitCode: EXIT.unavailable },
        ),
      );
    }
    return new Error(why);
  }

  async #createAedes(): Promise<Aedes> {
    const { maxMessageBytes, maxRetained } = this.#options;
    const closed = new Error('closed');
    const aedes = await Aedes.createBroker({
      // A subscriber that stops reading holds up no one for long.
      drainTimeout: 5_000,
      connectTimeout: 10_000,
      maxInflightInbound: MAX_HALF_SENT,
      preConnect: (_client, packet, done) => {
        // Queues for subscribers that are away are unbounded in aedes: keep no sessions.
        packet.clean = true;
        done(null, true);
      },
      authorizePublish: (_client, packet, done) => {
        if (packet.topic.startsWith('$')) return done(this.#refuse('a reserved topic'));
        if (packet.payload.length > maxMessageBytes)
          return done(this.#refuse(`a payload of ${packet.payload.length} bytes`));
        if (packet.retain) {
          if (packet.payload.length === 0) this.#retained.delete(packet.topic);
          else if (this.#retained.size >= maxRetained && !this.#retained.has(packet.topic))
            return done(this.#refuse(`more than ${maxRetained} retained messages`));
          else this.#retained.add(packet.topic);
        }
        return done(null);
      },
      authorizeSubscribe: (client, subscription, done) => {
        // The rest of the packet that it was closed for.
        if (client.closed) return done(closed);
        const filters = this.#filters.get(client) ?? new FilterAllowance(FILTER_LIMITS);
        this.#filters.set(client, filters);
        const why = filters.take(subscription.topic);
        if (why === undefined) return done(null, subscription);
        // SUBACK 128, and no retained message is looked at: it may ask again later, and keeps what it has.
        this.#refuse(why, 'a subscription was refused');
        return done(null, null);
      },
    });
    const told = new WeakSet<Client>();
    aedes.on('clientError', (client, error) => {
      // Once for each message that was in the pipe.
      if (!error.message.startsWith('maxInflightInbound') || told.has(client)) return;
      told.add(client);
      this.#refuse('too many messages of QoS 2 half sent');
    });
    aedes.on('unsubscribe', (filters, client) => this.#filters.get(client)?.release(filters));
    return aedes;
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function listenError(error: unknown, host: string, port: number): unknown {
  const options = { cause: error, exitCode: EXIT.unavailable };
  switch (errno(error)) {
    case 'EADDRINUSE':
      return new EdgeError('PORT_IN_USE', `embedded broker: port ${port} on ${host} is in use`, {
        ...options,
        hint: 'Set embeddedBroker.port to another port (0: any free one), or point mqtt.url at the broker that runs there.',
      });
    case 'EACCES':
      return new EdgeError('PORT_FORBIDDEN', `embedded broker: no right to listen on port ${port} of ${host}`, {
        ...options,
        hint: 'Set embeddedBroker.port to a port from 1024 up.',
      });
    // The address or the name may come later: DHCP, DNS.
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new EdgeError('BAD_LISTEN_ADDRESS', `embedded broker: ${host} is no address of this machine now`, {
        ...options,
        hint: 'Set embeddedBroker.host to 127.0.0.1, or to 0.0.0.0 for all interfaces.',
      });
    case undefined:
      return error;
    default:
      return new EdgeError('BAD_LISTEN_ADDRESS', `embedded broker: cannot listen on ${host}: ${errno(error)}`, {
        ...options,
        hint: 'Set embeddedBroker.host to 127.0.0.1, or to 0.0.0.0 for all interfaces; a link-local address needs its interface (fe80::1%eth0).',
        // A link-local address without its interface, or of a family that the machine does not speak; anything else may pass.
        ...((errno(error) === 'EINVAL' && !host.includes('%')) || errno(error) === 'EAFNOSUPPORT'
          ? { exitCode: EXIT.config }
          : {}),
      });
  }
}

/** Resolves with the promise or after `ms`. */
async function within(ms: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
