import { EdgeError, EXIT, toPlainError } from '../types/errors.js';
import type { ModelIdentity } from '../types/model.js';
import type { Provider, ProviderBuild, ProviderChange, ProviderRefusal, ProviderStatus } from '../types/provider.js';
import { backoffMs } from '../util/backoff.js';
import type { HeatMaps } from './backend.js';
import {
  type Opened,
  type Pending,
  type ProviderOpener,
  type RuntimeOptions,
  wantedProviders,
} from './provider-opener.js';

/** A provider that served for so long was not failing from the start. */
const STABLE_MS = 600_000;
const PROGRESS_EVERY_MS = 10_000;
/** Builds of one engine in a row: the first, one for an engine that does not load, one for a damaged file. */
const MAX_BUILDS = 3;
const DETAIL_MAX = 200;

export interface RunnerOptions extends Pick<RuntimeOptions, 'providers' | 'require' | 'retryMinMs' | 'retryMaxMs'> {
  onChange?: (change: ProviderChange) => void;
  random?: () => number;
}

/**
 * The provider ladder, alive: opens the most wanted provider that proves itself, serves on the next one while an engine is built,
 * swaps between two frames, falls back when a provider fails, and tries the failed one again later.
 */
export class ModelRunner {
  private serving: Opened | undefined;
  private servingSince = 0;
  /** Proven, and taken into service before the next frame. */
  private staged: Opened | undefined;
  private readonly refusals = new Map<Provider, ProviderRefusal>();
  private building: (Omit<ProviderBuild, 'elapsedSeconds'> & { started: number }) | undefined;
  private demotions = 0;
  private attempts = 0;
  /** Failed, and tried again while nothing better serves. */
  private readonly failed = new Set<Provider>();
  private retryAtMs: number | undefined;
  private retryTimer: NodeJS.Timeout | undefined;
  private background: Promise<void> = Promise.resolve();
  private readonly stopping = new AbortController();
  private readonly wanted: readonly Provider[];

  constructor(
    private readonly opener: Pick<ProviderOpener, 'open' | 'build'>,
    private readonly options: RunnerOptions,
  ) {
    this.wanted = wantedProviders(options);
  }

  /**
   * Resolves when a provider serves. Builds of better ones go on behind it.
   * @throws EdgeError PROVIDER_REQUIRED, PROVIDER_NONE; MODEL_* where the model is to blame
   */
  async start(): Promise<void> {
    const pending: Pending[] = [];
    let modelFault: unknown;
    for (const provider of this.wanted) {
      try {
        const opened = await this.opener.open(provider);
        if ('pending' in opened) {
          pending.push(opened);
          continue;
        }
        this.serve(opened);
        break;
      } catch (error) {
        // A missing or broken model is no provider's fault, and no other one mends it.
        if (error instanceof EdgeError && /^(MODEL|GOLDEN_INVALID)/.test(error.code)) modelFault ??= error;
        this.refuse(provider, error);
      }
    }
    if (this.serving !== undefined) {
      if (pending.length > 0) this.inBackground(() => this.buildBehind(pending));
      return;
    }
    const { opened, failed } = await this.buildBest(pending);
    if (opened === undefined) throw modelFault ?? this.none();
    this.serve(opened);
    this.retryBetter(failed);
  }

  /** Where the next frame's input goes; takes a better provider that has become ready into service first. */
  get input(): Float32Array {
    if (this.staged !== undefined) {
      const old = this.serving;
      this.serve(this.staged);
      this.staged = undefined;
      void old?.backend.close().catch(() => {});
    }
    return this.running.input;
  }

  /**
   * Runs `input`, which is best the array of the getter `input`. Where the provider fails, the next one runs it.
   * @throws what the provider threw, where no other one is left
   */
  async run(input: Float32Array): Promise<HeatMaps> {
    const { backend, provider } = this.running;
    try {
      return await backend.run(input);
    } catch (cause) {
      if (this.stopping.signal.aborted || !(await this.demote(provider, cause))) throw cause;
      return this.running.backend.run(input);
    }
  }

  get identity(): ModelIdentity {
    return this.running.identity;
  }

  get provider(): Provider {
    return this.running.provider;
  }

  get library(): string {
    return this.running.backend.library;
  }

  /** Whether `run` leaves this thread free until it is over. */
  get runsApart(): boolean {
    return this.running.backend.runsApart;
  }

  status(): ProviderStatus {
    const { serving, building } = this;
    const { heatError, peakErrorPx, latencyMs } = serving?.golden ?? {};
    return {
      ...(serving && { provider: serving.provider, library: serving.backend.library }),
      wanted: this.wanted,
      refused: this.wanted.flatMap((provider) => this.refusals.get(provider) ?? []),
      ...(building && {
        build: {
          provider: building.provider,
          phase: building.phase,
          sinceMs: building.sinceMs,
          elapsedSeconds: Math.round((performance.now() - building.started) / 100) / 10,
          ...(building.detail !== undefined && { detail: building.detail }),
        },
      }),
      demotions: this.demotions,
      ...(this.retryAtMs !== undefined && { retryAtMs: this.retryAtMs }),
      ...(heatError !== undefined &&
        peakErrorPx !== undefined &&
        latencyMs !== undefined && { golden: { heatError, peakErrorPx, latencyMs } }),
    };
  }

  /** Ends builds and retries, waits for what is under way, closes the provider. */
  async close(): Promise<void> {
    this.stopping.abort();
    clearTimeout(this.retryTimer);
    await this.background;
    for (const opened of [this.staged, this.serving]) await opened?.backend.close();
    this.staged = undefined;
  }

  private get running(): Opened {
    if (this.serving === undefined) throw this.none();
    return this.serving;
  }

  private serve(opened: Opened): void {
    const { provider, backend, identity, golden, block, blockedRefused } = opened;
    this.serving = opened;
    this.servingSince = performance.now();
    this.refusals.delete(provider);
    if (this.wanted.every((p) => !this.refusals.has(p))) this.retryAtMs = undefined;
    const proof =
      golden === undefined
        ? ''
        : `; golden frame: heat within ${golden.heatError.toFixed(4)}, peak within ${golden.peakErrorPx.toFixed(3)} px, ${golden.latencyMs.toFixed(1)} ms`;
    this.tell({
      kind: 'serving',
      provider,
      message:
        `${provider} serves (${backend.library}, ${identity.precision}${block === undefined ? '' : `, channels in blocks of ${block}`})${proof}` +
        (blockedRefused === undefined ? '' : `; the faster build is not used: ${blockedRefused}`),
    });
  }

  private stage(opened: Opened | undefined): void {
    if (opened === undefined) return;
    // While this one was opened or built, a better one may have come, or another one been staged that no frame has taken yet.
    const [kept, spare] =
      this.stopping.signal.aborted || !this.isBetter(opened.provider) ? [this.staged, opened] : [opened, this.staged];
    this.staged = kept;
    void spare?.backend.close().catch(() => {});
  }

  /** Than what serves, or serves from the next frame on. */
  private isBetter(provider: Provider): boolean {
    const now = (this.staged ?? this.serving)?.provider;
    return now === undefined || this.wanted.indexOf(provider) < this.wanted.indexOf(now);
  }

  private refuse(provider: Provider, error: unknown): void {
    const { code, message: reason, hint } = toPlainError(error);
    const refusal = { provider, code, reason, ...(hint === undefined ? {} : { hint }), atMs: Date.now() };
    this.refusals.set(provider, refusal);
    this.tell({ kind: 'refused', provider, message: reason, code, ...(hint === undefined ? {} : { hint }) });
  }

  /** While another provider serves. What stopped a build (memory, a full disk) may be over later. */
  private async buildBehind(pending: readonly Pending[]): Promise<void> {
    const { opened, failed } = await this.buildBest(pending);
    this.stage(opened);
    this.retryBetter(failed);
  }

  /** Builds and opens the first that can be, in their order. `failed`: those before it. */
  private async buildBest(pending: readonly Pending[]): Promise<{ opened?: Opened; failed: Provider[] }> {
    const failed: Provider[] = [];
    for (const one of pending) {
      if (this.stopping.signal.aborted) break;
      try {
        return { opened: await this.build(one), failed };
      } catch (error) {
        if (this.stopping.signal.aborted) break;
        this.refuse(one.provider, error);
        failed.push(one.provider);
      }
    }
    return { failed };
  }

  /** Later, those that would be better than what serves. */
  private retryBetter(providers: readonly Provider[]): void {
    const better = providers.filter((provider) => this.isBetter(provider));
    if (better.length > 0) this.scheduleRetry(better);
  }

  private async build(first: Pending): Promise<Opened> {
    const { provider } = first;
    const build = { provider, phase: 'building' as const, sinceMs: Date.now(), started: performance.now() };
    this.building = build;
    const progress = setInterval(() => this.tellProgress(), PROGRESS_EVERY_MS);
    try {
      let next = first;
      for (let i = 0; i < MAX_BUILDS; i++) {
        const because = next.because === undefined ? '' : `: ${next.because}`;
        this.tell({ kind: 'building', provider, message: `${provider}: an engine is being built${because}` });
        await this.opener.build(next, {
          onPhase: (phase) => {
            if (this.building !== undefined) this.building.phase = phase;
            this.tellProgress();
          },
          onDetail: (text) => {
            if (this.building !== undefined) this.building.detail = text.slice(0, DETAIL_MAX);
          },
          signal: this.stopping.signal,
        });
        const opened = await this.opener.open(provider);
        if (!('pending' in opened)) {
          const seconds = (performance.now() - build.started) / 1000;
          this.building = undefined;
          this.tell({
            kind: 'built',
            provider,
            message: `${provider}: the engine is ready after ${seconds.toFixed(1)} s`,
          });
          return opened;
        }
        next = opened;
      }
      throw new EdgeError(
        'ENGINE_BUILD_FAILED',
        `${provider}: ${next.because ?? 'the engine is gone as soon as it is built'}`,
        {
          hint: 'check the disk of runtime.cacheDirectory',
          exitCode: EXIT.unavailable,
        },
      );
    } finally {
      clearInterval(progress);
      this.building = undefined;
    }
  }

  private tellProgress(): void {
    const { build } = this.status();
    if (build === undefined) return;
    const { provider, phase, elapsedSeconds, detail } = build;
    const words = { waiting: 'waits for a build elsewhere', building: 'is being built', proving: 'is being proven' };
    const message = `${provider}: the engine ${words[phase]}, ${Math.round(elapsedSeconds)} s${detail ? `: ${detail}` : ''}`;
    this.tell({ kind: 'progress', provider, message });
  }

  /** To the next provider that serves. False: there is none, and nothing changed. */
  private async demote(failed: Provider, cause: unknown): Promise<boolean> {
    const rest = this.wanted.slice(this.wanted.indexOf(failed) + 1);
    if (rest.length === 0) return false;
    const old = this.serving;
    const stable = performance.now() - this.servingSince > STABLE_MS;
    let next: Opened | undefined;
    const pending: Pending[] = [];
    const refused: Provider[] = [];
    for (const provider of rest) {
      try {
        const opened = await this.opener.open(provider);
        if ('pending' in opened) {
          pending.push(opened);
          continue;
        }
        next = opened;
        break;
      } catch (error) {
        this.refuse(provider, error);
        // The one that failed may hold the memory that it lacks.
        refused.push(provider);
      }
    }
    if (next === undefined) return false;
    await old?.backend.close().catch(() => {});
    const { message } = toPlainError(cause);
    const error = new EdgeError('PROVIDER_FAILED', `${failed} failed while it served: ${message}`, {
      hint: 'it is tried again; see docs/runtime.md',
      exitCode: EXIT.unavailable,
      cause,
    });
    const { code, message: reason, hint } = toPlainError(error);
    this.refusals.set(failed, { provider: failed, code, reason, ...(hint && { hint }), atMs: Date.now() });
    this.demotions++;
    if (stable) this.attempts = 0;
    this.scheduleRetry([failed, ...refused]);
    this.tell({ kind: 'demoted', provider: failed, message: reason, code, ...(hint && { hint }) });
    this.serve(next);
    // Nobody has needed these before: a start stops at the first that serves.
    if (pending.length > 0) this.inBackground(() => this.buildBehind(pending));
    return true;
  }

  private scheduleRetry(providers: readonly Provider[]): void {
    if (this.stopping.signal.aborted) return;
    const { retryMinMs, retryMaxMs, random = Math.random } = this.options;
    for (const provider of providers) this.failed.add(provider);
    const delay = backoffMs(this.attempts++, retryMinMs, retryMaxMs, random);
    this.retryAtMs = Date.now() + delay;
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => {
      this.retryAtMs = undefined;
      this.inBackground(() => this.retry());
    }, delay);
  }

  /** The best first; what is worse than one that serves meanwhile is opened when that one fails. */
  private async retry(): Promise<void> {
    const again: Provider[] = [];
    for (const provider of this.wanted.filter((p) => this.failed.has(p))) {
      this.failed.delete(provider);
      if (!this.isBetter(provider)) continue;
      try {
        const opened = await this.opener.open(provider);
        this.stage('pending' in opened ? await this.build(opened) : opened);
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        this.refuse(provider, error);
        again.push(provider);
      }
    }
    if (again.length > 0) this.scheduleRetry(again);
  }

  /** One after the other; `close` waits for it. */
  private inBackground(work: () => Promise<void>): void {
    this.background = this.background.then(work).catch(() => {});
  }

  private tell(change: ProviderChange): void {
    this.options.onChange?.(change);
  }

  private none(): EdgeError {
    const reasons = this.wanted.map((p) => this.refusals.get(p)?.reason ?? `${p}: not ready`).join('; ');
    const { require: required } = this.options;
    return required === undefined
      ? new EdgeError('PROVIDER_NONE', `no provider serves: ${reasons}`, {
          hint: 'add cpu to runtime.providers',
          exitCode: EXIT.unavailable,
        })
      : new EdgeError('PROVIDER_REQUIRED', `runtime.require asks for ${required}, which does not serve: ${reasons}`, {
          hint: 'irst-edge doctor shows each provider; without runtime.require the next one would serve',
          exitCode: EXIT.unavailable,
        });
  }
}
