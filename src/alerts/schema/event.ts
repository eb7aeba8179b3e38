import { z } from 'zod';
import {
  count,
  flag,
  image,
  latencyMs,
  model,
  monotonicNs,
  name,
  number,
  openList,
  positiveOrZero,
  provider,
  sensor,
  share,
  software,
  time,
} from './common.js';

/** In rising order; part of version 1, none is added within it. */
export const SEVERITIES = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** 0 for `info`, 1 for `warning`, 2 for `critical`. */
export function severityRank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

/** Why an event ended. */
export const EVENT_END_REASONS = [
  /** The target was not seen again for as long as the tracker waits. */
  'lost',
  /** Its predicted place left the frame. */
  'left',
  /** The number of tracks is bounded, and a more valuable one took its place. */
  'displaced',
  /** The tracker was reset, the camera gave no frame for five seconds, or its worker started anew. */
  'reset',
  /** Alerts of the camera were switched off. */
  'disabled',
  /** The source came to its end, or the program stops. */
  'stopped',
  /** The program was killed, or the power cut, while it was open: said at the next start. */
  'interrupted',
] as const;
export type EventEndReason = (typeof EVENT_END_REASONS)[number];

/** How the mount's zero of azimuth is defined. */
export const DATUMS = ['true', 'magnetic', 'grid', 'platform'] as const;
export type Datum = (typeof DATUMS)[number];

export const clock = z
  .strictObject({
    synchronised: z
      .boolean()
      .nullable()
      .meta({ description: 'Whether the wall clock followed a reference (NTP, PTP, GNSS) at capture; null: unknown.' }),
    offsetMs: number('Estimated error of the wall clock, device minus reference, ms.').optional(),
  })
  .meta({ description: 'How far the wall clock can be trusted.' });
export type ClockState = z.infer<typeof clock>;

export const picture = z.strictObject({
  format: z.literal('png').meta({ description: 'Encoding of the picture.' }),
  bits: z.union([z.literal(8), z.literal(16)]).meta({ description: 'Bits of a PNG sample; counts are not scaled.' }),
  x: z.int().meta({ description: 'Column of its leftmost pixel in the frame, px.' }),
  y: z.int().meta({ description: 'Row of its top pixel in the frame, px.' }),
  width: z.int().min(1).meta({ description: 'Width, px.' }),
  height: z.int().min(1).meta({ description: 'Height, px.' }),
  data: z.base64().meta({ description: 'The PNG file, base64.' }),
});
export type Picture = z.infer<typeof picture>;

export const bearing = z
  .strictObject({
    azimuthDeg: z
      .number()
      .min(0)
      .lt(360)
      .meta({ description: 'Clockwise from the zero of the datum, degrees, 0 to below 360.' }),
    elevationDeg: z.number().min(-90).max(90).meta({ description: 'Above the horizontal of the datum, degrees.' }),
    sigmaAzimuthDeg: positiveOrZero('Standard error of the azimuth, degrees; at most 180.'),
    sigmaElevationDeg: positiveOrZero('Standard error of the elevation, degrees; at most 180.'),
    datum: z.enum(DATUMS).meta({
      description: "What azimuth 0 is: true, magnetic or grid north, or the platform's forward direction.",
    }),
  })
  .meta({ description: 'Direction of the target, when intrinsics and mount of the camera are configured.' });
export type Bearing = z.infer<typeof bearing>;

export const eventSchema = z
  .strictObject({
    schema: z.literal('irst-edge/event/1').meta({ description: 'Kind and version of this message.' }),
    type: z.enum(['new', 'update', 'end']).meta({
      description: "'new': a target was confirmed; 'update': it is still followed; 'end': it is no longer followed.",
    }),
    id: z.ulid().meta({
      description:
        "ULID of the event: the same from 'new' to 'end'. Its time is that of the capture of the frame of 'new'; it never runs backwards. " +
        'A target that is still there when alerts are switched on again after they were off gets a new one.',
    }),
    seq: count(
      "Number of the message within the event: 0 is 'new'. A message may come twice: id and seq together tell the copies, of 'new' and 'end' id and type. A gap: " +
        "updates that gave way to newer ones. The end of reason 'interrupted' has 2147483647.",
    ),
    device: name('Name of the device, as in the topic.'),
    camera: name('Name of the camera, as in the topic.'),
    severity: z.enum(SEVERITIES).meta({ description: 'Highest so far: it never falls within an event.' }),
    endReason: openList(
      EVENT_END_REASONS,
      "Why it ended; there when type is 'end', and only then. 'interrupted': the program was killed or lost its power meanwhile; all else " +
        "in the message is of 'new', or of the last 'update' that raised the severity. Words may be added within a version.",
    ).optional(),
    capturedAt: time('Wall clock at capture of the frame, ISO 8601, UTC, ms.'),
    captureMonotonicNs: monotonicNs,
    clock,
    firstSeenAt: time("Wall clock at the target's first detection, ISO 8601, UTC, ms."),
    lastSeenAt: time("Wall clock at the target's latest detection, ISO 8601, UTC, ms."),
    frame: z
      .strictObject({
        sequence: count("The source's frame number, from 0 at each start of the source."),
        dropped: count('Frames captured but not processed since the program started.').optional(),
        ffc: flag('Taken while the flat-field correction ran or settled.').optional(),
      })
      .meta({ description: 'The frame.' }),
    image,
    track: z
      .strictObject({
        number: count('Number of the track at the camera; starts anew when the camera does.'),
        hits: count('Detections so far.'),
        misses: count('Processed frames since the latest detection; above 0, pixel is a prediction.'),
        ageMs: positiveOrZero('From the first detection to this frame, ms.'),
      })
      .meta({ description: 'How it is followed.' }),
    pixel: z
      .strictObject({
        x: number('Sub-pixel centre, filtered, px to the right; 0 is the centre of the leftmost pixel.'),
        y: number('Sub-pixel centre, filtered, px downwards; 0 is the centre of the top pixel.'),
        sigmaX: positiveOrZero('Standard error of x, px.'),
        sigmaY: positiveOrZero('Standard error of y, px.'),
      })
      .meta({ description: "Where it is in the camera's own pixels." }),
    velocity: z
      .strictObject({
        x: number('To the right, px/s.'),
        y: number('Downwards, px/s.'),
        sigmaX: positiveOrZero('Standard error of x, px/s.'),
        sigmaY: positiveOrZero('Standard error of y, px/s.'),
      })
      .meta({ description: 'How it moves; against the scene, where the motion of the camera is compensated.' }),
    score: share('Height of the heat-map peak of the latest detection, 0 to 1 (no unit).'),
    topScore: share('Highest score so far, 0 to 1 (no unit).'),
    snr: number('Contrast of the latest detection over the local noise (ratio, no unit).'),
    extent: positiveOrZero("Standard deviation of the target's Gaussian profile, px: its size."),
    stationary: flag(
      'It stands where something has stood for long: a lamp, a hot pixel, or a target that does not move.',
    ),
    zones: z.array(name('Name of a zone.')).max(64).meta({ description: 'The zones of the camera that it is in.' }),
    bearing: bearing.optional(),
    latencyMs,
    model,
    provider,
    software,
    sensor: sensor.meta({ description: 'State of the sensor, as far as the camera tells.' }).optional(),
    chip: picture.meta({ description: 'The target and what is around it, when configured.' }).optional(),
  })
  .meta({
    title: 'irst-edge event',
    description:
      'Life of one target. Topic irst/<device>/<camera>/events, not retained, QoS 1. One new, any number of updates, one end. ' +
      "Coordinates in the camera's own pixels: centres at integers, x right, y down, 0-based. Fields may be added within a version: " +
      'ignore unknown ones.',
  });

export type EventMessage = z.infer<typeof eventSchema>;
