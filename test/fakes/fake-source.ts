import type { V4l2Options } from '../../src/capture/options.js';
import { V4l2Source } from '../../src/capture/v4l2.js';
import { type FakeDeviceOptions, loadNative, type NativeCamera, type NativeFakeDevice } from '../../src/native.js';
import type { EdgeError } from '../../src/types/errors.js';
import type { CaptureState, CaptureTransition, DropReason, Frame, SourceInfo } from '../../src/types/frame.js';
import { Y16 } from './fake-camera.js';

/** A V4l2Source on the fake device, whose back-offs take a millisecond. `stop()` it. */
export class FakeSource {
  readonly steps: CaptureTransition[] = [];
  readonly faults: [DropReason, EdgeError][] = [];
  readonly sleeps: number[] = [];
  readonly fake: NativeFakeDevice;
  readonly source: V4l2Source;
  /** As it was opened last. */
  camera: NativeCamera | undefined;
  readonly abort = new AbortController();
  /** `false`: opening answers ENOENT. */
  present = true;
  /** Is called before each attempt's back-off. */
  onSleep: (attempt: number) => void = () => {};

  constructor(device: Partial<FakeDeviceOptions> = {}, options: Partial<V4l2Options> = {}, sysfs = '/nowhere') {
    const { FakeDevice, NativeCamera } = loadNative();
    this.fake = new FakeDevice({ ...Y16, ...device });
    this.source = new V4l2Source(
      { kind: 'v4l2', device: '/dev/video0', rate: 'realtime', ...options },
      {
        // The fake answers ENOENT for a path that is not its own.
        open: (path) => {
          this.camera = new NativeCamera(this.present ? path : '/dev/video99', this.fake);
          return this.camera;
        },
        sysfs,
        random: () => 0,
        clock: {
          monotonicNs: () => process.hrtime.bigint(),
          wallMs: () => Date.now(),
          sleep: async (ms) => {
            this.sleeps.push(ms);
            this.onSleep(this.sleeps.length);
            await new Promise((resolve) => setTimeout(resolve, 1));
          },
        },
        onTransition: (step) => this.steps.push(step),
        onFault: (reason, error) => this.faults.push([reason, error]),
      },
    );
  }

  static async started(...given: ConstructorParameters<typeof FakeSource>): Promise<FakeSource> {
    const it = new FakeSource(...given);
    await it.start();
    return it;
  }

  start(): Promise<SourceInfo> {
    return this.source.start(this.abort.signal);
  }

  /** Pushes one frame and takes it; the source must stream. */
  async frame(...args: Parameters<NativeFakeDevice['push']>): Promise<Frame> {
    this.fake.push(...args);
    return this.next();
  }

  async next(): Promise<Frame> {
    const frame = await this.source.next();
    if (frame === null) throw new Error('the source has ended');
    return frame;
  }

  /** Pushes frames every 2 ms until one arrives: while the source comes back. */
  async pushedUntilNext(): Promise<Frame> {
    const timer = setInterval(() => this.fake.push(), 2);
    try {
      return await this.next();
    } finally {
      clearInterval(timer);
    }
  }

  states(): CaptureState[] {
    return this.steps.map(({ to }) => to);
  }

  stop(): Promise<void> {
    return this.source.stop();
  }

  /** The sum that holds for every source. */
  balance(): number {
    const { captured, delivered, dropped } = this.source.counters();
    return captured - delivered - Object.values(dropped).reduce((a, b) => a + b, 0);
  }
}
