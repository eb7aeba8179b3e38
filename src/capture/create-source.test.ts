import { describe, expect, it } from 'vitest';
import { createSource } from './create-source.js';
import { FfmpegSource } from './ffmpeg.js';
import type { SourceOptions } from './options.js';
import { RecordingSource } from './recording.js';
import { SyntheticSource } from './synthetic.js';

describe('createSource', () => {
  it.each<[SourceOptions, new (options: never) => unknown]>([
    [{ kind: 'recording', path: '/nowhere', rate: 'fast' }, RecordingSource],
    [{ kind: 'ffmpeg', input: 'rtsp://nowhere', rate: 'realtime' }, FfmpegSource],
    [{ kind: 'synthetic', rate: 'fast' }, SyntheticSource],
  ])('makes a source of kind %j, without opening anything', async (options, kind) => {
    const source = createSource(options);
    expect(source).toBeInstanceOf(kind);
    expect(source.counters()).toEqual({ captured: 0, delivered: 0, dropped: {} });
    await source.stop();
    await source.stop();
    expect(await source.next()).toBeNull();
  });
});
