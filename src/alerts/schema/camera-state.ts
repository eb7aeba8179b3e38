import { z } from 'zod';
import { CAPTURE_STATES, SENSOR_ISSUES } from '../../types/frame.js';
import { PROVIDERS, type ProviderStatus } from '../../types/provider.js';
import { cameraFields, clipped } from './camera.js';
import {
  count,
  countsByReason,
  flag,
  isoTime,
  name,
  openList,
  positiveOrZero,
  sensor,
  share,
  software,
  TEXT_MAX,
  text,
  time,
} from './common.js';

/** Counts of `EventEngine`; see there for the sums that hold. */
export const trackCounts = z.strictObject({
  confirmed: count('Tracks confirmed.'),
  reported: count('Of these: tracks that opened at least one event.'),
  held: countsByReason('Of these: followed now without an event so far, by what holds it back.'),
  suppressed: countsByReason(
    'Of these: ended without an event, by what held it back last. confirmed = reported + all held + all suppressed.',
  ),
  opened: count("Events opened ('new' messages)."),
  closed: count("Events closed ('end' messages). opened = closed + open."),
  open: count('Events open now.'),
});
export type TrackCounts = z.infer<typeof trackCounts>;

/** What watching the sensor has found. */
const sensorWatch = z.strictObject({
  issues: z
    .array(openList(SENSOR_ISSUES, 'One thing that is wrong.'))
    .max(32)
    .meta({ description: 'What is wrong with the sensor now; empty: nothing.' }),
  deadPixels: count(
    'Pixels found dead, stuck or hot; they are replaced before the search, unless configured otherwise.',
  ),
  saturatedShare: share('Pixels at the end of the scale, of all, 0 to 1 (no unit).'),
  corrections: count('Flat-field corrections noticed since the program started.'),
  held: countsByReason(
    'Processed frames in which nothing was searched, so that no alert began, by reason: ffc, frozen.',
  ),
});

/** Where a source with a device stands. */
const capture = z.strictObject({
  state: openList(
    CAPTURE_STATES,
    "Where it stands. 'stalled': no good frame for longer than a correction takes; 'lost': the device, or its stream, is gone; " +
      "'back-off': it is waited for before the next attempt.",
  ),
  since: time('Wall clock of the last step, ISO 8601, UTC, ms.'),
  reason: text('Why, for people.'),
  code: name('Code of the error behind it (docs/errors.md).').optional(),
});
export type CaptureStateMessage = z.infer<typeof capture>;

const execution = openList(PROVIDERS, 'An execution provider.');

/** What runs the network, and why nothing better does. */
const runtime = z.strictObject({
  library: text('Library that runs the network, with its version.').optional(),
  wanted: z.array(execution).max(8).meta({ description: 'Providers asked for, the most wanted first.' }),
  refused: z
    .array(
      z
        .strictObject({
          provider: execution,
          code: name('Code of the error (docs/errors.md).'),
          reason: text('Why, for people.'),
          at: time('Wall clock of the refusal, ISO 8601, UTC, ms.'),
        })
        .meta({ description: 'One refusal.' }),
    )
    .max(8)
    .meta({ description: 'The latest refusal of each provider that does not serve.' }),
  build: z
    .strictObject({
      provider: execution,
      phase: openList(
        ['waiting', 'building', 'proving'],
        "'waiting': for the same build of another camera; 'building': the engine is made; 'proving': it runs the golden frame.",
      ),
      since: time('Wall clock of the beginning, ISO 8601, UTC, ms.'),
      elapsedSeconds: positiveOrZero('Time since then, s.'),
      detail: text("The builder's latest words.").optional(),
    })
    .meta({ description: 'An engine that is being built, in a process of its own, while another provider serves.' })
    .optional(),
  demotions: count('Times that a provider failed while it served, since the worker started.'),
  retryAt: time('When a provider that failed is tried again, ISO 8601, UTC, ms.').optional(),
  golden: z
    .strictObject({
      heatError: positiveOrZero('Largest difference of the heat map from the truth (no unit).'),
      peakErrorPx: positiveOrZero('Distance of the peak from its place, px.'),
      latencyMs: positiveOrZero('Time of a run, ms.'),
    })
    .meta({ description: 'How the provider that serves did on the golden frame.' })
    .optional(),
});
export type RuntimeStateMessage = z.infer<typeof runtime>;

/** The same as a message has it. Pure. */
export function runtimeState(status: ProviderStatus): RuntimeStateMessage {
  const { library, wanted, refused, build, demotions, retryAtMs, golden } = status;
  return {
    ...(library !== undefined && { library }),
    wanted: [...wanted],
    refused: refused.map(({ provider: which, code, reason, atMs }) => ({
      provider: which,
      code,
      reason: reason.slice(0, TEXT_MAX) || code,
      at: isoTime(atMs),
    })),
    ...(build && {
      build: {
        provider: build.provider,
        phase: build.phase,
        since: isoTime(build.sinceMs),
        elapsedSeconds: build.elapsedSeconds,
        ...(build.detail ? { detail: build.detail.slice(0, TEXT_MAX) } : {}),
      },
    }),
    demotions,
    ...(retryAtMs !== undefined && { retryAt: isoTime(retryAtMs) }),
    ...(golden && { golden }),
  };
}

export const cameraStateSchema = z
  .strictObject({
    schema: z.literal('irst-edge/camera-state/1').meta({ description: 'Kind and version of this message.' }),
    device: name('Name of the device, as in the topic.'),
    camera: name('Name of the camera, as in the topic.'),
    at: time('Wall clock when the device wrote this, ISO 8601, UTC, ms.'),
    software,
    ...cameraFields,
    enabled: flag('Whether the camera raises events.'),
    threshold: share('Height of the heat-map peak from which a target is reported, 0 to 1 (no unit).').optional(),
    profile: name('Alert profile in force.').optional(),
    cameraProfile: name('Camera profile that the frames are read by.').optional(),
    capture: capture.meta({ description: "State of the camera's device, where the source has one." }).optional(),
    runtime: runtime.meta({ description: 'What runs the network, and why nothing better does.' }).optional(),
    sensor: sensor.meta({ description: 'State of the sensor, as far as the camera tells.' }).optional(),
    sensorWatch: sensorWatch
      .meta({ description: 'What watching the sensor has found; absent: it is not watched.' })
      .optional(),
    tracks: trackCounts.meta({ description: 'Tracks and events since the program started.' }).optional(),
  })
  .meta({
    title: 'irst-edge camera state',
    description: 'State of a camera. Topic irst/<device>/<camera>/state, retained, QoS 1.',
  });

export type CameraStateMessage = z.infer<typeof cameraStateSchema>;

export interface CameraStateInput extends Omit<CameraStateMessage, 'schema' | 'at'> {
  /** Wall clock, ms since 1970. */
  atMs: number;
}

/** A camera's state. Pure. */
export function cameraStateMessage({ atMs, device, camera, ...rest }: CameraStateInput): CameraStateMessage {
  return clipped({ schema: 'irst-edge/camera-state/1' as const, device, camera, at: isoTime(atMs), ...rest });
}

/** Payload of `irst/<device>/available`, a plain text. */
export const AVAILABILITY = ['online', 'stopped', 'offline'] as const;
export type Availability = (typeof AVAILABILITY)[number];

export const availableSchema = z.enum(AVAILABILITY).meta({
  title: 'irst-edge availability',
  description:
    "Whether the device is there. Topic irst/<device>/available, retained, QoS 1; the payload is the bare word. 'online' is sent on " +
    "every connection; 'stopped': ended in good order; 'offline': the broker lost the device (Last Will).",
});
