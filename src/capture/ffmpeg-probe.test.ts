import { describe, expect, it } from 'vitest';
import { EXIT } from '../types/errors.js';
import { parseInput } from './ffmpeg-input.js';
import { hasFpsMode, outputFormat, parseRate, readProbe, startError } from './ffmpeg-probe.js';

describe('outputFormat', () => {
  it.each(['gray', 'yuv420p', 'yuvj422p', 'nv12', 'pal8', 'rgb24', 'monow', 'ya8', 'rgb565le', 'bgr555be', 'rgb8'])(
    'takes 8 bits of %s',
    (format) => {
      expect(outputFormat(format)).toEqual({ pixelFormat: 'gray', bits: 8 });
    },
  );

  it.each([
    'yuv420p10le',
    'p010le',
    'p016be',
    'rgb48le',
    'rgba64be',
    'gbrp12le',
    'ya16le',
    'y210le',
    'x2rgb10le',
    'grayf32le',
  ])('takes 16 bits of %s', (format) => {
    expect(outputFormat(format)).toEqual({ pixelFormat: 'gray16le', bits: 16 });
  });

  it.each([9, 10, 12, 14, 16])('takes %d-bit grey as stored', (bits) => {
    expect(outputFormat(`gray${bits}le`)).toEqual({ pixelFormat: `gray${bits}le`, bits });
    expect(outputFormat(`gray${bits}be`)).toEqual({ pixelFormat: `gray${bits}le`, bits });
  });
});

describe('parseRate', () => {
  it.each([
    ['30/1', 30],
    ['30000/1001', 30000 / 1001],
    ['25', 25],
    ['0/0', undefined],
    ['1/0', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%s', (text, rate) => {
    expect(parseRate(text)).toBe(rate);
  });
});

describe('hasFpsMode', () => {
  it.each([
    ['4.2.7-0ubuntu0.1', false],
    ['4.4.2-0ubuntu0.22.04.1', false],
    ['5.0.1', false],
    ['5.1.9-0+deb12u1', true],
    ['n6.0', true],
    ['7.1', true],
    ['N-113000-gabc', true],
    ['2024-05-01-git-abc', true],
  ])('%s: %s', (version, yes) => {
    expect(hasFpsMode(version)).toBe(yes);
  });
});

describe('readProbe', () => {
  const input = parseInput('/tmp/a.mkv');
  const stream = { width: 320, height: 256, pix_fmt: 'gray14le', avg_frame_rate: '0/0', r_frame_rate: '9/1' };

  it('reads what there is', () => {
    const text = JSON.stringify({
      program_version: { version: '4.4.2' },
      streams: [{ ...stream, nb_frames: '12' }],
      format: { duration: '1.33' },
    });
    expect(readProbe(text, input)).toEqual({
      width: 320,
      height: 256,
      pixelFormat: 'gray14le',
      bits: 14,
      fps: 9,
      frames: 12,
      duration: 1.33,
      hasFpsMode: false,
    });
    expect(
      readProbe(JSON.stringify({ streams: [{ ...stream, nb_frames: 'N/A' }], format: {} }), input),
    ).not.toHaveProperty('frames');
  });

  it.each([
    ['', 'unknown'],
    ['{"streams":[{"width":"x"}]}', 'unknown'],
    ['{"streams":[]}', 'no video stream'],
    ['{"streams":[{"width":0,"height":0,"pix_fmt":"gray"}]}', 'no known size'],
    ['{"streams":[{"width":3,"height":3}]}', 'no known size'],
    ['{"streams":[{"width":16384,"height":16384,"pix_fmt":"gray"}]}', 'larger than'],
  ])('refuses %s', (text, message) => {
    expect(() => readProbe(text, input)).toThrow(
      expect.objectContaining({ code: 'SOURCE_UNREADABLE', message: expect.stringContaining(message) }),
    );
  });
});

describe('startError', () => {
  const failed = (code: string) => startError('ffmpeg', Object.assign(new Error(`spawn ffmpeg ${code}`), { code }));

  it('tells a missing program from a system at its limits', () => {
    expect(failed('ENOENT')).toMatchObject({
      code: 'FFMPEG_MISSING',
      hint: 'Install it: apt-get install ffmpeg',
      exitCode: EXIT.unavailable,
    });
    expect(failed('EACCES').code).toBe('FFMPEG_MISSING');
    expect(failed('EMFILE')).toMatchObject({ code: 'FFMPEG_FAILED', message: expect.stringContaining('EMFILE') });
  });
});
