import { stat } from 'node:fs/promises';
import { EdgeError, EXIT } from '../types/errors.js';
import { inputError } from './faults.js';
import { type FrameReader, ReadAhead } from './frame-reader.js';
import { IMAGE_NAME, openImageFile, openImageFolder } from './image-recording.js';
import type { RecordingOptions } from './options.js';
import { PacedSource, type SourceHooks } from './paced-source.js';
import { openY16 } from './y16.js';

/** Frames decoded ahead of the one in use. */
const READ_AHEAD = 2;

/**
 * A recording: a folder of PNG/TIFF files, one such file, or `NAME.y16` with `NAME.json`. Bad frames are counted (`corrupt`,
 * `short`, `size`) and left out; when no frame can be read, `start` or the last `next()` throws `RECORDING_UNREADABLE`.
 * Never holds more than three frames.
 */
export class RecordingSource extends PacedSource {
  constructor(options: RecordingOptions, hooks: SourceHooks = {}) {
    super(
      async (signal) => {
        const reader = await openRecording(options.path, signal);
        return new ReadAhead(reader, READ_AHEAD, options.loop !== undefined && options.loop !== false);
      },
      options,
      hooks,
    );
  }
}

async function openRecording(path: string, signal: AbortSignal): Promise<FrameReader> {
  const found = await stat(path).catch((error: unknown) => {
    throw inputError(path, error);
  });
  if (found.isDirectory()) return openImageFolder(path, signal);
  if (/\.y16$/i.test(path)) return openY16(path);
  if (IMAGE_NAME.test(path)) return openImageFile(path);
  throw new EdgeError(
    'RECORDING_UNSUPPORTED',
    `${path} is no recording that can be played: not .y16, .png, .tif or .tiff`,
    {
      hint: 'For a video file use the source kind ffmpeg; for a .y16 recording give the .y16 file, not its .json.',
      exitCode: EXIT.dataError,
    },
  );
}
