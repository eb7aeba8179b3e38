// Inside the guest: checks with a name and a limit, told to the host one by one. Survives a power cut: `phase` is kept on the disk.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { release } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

export const run = promisify(execFile);
export { delay };

// Without udev it has no name; there is only one.
const port = openSync(`/dev/${readdirSync('/dev').find((name) => /^vport\d+p1$/.test(name))}`, 'w');
const STATE = '/var/lib/vm-test/phase';

export function tell(message) {
  // In pieces: the port takes no more than fits its ring at once.
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(port, bytes, at, Math.min(4096, bytes.length - at));
}

export const log = (text) => tell({ type: 'log', text: String(text).slice(0, 4000) });
export const note = (text) => tell({ type: 'note', text });

const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
const usual = readFileSync('/proc/1/comm', 'utf8').trim() === 'systemd' ? 40 : 15;
/** How much slower than an idle machine with two cores this one is, as the boot shows: time limits are stretched so far. */
export const patience = Math.min(20, Math.max(1, uptime / usual));

/** Number of the phase to run: 0, or what `nextPhase` kept before the power went. */
export function phase() {
  try {
    return Number(readFileSync(STATE, 'utf8'));
  } catch {
    return 0;
  }
}

/** Keeps the phase for after the power cut; synchronously on the disk. */
export function keepPhase(number) {
  mkdirSync('/var/lib/vm-test', { recursive: true });
  const file = openSync(STATE, 'w');
  writeSync(file, String(number));
  fsyncSync(file);
  closeSync(file);
  const folder = openSync('/var/lib/vm-test', 'r');
  fsyncSync(folder);
  closeSync(folder);
}

export async function booted(more = {}) {
  tell({
    type: 'boot',
    guest: { kernel: release(), node: process.version, patience: Math.round(patience * 10) / 10, ...more },
  });
}

let failures = 0;
const only = process.env.VM_ONLY ? new RegExp(process.env.VM_ONLY) : undefined;

/** What a failed check's report tells besides its error; a suite sets it. */
export const failure = { context: async () => '' };

/** One check. `body` returns figures for the report; what it throws is why it failed. */
export async function check(name, limitSeconds, body) {
  if (only && !only.test(name)) return undefined;
  const start = performance.now();
  const timer = new AbortController();
  const seconds = () => Math.round((performance.now() - start) / 100) / 10;
  try {
    const figures = await Promise.race([
      body(),
      delay(limitSeconds * patience * 1000, undefined, { signal: timer.signal }).then(() => {
        throw new Error(`not done after ${Math.round(limitSeconds * patience)} s`);
      }),
    ]);
    tell({ type: 'check', name, ok: true, seconds: seconds(), ...(figures === undefined ? {} : { figures }) });
    return true;
  } catch (error) {
    failures++;
    const why = String(error?.stack ?? error).slice(0, 6000);
    const context = await failure.context().catch((reason) => `no context: ${reason}`);
    tell({ type: 'check', name, ok: false, seconds: seconds(), why: `${why}\n${context}`.trimEnd() });
    return false;
  } finally {
    timer.abort();
  }
}

export async function done() {
  tell({ type: 'done', failures });
  // The host ends the machine.
  await delay(60_000);
}

/** Waits until `probe` gives something true, looked at every `everyMs`. */
export async function until(what, seconds, probe, everyMs = 200) {
  const end = performance.now() + seconds * patience * 1000;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (performance.now() > end) throw new Error(`${what}: not within ${Math.round(seconds * patience)} s`);
    await delay(everyMs);
  }
}

/** A program that runs beside the test; its output is kept. `stop()` before it is let go. */
export class Background {
  output = '';
  constructor(command, args, options = {}) {
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        this.output = (this.output + text).slice(-200_000);
      });
    }
    this.child.stdin.on('error', () => {});
    this.exited = once(this.child, 'exit').catch(() => []);
  }
  get running() {
    return this.child.exitCode === null && this.child.signalCode === null;
  }
  async stop(signal = 'SIGTERM', ms = 20_000 * patience) {
    if (this.running) this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), ms);
    const [code, by] = await this.exited;
    clearTimeout(timer);
    return { code, signal: by };
  }
}

/** What is published, as it comes. */
export class Subscriber {
  messages = [];
  constructor(client) {
    this.client = client;
  }
  static async connect(mqtt, url, topic = 'irst/#') {
    const client = mqtt.connect(url, { reconnectPeriod: 500, connectTimeout: 60_000 });
    const it = new Subscriber(client);
    client.on('message', (name, payload, packet) => {
      const text = payload.toString();
      let value = text;
      try {
        value = JSON.parse(text);
      } catch {
        // A plain word.
      }
      it.messages.push({ topic: name, value, retain: packet.retain, at: performance.now() });
      if (it.messages.length > 20_000) it.messages.splice(0, 10_000);
    });
    client.on('error', () => {});
    if (!client.connected) await once(client, 'connect');
    await client.subscribeAsync(topic, { qos: 1 });
    return it;
  }
  /** The first message from `from` on (an index) whose topic ends so and that `fits`. */
  wait(topicEnd, seconds, fits = () => true, from = 0) {
    return until(`a message ...${topicEnd}`, seconds, () =>
      this.messages.slice(from).find(({ topic, value }) => topic.endsWith(topicEnd) && fits(value)),
    );
  }
  last(topicEnd) {
    return this.messages.findLast(({ topic }) => topic.endsWith(topicEnd))?.value;
  }
  end() {
    return this.client.endAsync(true);
  }
}

/** Writes a configuration file (JSON is YAML). */
export function writeConfig(file, config) {
  writeFileSync(file, JSON.stringify(config, null, 1));
}
