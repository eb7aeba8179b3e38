import { z } from 'zod';
import { cameraFields } from './camera.js';
import { trackCounts } from './camera-state.js';
import {
  count,
  countsByReason,
  isoTime,
  name,
  number,
  openList,
  positiveOrZero,
  software,
  text,
  time,
} from './common.js';

const percentiles = z
  .strictObject({
    count: count('Samples that the figures are of.'),
    mean: number('Mean, ms.'),
    p50: number('Median, ms.'),
    p95: number('95th percentile, ms.'),
    p99: number('99th percentile, ms.'),
    max: number('Largest, ms.'),
  })
  .meta({ description: 'Times, ms, over the newest samples.' });

const camera = z
  .strictObject({
    camera: name('Name of the camera, as in its topic.'),
    provider: cameraFields.provider,
    demotions: count('Times that a provider failed while it served.').optional(),
    fps: cameraFields.fps,
    frames: cameraFields.frames,
    invalidCells: count('Heat-map cells that were NaN or infinite and were taken as 0.').optional(),
    tracks: trackCounts.meta({ description: 'Tracks and events.' }).optional(),
    updates: z
      .strictObject({
        sent: count("'update' messages made."),
        withheld: countsByReason('Frames of open events without an update, by reason.'),
      })
      .meta({ description: 'Updates of open events.' })
      .optional(),
    latencyMs: z
      .record(z.string().regex(/^[a-z][a-zA-Z0-9]{0,63}$/), percentiles)
      .meta({ description: 'Time spent, ms, by stage: normalise, infer, decode, track, total; stages may be added.' })
      .optional(),
  })
  .meta({ description: 'One camera.' });

const byKind = (description: string) =>
  z.strictObject({ new: count("'new'."), update: count("'update'."), end: count("'end'.") }).meta({ description });

const outbox = z
  .strictObject({
    accepted: byKind('Messages about events taken in, by type, also those dropped as they came.'),
    recovered: count('Read from disk at the start, left by an earlier run.'),
    published: byKind('Acknowledged by the broker, by type.'),
    coalesced: count('Updates that a newer update, or the end, took the place of.'),
    dropped: countsByReason(
      "Given up, by reason. 'overflow': no room, and these were worth least; 'expired': their time ran out; 'oversized'; 'refused': " +
        "the broker never takes them; 'after_end', 'duplicate': their event was over, or they were there already; 'shutdown'.",
    ),
    waiting: count('Waiting now.'),
    waitingBytes: count('Memory that those waiting and in flight take now, bytes; an estimate.'),
    inFlight: count('Sent, not yet acknowledged, now.'),
    held: count('Events set aside now because the broker refuses their topic or their size; tried again.'),
    store: z
      .strictObject({
        mode: openList(
          ['disk', 'memory', 'degraded'],
          "'disk': 'new' and 'end' are on disk before they are sent; 'memory': no state directory is configured; 'degraded': there is " +
            'one, but it cannot be used now.',
        ),
        fault: text('Why it cannot be used now.').optional(),
        memoryOnly: count("'new' and 'end' sent without having been on disk, because of a fault."),
        failures: count('Attempts to use the disk that failed.'),
        skipped: countsByReason(
          "Stored records that could not be read and were left out, by reason: 'corrupt' (half-written or damaged), 'unknown_version'.",
        ),
        movedAside: count('Damaged files moved aside.'),
        unlogged: count(
          'Writes that took the long way, since the log ahead of the file could not be opened or written: as safe, but slower.',
        ).optional(),
      })
      .meta({ description: 'What is known of the disk.' }),
  })
  .meta({
    description:
      'Events on their way to the broker. All accepted + recovered = all published + coalesced + all dropped + waiting + inFlight.',
  });

const onTheirWay = (what: string) =>
  z
    .strictObject({
      accepted: count('Messages taken in for sending. accepted = published + all dropped + queued + inFlight.'),
      published: count('Acknowledged by the broker.'),
      dropped: countsByReason('Given up, by reason.'),
      queued: count('Waiting now.'),
      inFlight: count('Sent, not yet acknowledged, now.'),
    })
    .meta({ description: what });

const commands = z
  .strictObject({
    received: count('Messages on the command topics. received = done + refused + all dropped + pending.'),
    done: count('Carried out.'),
    refused: count('Answered with an error.'),
    dropped: countsByReason(
      "Not carried out and, but for 'superseded', not answered, by reason. 'retained'; 'rate': too many a second; 'unknown': no such " +
        "command or camera; 'superseded': a newer one came before it was begun; 'shutdown': came while the program stopped.",
    ),
    pending: count('Under way or next, now.'),
  })
  .meta({ description: 'Commands.' });

const output = z
  .strictObject({
    made: count('Messages made.'),
    skipped: countsByReason("Events that this form cannot hold, by reason; 'fault': its mapper failed."),
    sink: z
      .strictObject({
        accepted: count('Messages taken in for sending. accepted = sent + all dropped + queued.'),
        sent: count('Handed to the network; nobody acknowledges them.'),
        dropped: countsByReason('Given up, by reason.'),
        queued: count('Waiting now.'),
      })
      .meta({ description: 'On their way to the receiver.' })
      .optional(),
  })
  .meta({ description: 'One output.' });

export const statsSchema = z
  .strictObject({
    schema: z.literal('irst-edge/stats/1').meta({ description: 'Kind and version of this message.' }),
    device: name('Name of the device, as in the topic.'),
    at: time('Wall clock when the device wrote this, ISO 8601, UTC, ms.'),
    software,
    uptimeSeconds: positiveOrZero('Since the program started, s. All counts are since then.'),
    memory: z
      .strictObject({
        rssBytes: count('Resident memory of the process, bytes.'),
        heapUsedBytes: count('JavaScript heap in use on the main thread, bytes.').optional(),
      })
      .meta({ description: 'Memory.' }),
    alerts: onTheirWay('Messages on their way to the broker, those about events apart.').optional(),
    forms: onTheirWay('Events in other forms (CBOR, SAPIENT) on their way to the broker.').optional(),
    outbox: outbox.optional(),
    commands: commands.optional(),
    outputs: z
      .record(z.string().regex(/^[a-z][a-zA-Z0-9]{0,63}$/), output)
      .meta({
        description: 'The outputs that are on, by name: homeAssistant, cot, sapient, cbor, mavlink; more may be added.',
      })
      .optional(),
    cameras: z.array(camera).max(64).meta({ description: "The device's cameras." }),
  })
  .meta({
    title: 'irst-edge stats',
    description:
      'Figures of a device, every few seconds and at each connection. Topic irst/<device>/stats, not retained, QoS 1.',
  });

export type StatsMessage = z.infer<typeof statsSchema>;
export type OutboxStats = NonNullable<StatsMessage['outbox']>;
export type CameraStats = StatsMessage['cameras'][number];

export interface StatsInput extends Omit<StatsMessage, 'schema' | 'at'> {
  /** Wall clock, ms since 1970. */
  atMs: number;
}

/** The device's figures. Pure. Percentiles of nothing (NaN, which JSON cannot hold) are left out. */
export function statsMessage({ atMs, device, cameras, ...rest }: StatsInput): StatsMessage {
  return {
    schema: 'irst-edge/stats/1',
    device,
    at: isoTime(atMs),
    ...rest,
    cameras: cameras.map(({ latencyMs, ...camera }) => ({
      ...camera,
      ...(latencyMs === undefined
        ? {}
        : { latencyMs: Object.fromEntries(Object.entries(latencyMs).filter(([, summary]) => summary.count > 0)) }),
    })),
  };
}
