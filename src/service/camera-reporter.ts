import type { CommandResult } from '../alerts/commands.js';
import { type EventCounters, EventEngine, type EventRules, interruptedEnd } from '../alerts/events.js';
import type { OutboxRecord } from '../alerts/outbox-record.js';
import type { Outputs } from '../alerts/outputs.js';
import type { MqttPublisher } from '../alerts/publisher.js';
import {
  type CameraStats,
  type CaptureStateMessage,
  cameraStateMessage,
  detectionsMessage,
  type EventMessage,
  isoTime,
  type Picture,
  runtimeState,
  type SensorState,
  type Severity,
  type Snapshot,
  severityRank,
  TEXT_MAX,
  type Topics,
} from '../alerts/schema.js';
import type { Zone } from '../alerts/zones.js';
import type { CameraConfig, EdgeConfig } from '../config/schema.js';
import { type FrameResult, STAGES } from '../pipeline/messages.js';
import type { CaptureTransition, FrameSensor } from '../types/frame.js';
import type { Crop, FramePicture } from '../types/picture.js';
import { Percentiles } from '../util/percentiles.js';
import { encodePng } from '../util/png.js';
import { VERSION } from '../version.js';
import type { ClockWatch } from './clock.js';
import type { CameraSupervisor } from './supervisor.js';

const STAGE_SAMPLES = 4096;
/** Largest PNG of a snapshot, bytes: with base64 it stays well below what the publisher takes. */
const SNAPSHOT_MAX_BYTES = 128 * 1024;

/** A camera that comes back sooner finds its events open: a loose plug is not the end of a target. */
const AWAY_MS = 5_000;

/** The profile that is the configuration itself. */
export const DEFAULT_PROFILE = 'default';
export const NOT_RUNNING = 'the camera is not running';

/** What one camera tells the world: detections of each frame, events of its tracks, its state. */
export class CameraReporter {
  private readonly engine: EventEngine;
  private readonly stages = Object.fromEntries(
    [...STAGES, 'total' as const].map((stage) => [stage, new Percentiles(STAGE_SAMPLES)]),
  ) as Record<(typeof STAGES)[number] | 'total', Percentiles>;
  private readonly device: string;
  private readonly id: string;
  /** As of the last frame; undefined: not watched. */
  private sensor: FrameSensor | undefined;
  private profile = DEFAULT_PROFILE;
  /** What a command set; null: nothing since the profile came into force. */
  private commanded: number | null = null;
  /** The end of the commands so far. */
  private turn: Promise<unknown> = Promise.resolve();
  private snapshotAt = Number.NEGATIVE_INFINITY;
  private away: NodeJS.Timeout | undefined;

  constructor(
    private config: EdgeConfig,
    camera: CameraConfig,
    private readonly supervisor: CameraSupervisor,
    private readonly publisher: MqttPublisher,
    private readonly outputs: Outputs,
    private readonly topics: Topics,
    newId: (atMs: number) => string,
    private readonly clock: Pick<ClockWatch, 'state'>,
  ) {
    this.device = config.device.id;
    this.id = camera.id;
    this.engine = new EventEngine({
      device: this.device,
      camera: camera.id,
      software: VERSION,
      newId,
      ...eventRules(config, camera),
    });
  }

  /**
   * The configuration changed; what its sections `alerts`, `outbox` and the camera's zones, mount and intrinsics say holds from the next
   * frame on. A profile in force stays so while there is one of that name, and a threshold that a command set stays. Returns the
   * profile in force.
   */
  reconfigure(config: EdgeConfig, camera: CameraConfig): string {
    const before = this.profile;
    this.config = config;
    this.engine.reconfigure(eventRules(config, camera));
    const profile = this.profileNamed(before);
    if (profile === undefined) this.profile = DEFAULT_PROFILE;
    else this.engine.configure(profileRules(config, profile));
    if (before !== DEFAULT_PROFILE) this.holdThreshold();
    this.state();
    return this.profile;
  }

  get enabled(): boolean {
    return this.engine.enabled;
  }

  frame(result: FrameResult): void {
    const running = this.supervisor.model;
    if (running === undefined) return;
    const { sensor } = result;
    const changed = sensor !== undefined && !sameSensor(sensor, this.sensor);
    this.sensor = sensor;
    // A frame that was not searched took no time to search.
    if (sensor?.held === undefined) {
      for (const stage of [...STAGES, 'total' as const]) this.stages[stage].add(result.timings[stage]);
    }
    const { model, provider } = running;
    if (this.config.alerts.detectionsTopic && result.detections.length > 0) {
      this.publisher.publishDetections(
        detectionsMessage({
          device: this.device,
          camera: this.id,
          frame: result,
          detections: result.detections,
          model,
          provider,
          software: VERSION,
          latencyMs: result.timings,
        }),
      );
    }
    const { captured, processed } = this.supervisor.counters();
    const { sequence, captureMonotonicNs, capturedAtMs, width, height, timings: latencyMs } = result;
    this.send(
      this.engine.update(result.tracks, {
        sequence,
        captureMonotonicNs,
        capturedAtMs,
        width,
        height,
        dropped: Math.max(0, captured - processed),
        latencyMs,
        model,
        provider,
        ...(sensor && { ffc: sensor.held === 'ffc', frozen: sensor.held === 'frozen', sensor: sensorState(sensor) }),
        clock: this.clock.state,
        ...(result.chips && { chips: lazily(result.chips) }),
      }),
    );
    if (changed) this.state();
  }

  /** Null: as the profile in force, else the configuration, says. Resolves with what is in force then; undefined: not running. */
  setThreshold(value: number | null): Promise<number | undefined> {
    return this.inTurn(async () => {
      if (!this.supervisor.running) return undefined;
      const { config } = this;
      const inForce = await this.supervisor.setThreshold(value ?? this.profileNamed(this.profile)?.threshold ?? null);
      if (inForce === undefined) return undefined;
      this.commanded = value;
      // A reload meanwhile did not know of it.
      if (this.config !== config) this.holdThreshold();
      return inForce;
    });
  }

  /** Brings a profile into force, `default` or one that is configured; what commands changed before gives way to it. */
  setProfile(name: string): Promise<CommandResult> {
    return this.inTurn(async () => {
      if (!this.knows(name)) return this.unknownProfile(name);
      // The worker first: where it is gone nothing is half done.
      if (!this.supervisor.running) return { ok: false, error: NOT_RUNNING };
      const { config } = this;
      const inForce = await this.supervisor.setThreshold(this.profileNamed(name)?.threshold ?? null);
      if (inForce === undefined) return { ok: false, error: NOT_RUNNING };
      const known = this.knows(name);
      if (known) {
        this.engine.configure(profileRules(this.config, this.profileNamed(name)));
        this.profile = name;
        this.commanded = null;
      }
      // A reload meanwhile may have changed the profile, or taken it away.
      if (this.config !== config) this.holdThreshold();
      if (!known) return this.unknownProfile(name);
      this.state();
      return { ok: true, value: name };
    });
  }

  /** One after the other, also where an answer comes late: what the one brings into force decides what the next asks for. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work);
    this.turn = result.catch(() => {});
    return result;
  }

  /** What the command, else the profile in force says, for this worker and those to come. */
  private holdThreshold(): void {
    this.supervisor.holdThreshold(this.commanded ?? this.profileNamed(this.profile)?.threshold ?? null);
  }

  private knows(name: string): boolean {
    return name === DEFAULT_PROFILE || this.profileNamed(name) !== undefined;
  }

  private unknownProfile(name: string): CommandResult {
    const known = [DEFAULT_PROFILE, ...(this.config.alerts.profiles ?? []).map((p) => p.name)];
    return { ok: false, error: `there is no profile ${name}; there is ${known.join(', ')}` };
  }

  /** A small picture of the next frame; refused sooner than the configured time after the last one. */
  async snapshot(): Promise<CommandResult> {
    const { maxSide, bits, minIntervalSeconds } = this.config.alerts.snapshot;
    const now = performance.now();
    if (now - this.snapshotAt < minIntervalSeconds * 1000)
      return { ok: false, error: `asked too soon: one in ${minIntervalSeconds} s is given` };
    if (!this.supervisor.running) return { ok: false, error: NOT_RUNNING };
    this.snapshotAt = now;
    const picture = await this.supervisor.snapshot({ maxSide, bits, maxBytes: SNAPSHOT_MAX_BYTES });
    if (picture === undefined) return { ok: false, error: NOT_RUNNING };
    if (picture === null) return { ok: false, error: 'the frame does not fit, however small' };
    return { ok: true, value: snapshotOf(picture) };
  }

  private profileNamed(name: string): NonNullable<EdgeConfig['alerts']['profiles']>[number] | undefined {
    return this.config.alerts.profiles?.find((p) => p.name === name);
  }

  /** What the camera does. Where no frame comes any more, none says that a target is gone: after some time its event ends all the same. */
  captured(to: CaptureTransition['to']): void {
    if (to === 'streaming') {
      clearTimeout(this.away);
      this.away = undefined;
    } else this.away ??= setTimeout(() => this.close('reset'), AWAY_MS).unref();
  }

  setEnabled(enabled: boolean): void {
    this.send(this.engine.setEnabled(enabled));
    this.state();
  }

  /** Ends what is open: the worker starts anew, the camera is away, or the program stops. */
  close(reason: 'stopped' | 'reset'): void {
    this.send(this.engine.close(reason));
  }

  /** Publishes the retained state. */
  state(): void {
    const { id: _, ...status } = this.supervisor.status();
    const { threshold, running, model: what } = this.supervisor;
    const sensor = running ? this.sensor : undefined;
    const watched = this.supervisor.counters().sensor;
    const message = cameraStateMessage({
      atMs: Date.now(),
      device: this.device,
      camera: this.id,
      software: VERSION,
      ...status,
      enabled: this.engine.enabled,
      ...(threshold === undefined ? {} : { threshold }),
      ...(what?.profile === undefined ? {} : { cameraProfile: what.profile }),
      ...(this.supervisor.runtime && { runtime: runtimeState(this.supervisor.runtime) }),
      ...(this.supervisor.capture && { capture: captureState(this.supervisor.capture) }),
      ...(sensor === undefined || watched === undefined
        ? {}
        : {
            sensor: sensorState(sensor),
            sensorWatch: {
              issues: [...sensor.issues],
              deadPixels: sensor.deadPixels,
              saturatedShare: sensor.saturatedShare,
              corrections: watched.corrections,
              held: { ...watched.held },
            },
          }),
      profile: this.profile,
      tracks: this.counters().tracks,
    });
    this.publisher.publishState(this.topics.state(this.id), JSON.stringify(message));
  }

  counters(): EventCounters {
    return this.engine.counters();
  }

  stats(): CameraStats {
    const { fps, frames, provider } = this.supervisor.status();
    const { runtime } = this.supervisor;
    const { tracks, updates } = this.counters();
    return {
      camera: this.id,
      ...(provider === undefined ? {} : { provider }),
      ...(runtime && { demotions: runtime.demotions }),
      ...(fps === undefined ? {} : { fps }),
      ...(frames === undefined ? {} : { frames }),
      invalidCells: this.supervisor.counters().invalidCells,
      tracks,
      updates,
      latencyMs: Object.fromEntries(Object.entries(this.stages).map(([stage, p]) => [stage, p.summary()])),
    };
  }

  private send(events: readonly EventMessage[]): void {
    const now = Date.now();
    for (const event of events) {
      const interrupted = () => this.record(interruptedEnd(event), now);
      this.publisher.publishEvent(this.record(event, now), event.type === 'end' ? undefined : interrupted);
      for (const { topic, payload, contentType } of this.outputs.event(event)) {
        this.publisher.publishForm(topic, payload, contentType);
      }
    }
  }

  private record(event: EventMessage, now: number): OutboxRecord {
    const { eventLifeSeconds, updateLifeSeconds } = this.config.outbox;
    return {
      id: event.id,
      seq: event.seq,
      kind: event.type,
      severity: severityRank(event.severity),
      topic: this.topics.events(this.id),
      payload: Buffer.from(JSON.stringify(event)),
      createdAtMs: now,
      expiresAtMs: now + (event.type === 'update' ? updateLifeSeconds : eventLifeSeconds) * 1000,
      ...(this.clock.state.synchronised === false && { undated: true }),
    };
  }
}

function eventRules({ alerts }: EdgeConfig, camera: CameraConfig): EventRules {
  return {
    updateIntervalMs: alerts.updateIntervalSeconds * 1000,
    zones: (camera.zones ?? []).map(toZone),
    severity: { base: alerts.severity.base, rules: alerts.severity.rules ?? [] },
    stationary: alerts.stationary,
    chips: alerts.chip.messages,
    ...(alerts.quietHours && { quietHours: alerts.quietHours }),
    ...(camera.intrinsics && { intrinsics: camera.intrinsics }),
    ...(camera.mount && { mount: camera.mount }),
  };
}

/** Of a profile, or, without one, of the configuration itself. */
function profileRules(
  { alerts }: EdgeConfig,
  profile: NonNullable<EdgeConfig['alerts']['profiles']>[number] | undefined,
): { updateIntervalMs: number; severity: Severity } {
  return {
    updateIntervalMs: (profile?.updateIntervalSeconds ?? alerts.updateIntervalSeconds) * 1000,
    severity: profile?.severity ?? alerts.severity.base,
  };
}

/** The chip of a track as a PNG, made only when a message asks for it. */
function lazily(chips: ReadonlyMap<number, Crop>): { get(track: number): Picture | undefined } {
  return {
    get: (track) => {
      const crop = chips.get(track);
      if (crop === undefined) return undefined;
      const { x, y, width, height, data } = crop;
      const bits = data.BYTES_PER_ELEMENT === 1 ? 8 : 16;
      return { format: 'png', bits, x, y, width, height, data: encodePng(width, height, data).toString('base64') };
    },
  };
}

function snapshotOf({ png, capturedAtMs, sequence, width, height, bits, scale, black, white }: FramePicture): Snapshot {
  return {
    format: 'png',
    bits,
    x: 0,
    y: 0,
    width,
    height,
    scale,
    ...(black !== undefined && { black }),
    ...(white !== undefined && { white }),
    sequence,
    capturedAt: isoTime(capturedAtMs),
    data: Buffer.from(png).toString('base64'),
  };
}

/** The schema holds each point to two numbers; its type cannot say so. */
function toZone({ name, kind, polygon }: NonNullable<CameraConfig['zones']>[number]): Zone {
  return { name, kind, polygon: polygon.map(([x = 0, y = 0]) => [x, y]) };
}

function captureState({ to: state, reason, code, atMs }: CaptureTransition): CaptureStateMessage {
  return { state, since: isoTime(atMs), reason: reason.slice(0, TEXT_MAX), ...(code === undefined ? {} : { code }) };
}

function sensorState({ ffc, health, temperatureC }: FrameSensor): SensorState {
  return { ffc, health, ...(temperatureC === undefined ? {} : { temperatureC }) };
}

/** Is there nothing that a subscriber should hear of at once? Temperature and saturation go with the next state. */
function sameSensor(a: FrameSensor, b: FrameSensor | undefined): boolean {
  return (
    b !== undefined &&
    a.ffc === b.ffc &&
    a.health === b.health &&
    a.held === b.held &&
    a.deadPixels === b.deadPixels &&
    a.issues.join() === b.issues.join()
  );
}
