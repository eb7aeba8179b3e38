import {
  type FakeDeviceOptions,
  FRAME_META,
  loadNative,
  type NativeCamera,
  type NativeFakeDevice,
  type StreamEvent,
  type StreamOptions,
} from '../../src/native.js';

export const WIDTH = 16;
export const HEIGHT = 8;
export const Y16: FakeDeviceOptions = {
  formats: [
    { fourcc: 'Y16 ', sizes: [{ width: WIDTH, height: HEIGHT, intervals: [{ numerator: 1, denominator: 60 }] }] },
  ],
};

export interface TakenFrame {
  /** The first count: number of the fake's picture. */
  picture: number;
  /** A copy. */
  bytes: Uint8Array;
  sequence: number;
  captureNs: bigint;
  readyNs: bigint;
  takenNs: bigint;
  bytesUsed: number;
  flags: number;
  dropped: number;
  clock: 'driver' | 'arrival';
  startOfExposure: boolean;
}

/** A camera on a fake device, as a test reads it. `close()` it. */
export class FakeCamera {
  readonly events: StreamEvent[] = [];
  private wake: (() => void) | undefined;

  private constructor(
    readonly fake: NativeFakeDevice,
    readonly camera: NativeCamera,
    readonly slots: Uint8Array[],
    readonly meta: BigInt64Array,
  ) {}

  /** Opens and streams. */
  static start(options: Partial<FakeDeviceOptions> = {}, stream: Partial<StreamOptions> = {}): FakeCamera {
    const { FakeDevice, NativeCamera } = loadNative();
    const fake = new FakeDevice({ ...Y16, ...options });
    const camera = new NativeCamera(options.path ?? '/dev/video0', fake);
    const { sizeImage } = camera.getFormat();
    const slots = Array.from({ length: 3 }, () => new Uint8Array(sizeImage));
    const meta = new BigInt64Array(FRAME_META.length);
    const it = new FakeCamera(fake, camera, slots, meta);
    camera.start({ slots, meta, ...stream }, () => {
      it.events.push(...camera.events());
      it.wake?.();
    });
    return it;
  }

  take(): TakenFrame | undefined {
    const slot = this.camera.take();
    if (slot < 0) return undefined;
    const field = (name: keyof typeof FRAME_META): bigint => this.meta[FRAME_META[name]]!;
    const bytes = this.slots[slot]!.slice(0, Number(field('bytesUsed')));
    return {
      picture: bytes[0]! + 256 * bytes[1]!,
      bytes,
      sequence: Number(field('sequence')),
      captureNs: field('captureNs'),
      readyNs: field('readyNs'),
      takenNs: process.hrtime.bigint(),
      bytesUsed: Number(field('bytesUsed')),
      flags: Number(field('flags')),
      dropped: Number(field('dropped')),
      clock: field('clock') === 0n ? 'driver' : 'arrival',
      startOfExposure: field('startOfExposure') === 1n,
    };
  }

  /** The newest frame; waits for one. */
  next(): Promise<TakenFrame> {
    return this.until(() => this.take());
  }

  event(kind: StreamEvent['kind']): Promise<StreamEvent> {
    return this.until(() => this.events.find((event) => event.kind === kind));
  }

  /** Pushes one frame and takes it. */
  frame(...args: Parameters<NativeFakeDevice['push']>): Promise<TakenFrame> {
    this.fake.push(...args);
    return this.next();
  }

  /** What `probe` gives once it gives something; looked at on each wake-up and every 2 ms. Throws after 5 s. */
  async until<T>(probe: () => T | undefined | false): Promise<T> {
    const end = performance.now() + 5000;
    for (;;) {
      const found = probe();
      if (found !== undefined && found !== false) return found;
      if (performance.now() > end) throw new Error('did not come about in 5 s');
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 2);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.wake = undefined;
    }
  }

  close(): void {
    this.camera.close();
  }
}
