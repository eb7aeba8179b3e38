import { setMaxListeners } from 'node:events';
import { copyFile, mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.js';
import { EXIT } from '../types/errors.js';
import type { Frame } from '../types/frame.js';
import { writeGreyPng } from './image-file.js';
import { naturalSort } from './image-recording.js';
import type { RecordingOptions } from './options.js';
import { RecordingSource } from './recording.js';

const never = new AbortController().signal;
setMaxListeners(0, never);
const WIDTH = 12;
const HEIGHT = 8;
let root: string;
let serial = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'recording-'));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

async function folder(): Promise<string> {
  const path = join(root, `r${serial++}`);
  await mkdir(path);
  return path;
}

function counts(k: number): Uint16Array {
  return Uint16Array.from({ length: WIDTH * HEIGHT }, (_, i) => 2900 + 100 * k + i);
}

async function png(path: string, k: number, width = WIDTH, height = HEIGHT): Promise<void> {
  await writeGreyPng(path, { width, height, data: width === WIDTH ? counts(k) : new Uint16Array(width * height) });
}

async function y16(frames: number, sidecar: unknown, extraBytes = 0): Promise<string> {
  const path = join(await folder(), 'clip.y16');
  const all = Buffer.concat(Array.from({ length: frames }, (_, k) => Buffer.from(counts(k).buffer)));
  await writeFile(path, Buffer.concat([all, Buffer.alloc(extraBytes, 1)]));
  if (sidecar !== undefined) {
    const text = typeof sidecar === 'string' ? sidecar : JSON.stringify(sidecar);
    await writeFile(path.replace('.y16', '.json'), text);
  }
  return path;
}

async function play(path: string, options: Partial<RecordingOptions> = {}) {
  const source = new RecordingSource({ kind: 'recording', path, rate: 'fast', ...options }, { clock: new FakeClock() });
  const info = await source.start(never);
  const frames: Frame[] = [];
  for (let frame = await source.next(); frame !== null; frame = await source.next()) frames.push(frame);
  await source.stop();
  const counters = source.counters();
  expect(counters.captured).toBe(counters.delivered + Object.values(counters.dropped).reduce((a, b) => a + b, 0));
  return { info, frames, counters };
}

const opened = (path: string) => new RecordingSource({ kind: 'recording', path, rate: 'fast' }).start(never);

describe('a .y16 recording', () => {
  it('gives exact counts, its own rate, and room for anything else in the sidecar', async () => {
    const path = await y16(5, {
      width: WIDTH,
      height: HEIGHT,
      frames: 5,
      fps: 9,
      bits: 14,
      sensor: 'FLIR Lepton',
      min: 2,
    });
    const { info, frames, counters } = await play(path);
    expect(info).toEqual({
      description: `recording ${path} (5 frames, 12x8, 14 bit)`,
      width: WIDTH,
      height: HEIGHT,
      bits: 14,
      fps: 9,
      frames: 5,
    });
    expect(frames.map((frame) => frame.sequence)).toEqual([0, 1, 2, 3, 4]);
    for (const { sequence, data, width, height, bits } of frames) {
      expect({ data, width, height, bits }).toEqual({ data: counts(sequence), width: WIDTH, height: HEIGHT, bits: 14 });
    }
    expect(counters).toEqual({ captured: 5, delivered: 5, dropped: {} });
  });

  it('needs only a width and a height', async () => {
    const { info, frames } = await play(await y16(2, { width: WIDTH, height: HEIGHT }));
    expect(info.bits).toBe(16);
    expect(info).not.toHaveProperty('fps');
    expect(frames).toHaveLength(2);
  });

  it('takes an fps that overrides its own', async () => {
    const { info } = await play(await y16(2, { width: WIDTH, height: HEIGHT, fps: 9 }), { fps: 30, rate: 'realtime' });
    expect(info.fps).toBe(30);
  });

  it('delivers the whole frames of a file that breaks off, and counts the broken one', async () => {
    const { info, frames, counters } = await play(await y16(3, { width: WIDTH, height: HEIGHT }, 7));
    expect(info.frames).toBe(3);
    expect(frames).toHaveLength(3);
    expect(counters).toEqual({ captured: 4, delivered: 3, dropped: { short: 1 } });
  });

  it('counts all frames that the sidecar promises and the file lacks', async () => {
    const { counters } = await play(await y16(3, { width: WIDTH, height: HEIGHT, frames: 6 }, 7), { loop: 2 });
    expect(counters).toEqual({ captured: 12, delivered: 6, dropped: { short: 6 } });
  });

  it('counts as short what is cut off while it plays', async () => {
    const path = await y16(10, { width: WIDTH, height: HEIGHT });
    const source = new RecordingSource({ kind: 'recording', path, rate: 'fast' });
    await source.start(never);
    await source.next();
    await truncate(path, 5 * WIDTH * HEIGHT * 2 + 3);
    while ((await source.next()) !== null);
    await source.stop();
    expect(source.counters()).toEqual({ captured: 10, delivered: 5, dropped: { short: 5 } });
  });

  it('refuses a file without a sidecar', async () => {
    const path = await y16(2, undefined);
    await expect(opened(path)).rejects.toMatchObject({
      code: 'RECORDING_SIDECAR_MISSING',
      exitCode: EXIT.noInput,
      message: expect.stringContaining('clip.json'),
      hint: expect.stringContaining('width'),
    });
  });

  it.each([
    ['no JSON', '{"width": 12,', 'no JSON'],
    ['a list', [1, 2], 'object'],
    ['no height', { width: 12 }, 'height'],
    ['a width of 0', { width: 0, height: 8 }, 'width'],
    ['a width in words', { width: 'twelve', height: 8 }, 'width'],
    ['a huge width', { width: 1e9, height: 8 }, 'width'],
    ['a huge area', { width: 16_384, height: 16_384 }, 'width times height'],
    ['half a frame', { width: 12, height: 8, frames: 1.5 }, 'frames'],
    ['fps of 0', { width: 12, height: 8, fps: 0 }, 'fps'],
    ['32 bits', { width: 12, height: 8, bits: 32 }, 'bits'],
  ])('refuses a sidecar with %s', async (_, sidecar, named) => {
    await expect(opened(await y16(2, sidecar))).rejects.toMatchObject({
      code: 'RECORDING_SIDECAR_INVALID',
      exitCode: EXIT.dataError,
      message: expect.stringContaining(named),
    });
  });

  it('refuses a file that is longer than its sidecar says, rather than play noise', async () => {
    await expect(opened(await y16(4, { width: WIDTH, height: HEIGHT / 2, frames: 4 }))).rejects.toMatchObject({
      code: 'RECORDING_SIZE_MISMATCH',
      exitCode: EXIT.dataError,
    });
  });

  it.each([0, 10])('refuses a recording of %d bytes', async (bytes) => {
    await expect(opened(await y16(0, { width: WIDTH, height: HEIGHT }, bytes))).rejects.toMatchObject({
      code: 'RECORDING_EMPTY',
      exitCode: EXIT.dataError,
      message: expect.stringContaining(`${bytes} bytes`),
    });
  });
});

describe('a folder of images', () => {
  it('plays PNG and TIFF files in natural order and ignores others', async () => {
    const path = await folder();
    for (const k of [10, 2, 1]) await png(join(path, `img${k}.png`), k);
    await png(join(path, 'img3.PNG'), 3);
    await png(join(path, '.hidden.png'), 9);
    await writeFile(join(path, 'notes.txt'), 'hello');
    const { info, frames, counters } = await play(path);
    expect(frames.map((frame) => (frame.data[0]! - 2900) / 100)).toEqual([1, 2, 3, 10]);
    expect(info).toEqual({
      description: `recording ${path} (4 frames, 12x8, 16 bit)`,
      width: WIDTH,
      height: HEIGHT,
      bits: 16,
      frames: 4,
    });
    expect(counters).toEqual({ captured: 4, delivered: 4, dropped: {} });
  });

  it('takes rate and bits from recording.json', async () => {
    const path = await folder();
    await png(join(path, 'a.png'), 0);
    await writeFile(join(path, 'recording.json'), JSON.stringify({ fps: 50, bits: 14, camera: 'x' }));
    const { info, frames } = await play(path);
    expect([info.fps, info.bits, frames[0]!.bits]).toEqual([50, 14, 14]);
    await writeFile(join(path, 'recording.json'), JSON.stringify({ fps: -1 }));
    await expect(opened(path)).rejects.toMatchObject({ code: 'RECORDING_SIDECAR_INVALID' });
  });

  it('keeps 8 bits of 8-bit files', async () => {
    const path = await folder();
    await writeGreyPng(join(path, 'a.png'), { width: 3, height: 2, data: Uint8Array.of(0, 1, 2, 253, 254, 255) });
    await writeFile(join(path, 'recording.json'), JSON.stringify({ bits: 14 }));
    const { frames } = await play(path);
    expect(frames[0]).toMatchObject({ bits: 8, data: Uint8Array.of(0, 1, 2, 253, 254, 255) });
  });

  it('goes on after a damaged image and after one of another size or sample type', async () => {
    const path = await folder();
    for (let k = 0; k < 6; k++) await png(join(path, `${k}.png`), k);
    const whole = await readFile(join(path, '1.png'));
    await writeFile(join(path, '1.png'), whole.subarray(0, whole.length / 2));
    await png(join(path, '3.png'), 3, WIDTH + 2, HEIGHT);
    await writeGreyPng(join(path, '4.png'), { width: WIDTH, height: HEIGHT, data: new Uint8Array(WIDTH * HEIGHT) });
    const { frames, counters } = await play(path);
    expect(frames.map((frame) => frame.sequence)).toEqual([0, 2, 5]);
    expect(counters).toEqual({ captured: 6, delivered: 3, dropped: { corrupt: 1, size: 2 } });
  });

  it('takes its size from the first image that can be read', async () => {
    const path = await folder();
    await writeFile(join(path, '0.png'), 'garbage');
    await png(join(path, '1.png'), 1);
    const { info, counters } = await play(path);
    expect(info.width).toBe(WIDTH);
    expect(counters).toEqual({ captured: 2, delivered: 1, dropped: { corrupt: 1 } });
  });

  it('counts as corrupt what disappears while it plays', async () => {
    const path = await folder();
    for (let k = 0; k < 6; k++) await png(join(path, `${k}.png`), k);
    const source = new RecordingSource({ kind: 'recording', path, rate: 'fast' });
    await source.start(never);
    await rm(join(path, '5.png'));
    while ((await source.next()) !== null);
    expect(source.counters()).toEqual({ captured: 6, delivered: 5, dropped: { corrupt: 1 } });
    await source.stop();
  });

  it('refuses a folder in which no image can be read', async () => {
    const path = await folder();
    for (const name of ['a.png', 'b.tif']) await writeFile(join(path, name), 'garbage');
    await expect(opened(path)).rejects.toMatchObject({
      code: 'RECORDING_UNREADABLE',
      exitCode: EXIT.dataError,
      message: expect.stringContaining('none of the 2 images'),
    });
  });

  it('refuses an empty folder, and points at a .y16 that lies there', async () => {
    await expect(opened(await folder())).rejects.toMatchObject({ code: 'RECORDING_EMPTY', exitCode: EXIT.dataError });
    const path = await y16(1, { width: WIDTH, height: HEIGHT });
    await expect(opened(join(path, '..'))).rejects.toMatchObject({
      code: 'RECORDING_EMPTY',
      hint: expect.stringContaining('clip.y16'),
    });
  });
});

describe('RecordingSource', () => {
  it('plays a single image, also for ever', async () => {
    const path = join(await folder(), 'one.png');
    await png(path, 4);
    const { info, frames } = await play(path, { loop: 3 });
    expect(info.frames).toBe(3);
    expect(info.description).toContain('1 frame,');
    expect(frames.map((frame) => frame.data)).toEqual([counts(4), counts(4), counts(4)]);
  });

  it('refuses a single image that is damaged', async () => {
    const path = join(await folder(), 'bad.tiff');
    await writeFile(path, 'garbage');
    await expect(opened(path)).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE', exitCode: EXIT.dataError });
  });

  it('refuses what is not there or no recording', async () => {
    const path = await y16(1, { width: WIDTH, height: HEIGHT });
    await expect(opened(join(root, 'nothing'))).rejects.toMatchObject({
      code: 'INPUT_NOT_FOUND',
      exitCode: EXIT.noInput,
    });
    await expect(opened(path.replace('.y16', '.json'))).rejects.toMatchObject({ code: 'RECORDING_UNSUPPORTED' });
    const video = join(await folder(), 'a.mp4');
    await copyFile(path, video);
    await expect(opened(video)).rejects.toMatchObject({
      code: 'RECORDING_UNSUPPORTED',
      hint: expect.stringContaining('ffmpeg'),
    });
  });

  it('does not touch the disk before start', async () => {
    const source = new RecordingSource({ kind: 'recording', path: join(root, 'nothing'), rate: 'fast' });
    expect(await source.next()).toBeNull();
    expect(source.counters()).toEqual({ captured: 0, delivered: 0, dropped: {} });
    await source.stop();
  });

  it('leaves out missed frames in real time', async () => {
    const path = await y16(20, { width: WIDTH, height: HEIGHT, fps: 10 });
    const clock = new FakeClock();
    const source = new RecordingSource({ kind: 'recording', path, rate: 'realtime' }, { clock });
    await source.start(never);
    expect((await source.next())?.data).toEqual(counts(0));
    clock.advance(730);
    const frame = await source.next();
    expect([frame?.sequence, frame?.data]).toEqual([7, counts(7)]);
    await source.stop();
    expect(source.counters()).toEqual({ captured: 8, delivered: 2, dropped: { stale: 6 } });
  });
});

describe('naturalSort', () => {
  it('counts numbers in names, and has one order for all', () => {
    expect(naturalSort(['f10', 'f9', 'f1', 'a2b10', 'a2b9', 'F1', 'f01'])).toEqual(
      naturalSort(['f01', 'F1', 'a2b9', 'a2b10', 'f1', 'f9', 'f10']),
    );
    expect(naturalSort(['f10.png', 'f9.png', 'f001.png'])).toEqual(['f001.png', 'f9.png', 'f10.png']);
  });
});
