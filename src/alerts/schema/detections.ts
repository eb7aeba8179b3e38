import { z } from 'zod';
import type { Detection } from '../../types/detection.js';
import type { Frame } from '../../types/frame.js';
import type { ModelIdentity } from '../../types/model.js';
import {
  count,
  image,
  isoTime,
  latencyMs,
  model,
  monotonicNs,
  name,
  number,
  positiveOrZero,
  provider,
  software,
  time,
} from './common.js';

const detection = z
  .strictObject({
    x: number('Sub-pixel centre, px to the right; 0 is the centre of the leftmost pixel. Not rounded.'),
    y: number('Sub-pixel centre, px downwards; 0 is the centre of the top pixel. Not rounded.'),
    sigmaX: positiveOrZero('Standard error of x, px.'),
    sigmaY: positiveOrZero('Standard error of y, px.'),
    score: z.number().min(0).max(1).meta({ description: 'Height of the heat-map peak, 0 to 1 (no unit).' }),
    snr: number('Peak contrast over the local background noise of the frame (ratio, no unit).'),
    extent: positiveOrZero("Standard deviation of the target's Gaussian profile, px: its size."),
  } satisfies Record<keyof Detection, z.ZodNumber>)
  .meta({ description: 'One target.' });

export const detectionsSchema = z
  .strictObject({
    schema: z.literal('irst-edge/detections/1').meta({ description: 'Kind and version of this message.' }),
    device: name('Name of the device, as in the topic.'),
    camera: name('Name of the camera, as in the topic.'),
    sequence: count(
      "The source's frame number, from 0 at each start of the source. A message may come twice after a reconnect: " +
        'camera, sequence and captureMonotonicNs together tell the copies.',
    ),
    capturedAt: time('Wall clock at capture, ISO 8601, UTC, ms.'),
    captureMonotonicNs: monotonicNs,
    image,
    detections: z.array(detection).min(1).meta({ description: 'The targets found in the frame, at least one.' }),
    model,
    provider,
    software,
    latencyMs,
  })
  .meta({
    title: 'irst-edge detections',
    description:
      'Targets found in one frame. Topic irst/<device>/<camera>/detections, not retained; sent for each frame with at ' +
      "least one target. Coordinates in the camera's own pixels: centres at integers, x right, y down, 0-based.",
  });

export type DetectionsMessage = z.infer<typeof detectionsSchema>;
export type LatencyMs = DetectionsMessage['latencyMs'];

export interface DetectionsInput {
  device: string;
  camera: string;
  /** The frame, or just these fields of it. */
  frame: Pick<Frame, 'sequence' | 'captureMonotonicNs' | 'capturedAtMs' | 'width' | 'height'>;
  /** At least one. */
  detections: readonly Detection[];
  model: ModelIdentity;
  /** Execution provider that really ran. */
  provider: string;
  /** Version of irst-edge. */
  software: string;
  latencyMs: LatencyMs;
}

/**
 * The message for one frame. Pure. Copies the known fields only, so that what a later stage adds to its objects does
 * not leak into a versioned message. Does not validate: `detectionsSchema.parse` does, in tests.
 */
export function detectionsMessage(input: DetectionsInput): DetectionsMessage {
  const { frame, model, latencyMs } = input;
  return {
    schema: 'irst-edge/detections/1',
    device: input.device,
    camera: input.camera,
    sequence: frame.sequence,
    capturedAt: isoTime(frame.capturedAtMs),
    captureMonotonicNs: frame.captureMonotonicNs.toString(),
    image: { width: frame.width, height: frame.height },
    detections: input.detections.map(({ x, y, sigmaX, sigmaY, score, snr, extent }) => ({
      x,
      y,
      sigmaX,
      sigmaY,
      score,
      snr,
      extent,
    })),
    model: { name: model.name, sha256: model.sha256, precision: model.precision },
    provider: input.provider,
    software: input.software,
    latencyMs: {
      normalise: latencyMs.normalise,
      infer: latencyMs.infer,
      decode: latencyMs.decode,
      ...(latencyMs.track !== undefined && { track: latencyMs.track }),
      total: latencyMs.total,
    },
  };
}
