import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { answers, freePort } from '../../src/util/ports.js';

/** Debian puts mosquitto where a user's PATH does not look. */
const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` };
const READY_MS = 20_000;

export interface MosquittoOptions {
  /** Further lines of mosquitto.conf. `{dir}` stands for the broker's temporary folder. */
  config?: string[];
  /** Files to put into that folder: name → content. */
  files?: Record<string, string>;
  /** Without it, the config says `allow_anonymous true`. */
  noAnonymous?: boolean;
  /** Default: a free one. */
  port?: number;
}

export interface Mosquitto {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Its temporary folder; gone after `stop`. */
  readonly dir: string;
  /** What it logged so far, over all its lives. */
  log(): string;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>;
  /** Starts it again on the same port, after `kill`. */
  restart(): Promise<void>;
  /** Ends it and removes the folder. */
  stop(): Promise<void>;
}

/** Starts a real mosquitto on 127.0.0.1 and waits until it answers. */
export async function startMosquitto(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const dir = await mkdtemp(join(tmpdir(), 'irst-mosquitto-'));
  for (const [name, content] of Object.entries(options.files ?? {})) await writeFile(join(dir, name), content);
  // The port may be taken between our asking for it and the broker's: try another.
  for (let left = options.port === undefined ? 3 : 1; ; left -= 1) {
    const broker = new Broker(dir, options.port ?? (await freePort()), options);
    try {
      await broker.restart();
      return broker;
    } catch (error) {
      await broker.kill();
      if (left <= 1) {
        await rm(dir, { recursive: true, force: true });
        throw error;
      }
    }
  }
}

class Broker implements Mosquitto {
  readonly dir: string;
  readonly port: number;
  readonly #options: MosquittoOptions;
  #process: ChildProcess | undefined;
  #log = '';

  constructor(dir: string, port: number, options: MosquittoOptions) {
    this.dir = dir;
    this.port = port;
    this.#options = options;
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  log(): string {
    return this.#log;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  async restart(): Promise<void> {
    const config = [
      // As root it would become the user mosquitto, who may not read our folder.
      ...(process.getuid?.() === 0 ? ['user root'] : []),
      `listener ${this.port} 127.0.0.1`,
      `allow_anonymous ${this.#options.noAnonymous === true ? 'false' : 'true'}`,
      'log_dest stderr',
      'log_type all',
      ...(this.#options.config ?? []).map((line) => line.replaceAll('{dir}', this.dir)),
    ];
    const file = join(this.dir, 'mosquitto.conf');
    await writeFile(file, `${config.join('\n')}\n`);
    const child = spawn('mosquitto', ['-c', file], { env: ENV, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    let failure: Error | undefined;
    child.on('error', (error) => {
      failure = error;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#log = (this.#log + text).slice(-1_000_000);
    });
    const deadline = Date.now() + READY_MS;
    while (!(await answers(this.port))) {
      if (failure !== undefined) throw failure;
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`mosquitto did not start:\n${this.#log}`);
      await delay(20);
    }
    // Another process might answer there, ours having failed to bind.
    if (child.exitCode !== null) throw new Error(`mosquitto did not start:\n${this.#log}`);
  }

  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }
}

export interface Subscriber {
  /** `[topic, payload]` of each message so far. */
  readonly messages: [topic: string, payload: string][];
  /** Waits until `done` holds of the messages; throws after 20 s. */
  until(done: (messages: [topic: string, payload: string][]) => boolean): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a mosquitto_sub, an independent MQTT client in a process of its own, and waits until it is subscribed.
 *
 * @param args further arguments, for example `['-q', '1', '-V', 'mqttv5']`
 */
export async function startSubscriber(port: number, topic: string, args: string[] = []): Promise<Subscriber> {
  // Into a pipe, it would keep what -d prints ("Subscribed") until the first message: make it write by lines.
  const command = ['-oL', 'mosquitto_sub', '-h', '127.0.0.1', '-p', String(port), '-t', topic, '-v', '-d', ...args];
  const child = spawn('stdbuf', command, { env: ENV, stdio: ['ignore', 'pipe', 'pipe'] });
  const messages: [string, string][] = [];
  const waiting = new Set<() => void>();
  let subscribed = false;
  let rest = '';
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-10_000);
  });
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (/^Subscribed \(mid/.test(line)) subscribed = true;
      // The rest of what -d prints begins with "Client".
      else if (!/^Client /.test(line)) {
        const at = line.indexOf(' ');
        messages.push([line.slice(0, at), line.slice(at + 1)]);
      }
    }
    for (const wake of waiting) wake();
  });
  const until = async (done: () => boolean) => {
    const deadline = Date.now() + READY_MS;
    while (!done()) {
      if (Date.now() > deadline || (child.exitCode !== null && !done())) {
        throw new Error(`mosquitto_sub: waited in vain; ${messages.length} messages; ${complaints}`);
      }
      await Promise.race([
        new Promise<void>((resolve) => {
          const wake = () => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        }),
        delay(100),
      ]);
    }
  };
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  try {
    await until(() => subscribed);
  } catch (error) {
    await stop();
    throw error;
  }
  return { messages, until: (done) => until(() => done(messages)), stop };
}
