// Runs the daemon for long with random faults from a seed, watches memory, handles, threads and latency, and checks that every frame
// and every event has a fate. Needs a build, mosquitto, and Linux (/proc).
//
//   node scripts/soak.mjs [--minutes 10] [--seed 1] [--fps 30] [--size 160x120] [--out DIR] [--no-faults] [--latency-factor 1.5]
//                         [--only KIND,KIND] [--pause 12]
//
// Two cameras: a synthetic scene (without end) and the recording test/fixtures/drone-sky (in a loop). Faults, at random times:
// broker SIGKILLed and restarted, frozen (SIGSTOP); the link cut in the middle of packets; the store's process killed; the state disk
// full (as root: a small tmpfs); the recording gone, until its camera's worker fails and is restarted; a flood of commands, valid and
// not; SIGHUP; and, after a tenth of the time and then every half hour, the whole daemon SIGKILLed. Writes report.json, report.md, soak.svg into --out. Exit status: 0 all checks hold.
// --only: these faults and no other (names as in the report), to find out which one a change is of; --pause: longest rest between two, s.
// --latency-factor: how many times as high the last third's latency may be; more where other work comes and goes.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import mqtt from 'mqtt';
import { uniform } from '../dist/capture/random.js';
import { freePort } from '../dist/util/ports.js';
import { judge, markdown, plots } from './soak-report.mjs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    fps: { type: 'string', default: '30' },
    size: { type: 'string', default: '160x120' },
    out: { type: 'string' },
    'no-faults': { type: 'boolean', default: false },
    'latency-factor': { type: 'string', default: '1.5' },
    only: { type: 'string' },
    pause: { type: 'string', default: '12' },
  },
});
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CLI = join(ROOT, 'dist/cli.js');
const PATH = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;
const durationMs = Number(values.minutes) * 60_000;
const [width, height] = values.size.split('x').map(Number);
const out = values.out ?? mkdtempSync(join(tmpdir(), 'irst-soak-'));
mkdirSync(out, { recursive: true });

/** A mosquitto on a port of its own, kept over its restarts. */
class Broker {
  constructor(folder, port) {
    this.folder = folder;
    this.port = port;
    this.config = join(folder, 'mosquitto.conf');
    mkdirSync(join(folder, 'persistence'), { recursive: true });
    const asRoot = process.getuid() === 0 ? 'user root\n' : '';
    writeFileSync(
      this.config,
      `${asRoot}listener ${port} 127.0.0.1\nallow_anonymous true\nlog_dest none\nmax_queued_messages 100000\n` +
        `persistence true\npersistence_location ${folder}/persistence/\nautosave_interval 1\nautosave_on_changes true\n`,
    );
  }

  async start() {
    this.child = spawn('mosquitto', ['-c', this.config], { env: { ...process.env, PATH }, stdio: 'ignore' });
    for (let i = 0; i < 500; i++) {
      if (await answers(this.port)) return;
      if (this.child.exitCode !== null) throw new Error('soak: mosquitto did not start; is it installed?');
      await delay(20);
    }
    throw new Error('soak: mosquitto does not answer');
  }

  async kill() {
    if (this.child === undefined || this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Between daemon and broker, so that the link can be cut. */
class CuttingProxy {
  sockets = new Set();

  constructor(target) {
    this.target = target;
    this.server = createServer((client) => {
      const upstream = createConnection(this.target, '127.0.0.1');
      for (const [a, b] of [
        [client, upstream],
        [upstream, client],
      ]) {
        this.sockets.add(a);
        a.on('error', () => {});
        a.on('close', () => {
          this.sockets.delete(a);
          b.destroy();
        });
        a.on('data', (chunk) => {
          // In the middle of a packet: half of what came is passed on.
          if (this.cutNext && chunk.length > 8) {
            this.cutNext = false;
            b.write(chunk.subarray(0, chunk.length >> 1), () => this.cut());
          } else b.write(chunk);
        });
      }
    });
  }

  async start() {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    return this.server.address().port;
  }

  cut() {
    for (const socket of this.sockets) socket.destroy();
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

/** What one process is made of now. */
function processState(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return { rssKiB: field('VmRSS'), threads: field('Threads'), handles: readdirSync(`/proc/${pid}/fd`).length };
}

function childrenOf(pid) {
  const found = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The name of the program, in brackets, may hold anything.
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      if (parent === pid) found.push(Number(name));
    } catch {
      // Gone meanwhile.
    }
  }
  return found;
}

const folder = mkdtempSync(join(tmpdir(), 'irst-soak-run-'));
const state = join(folder, 'state');
mkdirSync(state);
let mounted = false;
if (process.getuid() === 0) {
  mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', state]).status === 0;
}
const brokerPort = await freePort();
const broker = new Broker(folder, brokerPort);
const proxy = new CuttingProxy(brokerPort);
const proxyPort = await proxy.start();
// Four seconds of it: a loop in which nothing can be read fails soon.
const clip = join(folder, 'clip');
mkdirSync(clip);
for (let i = 0; i < 20; i++) {
  const name = `${String(i).padStart(3, '0')}.png`;
  copyFileSync(join(ROOT, 'test/fixtures/drone-sky', name), join(clip, name));
}
const config = join(folder, 'irst-edge.yaml');
writeFileSync(
  config,
  `device: {id: soak}
cameras:
  - id: scene
    source: {kind: synthetic, width: ${width}, height: ${height}, fps: ${values.fps}, snr: 20, seed: ${values.seed}, targets: 4, borders: wrap}
  - id: clip
    source: {kind: recording, path: ${clip}, loop: true, fps: 5}
detector: {threads: 1}
alerts: {updateIntervalSeconds: 1}
mqtt: {url: 'mqtt://127.0.0.1:${proxyPort}', keepaliveSeconds: 5, connectTimeoutSeconds: 5}
stateDirectory: ${state}
log: {level: info, format: json}
`,
);

const samples = [];
const faults = [];
const stats = [];
const events = new Map();
const lives = [];
let duplicates = 0;
let unreadable = 0;
let log = '';
const codes = {};
let ending = false;
let failure;

class Life {
  constructor() {
    this.startedAt = performance.now();
    this.child = spawn(process.execPath, [CLI, 'run', '--config', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    this.number = lives.length;
    let rest = '';
    this.child.stderr.setEncoding('utf8').on('data', (text) => {
      rest += text;
      const lines = rest.split('\n');
      rest = lines.pop();
      for (const line of lines) this.line(line);
    });
    this.child.on('exit', (code, signal) => {
      this.ended = { code, signal };
      if (!this.expected && !ending) failure ??= `the daemon ended by itself: code ${code}, signal ${signal}`;
    });
  }

  line(line) {
    log = `${log}${line}\n`.slice(-200_000);
    try {
      const entry = JSON.parse(line);
      if (entry.code !== undefined) codes[entry.code] = (codes[entry.code] ?? 0) + 1;
      if (entry.msg === 'stopped') this.final = entry;
    } catch {
      // The last word of a program that ends on an error is for people.
      if (!line.startsWith('irst-edge: ') && !line.startsWith('  hint: ')) unreadable++;
    }
  }

  async end(signal) {
    this.expected = true;
    this.child.kill(signal);
    if (this.ended === undefined) await Promise.race([once(this.child, 'exit'), delay(15_000)]);
    if (this.ended === undefined) {
      failure ??= `the daemon did not end within 15 s of ${signal}`;
      this.child.kill('SIGKILL');
      await once(this.child, 'exit');
    }
  }
}

async function subscribe() {
  const client = mqtt.connect(`mqtt://127.0.0.1:${brokerPort}`, {
    protocolVersion: 5,
    clientId: 'soak-subscriber',
    clean: false,
    properties: { sessionExpiryInterval: 86_400 },
    reconnectPeriod: 200,
    connectTimeout: 5000,
    keepalive: 5,
  });
  client.on('error', () => {});
  client.on('message', (topic, payload) => {
    const now = performance.now();
    let message;
    try {
      message = JSON.parse(payload.toString());
    } catch {
      return;
    }
    if (topic.endsWith('/stats')) stats.push({ at: now, life: lives.length - 1, message });
    if (!topic.endsWith('/events')) return;
    const key = `${message.id}/${message.seq}`;
    const event = events.get(message.id) ?? { kinds: {}, keys: new Set() };
    events.set(message.id, event);
    if (event.keys.has(key)) {
      duplicates++;
      return;
    }
    event.keys.add(key);
    event.kinds[message.type] = (event.kinds[message.type] ?? 0) + 1;
    if (message.type === 'new') latencies.push({ at: now, ms: Date.now() - Date.parse(message.capturedAt) });
  });
  await once(client, 'connect');
  await client.subscribeAsync(['irst/soak/+/events', 'irst/soak/stats'], { qos: 1 });
  return client;
}
const latencies = [];

/** The faults. Each ends with everything as it was; `quietMs`: how long figures do not count afterwards. */
const FAULTS = {
  async brokerKilled(r) {
    await broker.kill();
    await delay(500 + 5000 * r());
    await broker.start();
  },
  async brokerFrozen(r) {
    broker.child.kill('SIGSTOP');
    await delay(1000 + 8000 * r());
    broker.child.kill('SIGCONT');
  },
  async linkCut(r) {
    for (let i = 1 + Math.floor(3 * r()); i > 0; i--) {
      proxy.cutNext = true;
      await delay(300 + 700 * r());
      proxy.cut();
    }
    proxy.cutNext = false;
  },
  async storeKilled() {
    // The store's process is a child of the daemon, the only one that has lmdb open.
    const [child] = childrenOf(lives.at(-1).child.pid);
    if (child !== undefined) process.kill(child, 'SIGKILL');
  },
  async diskFull(r) {
    const ballast = join(state, 'ballast');
    spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k'], { stdio: 'ignore' });
    await delay(1000 + 5000 * r());
    rmSync(ballast, { force: true });
  },
  async commandFlood(r) {
    const payloads = [
      'true',
      'false',
      '0.5',
      'null',
      'nonsense',
      '{"value":',
      'x'.repeat(5000),
      '{"value":true,"id":"a"}',
    ];
    const names = ['enabled', 'threshold', 'profile', 'snapshot', 'nothing'];
    for (let i = 0; i < 400; i++) {
      const name = names[Math.floor(names.length * r())];
      const camera = r() < 0.9 ? 'scene' : 'nobody';
      subscriber.publish(`irst/soak/${camera}/${name}/set`, payloads[Math.floor(payloads.length * r())]);
      if (i % 20 === 0) await delay(20);
    }
    // As it was.
    await delay(5000);
    for (const [name, value] of [
      ['enabled', 'true'],
      ['threshold', 'null'],
      ['profile', 'default'],
    ]) {
      subscriber.publish(`irst/soak/scene/${name}/set`, value);
      await delay(300);
    }
  },
  async reload() {
    lives.at(-1).child.kill('SIGHUP');
  },
  async sourceGone(r) {
    renameSync(clip, `${clip}-away`);
    await delay(6000 + 4000 * r());
    renameSync(`${clip}-away`, clip);
  },
};

/** Not among the others: what grows is only seen in a life that is long. */
async function killDaemon() {
  // What is sent while the disk fails is not on it: whether a kill then costs an end is chance. Figures come every ten seconds.
  const asked = performance.now();
  const onDisk = () => stats.at(-1)?.at > asked && stats.at(-1).message.outbox?.store?.mode === 'disk';
  while (!onDisk() && performance.now() - asked < 90_000) await delay(100);
  await lives.at(-1).end('SIGKILL');
  lives.push(new Life());
}

const hasReload =
  readFileSync(join(ROOT, 'dist/service/daemon.js'), 'utf8').includes('SIGHUP') ||
  readFileSync(join(ROOT, 'dist/commands/run.js'), 'utf8').includes('SIGHUP');
const kinds = Object.keys(FAULTS).filter(
  (kind) =>
    (kind !== 'diskFull' || mounted) &&
    (kind !== 'reload' || hasReload) &&
    (values.only?.split(',').includes(kind) ?? true),
);

await broker.start();
const subscriber = await subscribe();
lives.push(new Life());
const started = performance.now();
let faulting = false;

const sampler = setInterval(() => {
  const life = lives.at(-1);
  if (life.ended !== undefined) return;
  try {
    const state = processState(life.child.pid);
    // A process that ends has no memory any more.
    if (state.rssKiB > 0) samples.push({ at: performance.now() - started, life: life.number, faulting, ...state });
  } catch {
    // It has just ended.
  }
}, 1000);

async function faultLoop() {
  const r = uniform(Number(values.seed));
  // Each kind in turn in a random order, so that a short run has met most of them.
  let bag = [];
  await delay(15_000 * Math.min(1, durationMs / 120_000));
  let killAt = values.only === undefined ? durationMs * 0.1 : Number.POSITIVE_INFINITY;
  while (performance.now() - started < durationMs - 20_000 && failure === undefined) {
    const now = performance.now() - started;
    if (now >= killAt) {
      killAt += Math.max(30 * 60_000, durationMs * 0.1);
      faulting = true;
      await killDaemon();
      faults.push({ kind: 'daemonKilled', at: now, ms: performance.now() - started - now });
      faulting = false;
      await delay(10_000);
      continue;
    }
    if (bag.length === 0)
      bag = kinds
        .map((kind) => [r(), kind])
        .sort((a, b) => a[0] - b[0])
        .map(([, kind]) => kind);
    const kind = bag.pop();
    faulting = true;
    const at = performance.now() - started;
    await FAULTS[kind](r);
    faults.push({ kind, at, ms: performance.now() - started - at });
    faulting = false;
    await delay(3000 + 1000 * Number(values.pause) * r());
  }
}

try {
  await Promise.race([
    Promise.all([delay(durationMs), ...(values['no-faults'] ? [] : [faultLoop()])]),
    (async () => {
      while (failure === undefined) await delay(500);
    })(),
  ]);
  // Everything that waits may still go out, and the last figures come.
  const quiet = performance.now();
  const waiting = () => {
    const outbox = stats.at(-1)?.message.outbox;
    return stats.at(-1)?.at > quiet && outbox !== undefined && outbox.waiting + outbox.inFlight <= 2;
  };
  while (!waiting() && performance.now() - quiet < 60_000 && failure === undefined) await delay(500);
  ending = true;
  const wantedStats = stats.length;
  await lives.at(-1).end('SIGTERM');
  for (let i = 0; i < 40 && stats.length === wantedStats; i++) await delay(100);
} finally {
  ending = true;
  clearInterval(sampler);
  for (const life of lives) if (life.ended === undefined) life.child.kill('SIGKILL');
  await delay(1000);
  subscriber.end(true);
  proxy.stop();
  await broker.kill();
  if (mounted) spawnSync('umount', ['-l', state]);
  rmSync(folder, { recursive: true, force: true });
}

const result = judge({
  minutes: (performance.now() - started) / 60_000,
  latencyFactor: Number(values['latency-factor']),
  options: {
    seed: Number(values.seed),
    fps: Number(values.fps),
    size: values.size,
    faults: !values['no-faults'],
    cpus: availableParallelism(),
    tmpfs: mounted,
  },
  failure,
  samples,
  faults,
  stats: stats.map(({ at, ...rest }) => ({ at: at - started, ...rest })),
  latencies: latencies.map(({ at, ms }) => ({ at: at - started, ms })),
  events: [...events.values()].map(({ kinds }) => kinds),
  lives: lives.map(({ number, startedAt, ended, final }) => ({ number, startedAt: startedAt - started, ended, final })),
  duplicates,
  unreadable,
  codes,
});
writeFileSync(join(out, 'report.json'), `${JSON.stringify(result, null, 2)}\n`);
writeFileSync(join(out, 'report.md'), markdown(result));
writeFileSync(
  join(out, 'soak.svg'),
  plots({ samples, faults, latencies: latencies.map(({ at, ms }) => ({ at: at - started, ms })), durationMs }),
);
if (!result.ok) writeFileSync(join(out, 'log.txt'), log);
for (const { name, ok, figure } of result.checks) console.log(`${ok ? 'ok    ' : 'FAILED'} ${name}: ${figure}`);
console.log(`${out}: report.json, report.md, soak.svg`);
if (existsSync(join(out, 'log.txt'))) console.log(`the end of the log: ${join(out, 'log.txt')}`);
process.exit(result.ok ? 0 : 1);
