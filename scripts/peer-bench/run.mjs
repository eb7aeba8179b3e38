#!/usr/bin/env node
// irst-edge beside the obvious alternative, a Python loop (peer_loop.py), on this machine: same frames, network, threads, broker,
// message. They run in turns, never together. Prints one table. docs/benchmarks.md
//
//   node scripts/peer-bench/run.mjs [--seconds 5] [--rounds 2] [--threads 2] [--no-spinning] [--same-build] [--json FILE] [--venv DIR]
//
// --same-build: the loop runs the build of the network for this CPU that irst-edge runs, not the standard file.
// --no-spinning: the loop's inference threads wait asleep, as those of irst-edge do; ONNX Runtime's default is to spin.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import mqtt from 'mqtt';
import { cpuBlock } from '../../dist/detect/cpu-block.js';
import { freePort } from '../../dist/util/ports.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FRAMES = path.join(ROOT, 'test/fixtures/drone-sky');
const MANIFEST = path.join(ROOT, 'models/manifest.json');
const PEER = fileURLToPath(new URL('./peer_loop.py', import.meta.url));
const FPS = 30;
/** Not counted at the beginning of each run: libraries load and warm up. */
const WARM_UP_S = 2;
const SAMPLE_MS = 200;
const START_MS = 180_000;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '2' },
    threads: { type: 'string', default: '2' },
    'no-spinning': { type: 'boolean', default: false },
    'same-build': { type: 'boolean', default: false },
    json: { type: 'string' },
    venv: { type: 'string', default: path.join(os.homedir(), '.cache/irst-edge/peer-bench-venv') },
  },
});
const [seconds, rounds, threads] = [Number(values.seconds), Number(values.rounds), Number(values.threads)];
const block = values['same-build'] ? await cpuBlock() : undefined;
const ORT = JSON.parse(readFileSync(path.join(ROOT, 'node_modules/onnxruntime-node/package.json'), 'utf8')).version;

/** The interpreter of a virtual environment with the alternative's libraries; ONNX Runtime of the very same version. */
function python() {
  const interpreter = path.join(values.venv, 'bin/python');
  const wanted = [`onnxruntime==${ORT}`, 'opencv-python-headless', 'paho-mqtt>=2', 'numpy'];
  if (!existsSync(interpreter)) execFileSync('python3', ['-m', 'venv', values.venv], { stdio: 'inherit' });
  const check =
    'import cv2, numpy, onnxruntime, paho.mqtt as p; print(onnxruntime.__version__, cv2.__version__, p.__version__, numpy.__version__)';
  const versions = () =>
    execFileSync(interpreter, ['-c', check], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .trim()
      .split(' ');
  try {
    if (versions()[0] === ORT) return { interpreter, versions: versions() };
  } catch {
    // Not installed yet.
  }
  execFileSync(interpreter, ['-m', 'pip', 'install', '--quiet', ...wanted], { stdio: 'inherit' });
  return { interpreter, versions: versions() };
}

function ours(dir, port, fps) {
  const file = path.join(dir, 'irst-edge.json');
  const source = { kind: 'recording', path: FRAMES, loop: true, ...(fps === undefined ? {} : { fps }) };
  writeFileSync(
    file,
    JSON.stringify({
      device: { id: 'ours' },
      cameras: [{ id: 'cam0', source, rate: fps === undefined ? 'fast' : 'realtime' }],
      detector: { threads, precision: 'fp32' },
      runtime: { providers: ['cpu'] },
      mqtt: { url: `mqtt://127.0.0.1:${port}` },
      log: { level: 'warn' },
    }),
  );
  return [process.execPath, [path.join(ROOT, 'dist/cli.js'), 'run', '--config', file]];
}

function peer(interpreter, port, fps) {
  const args = [
    '--manifest',
    MANIFEST,
    '--frames',
    FRAMES,
    '--port',
    port,
    '--topic',
    'irst/peer/cam0/detections',
    '--threads',
    threads,
  ];
  return [
    interpreter,
    [
      PEER,
      ...args.map(String),
      ...(values['no-spinning'] ? ['--no-spinning'] : []),
      ...(block === undefined ? [] : ['--block', String(block)]),
      ...(fps === undefined ? [] : ['--fps', String(fps)]),
    ],
  ];
}

/** A process with all below it. */
function tree(pid) {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`);
    const children = tasks.flatMap((t) =>
      readFileSync(`/proc/${pid}/task/${t}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
    return [pid, ...children.flatMap(tree)];
  } catch {
    return [];
  }
}

/** MiB of memory in use, what of it is no file (`own`), and seconds of processor time so far, of a process and all below it. */
function usage(pid) {
  let rss = 0;
  let own = 0;
  let cpu = 0;
  for (const id of tree(pid)) {
    try {
      const status = readFileSync(`/proc/${id}/status`, 'utf8');
      const kib = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
      rss += kib('VmRSS') / 1024;
      own += kib('RssAnon') / 1024;
      const stat = readFileSync(`/proc/${id}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      cpu += (Number(fields[11]) + Number(fields[12])) / 100;
    } catch {
      // It has just ended.
    }
  }
  return { rss, own, cpu };
}

/** Runs a candidate for a while. `messages`: what a subscriber got of it. */
async function measure([program, args], device, subscriber) {
  const messages = [];
  const started = performance.now();
  let firstMs;
  const listen = (topic, payload) => {
    const at = process.hrtime.bigint();
    if (topic !== `irst/${device}/cam0/detections`) return;
    firstMs ??= performance.now() - started;
    const message = JSON.parse(payload.toString());
    messages.push({
      at,
      sequence: message.sequence,
      latencyMs: Number(at - BigInt(message.captureMonotonicNs)) / 1e6,
      inferMs: message.latencyMs.infer,
      detections: message.detections,
      bytes: payload.length,
    });
  };
  subscriber.on('message', listen);
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, OPENCV_LOG_LEVEL: 'ERROR', ORT_DISABLE_TELEMETRY: '1' },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let exit;
  ended.then((code) => {
    exit = code ?? -1;
  });
  try {
    while (messages.length === 0) {
      if (exit !== undefined) throw new Error(`${device} ended with ${exit}`);
      if (performance.now() - started > START_MS) throw new Error(`${device} sent nothing within a minute`);
      await delay(10);
    }
    await delay(1000 * WARM_UP_S);
    const from = messages.length;
    const [before, fromSequence, fromMs] = [usage(child.pid), messages.at(-1).sequence, performance.now()];
    const rss = [];
    const own = [];
    const end = performance.now() + 1000 * seconds;
    while (performance.now() < end) {
      await delay(SAMPLE_MS);
      const now = usage(child.pid);
      rss.push(now.rss);
      own.push(now.own);
    }
    const [after, toSequence, toMs] = [usage(child.pid), messages.at(-1).sequence, performance.now()];
    if (exit !== undefined) throw new Error(`${device} ended with ${exit}`);
    const counted = messages.slice(from);
    // Frames by their numbers: one without a target sends nothing.
    const frames = toSequence - fromSequence;
    return { counted, frames, s: (toMs - fromMs) / 1000, rss, own, cpu: after.cpu - before.cpu, firstMs };
  } finally {
    child.kill('SIGTERM');
    await Promise.race([ended, delay(5000).then(() => child.kill('SIGKILL'))]);
    subscriber.off('message', listen);
  }
}

const percentile = (list, share) => [...list].sort((a, b) => a - b)[Math.max(0, Math.ceil(share * list.length) - 1)];

function summary(fast, paced) {
  const latencies = paced.flatMap((r) => r.counted.map((m) => m.latencyMs));
  const frames = fast.reduce((n, r) => n + r.frames, 0);
  return {
    fps: frames / fast.reduce((n, r) => n + r.s, 0),
    cpuMsPerFrame: (1000 * fast.reduce((n, r) => n + r.cpu, 0)) / frames,
    inferMsP50: percentile(
      fast.flatMap((r) => r.counted.map((m) => m.inferMs)),
      0.5,
    ),
    latencyMs: {
      p50: percentile(latencies, 0.5),
      p95: percentile(latencies, 0.95),
      p99: percentile(latencies, 0.99),
      n: latencies.length,
    },
    besidesInferenceMsP50: percentile(
      paced.flatMap((r) => r.counted.map((m) => m.latencyMs - m.inferMs)),
      0.5,
    ),
    pacedFps: paced.reduce((n, r) => n + r.counted.length, 0) / paced.reduce((n, r) => n + r.s, 0),
    rssMiB: {
      mean: mean([...fast, ...paced].flatMap((r) => r.rss)),
      max: Math.max(...[...fast, ...paced].flatMap((r) => r.rss)),
      own: mean([...fast, ...paced].flatMap((r) => r.own)),
    },
    startMs: percentile(
      [...fast, ...paced].map((r) => r.firstMs),
      0.5,
    ),
    messageBytes: mean(paced.flatMap((r) => r.counted.map((m) => m.bytes))),
  };
}

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;

/** Whether both found the same, frame by frame of the clip: how many frames both have, and how far the best detections are apart, px. */
function agreement(a, b, length) {
  const best = (runs) => new Map(runs.flatMap((r) => r.counted.map((m) => [m.sequence % length, m.detections[0]])));
  const [one, other] = [best(a), best(b)];
  const apart = [...one]
    .filter(([k]) => other.has(k))
    .map(([k, d]) => Math.hypot(d.x - other.get(k).x, d.y - other.get(k).y));
  return { frames: apart.length, medianPx: percentile(apart, 0.5) };
}

const { interpreter, versions } = python();
const dir = mkdtempSync(path.join(os.tmpdir(), 'irst-peer-'));
const port = await freePort();
const conf = path.join(dir, 'mosquitto.conf');
writeFileSync(
  conf,
  `${process.getuid() === 0 ? 'user root\n' : ''}listener ${port} 127.0.0.1\nallow_anonymous true\nlog_type error\n`,
);
const broker = spawn('mosquitto', ['-c', conf], {
  env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  stdio: 'ignore',
});
let subscriber;
try {
  for (let i = 0; subscriber === undefined; i++) {
    subscriber = await mqtt
      .connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5, reconnectPeriod: 0 })
      .catch(() => undefined);
    if (subscriber === undefined && i > 100) throw new Error('mosquitto does not answer: apt-get install mosquitto');
    if (subscriber === undefined) await delay(50);
  }
  await subscriber.subscribeAsync('irst/+/cam0/detections', { qos: 1 });
  const runs = { ours: { fast: [], paced: [] }, peer: { fast: [], paced: [] } };
  for (let round = 0; round < rounds; round++) {
    for (const [mode, fps] of [
      ['fast', undefined],
      ['paced', FPS],
    ]) {
      // The order turns with each round: what else the machine does hits both.
      for (const name of round % 2 === 0 ? ['ours', 'peer'] : ['peer', 'ours']) {
        process.stderr.write(`round ${round + 1} of ${rounds}: ${name}, ${mode}\n`);
        const command = name === 'ours' ? ours(dir, port, fps) : peer(interpreter, port, fps);
        runs[name][mode].push(await measure(command, name, subscriber));
      }
    }
  }
  const clip = readdirSync(FRAMES).filter((name) => name.endsWith('.png')).length;
  const result = {
    machine: {
      cpu: os.cpus()[0]?.model,
      cores: os.availableParallelism(),
      loadBefore: os.loadavg()[0],
      node: process.version,
    },
    versions: { onnxruntime: versions[0], opencv: versions[1], paho: versions[2], numpy: versions[3] },
    settings: {
      peerSpinning: !values['no-spinning'],
      peerBlock: block ?? null,
      seconds,
      rounds,
      threads,
      fps: FPS,
      frames: '320x256, 8 bit',
      model: 'fp32',
    },
    ours: summary(runs.ours.fast, runs.ours.paced),
    peer: summary(runs.peer.fast, runs.peer.paced),
    agreement: agreement([...runs.ours.fast, ...runs.ours.paced], [...runs.peer.fast, ...runs.peer.paced], clip),
  };
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
  const { ours: o, peer: p } = result;
  const row = (name, pick, digits) => `| ${name} | ${pick(o).toFixed(digits)} | ${pick(p).toFixed(digits)} |`;
  console.log(
    [
      `${result.machine.cpu}, ${result.machine.cores} cores, load ${result.machine.loadBefore.toFixed(1)}; ${threads} threads; ONNX Runtime ${versions[0]} in both, the loop with ${block === undefined ? 'the standard file' : `blocks of ${block} too`}; ` +
        `Node.js ${process.version}; OpenCV ${versions[1]}, paho-mqtt ${versions[2]}, numpy ${versions[3]}; ${rounds} rounds of ${seconds} s`,
      '',
      '| | irst-edge | Python loop |',
      '|---|---|---|',
      row('frames a second, unpaced', (s) => s.fps, 1),
      row('processor time a frame, unpaced, ms', (s) => s.cpuMsPerFrame, 1),
      row('inference, unpaced, p50, ms', (s) => s.inferMsP50, 1),
      row('frame to subscriber at 30 Hz, p50, ms', (s) => s.latencyMs.p50, 1),
      row('… p95', (s) => s.latencyMs.p95, 1),
      row('… p99', (s) => s.latencyMs.p99, 1),
      row('… without the inference, p50', (s) => s.besidesInferenceMsP50, 1),
      row('messages a second at 30 Hz', (s) => s.pacedFps, 1),
      row('memory (RSS), mean, MiB', (s) => s.rssMiB.mean, 0),
      row('… most', (s) => s.rssMiB.max, 0),
      row('… of the mean, not mapped from files', (s) => s.rssMiB.own, 0),
      row('start to first message, ms', (s) => s.startMs, 0),
      row('size of a message, bytes', (s) => s.messageBytes, 0),
      '',
      `In the ${result.agreement.frames} frames of the clip that both sent, their best detections are ${result.agreement.medianPx.toFixed(2)} px apart (median).`,
    ].join('\n'),
  );
} finally {
  subscriber?.end(true);
  broker.kill('SIGTERM');
  rmSync(dir, { recursive: true, force: true });
}
