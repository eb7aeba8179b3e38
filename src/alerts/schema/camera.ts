import { z } from 'zod';
import { DROP_REASONS } from '../../types/frame.js';
import { clippedError, count, error, model, positiveOrZero, TEXT_MAX, text } from './common.js';

/** What is said of a camera both in the device's status and in the camera's own state. */
export const cameraFields = {
  state: z.enum(['starting', 'running', 'ended', 'failed', 'restarting']).meta({
    description:
      "'ended': the source came to its end; 'failed': it stopped with an error and is not tried again; " +
      "'restarting': it stopped with an error and is tried again.",
  }),
  source: text('What the frames come from, for people.').optional(),
  fps: positiveOrZero('Frames processed per second, Hz, over the last seconds.').optional(),
  provider: text('Execution provider that really runs the network.').optional(),
  model: model.optional(),
  frames: z
    .strictObject({
      captured: count('Frames captured since the program started.'),
      processed: count('Frames that went through the whole pipeline.'),
      dropped: z.partialRecord(z.enum(DROP_REASONS), count('Frames dropped for this reason.')).meta({
        description: 'Frames that did not, by reason. captured = processed + all dropped + the one under way.',
      }),
    })
    .meta({ description: 'Frame counts since the program started.' })
    .optional(),
  error: error.meta({ description: 'Why the camera failed or restarts.' }).optional(),
};

interface Texts {
  source?: string | undefined;
  error?: { code: string; message: string } | undefined;
}

/** Descriptions and error texts come from outside (paths, URLs, drivers): keep a retained message small. */
export function clipped<T extends Texts>(camera: T): T {
  const { source, error } = camera;
  return {
    ...camera,
    ...(source === undefined ? {} : { source: source.slice(0, TEXT_MAX) }),
    ...(error === undefined ? {} : { error: clippedError(error) }),
  };
}
