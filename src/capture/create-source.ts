import type { FrameSource } from '../types/frame.js';
import { FfmpegSource } from './ffmpeg.js';
import type { SourceOptions } from './options.js';
import { RecordingSource } from './recording.js';
import { SyntheticSource } from './synthetic.js';
import { type V4l2Hooks, V4l2Source } from './v4l2.js';

/** The source that `options` describe; nothing is opened before its `start`. */
export function createSource(options: SourceOptions, hooks: V4l2Hooks = {}): FrameSource {
  switch (options.kind) {
    case 'recording':
      return new RecordingSource(options, hooks);
    case 'ffmpeg':
      return new FfmpegSource(options, hooks);
    case 'synthetic':
      return new SyntheticSource(options, hooks);
    case 'v4l2':
      return new V4l2Source(options, hooks);
  }
}
