import type { Command } from 'commander';
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { badTlsFiles, connectionError, reasonCode, reasonText, refusedError } from '../alerts/broker-errors.js';
import { type BrokerAddress, parseBrokerUrl } from '../alerts/broker-url.js';
import { connectionSettings } from '../alerts/connection.js';
import { passwordSource, readPem } from '../alerts/credentials.js';
import { topics } from '../alerts/schema.js';
import {
  applyMessage,
  EMPTY_MODEL,
  expire,
  messageLine,
  readMessage,
  renderTable,
  type WatchMessage,
  watchFilters,
} from '../alerts/watch-model.js';
import { EdgeError, EXIT } from '../types/errors.js';
import { numberOption, optionValue, stopSignal } from './inputs.js';
import { globalOptions, print, printJson, printNote, usageError } from './shared.js';

interface WatchOptions {
  url: string;
  username?: string;
  passwordFile?: string;
  ca?: string;
  cert?: string;
  key?: string;
  prefix: string;
  device?: string;
  once?: true;
  seconds?: number;
}

export function register(program: Command): void {
  program
    .command('watch')
    .description('show tracks and cameras of any devices at a broker: a live table on a terminal, else lines')
    .option('--url <url>', 'broker: mqtt://host:1883 or mqtts://host:8883', 'mqtt://127.0.0.1:1883')
    .option('--username <name>', 'user name at the broker')
    .option('--password-file <file>', 'file whose first line is the password')
    .option('--ca <file>', "with mqtts: certificates (PEM) of the authority that signed the broker's")
    .option('--cert <file>', 'with mqtts: certificate (PEM) of this client')
    .option('--key <file>', 'with mqtts: its private key (PEM)')
    .option('--prefix <prefix>', 'first part of the topics', 'irst')
    .option('--device <id>', 'only this device')
    .option('--once', 'end after the first event')
    .option('--seconds <s>', 'end after so many seconds', numberOption(0.1, 1e6))
    .action(watch);
}

const CONNECT_MS = 10_000;
const REDRAW_MS = 200;

async function watch(options: WatchOptions, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  const { prefix, device } = options;
  optionValue('--prefix', () => topics(prefix, 'any'));
  if (device !== undefined) optionValue('--device', () => topics(prefix, device));
  const address = optionValue('--url', () => parseBrokerUrl(options.url));
  const client = await clientOptions(options, address);
  const broker = address.display;

  const live = !json && process.stdout.isTTY === true;
  const screen = live ? new Screen(broker) : undefined;
  const ended = new AbortController();
  const stop = stopSignal();
  stop.addEventListener('abort', () => ended.abort(), { once: true });
  const timer =
    options.seconds === undefined ? undefined : setTimeout(() => ended.abort(), Math.round(options.seconds * 1000));

  let last = Promise.resolve();
  const onMessage = (topic: string, payload: Buffer): void => {
    if (ended.signal.aborted) return;
    const message = readMessage(prefix, topic, payload);
    if (json) last = printJson(rawLine(topic, payload, message));
    else if (screen) screen.add(message);
    else {
      const line = message && messageLine(message, Date.now());
      if (line !== undefined) last = print(line);
    }
    if (options.once && message?.kind === 'events') ended.abort();
  };
  try {
    screen?.open();
    await follow(client, broker, watchFilters(prefix, device), onMessage, ended.signal, screen ? () => {} : printNote);
  } finally {
    clearTimeout(timer);
    screen?.close();
  }
  await last;
}

/** A message as it came, on one line. */
function rawLine(topic: string, payload: Buffer, message: WatchMessage | undefined): object {
  const at = new Date().toISOString();
  return message === undefined ? { at, topic, unreadable: payload.length } : { at, topic, payload: message.body };
}

async function clientOptions(options: WatchOptions, address: BrokerAddress): Promise<IClientOptions> {
  if (address.password !== undefined) {
    throw usageError(
      'a password in --url can be read by others',
      'put it into a file and name that with --password-file',
    );
  }
  const username = options.username ?? address.username;
  if (options.passwordFile !== undefined && username === undefined)
    throw usageError('--password-file goes with --username');
  if ((options.cert === undefined) !== (options.key === undefined)) throw usageError('--cert and --key go together');
  if (!['mqtts', 'wss'].includes(address.protocol) && (options.ca ?? options.cert) !== undefined) {
    throw usageError('--ca, --cert and --key go with mqtts://', 'give the broker as --url mqtts://HOST:8883');
  }
  const pem = (file: string | undefined, option: string) =>
    file === undefined ? Promise.resolve(undefined) : readPem(file, option);
  return {
    ...connectionSettings(address, {
      username,
      password: options.passwordFile === undefined ? undefined : passwordSource({ file: options.passwordFile })?.(),
      ca: await pem(options.ca, '--ca'),
      cert: await pem(options.cert, '--cert'),
      key: await pem(options.key, '--key'),
    }),
    // MQTT 3.1.1, which every broker speaks, the embedded one too. The client id is made up: any number may watch.
    protocolVersion: 4,
    connectTimeout: CONNECT_MS,
    reconnectPeriod: 1_000,
    keepalive: 15,
  };
}

/**
 * Subscribes and hands messages on until the signal. A first connection that fails is an error; one that is lost later is made again.
 */
async function follow(
  options: IClientOptions,
  broker: string,
  filters: string[],
  onMessage: (topic: string, payload: Buffer) => void,
  signal: AbortSignal,
  note: (text: string) => unknown,
): Promise<void> {
  if (signal.aborted) return;
  const client = connectOrThrow(options, broker);
  try {
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
      let connected = false;
      client.on('message', onMessage);
      client.on('connect', () => {
        if (connected) note(`${broker}: connected again`);
        connected = true;
        client.subscribe(filters, { qos: 1 }, (error, _subscriptions, packet) => {
          // The second argument is what was asked for.
          const codes = packet?.granted?.map(Number) ?? [];
          const refused = codes.findIndex((code) => code >= 128);
          if (refused >= 0) reject(notReadable(broker, filters[refused] as string, codes[refused] as number));
          else if (error) note(`${broker}: ${error.message}`);
        });
      });
      client.on('error', (error) => {
        const code = reasonCode(error);
        if (code !== undefined) reject(refusedError(broker, code));
        else if (!connected) reject(noConnection(broker, error));
      });
      client.on('close', () => {
        if (signal.aborted) return;
        if (connected) note(`${broker}: the connection ended; it is made again`);
        // Somebody listens, but did not answer as a broker in time.
        else reject(noConnection(broker, new Error('no answer')));
      });
    });
  } finally {
    // Nothing of ours is on the way.
    client.end(true);
  }
}

function connectOrThrow(options: IClientOptions, broker: string): MqttClient {
  try {
    return connect(options);
  } catch (error) {
    throw badTlsFiles(broker, error);
  }
}

function notReadable(broker: string, filter: string, code: number): EdgeError {
  return new EdgeError(
    'BROKER_REFUSED_SUBSCRIPTION',
    `broker ${broker} refused the subscription to ${filter}: ${reasonText(code)} (code ${code})`,
    { hint: 'check what the broker allows this user to read', exitCode: EXIT.unavailable },
  );
}

/** The daemon tries again for ever; here somebody waits for an answer. */
function noConnection(broker: string, cause: unknown): EdgeError {
  const { code, message, exitCode } = connectionError(broker, cause, false);
  return new EdgeError(code, message, {
    hint: 'check --url (and --ca): is that where the broker listens?',
    exitCode,
    cause,
  });
}

/** The table on the terminal's second screen, so that what was there before comes back. */
class Screen {
  private model = EMPTY_MODEL;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly broker: string) {}

  open(): void {
    process.stdout.write('\x1b[?1049h\x1b[?25l');
    this.draw();
    this.timer = setInterval(() => this.draw(), REDRAW_MS);
  }

  add(message: WatchMessage | undefined): void {
    this.model = applyMessage(this.model, message, Date.now());
  }

  close(): void {
    clearInterval(this.timer);
    process.stdout.write('\x1b[?25h\x1b[?1049l');
  }

  private draw(): void {
    const nowMs = Date.now();
    this.model = expire(this.model, nowMs);
    const { columns: width = 80, rows: height = 24 } = process.stdout;
    const colour = process.env.NO_COLOR === undefined || process.env.NO_COLOR === '';
    const head = `${this.broker}   Ctrl-C ends`.slice(0, width);
    const lines = [head, '', ...renderTable(this.model, { width, colour, nowMs, height: height - 2 })];
    // Over the old picture, without clearing it first: that would flicker.
    process.stdout.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`);
  }
}
