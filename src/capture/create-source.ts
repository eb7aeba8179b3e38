import type { FrameSource } from '../types/frame.js';
import { FfmpegSource } from './ffmpeg.js';
import type { SourceOptions } from './options.js';
import type { SourceHooks } from './paced-source.js';
import { RecordingSource } from './recording.js';
import { SyntheticSource } from './synthetic.js';

/** The source that `options` describe; nothing is opened before its `start`. */
export function createSource(options: SourceOptions, hooks: SourceHooks = {}): FrameSource {
  switch (options.kind) {
    case 'recording':
      return new RecordingSource(options, hooks);
    case 'ffmpeg':
      return new FfmpegSource(options, hooks);
    case 'synthetic':
      return new SyntheticSource(options, hooks);
  }
}
