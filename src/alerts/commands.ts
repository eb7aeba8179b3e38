import { EdgeError, EXIT } from '../types/errors.js';
import {
  COMMAND_MAX_BYTES,
  type CommandAnswer,
  type CommandError,
  type CommandName,
  commandAnswer,
  parseCommand,
  RETAINED_COMMANDS,
  type StatsMessage,
  type Topics,
  topics,
} from './schema.js';

export type CommandValue = boolean | number | string | null;
export type CommandResult =
  | { ok: true; value: NonNullable<CommandAnswer['value']> | null }
  | { ok: false; error: CommandError | string };

export interface CommandsOptions {
  device: string;
  /** Start of all topics. Default `irst`. */
  prefix?: string;
  /** Cameras that there are; commands for others are refused without an answer. */
  cameras: readonly string[];
  /** Carries a command out. May reject: that is a refusal. One at a time for each camera and name. */
  onCommand(name: CommandName, camera: string, value: CommandValue): Promise<CommandResult>;
  /** Sends the answer: retained (and kept over reconnects) or once. */
  answer(topic: string, payload: string, options: { retain: boolean }): void;
  /** Commands a second, on average, and at once. Default 5 and 20. */
  ratePerSecond?: number;
  burst?: number;
  /** Longest that a command may take before it is refused, ms; one that is done later is told of then. Default 10 000. */
  timeoutMs?: number;
  /** For tests: wall clock, ms since 1970, and a clock that is never set, ms. */
  now?: () => number;
  monotonic?: () => number;
}

export const COMMAND_DROP_REASONS = [
  /** A retained order: not given now, to us. */
  'retained',
  /** Too many a second. */
  'rate',
  /** No such command, or camera. */
  'unknown',
  /** A newer one of the same kind came before it was begun; answered all the same. */
  'superseded',
  /** Came after the stop. */
  'shutdown',
] as const;
export type CommandDropReason = (typeof COMMAND_DROP_REASONS)[number];

/** `received = done + refused + sum(dropped) + pending` at any time. */
export interface CommandCounters {
  received: number;
  done: number;
  /** Answered with an error: all, and by its code. */
  refused: number;
  refusedBy: Record<string, number>;
  dropped: Record<CommandDropReason, number>;
  /** Under way or next. */
  pending: number;
}

/** Most codes that refusals are counted by. */
const MAX_CODES = 32;

interface Order {
  value: CommandValue;
  id: string | undefined;
}

/**
 * Commands from the broker: `<prefix>/<device>/<camera>/<name>/set`. Checks them, has them carried out, and answers on
 * `<name>/state` with the value in force, or with the reason why not. Whatever arrives, it neither throws nor floods.
 */
export class Commands {
  readonly #options: Required<CommandsOptions>;
  readonly #topics: Topics;
  readonly #counts = { received: 0, done: 0, refused: 0 };
  readonly #refusedBy = new Map<string, number>();
  readonly #dropped = Object.fromEntries(COMMAND_DROP_REASONS.map((r) => [r, 0])) as Record<CommandDropReason, number>;
  /** By camera and name: under way, and the one after it. */
  readonly #pending = new Map<string, { next: Order | undefined }>();
  /** What is in force, as last told: goes into refusals. */
  readonly #inForce = new Map<string, CommandAnswer['value']>();
  #tokens: number;
  #tokensAt: number;
  #stopped = false;

  /** Throws `EdgeError` `BAD_TOPIC_NAME`. */
  constructor(options: CommandsOptions) {
    this.#options = {
      prefix: 'irst',
      ratePerSecond: 5,
      burst: 20,
      timeoutMs: 10_000,
      now: Date.now,
      monotonic: () => performance.now(),
      ...options,
    };
    this.#topics = topics(this.#options.prefix, options.device);
    this.#tokens = this.#options.burst;
    this.#tokensAt = this.#options.monotonic();
  }

  /** To subscribe to. */
  get filters(): string[] {
    return [this.#topics.commands];
  }

  /** Tells the value in force without a command: at the start, and whenever it changes by itself. */
  tell(name: CommandName, camera: string, value: NonNullable<CommandAnswer['value']> | null): void {
    this.#answer(name, camera, { value });
  }

  /** A message from the broker. Never throws. */
  onMessage(topic: string, payload: Uint8Array, packet: { retain: boolean }): void {
    this.#counts.received += 1;
    const why = this.#accept(topic, payload, packet);
    if (why !== undefined) this.#dropped[why] += 1;
  }

  #accept(topic: string, payload: Uint8Array, packet: { retain: boolean }): CommandDropReason | undefined {
    if (this.#stopped) return 'shutdown';
    if (packet.retain) return 'retained';
    // Before anything is read, and before any answer: a flood costs nothing but this.
    if (!this.#mayPass()) return 'rate';
    const target = this.#topics.parseCommand(topic);
    if (target === undefined || !this.#options.cameras.includes(target.camera)) return 'unknown';
    const { camera, command: name } = target;
    const parsed = parseCommand(name, plainToJson(name, payload));
    if (!parsed.ok) {
      this.#refuse(name, camera, parsed.error, parsed.id);
      return undefined;
    }
    const order: Order = { value: parsed.command.value, id: parsed.command.id };
    const key = `${camera}/${name}`;
    const pending = this.#pending.get(key);
    if (pending === undefined) {
      this.#pending.set(key, { next: undefined });
      void this.#work(key, name, camera, order);
      return undefined;
    }
    const replaced = pending.next;
    pending.next = order;
    if (replaced === undefined) return undefined;
    const error = { code: 'COMMAND_SUPERSEDED', message: 'a newer one came before it was begun' };
    this.#answerRefusal(name, camera, error, replaced.id);
    return 'superseded';
  }

  counters(): CommandCounters {
    let pending = 0;
    for (const { next } of this.#pending.values()) pending += next === undefined ? 1 : 2;
    return {
      ...this.#counts,
      refusedBy: Object.fromEntries(this.#refusedBy),
      dropped: { ...this.#dropped },
      pending,
    };
  }

  /** Takes no more. What is under way is finished, unless it hangs; it is answered no more. */
  stop(): void {
    this.#stopped = true;
  }

  async #work(key: string, name: CommandName, camera: string, first: Order): Promise<void> {
    for (let order: Order | undefined = first; order !== undefined; ) {
      const result = await this.#carryOut(name, camera, order.value);
      const pending = this.#pending.get(key) as { next: Order | undefined };
      const next = pending.next;
      if (next === undefined) this.#pending.delete(key);
      else pending.next = undefined;
      if (result.ok) {
        this.#counts.done += 1;
        this.#answer(name, camera, { value: result.value, ...(order.id === undefined ? {} : { id: order.id }) });
      } else {
        const { error } = result;
        const plain = typeof error === 'string' ? { code: 'COMMAND_REFUSED', message: error } : error;
        this.#refuse(name, camera, plain, order.id);
      }
      order = next;
    }
  }

  async #carryOut(name: CommandName, camera: string, value: CommandValue): Promise<CommandResult> {
    const { onCommand, timeoutMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    let refused = false;
    const late = new Promise<CommandResult>((resolve) => {
      timer = setTimeout(() => {
        refused = true;
        resolve({ ok: false, error: `not done within ${timeoutMs} ms` });
      }, timeoutMs);
      timer.unref();
    });
    const done = async () => {
      const result = await onCommand(name, camera, value);
      // Done all the same: what the refusal said is in force is so no more.
      if (refused && result.ok && RETAINED_COMMANDS[name]) this.tell(name, camera, result.value);
      return result;
    };
    try {
      return await Promise.race([done(), late]);
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: unknown };
      const text = String(message ?? error);
      return { ok: false, error: typeof code === 'string' ? { code, message: text } : text };
    } finally {
      clearTimeout(timer);
    }
  }

  #refuse(name: CommandName, camera: string, error: CommandError, id: string | undefined): void {
    this.#counts.refused += 1;
    // Whatever carries commands out may bring codes of its own: bounded all the same.
    const code = this.#refusedBy.size < MAX_CODES || this.#refusedBy.has(error.code) ? error.code : 'other';
    this.#refusedBy.set(code, (this.#refusedBy.get(code) ?? 0) + 1);
    this.#answerRefusal(name, camera, error, id);
  }

  #answerRefusal(name: CommandName, camera: string, error: CommandError, id: string | undefined): void {
    const value = this.#inForce.get(`${camera}/${name}`);
    this.#answer(name, camera, {
      error,
      ...(value === undefined ? {} : { value }),
      ...(id === undefined ? {} : { id }),
    });
  }

  #answer(
    command: CommandName,
    camera: string,
    what: { value?: CommandAnswer['value']; error?: CommandError; id?: string },
  ): void {
    if (this.#stopped) return;
    const retain = RETAINED_COMMANDS[command];
    if (retain && what.error === undefined) this.#inForce.set(`${camera}/${command}`, what.value);
    const message = commandAnswer({
      device: this.#options.device,
      camera,
      command,
      atMs: this.#options.now(),
      ...what,
    });
    this.#options.answer(this.#topics.commandState(camera, command), JSON.stringify(message), { retain });
  }

  #mayPass(): boolean {
    const { ratePerSecond, burst, monotonic } = this.#options;
    const now = monotonic();
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#tokensAt) * ratePerSecond) / 1_000);
    this.#tokensAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

// A map: an object would know "constructor" too.
const SWITCH: ReadonlyMap<string, boolean> = new Map([
  ['on', true],
  ['off', false],
  ['true', true],
  ['false', false],
]);

/** People and home automation send `ON` or `day` as they are: makes JSON of a bare word. */
function plainToJson(name: CommandName, payload: Uint8Array): Uint8Array {
  if (payload.length > COMMAND_MAX_BYTES) return payload;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(payload).trim();
  } catch {
    return payload;
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(text)) return payload;
  // A profile may be called `on`, `true` or `7`.
  if (name === 'profile') return Buffer.from(JSON.stringify(text));
  const asSwitch = name === 'enabled' || name === 'snapshot' ? SWITCH.get(text.toLowerCase()) : undefined;
  try {
    JSON.parse(text);
    return payload;
  } catch {
    return Buffer.from(JSON.stringify(asSwitch ?? text));
  }
}

/** The counters as /stats tells them. */
export function commandStats({ received, done, refused, dropped, pending }: CommandCounters): StatsMessage['commands'] {
  return { received, done, refused, dropped: { ...dropped }, pending };
}

/** For the log. @param counts `rate 3, COMMAND_VALUE 1` */
export function commandsRefused(counts: string): EdgeError {
  return new EdgeError('COMMANDS_REFUSED', `commands were not carried out: ${counts}`, {
    hint: 'docs/alerts.md explains each reason; look at who publishes on the command topics (.../set).',
    exitCode: EXIT.dataError,
  });
}
