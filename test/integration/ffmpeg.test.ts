import { spawn } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FfmpegSource } from '../../src/capture/ffmpeg.js';
import type { FfmpegOptions } from '../../src/capture/options.js';
import { EXIT } from '../../src/types/errors.js';
import type { Frame, FrameSource } from '../../src/types/frame.js';

const never = new AbortController().signal;
setMaxListeners(0, never);
const WIDTH = 64;
const HEIGHT = 48;
let root: string;
const sources: FfmpegSource[] = [];
const servers: Server[] = [];
const sockets = new Set<Socket>();

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'ffmpeg-source-'));
});
afterEach(async () => {
  await Promise.all(sources.splice(0).map((source) => source.stop()));
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
  // What every test leaves behind: nothing.
  expect(await processes(root)).toEqual([]);
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

/** Runs ffmpeg to make a clip. */
async function ffmpeg(args: string[], input?: Uint8Array): Promise<void> {
  const child = spawn('ffmpeg', ['-v', 'error', '-y', ...args], { stdio: ['pipe', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`ffmpeg ${args.join(' ')}: ${stderr}`);
}

/** Frame `k` of a clip: every pixel differs, and every frame. */
function counts(k: number, bits: number, pixels = WIDTH * HEIGHT): Uint16Array {
  return Uint16Array.from({ length: pixels }, (_, i) => (29_000 + 997 * k + 13 * i) % 2 ** bits);
}

interface Clip {
  frames: number;
  bits?: number;
  fps?: number | string;
  width?: number;
  height?: number;
  /** Further output options. */
  output?: string[];
}

/** A lossless grey clip (FFV1). */
async function clip(name: string, options: Clip): Promise<string> {
  const { frames, bits = 16, fps = 25, width = WIDTH, height = HEIGHT, output = [] } = options;
  const path = join(root, name);
  const raw = Array.from({ length: frames }, (_, k) => counts(k, bits, width * height));
  const bytes = raw.map((frame) => (bits === 8 ? Uint8Array.from(frame) : new Uint8Array(frame.buffer)));
  const format = bits === 8 ? 'gray' : `gray${bits}le`;
  const from = ['-f', 'rawvideo', '-pix_fmt', format, '-s', `${width}x${height}`, '-r', String(fps), '-i', 'pipe:0'];
  await ffmpeg([...from, '-c:v', 'ffv1', '-pix_fmt', format, ...output, `file:${path}`], Buffer.concat(bytes));
  return path;
}

/** An executable shell script. */
async function script(name: string, lines: string[]): Promise<string> {
  const path = join(root, name);
  await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  await chmod(path, 0o755);
  return path;
}

/** Ids of the running processes whose arguments contain `text`; zombies have none. */
async function processes(text: string): Promise<number[]> {
  const found: number[] = [];
  for (const id of await readdir('/proc')) {
    if (!/^\d+$/.test(id) || Number(id) === process.pid) continue;
    const line = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '');
    if (line.includes(text)) found.push(Number(id));
  }
  return found;
}

/** A TCP server on a free port of this machine; `serve` is told the number of each connection, from 0. */
async function serve(handle: (socket: Socket, connection: number) => void): Promise<number> {
  let connections = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    handle(socket, connections++);
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

function make(input: string, options: Partial<FfmpegOptions> = {}): FfmpegSource {
  const source = new FfmpegSource({ kind: 'ffmpeg', input, rate: 'fast', ...options });
  sources.push(source);
  return source;
}

function expectBalance(source: FrameSource): void {
  const { captured, delivered, dropped } = source.counters();
  expect(captured).toBe(delivered + Object.values(dropped).reduce((a, b) => a + b, 0));
}

/** Exact; and fast, which `toEqual` is not for large arrays. */
function expectCounts(frame: Frame, bits: number): void {
  const { data, width, height, sequence } = frame;
  const expected = counts(sequence, bits, width * height);
  const wrong = data.findIndex((value, i) => value !== expected[i]);
  expect([data.length, sequence, wrong]).toEqual([expected.length, sequence, -1]);
}

/** All frames to the end, their counts copied. */
async function play(source: FfmpegSource, between?: (k: number) => Promise<void>): Promise<Frame[]> {
  const frames: Frame[] = [];
  for (let frame = await source.next(); frame !== null; frame = await source.next()) {
    frames.push({ ...frame, data: frame.data.slice() });
    expectBalance(source);
    await between?.(frames.length);
  }
  return frames;
}

describe('FfmpegSource as fast as possible', () => {
  it('gives exact 16-bit counts of a file, whatever its name', async () => {
    const path = await clip("odd: name -y %d 'x'.mkv", { frames: 12, fps: 9 });
    const source = make(path);
    expect(await source.start(never)).toEqual({
      description: `ffmpeg ${path} (64x48, 16 bit)`,
      width: WIDTH,
      height: HEIGHT,
      bits: 16,
      fps: 9,
    });
    const before = process.hrtime.bigint();
    const frames = await play(source);
    expect(frames.map((frame) => frame.sequence)).toEqual(Array.from({ length: 12 }, (_, k) => k));
    for (const frame of frames) {
      expect([frame.width, frame.height, frame.bits]).toEqual([WIDTH, HEIGHT, 16]);
      expectCounts(frame, 16);
      expect(frame.captureMonotonicNs >= before).toBe(true);
      expect(Math.abs(frame.capturedAtMs - Date.now())).toBeLessThan(60_000);
    }
    expect(source.counters()).toEqual({ captured: 12, delivered: 12, dropped: {} });
    expect(await source.next()).toBeNull();
  });

  it.each([8, 10, 12])('gives exact %d-bit counts, not stretched', async (bits) => {
    const source = make(await clip(`grey${bits}.mkv`, { frames: 3, bits }));
    expect((await source.start(never)).bits).toBe(bits);
    const frames = await play(source);
    expect(frames.map((frame) => [...frame.data])).toEqual([0, 1, 2].map((k) => [...counts(k, bits)]));
    expect(frames[0]!.data).toBeInstanceOf(bits === 8 ? Uint8Array : Uint16Array);
  });

  it('makes grey of colour, and knows the number of frames where the file does', async () => {
    const path = join(root, 'colour.mp4');
    await ffmpeg(['-f', 'lavfi', '-i', 'testsrc=size=96x64:rate=30', '-frames:v', '20', '-c:v', 'mpeg4', path]);
    const source = make(path);
    expect(await source.start(never)).toMatchObject({ width: 96, height: 64, bits: 8, fps: 30, frames: 20 });
    const frames = await play(source);
    expect(frames).toHaveLength(20);
    expect(new Set(frames[0]!.data).size).toBeGreaterThan(10);
  });

  it('loses no frame to a slow consumer, small or large', async () => {
    for (const size of [16, 320]) {
      const frames = size === 16 ? 300 : 12;
      const path = await clip(`slow${size}.mkv`, { frames, width: size, height: size });
      const source = make(path);
      await source.start(never);
      const seen = await play(source, (k) => sleep(k % 4 === 0 ? 4 : 0));
      expect(seen).toHaveLength(frames);
      for (const frame of seen) expectCounts(frame, 16);
      expect(source.counters()).toEqual({ captured: frames, delivered: frames, dropped: {} });
    }
  });

  it('neither doubles nor leaves out frames of an uneven rate', async () => {
    const uneven = ['-vf', "setpts='(N+if(gt(N,3),40,0))/25/TB'", '-fps_mode', 'passthrough'];
    const source = make(await clip('uneven.mkv', { frames: 8, output: uneven }));
    await source.start(never);
    expect((await play(source)).map((frame) => frame.data)).toEqual(Array.from({ length: 8 }, (_, k) => counts(k, 16)));
  });

  it('counts a last frame that is not whole', async () => {
    const whole = WIDTH * HEIGHT * 2;
    const ffmpegPath = await script('head.sh', [`ffmpeg "$@" | head -c ${3 * whole + 100}`]);
    const source = make(await clip('short.mkv', { frames: 6 }), { ffmpegPath });
    await source.start(never);
    expect(await play(source)).toHaveLength(3);
    expect(source.counters()).toEqual({ captured: 4, delivered: 3, dropped: { short: 1 } });
  });

  it('counts a whole frame that waits when it is stopped, but not what is still in the pipe', async () => {
    const source = make(await clip('stop.mkv', { frames: 50 }));
    await source.start(never);
    await source.next();
    await sleep(300);
    await source.stop();
    expect(source.counters()).toEqual({ captured: 2, delivered: 1, dropped: { shutdown: 1 } });
    expect(await source.next()).toBeNull();
  });
});

describe('FfmpegSource in real time', () => {
  it('plays a file at its own rate', async () => {
    const source = make(await clip('paced.mkv', { frames: 10, fps: 20 }), { rate: 'realtime' });
    await source.start(never);
    const frames = await play(source);
    const seconds = Number(frames.at(-1)!.captureMonotonicNs - frames[0]!.captureMonotonicNs) / 1e9;
    expect(frames.at(-1)!.sequence).toBe(9);
    expect(seconds).toBeGreaterThan(0.25);
    expect(source.counters().captured).toBe(10);
  });

  it('gives the newest frame to a consumer that blocked the thread, and counts the others as stale', async () => {
    const source = make(await clip('blocked.mkv', { frames: 6, fps: 25 }), { rate: 'realtime' });
    await source.start(never);
    await source.next();
    // As inference does: no event is handled meanwhile. The clip ends after 0.2 s.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
    const second = await source.next();
    expect(second?.sequence).toBe(5);
    expect(second?.data).toEqual(counts(5, 16));
    expect(await source.next()).toBeNull();
    expect(source.counters()).toEqual({ captured: 6, delivered: 2, dropped: { stale: 4 } });
  });

  it('catches up with large frames that did not fit in the pipe', async () => {
    const path = await clip('large.mkv', { frames: 20, fps: 20, width: 320, height: 256 });
    const source = make(path, { rate: 'realtime' });
    await source.start(never);
    await source.next();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    const late = await play(source);
    expect(source.counters().dropped.stale).toBeGreaterThan(0);
    expect(late.at(-1)?.sequence).toBe(19);
    for (const frame of late) expectCounts(frame, 16);
    expect(source.counters().captured).toBe(20);
  });

  it('does not begin to play before the first frame is asked for', async () => {
    const source = make(await clip('lazy.mkv', { frames: 30, fps: 25 }), { rate: 'realtime' });
    await source.start(never);
    await sleep(800);
    expect((await source.next())?.sequence).toBeLessThan(8);
  });

  it('ends a pending next() when the signal aborts, and its process without a stop()', async () => {
    const path = await clip('slowly.mkv', { frames: 4, fps: '1/30' });
    const source = make(path, { rate: 'realtime' });
    const abort = new AbortController();
    await source.start(abort.signal);
    await source.next();
    expect(await processes(path)).not.toEqual([]);
    setTimeout(() => abort.abort(), 30);
    // The clip's second frame comes after 30 s.
    while ((await source.next()) !== null);
    for (let i = 0; i < 500 && (await processes(path)).length > 0; i++) await sleep(10);
    expect(await processes(path)).toEqual([]);
    expectBalance(source);
  });
});

describe('FfmpegSource with a live stream', () => {
  it('reads it, and says so when it stalls', async () => {
    const whole = await readFile(await clip('live.mkv', { frames: 200, fps: 25 }));
    // ffprobe gets all of it; ffmpeg most, and then nothing more.
    const port = await serve((socket, connection) => {
      if (connection === 0) socket.end(whole);
      else socket.write(whole.subarray(0, Math.floor(whole.length * 0.9)));
    });
    const source = make(`tcp://127.0.0.1:${port}?x=${root}`, { rate: 'realtime', stallTimeoutMs: 500 });
    expect(await source.start(never)).not.toHaveProperty('frames');
    let last = -1;
    const playing = async (): Promise<void> => {
      for (let frame = await source.next(); frame !== null; frame = await source.next()) last = frame.sequence;
    };
    await expect(playing()).rejects.toMatchObject({ code: 'SOURCE_STALLED', exitCode: EXIT.unavailable });
    expect(last).toBeGreaterThan(50);
    expectBalance(source);
    expect(await processes(root)).toEqual([]);
    await expect(source.next()).rejects.toMatchObject({ code: 'SOURCE_STALLED' });
  });

  it('says so when a camera accepts but does not answer', async () => {
    const port = await serve(() => {});
    const source = make(`rtsp://user:s3cret@127.0.0.1:${port}${root}`, { rate: 'realtime', startTimeoutMs: 500 });
    const error = await source.start(never).catch((e: unknown) => e as Error);
    expect(error).toMatchObject({ code: 'SOURCE_TIMEOUT', exitCode: EXIT.unavailable });
    expect((error as Error).message).not.toContain('s3cret');
    expect(await processes(root)).toEqual([]);
  });

  it('says so when the connection is refused, without the password', async () => {
    const port = await serve(() => {});
    servers.pop()!.close();
    const source = make(`rtsp://user:s3cret@127.0.0.1:${port}/ch1`, { rate: 'realtime' });
    const error = (await source.start(never).catch((e: unknown) => e)) as Error;
    expect(error).toMatchObject({
      code: 'SOURCE_UNREADABLE',
      exitCode: EXIT.unavailable,
      message: expect.stringMatching(
        /^rtsp:\/\/user:\*\*\*@127\.0\.0\.1:\d+\/ch1 cannot be read: .*Connection refused/,
      ),
    });
    expect(JSON.stringify([error.message, error.stack, error])).not.toContain('s3cret');
  });

  it('stops opening when the signal aborts', async () => {
    const port = await serve(() => {});
    const abort = new AbortController();
    const starting = make(`rtsp://127.0.0.1:${port}${root}`, { rate: 'realtime' }).start(abort.signal);
    setTimeout(() => abort.abort(), 100);
    await expect(starting).rejects.toMatchObject({ code: 'SOURCE_STOPPED' });
    expect(await processes(root)).toEqual([]);
  });
});

describe('FfmpegSource with bad input', () => {
  it('says that a file is not there', async () => {
    const path = join(root, 'none.mkv');
    await expect(make(path).start(never)).rejects.toMatchObject({
      code: 'INPUT_NOT_FOUND',
      exitCode: EXIT.noInput,
      message: expect.stringContaining(path),
    });
  });

  it('refuses what is no video', async () => {
    const path = join(root, 'noise.mkv');
    await writeFile(path, Buffer.alloc(5000, 'no video '));
    await expect(make(path).start(never)).rejects.toMatchObject({
      code: 'SOURCE_UNREADABLE',
      exitCode: EXIT.dataError,
      message: expect.stringMatching(/noise\.mkv cannot be read: .*Invalid data/),
    });
    const sound = join(root, 'sound.wav');
    await ffmpeg(['-f', 'lavfi', '-i', 'sine=duration=0.1', sound]);
    await expect(make(sound).start(never)).rejects.toMatchObject({
      code: 'SOURCE_UNREADABLE',
      message: expect.stringContaining('no video stream'),
    });
  });

  it('refuses an MP4 that lacks its end', async () => {
    const path = join(root, 'noend.mp4');
    await ffmpeg(['-f', 'lavfi', '-i', 'testsrc=size=96x64:rate=30', '-frames:v', '20', '-c:v', 'mpeg4', path]);
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, whole.length / 2));
    await expect(make(path).start(never)).rejects.toMatchObject({
      code: 'SOURCE_UNREADABLE',
      exitCode: EXIT.dataError,
    });
  });

  it('gives the whole frames of a file that is cut off', async () => {
    const path = await clip('cut.mkv', { frames: 40 });
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, Math.floor(whole.length * 0.6)));
    const source = make(path);
    await source.start(never);
    const frames: Frame[] = [];
    // Some versions of ffmpeg end such a file with an error.
    const end = await (async () => {
      for (let frame = await source.next(); frame; frame = await source.next()) {
        frames.push({ ...frame, data: frame.data.slice() });
      }
    })().catch((error: unknown) => (error as { code: string }).code);
    expect([undefined, 'SOURCE_FAILED']).toContain(end);
    expect(frames.length).toBeGreaterThan(10);
    expect(frames.length).toBeLessThan(40);
    for (const frame of frames.slice(0, -1)) expectCounts(frame, 16);
    expectBalance(source);
  });

  it('says which program is missing and how to install it', async () => {
    const path = await clip('fine.mkv', { frames: 2 });
    const missing = { code: 'FFMPEG_MISSING', exitCode: EXIT.unavailable, hint: 'Install it: apt-get install ffmpeg' };
    await expect(make(path, { ffprobePath: join(root, 'no-ffprobe') }).start(never)).rejects.toMatchObject(missing);
    const source = make(path, { ffmpegPath: join(root, 'no-ffmpeg') });
    await source.start(never);
    await expect(source.next()).rejects.toMatchObject(missing);
  });

  it('says so when ffmpeg is killed while it plays, each time it is asked', async () => {
    const path = await clip('killed.mkv', { frames: 500, fps: 25 });
    const source = make(path, { rate: 'realtime' });
    await source.start(never);
    await source.next();
    for (const pid of await processes(path)) process.kill(pid, 'SIGKILL');
    await expect(play(source)).rejects.toMatchObject({
      code: 'SOURCE_FAILED',
      exitCode: EXIT.dataError,
      message: expect.stringContaining('SIGKILL'),
    });
    await expect(source.next()).rejects.toMatchObject({ code: 'SOURCE_FAILED' });
    expectBalance(source);
    await source.stop();
  });

  it('says why when ffmpeg fails before the first frame', async () => {
    const ffmpegPath = await script('fails.sh', ['echo "no such decoder" >&2', 'exit 3']);
    const source = make(await clip('undecoded.mkv', { frames: 2 }), { ffmpegPath });
    await source.start(never);
    await expect(source.next()).rejects.toMatchObject({
      code: 'SOURCE_UNREADABLE',
      message: expect.stringContaining('no such decoder'),
    });
  });

  it('ends a program that does not want to go', async () => {
    const ffmpegPath = await script('stubborn.sh', ["trap '' TERM", 'ffmpeg "$@"', 'while :; do sleep 0.1; done']);
    const source = make(await clip('stubborn.mkv', { frames: 3 }), { ffmpegPath });
    await source.start(never);
    await source.next();
    expect(await processes('stubborn.sh')).toHaveLength(1);
    await source.stop();
    expect(await processes('stubborn.sh')).toEqual([]);
  });

  it('refuses times that are none', async () => {
    for (const options of [{ startTimeoutMs: 0 }, { stallTimeoutMs: Number.NaN }]) {
      await expect(make('x', options).start(never)).rejects.toMatchObject({
        code: 'SOURCE_OPTIONS_INVALID',
        exitCode: EXIT.config,
      });
    }
    await expect(make('rtsp://a\0b').start(never)).rejects.toMatchObject({ code: 'SOURCE_OPTIONS_INVALID' });
  });
});
