import type { FfcRule, FfcState, FrameTelemetry } from '../types/frame.js';

/** Same pictures in a row, and for so long, that are a closed shutter and not a doubled frame, ms. */
const FREEZE_FRAMES = 3;
const FREEZE_MS = 200;
/** No shutter stays closed for so long, ms: the sensor is frozen. */
const FROZEN_MS = 5000;
/** Nor does a correction, or one after the other, take so long, ms, without the time to settle: then its signs are not believed. */
const LONGEST_MS = 15_000;

/** Signs are over when there were none for so long, ms: in a shorter pause they only flicker. */
const QUIET_MS = 5000;
/** Level steps of one correction, from the first on, ms: to the level of the shutter and back. */
const STEPS_WITHIN_MS = 2000;
/** Steps that go on after so short a time, ms, are no corrections: no shutter works so often. */
const STEPS_APART_MS = 30_000;

/** What was seen of one frame. */
export interface FfcEvidence {
  /** Capture time, CLOCK_MONOTONIC, ns. */
  atNs: bigint;
  telemetry?: FrameTelemetry | undefined;
  /** The picture is bit for bit the one before. */
  same: boolean;
  /** The whole picture grew brighter or darker at once. */
  step: boolean;
}

/**
 * Follows the flat-field corrections of one camera. The shutter closes (`running`), and for a while afterwards (`settling`) offsets are
 * still wrong: what is seen then may be the correction's doing. Where telemetry tells, it tells; else an uncooled sensor never gives
 * the same picture twice, and no scene changes its level without changing its look. Pure: its clock is the frames' capture times.
 *
 * A correction that does not end is not believed for ever, because alerts are held meanwhile: `stuck`. Nor are level steps that come
 * again and again: `stepping`.
 */
export class FfcMonitor {
  /** Corrections noticed so far. */
  events = 0;
  /** The same picture for longer than any correction takes. */
  frozen = false;
  /** The signs of a correction do not end, and are not believed any more. */
  stuck = false;
  /** The level steps again and again, too often for corrections; its steps are not taken for any until they have paused. */
  stepping = false;
  private same = 0;
  private sameSinceNs = 0n;
  private lastFfc: number | undefined;
  private closed = false;
  private settledNs: bigint | undefined;
  private busySinceNs: bigint | undefined;
  private quietSinceNs: bigint | undefined;
  private firstStepNs: bigint | undefined;
  private lastStepNs: bigint | undefined;

  constructor(private readonly rule: FfcRule) {}

  observe(evidence: FfcEvidence): FfcState {
    const { atNs } = evidence;
    const state = this.judge(evidence);
    if (state === 'idle' || state === 'imminent') {
      this.quietSinceNs ??= atNs;
      if (ms(atNs - this.quietSinceNs) >= QUIET_MS) {
        this.busySinceNs = undefined;
        this.stuck = false;
      }
      return state;
    }
    this.quietSinceNs = undefined;
    if (this.frozen) {
      // A freeze is told as such; the time to settle after it begins when it ends.
      this.busySinceNs = atNs;
      this.stuck = false;
      return 'idle';
    }
    this.busySinceNs ??= atNs;
    // Settling has its own time, which may be longer than any correction.
    this.stuck ||= ms(atNs - this.busySinceNs) > LONGEST_MS + (this.closed ? 0 : this.rule.settleMs);
    return this.stuck ? 'idle' : state;
  }

  private judge({ atNs, telemetry, same, step }: FfcEvidence): FfcState {
    const { detect, settleMs } = this.rule;
    let closed = false;
    let ended = false;
    let imminent = false;
    if (detect.includes('telemetry') && telemetry !== undefined) {
      closed = telemetry.ffc === 'running';
      imminent = telemetry.ffc === 'imminent';
      // Frames are dropped: a correction may lie wholly between two that are seen.
      ended = this.lastFfc !== undefined && telemetry.lastFfc !== undefined && telemetry.lastFfc !== this.lastFfc;
      this.lastFfc = telemetry.lastFfc;
    }
    if (this.freezes(atNs, same) && detect.includes('freeze')) closed = true;
    // Where telemetry tells, a step is the scene's.
    const told = detect.includes('telemetry') && telemetry !== undefined;
    const stepped = detect.includes('step') && !told ? this.steps(atNs, step) : 'none';
    if (this.closed && !closed) ended = true;
    const settling = this.settledNs !== undefined && atNs < this.settledNs;
    if ((closed || ended || stepped === 'first') && !this.closed && !settling) this.events++;
    if (stepped !== 'none') ended = true;
    this.closed = closed;
    if (ended || closed) this.settledNs = atNs + BigInt(Math.round(settleMs * 1e6));
    if (closed) return 'running';
    if (this.settledNs !== undefined && atNs < this.settledNs) return 'settling';
    return imminent ? 'imminent' : 'idle';
  }

  /** `first`: a correction shows itself by a step; `more`: one more step of it; `none`: no step, or one that is not believed. */
  private steps(atNs: bigint, step: boolean): 'none' | 'first' | 'more' {
    const apart = this.lastStepNs === undefined || ms(atNs - this.lastStepNs) >= STEPS_APART_MS;
    if (apart) this.stepping = false;
    if (!step) return 'none';
    this.lastStepNs = atNs;
    if (apart || this.firstStepNs === undefined) {
      this.firstStepNs = atNs;
      return 'first';
    }
    if (ms(atNs - this.firstStepNs) <= STEPS_WITHIN_MS) return 'more';
    this.stepping = true;
    return 'none';
  }

  private freezes(atNs: bigint, same: boolean): boolean {
    if (!same) {
      this.same = 0;
      this.frozen = false;
      return false;
    }
    if (this.same++ === 0) this.sameSinceNs = atNs;
    const lasted = ms(atNs - this.sameSinceNs);
    this.frozen = this.same >= FREEZE_FRAMES && lasted > FROZEN_MS;
    return this.same >= FREEZE_FRAMES && lasted >= FREEZE_MS;
  }
}

const ms = (ns: bigint): number => Number(ns) / 1e6;
