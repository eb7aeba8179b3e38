import { monotonicFactory } from 'ulid';
import type { ModelIdentity } from '../types/model.js';
import type { Track, TrackEndReason, TrackMoment, TrackUpdate } from '../types/track.js';
import { EARLIEST_MS } from '../util/earliest.js';
import { bearingOf, type Intrinsics, type Mount } from './bearing.js';
import { isQuiet, type QuietHours } from './quiet-hours.js';
import {
  type CameraStats,
  type ClockState,
  type EventEndReason,
  type EventMessage,
  type Picture,
  type SensorState,
  type Severity,
  severityRank,
  type TrackCounts,
} from './schema.js';
import { mayOpen, type Zone, zonesAt } from './zones.js';

/** What holds a confirmed track back from opening an event; where several do, the first of these. */
export const HOLD_REASONS = [
  /** Alerts of the camera are switched off. */
  'disabled',
  /** The flat-field correction runs or settles: what is seen now may be its doing. */
  'ffc',
  /** The sensor gives the same picture again and again. */
  'frozen',
  /** It keeps its place on the sensor while the scene moves: a fault of the sensor. */
  'sensorFixed',
  /** It stands where something has stood for long. */
  'stationary',
  /** In an `ignore` zone, or outside of every `include` zone. */
  'zone',
  /** Quiet hours. */
  'quiet',
] as const;
export type HoldReason = (typeof HOLD_REASONS)[number];

/** Why a frame of an open event made no update. */
export const WITHHOLD_REASONS = [
  /** The last message was less than the interval ago. */
  'interval',
  'ffc',
  'frozen',
  /** Said to be stationary already: nothing new to tell until it moves or ends. */
  'stationary',
] as const;
export type WithholdReason = (typeof WITHHOLD_REASONS)[number];

/** Applies when all that it names is so. */
export interface SeverityRule {
  severity: Severity;
  /** At least this SNR, or score, of the latest detection. */
  snr?: number;
  score?: number;
  /** In the zone of this name. */
  zone?: string;
}

export interface EventEngineOptions {
  device: string;
  camera: string;
  /** Version of irst-edge. */
  software: string;
  /** A new ULID for an event whose first frame was captured then, ms since 1970. One for all cameras: `eventIds()`. */
  newId: (atMs: number) => string;
  /** Least time between two messages of an event, ms, by capture times; 0: every frame. A rise in severity goes at once. Default 1000. */
  updateIntervalMs?: number;
  zones?: readonly Zone[];
  /**
   * `suppress`: none opens in quiet hours; a target that is still there afterwards opens one then. `lower`: they open as `info`, and
   * rise afterwards. Events that are open when the quiet hours begin go on. By a clock that was never set there are none.
   */
  quietHours?: QuietHours & { action: 'suppress' | 'lower' };
  /** The highest severity of the rules that apply; `base` where none does. Default: `warning`, no rules. */
  severity?: { base: Severity; rules: readonly SeverityRule[] };
  /** What stands still where something has stood for long. Default `suppress`. */
  stationary?: 'suppress' | 'report';
  /** Messages that carry a chip, where the frame has one: default `new` alone. */
  chips?: 'new' | 'all';
  /** Both, for a bearing. */
  intrinsics?: Intrinsics;
  mount?: Mount;
  /** Default true. */
  enabled?: boolean;
}

/** What may change while events are open. */
export type EventRules = Omit<EventEngineOptions, 'device' | 'camera' | 'software' | 'newId' | 'enabled'>;

const DEFAULTS = {
  updateIntervalMs: 1000,
  zones: [],
  severity: { base: 'warning', rules: [] },
  stationary: 'suppress',
  chips: 'new',
} as const satisfies EventRules;

/** What the messages say of the frame and of what worked it. */
export interface EventFrame {
  sequence: number;
  /** CLOCK_MONOTONIC at capture, ns; wall clock, ms since 1970. */
  captureMonotonicNs: bigint;
  capturedAtMs: number;
  width: number;
  height: number;
  /** Frames captured but not processed since the program started. */
  dropped?: number;
  /** The flat-field correction runs or settles. */
  ffc?: boolean;
  /** The sensor gives the same picture again and again. */
  frozen?: boolean;
  latencyMs: EventMessage['latencyMs'];
  model: ModelIdentity;
  /** Execution provider that really ran. */
  provider: string;
  /** Default: not known whether it is synchronised. */
  clock?: ClockState;
  sensor?: SensorState;
  /** The chip of a track, if there is one; asked only for the messages that carry one. */
  chips?: { get(track: number): Picture | undefined };
}

export interface EventCounters {
  /** `confirmed = reported + sum(held) + sum(suppressed)`; `opened = closed + open`. */
  tracks: TrackCounts & Record<'held' | 'suppressed', Record<HoldReason, number>>;
  updates: NonNullable<CameraStats['updates']> & { withheld: Record<WithholdReason, number> };
}

interface OpenEvent {
  id: string;
  /** Of the next message. */
  seq: number;
  severity: Severity;
  sentNs: bigint;
  saidStationary: boolean;
}

interface Followed {
  /** As of the last frame. */
  track: Track;
  event: OpenEvent | null;
  /** It had an event, now or before. */
  reported: boolean;
  /** While it never had one. */
  hold: HoldReason;
}

/**
 * Tracks of one camera to events: one `new`, rate-limited `update`s, one `end`. Pure: its clock is the frames' capture times, and it
 * is given every processed frame in order.
 *
 * A confirmed track opens an event unless something holds it back (`HOLD_REASONS`); then it is looked at again in every frame in which
 * it is detected, so that what leaves an ignored zone, or is still there after the quiet hours, is not missed. An open event is followed
 * to its end whatever happens: zones, quiet hours and clutter only keep events from opening. Nothing is left out uncounted.
 */
export class EventEngine {
  private options: Required<
    Pick<EventEngineOptions, 'updateIntervalMs' | 'zones' | 'severity' | 'stationary' | 'chips'>
  > &
    EventEngineOptions;
  private intervalNs: bigint;
  private readonly followed = new Map<number, Followed>();
  private frame: EventFrame | undefined;
  /** The moment of that frame on the clock of the tracks, which is not the capture's where a recording is played fast. */
  private momentNs = 0n;
  private on: boolean;

  private confirmed = 0;
  private reported = 0;
  private opened = 0;
  private closed = 0;
  private readonly suppressed = zeros(HOLD_REASONS);
  private updates = 0;
  private readonly withheld = zeros(WITHHOLD_REASONS);

  constructor(options: EventEngineOptions) {
    this.options = { ...DEFAULTS, ...options };
    this.intervalNs = BigInt(Math.round(this.options.updateIntervalMs * 1e6));
    this.on = options.enabled ?? true;
  }

  get enabled(): boolean {
    return this.on;
  }

  /** Messages of one frame. `update` and `frame` are of the same frame; one that is not newer than the last changes nothing. */
  update(update: TrackUpdate, frame: EventFrame): EventMessage[] {
    const last = this.frame;
    if (last !== undefined && frame.captureMonotonicNs <= last.captureMonotonicNs) return [];
    this.frame = frame;
    this.momentNs = update.moment.monotonicNs;
    const messages: EventMessage[] = [];
    const seen = new Set<number>();
    for (const track of update.ended) {
      const followed = this.followed.get(track.id);
      if (followed === undefined) continue;
      followed.track = track;
      this.drop(followed, track.endReason, messages);
    }
    for (const track of update.started) {
      // The same number again: the tracker began anew without a word.
      const old = this.followed.get(track.id);
      if (old !== undefined) this.drop(old, 'reset', messages);
    }
    for (const list of [update.started, update.updated]) {
      for (const track of list) {
        seen.add(track.id);
        this.follow(track, frame, messages);
      }
    }
    for (const [number, followed] of this.followed) if (!seen.has(number)) this.drop(followed, 'reset', messages);
    return messages;
  }

  /** Off: ends the open events and opens none. On again: targets that are still there open events of their own. */
  setEnabled(enabled: boolean): EventMessage[] {
    const messages: EventMessage[] = [];
    this.on = enabled;
    if (!enabled) for (const followed of this.followed.values()) this.end(followed, 'disabled', messages);
    return messages;
  }

  /** From now on: least time between two messages of an event, ms, and the severity where no rule applies. It never falls within an event. */
  configure({ updateIntervalMs, severity }: { updateIntervalMs: number; severity: Severity }): void {
    this.options.updateIntervalMs = updateIntervalMs;
    this.options.severity = { ...this.options.severity, base: severity };
    this.intervalNs = BigInt(Math.round(updateIntervalMs * 1e6));
  }

  /** From now on, all in place of what the constructor was given. Open events go on; the severity of none falls. */
  reconfigure(rules: EventRules): void {
    const { device, camera, software, newId } = this.options;
    this.options = { ...DEFAULTS, ...rules, device, camera, software, newId };
    this.intervalNs = BigInt(Math.round(this.options.updateIntervalMs * 1e6));
  }

  /** Ends all that is open: `stopped`, or `reset` when the camera's worker starts anew. The engine can go on with new tracks. */
  close(reason: 'stopped' | 'reset'): EventMessage[] {
    const messages: EventMessage[] = [];
    for (const followed of this.followed.values()) this.drop(followed, reason, messages);
    this.frame = undefined;
    return messages;
  }

  counters(): EventCounters {
    const held = zeros(HOLD_REASONS);
    for (const followed of this.followed.values()) if (!followed.reported) held[followed.hold]++;
    return {
      tracks: {
        confirmed: this.confirmed,
        reported: this.reported,
        held,
        suppressed: { ...this.suppressed },
        opened: this.opened,
        closed: this.closed,
        open: this.opened - this.closed,
      },
      updates: { sent: this.updates, withheld: { ...this.withheld } },
    };
  }

  private follow(track: Track, frame: EventFrame, messages: EventMessage[]): void {
    let followed = this.followed.get(track.id);
    if (followed === undefined) {
      followed = { track, event: null, reported: false, hold: 'disabled' };
      this.followed.set(track.id, followed);
      this.confirmed++;
    }
    followed.track = track;
    const here = zonesAt(this.options.zones, track.x, track.y);
    const { event } = followed;
    if (event !== null) {
      this.goOn(followed, event, here, frame, messages);
      return;
    }
    // Between detections its place is a guess, and what held it back may be over only because it is gone.
    const hold = this.holdReason(track, here, frame);
    if (hold !== null) followed.hold = hold;
    else if (track.state === 'confirmed') this.open(followed, here, frame, messages);
  }

  private holdReason(track: Track, here: readonly Zone[], frame: EventFrame): HoldReason | null {
    const { stationary, zones } = this.options;
    if (!this.on) return 'disabled';
    if (frame.ffc === true) return 'ffc';
    if (frame.frozen === true) return 'frozen';
    if (track.sensorFixed) return 'sensorFixed';
    if (track.stationary && stationary === 'suppress') return 'stationary';
    if (!mayOpen(zones, here)) return 'zone';
    return this.isQuiet('suppress', frame) ? 'quiet' : null;
  }

  /** A clock that was never set knows nothing of the hour: after each start without a battery it would be midnight. */
  private isQuiet(action: 'suppress' | 'lower', { clock, capturedAtMs }: EventFrame): boolean {
    const { quietHours } = this.options;
    if (quietHours?.action !== action || clock?.synchronised === false || capturedAtMs < EARLIEST_MS) return false;
    return isQuiet(quietHours, capturedAtMs);
  }

  private open(followed: Followed, here: readonly Zone[], frame: EventFrame, messages: EventMessage[]): void {
    const event: OpenEvent = {
      id: this.options.newId(frame.capturedAtMs),
      seq: 0,
      severity: this.severity(followed.track, here, frame),
      sentNs: frame.captureMonotonicNs,
      saidStationary: false,
    };
    followed.event = event;
    this.opened++;
    if (!followed.reported) this.reported++;
    followed.reported = true;
    messages.push(this.message('new', event, followed.track, here, frame));
  }

  private goOn(
    { track }: Followed,
    event: OpenEvent,
    here: readonly Zone[],
    frame: EventFrame,
    messages: EventMessage[],
  ): void {
    const severity = this.severity(track, here, frame);
    const rises = track.state === 'confirmed' && severityRank(severity) > severityRank(event.severity);
    if (frame.ffc === true) this.withheld.ffc++;
    else if (frame.frozen === true) this.withheld.frozen++;
    else if (rises) {
      event.severity = severity;
      messages.push(this.updateMessage(track, event, here, frame));
    } else if (frame.captureMonotonicNs - event.sentNs < this.intervalNs) this.withheld.interval++;
    else if (track.stationary && event.saidStationary) this.withheld.stationary++;
    else messages.push(this.updateMessage(track, event, here, frame));
  }

  private updateMessage(track: Track, event: OpenEvent, here: readonly Zone[], frame: EventFrame): EventMessage {
    this.updates++;
    event.sentNs = frame.captureMonotonicNs;
    return this.message('update', event, track, here, frame);
  }

  private severity(track: Track, here: readonly Zone[], frame: EventFrame): Severity {
    const { severity } = this.options;
    if (this.isQuiet('lower', frame)) return 'info';
    const found = severity.rules
      .filter(
        (rule) =>
          track.snr >= (rule.snr ?? Number.NEGATIVE_INFINITY) &&
          track.score >= (rule.score ?? Number.NEGATIVE_INFINITY) &&
          (rule.zone === undefined || here.some((zone) => zone.name === rule.zone)),
      )
      .map((rule) => rule.severity);
    return (
      found.reduce<Severity | undefined>((a, b) => (a && severityRank(a) > severityRank(b) ? a : b), undefined) ??
      severity.base
    );
  }

  /** The track is no more. */
  private drop(followed: Followed, reason: TrackEndReason | EventEndReason, messages: EventMessage[]): void {
    this.end(followed, reason, messages);
    if (!followed.reported) this.suppressed[followed.hold]++;
    this.followed.delete(followed.track.id);
  }

  private end(followed: Followed, reason: EventEndReason, messages: EventMessage[]): void {
    const { track, event } = followed;
    if (event === null || this.frame === undefined) return;
    followed.event = null;
    this.closed++;
    const here = zonesAt(this.options.zones, track.x, track.y);
    messages.push({ ...this.message('end', event, track, here, this.frame), endReason: reason });
  }

  private message(
    type: EventMessage['type'],
    event: OpenEvent,
    track: Track,
    here: readonly Zone[],
    frame: EventFrame,
  ): EventMessage {
    const { device, camera, software, intrinsics, mount } = this.options;
    const { latencyMs, model, sensor, clock } = frame;
    const withChip = type === 'new' || (type === 'update' && this.options.chips === 'all');
    const chip = withChip ? frame.chips?.get(track.id) : undefined;
    const agoMs = ({ monotonicNs }: TrackMoment) => Number(this.momentNs - monotonicNs) / 1e6;
    const bearing = intrinsics && mount && bearingOf(track, intrinsics, mount);
    event.saidStationary = track.stationary;
    return {
      schema: 'irst-edge/event/1',
      type,
      id: event.id,
      seq: event.seq++,
      device,
      camera,
      severity: event.severity,
      capturedAt: wallTime(frame, 0),
      captureMonotonicNs: frame.captureMonotonicNs.toString(),
      clock: { synchronised: null, ...clock },
      firstSeenAt: wallTime(frame, agoMs(track.firstSeen)),
      lastSeenAt: wallTime(frame, agoMs(track.lastSeen)),
      frame: {
        sequence: frame.sequence,
        ...(frame.dropped !== undefined && { dropped: frame.dropped }),
        ...(frame.ffc !== undefined && { ffc: frame.ffc }),
      },
      image: { width: frame.width, height: frame.height },
      track: {
        number: track.id,
        hits: track.hits,
        misses: track.misses,
        ageMs: agoMs(track.firstSeen),
      },
      pixel: { x: track.x, y: track.y, sigmaX: track.sigmaX, sigmaY: track.sigmaY },
      velocity: { x: track.vx, y: track.vy, sigmaX: track.sigmaVx, sigmaY: track.sigmaVy },
      score: track.score,
      topScore: track.topScore,
      snr: track.snr,
      extent: track.extent,
      stationary: track.stationary,
      zones: here.map((zone) => zone.name),
      ...(bearing && { bearing }),
      latencyMs: {
        normalise: latencyMs.normalise,
        infer: latencyMs.infer,
        decode: latencyMs.decode,
        ...(latencyMs.track !== undefined && { track: latencyMs.track }),
        total: latencyMs.total,
      },
      model: { name: model.name, sha256: model.sha256, precision: model.precision },
      provider: frame.provider,
      software,
      ...(sensor && { sensor }),
      ...(chip && { chip }),
    };
  }
}

/** After any number that an event can come to. */
const LAST_SEQ = 2 ** 31 - 1;

/** The end of an event that nobody saw end, as far as its `new` knows of it; without the picture. */
export function interruptedEnd({ chip: _, ...opened }: EventMessage): EventMessage {
  return { ...opened, type: 'end', seq: LAST_SEQ, endReason: 'interrupted' };
}

/** Makes the ids of events; each is greater than the one before. */
export function eventIds(): (atMs: number) => string {
  const next = monotonicFactory();
  // Capture times have fractions of a ms; a ULID's time has none.
  return (atMs) => next(Math.max(0, Math.trunc(atMs)));
}

/** Wall clock at an earlier moment, by the wall clock of the frame: one step of it does not tear an event's times apart. */
function wallTime(frame: EventFrame, agoMs: number): string {
  return new Date(Math.max(0, frame.capturedAtMs - agoMs)).toISOString();
}

function zeros<T extends string>(keys: readonly T[]): Record<T, number> {
  return Object.fromEntries(keys.map((key) => [key, 0])) as Record<T, number>;
}
