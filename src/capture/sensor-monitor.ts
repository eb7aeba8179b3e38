import {
  type FfcRule,
  type FfcState,
  type Frame,
  type FrameSensor,
  type SensorHealth,
  type SensorIssue,
  type SourceInfo,
  sceneTimeNs,
} from '../types/frame.js';
import { DeadPixels } from './dead-pixels.js';
import { FfcMonitor } from './ffc.js';
import { PictureWatch } from './sensor-health.js';

/** What to make of a sensor's signs; plain data, so that it can cross threads. */
export interface SensorOptions {
  /** `auto`: watch what says that it is a live sensor (a camera with a profile); recordings and streams are not watched. Default. */
  watch?: 'auto' | 'on' | 'off';
  /** How long pictures are not trusted after a correction, ms. Default: what the profile says, else 2000. */
  settleMs?: number;
  /** Default `replace`. */
  deadPixels?: 'replace' | 'report' | 'off';
}

/** Since the monitor was made. */
export interface SensorCounters {
  /** Flat-field corrections noticed. */
  corrections: number;
  /** Frames in which nothing was searched, by reason. */
  held: Record<NonNullable<FrameSensor['held']>, number>;
}

/** Where nothing is known of the camera. */
const ANY_SENSOR: FfcRule = { detect: ['telemetry', 'freeze', 'step'], settleMs: 2000 };
/** Share of pixels at the end of the scale from which a picture counts as saturated, and below which it does not any more. */
const SATURATED = 0.05;
const NOT_SATURATED = 0.03;

const FAULTS: readonly SensorIssue[] = ['blank', 'manyDeadPixels', 'ffcStuck', 'overheated'];

/**
 * Watches the sensor behind a stream of frames: flat-field corrections, freezes, saturation, dead pixels. Each frame leaves with the
 * state of its sensor, and with its dead pixels replaced. Costs a small part of what the search costs.
 */
export class SensorMonitor {
  private readonly ffc: FfcMonitor;
  private readonly picture: PictureWatch;
  private readonly dead: DeadPixels | undefined;
  private readonly replaces: boolean;
  private cleaned: Uint8Array | Uint16Array | undefined;
  private saturated = false;
  private current: FrameSensor = { ffc: 'idle', health: 'ok', issues: [], deadPixels: 0, saturatedShare: 0 };
  private readonly held = { ffc: 0, frozen: 0 };

  /** The monitor for a source; undefined: it is not watched. */
  static for(info: SourceInfo, options: SensorOptions = {}): SensorMonitor | undefined {
    const { watch = 'auto' } = options;
    if (watch === 'off' || (watch === 'auto' && info.ffc === undefined)) return undefined;
    const rule = info.ffc ?? ANY_SENSOR;
    return new SensorMonitor(
      info,
      { detect: rule.detect, settleMs: options.settleMs ?? rule.settleMs },
      options.deadPixels ?? 'replace',
    );
  }

  constructor(
    size: Pick<SourceInfo, 'width' | 'height' | 'bits'>,
    rule: FfcRule,
    deadPixels: NonNullable<SensorOptions['deadPixels']> = 'replace',
  ) {
    this.ffc = new FfcMonitor(rule);
    this.picture = new PictureWatch(size.width, size.height, size.bits);
    this.dead = deadPixels === 'off' ? undefined : new DeadPixels(size.width, size.height, size.bits);
    this.replaces = deadPixels === 'replace';
  }

  /** The frame with the state of its sensor, and without dead pixels. Its data is valid as long as the frame's own, or until the next call. */
  inspect(frame: Frame): Frame {
    const { picture, dead } = this;
    const { data, telemetry } = frame;
    const atNs = sceneTimeNs(frame);
    picture.look(data);
    const ffc = this.ffc.observe({ atNs, telemetry, same: picture.same, step: picture.step !== 0 });
    const held = this.ffc.frozen ? 'frozen' : ffc === 'running' || ffc === 'settling' ? 'ffc' : undefined;
    if (held !== undefined) this.held[held]++;
    // A closed shutter shows no scene that a pixel could follow.
    else if (!picture.same) dead?.look(data, atNs);
    const sensor = this.state(ffc, held, telemetry);
    if (dead === undefined || !this.replaces || dead.count === 0) return { ...frame, sensor };
    this.cleaned ??= data instanceof Uint16Array ? new Uint16Array(data.length) : new Uint8Array(data.length);
    return dead.clean(data, this.cleaned) ? { ...frame, data: this.cleaned, sensor } : { ...frame, sensor };
  }

  counters(): SensorCounters {
    return { corrections: this.ffc.events, held: { ...this.held } };
  }

  /** Places of the pixels found dead, px. */
  deadPixels(): { x: number; y: number }[] {
    return this.dead?.places() ?? [];
  }

  /** The same object as long as nothing changed. */
  private state(ffc: FfcState, held: FrameSensor['held'], telemetry: Frame['telemetry']): FrameSensor {
    const { picture, dead, current } = this;
    const share = picture.saturatedShare;
    this.saturated = share > (this.saturated ? NOT_SATURATED : SATURATED);
    const issues: SensorIssue[] = [];
    if (this.ffc.frozen) issues.push('frozen');
    if (picture.blank) issues.push('blank');
    else if (this.saturated) issues.push('saturated');
    const deadPixels = dead?.count ?? 0;
    if (dead?.tooMany) issues.push('manyDeadPixels');
    else if (deadPixels > 0) issues.push('deadPixels');
    if (this.ffc.stuck) issues.push('ffcStuck');
    if (this.ffc.stepping) issues.push('levelSteps');
    if (telemetry?.overheated) issues.push('overheated');
    // In steps that mean something, so that the state does not change with every frame.
    const saturatedShare = Math.round(share * 100) / 100;
    const temperatureC =
      telemetry?.temperatureC === undefined ? undefined : Math.round(telemetry.temperatureC * 10) / 10;
    const unchanged =
      current.ffc === ffc &&
      current.held === held &&
      current.deadPixels === deadPixels &&
      current.saturatedShare === saturatedShare &&
      current.temperatureC === temperatureC &&
      current.issues.length === issues.length &&
      issues.every((issue, i) => issue === current.issues[i]);
    if (unchanged) return current;
    this.current = {
      ffc,
      health: this.health(issues),
      ...(held === undefined ? {} : { held }),
      issues,
      deadPixels,
      saturatedShare,
      ...(temperatureC === undefined ? {} : { temperatureC }),
    };
    return this.current;
  }

  private health(issues: readonly SensorIssue[]): SensorHealth {
    if (issues.includes('frozen')) return 'frozen';
    if (issues.some((issue) => FAULTS.includes(issue))) return 'fault';
    // Dead pixels that are replaced do no harm.
    return issues.some((issue) => issue !== 'deadPixels' || !this.replaces) ? 'degraded' : 'ok';
  }
}
