import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { FfcRule, Frame, FrameTelemetry } from '../types/frame.js';
import { DeadPixels } from './dead-pixels.js';
import { gaussianTable, uniform } from './random.js';
import { SensorMonitor } from './sensor-monitor.js';

const WIDTH = 80;
const HEIGHT = 64;
const FPS = 30;
const RULE: FfcRule = { detect: ['telemetry', 'freeze', 'step'], settleMs: 1000 };

/** Quick normal deviates: a table, entered anywhere. */
class Noise {
  private readonly table = gaussianTable(65_536, 1);
  private readonly random: () => number;
  private at = 0;
  constructor(seed: number) {
    this.random = uniform(seed);
  }
  next(): number {
    if (this.at % 64 === 0) this.at = Math.floor(this.random() * 65_536);
    return this.table[this.at++ % 65_536]!;
  }
}

/** A slow gradient with noise that drifts a little: what an uncooled sensor gives of a calm sky. */
class Scene {
  sequence = 0;
  level = 8000;
  bits = 14;
  private readonly random = new Noise(7);
  constructor(
    readonly width = WIDTH,
    readonly height = HEIGHT,
    private readonly fps = FPS,
  ) {}

  frame(change: (data: Uint16Array) => void = () => {}, telemetry?: FrameTelemetry): Frame {
    const data = new Uint16Array(this.width * this.height);
    for (let i = 0; i < data.length; i++) {
      const x = i % this.width;
      data[i] = Math.round(this.level + 2 * x + 6 * this.random.next());
    }
    change(data);
    return this.stamped(data, telemetry);
  }

  stamped(data: Uint16Array, telemetry?: FrameTelemetry): Frame {
    const sequence = this.sequence++;
    return {
      sequence,
      captureMonotonicNs: BigInt(Math.round((sequence * 1e9) / this.fps)),
      capturedAtMs: (sequence * 1e3) / this.fps,
      width: this.width,
      height: this.height,
      bits: this.bits,
      data,
      ...(telemetry && { telemetry }),
    };
  }
}

const size = { width: WIDTH, height: HEIGHT, bits: 14 };
const states = (frames: Frame[]) => {
  const runs: string[] = [];
  for (const { sensor } of frames) {
    const word = `${sensor!.ffc}${sensor!.held ? ` held:${sensor!.held}` : ''}`;
    if (runs.at(-1) !== word) runs.push(word);
  }
  return runs;
};

describe('flat-field corrections', () => {
  test('told by telemetry: imminent is no hold, running and settling are', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const phases = [
      ...Array<FrameTelemetry['ffc']>(20).fill('done'),
      ...Array<FrameTelemetry['ffc']>(5).fill('imminent'),
      ...Array<FrameTelemetry['ffc']>(12).fill('running'),
      ...Array<FrameTelemetry['ffc']>(60).fill('done'),
    ];
    const frames = phases.map((ffc, i) =>
      monitor.inspect(scene.frame(undefined, { ffc: ffc!, lastFfc: i < 37 ? 10 : 99 })),
    );
    expect(states(frames)).toEqual(['idle', 'imminent', 'running held:ffc', 'settling held:ffc', 'idle']);
    expect(monitor.counters()).toEqual({ corrections: 1, held: { ffc: 12 + 30, frozen: 0 } });
  });

  test('one that lies between two frames that were seen is told by the time of the last one', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const frames = [10, 10, 10, 4000, 4000].map((lastFfc) =>
      monitor.inspect(scene.frame(undefined, { ffc: 'done', lastFfc })),
    );
    expect(states(frames)).toEqual(['idle', 'settling held:ffc']);
    expect(monitor.counters().corrections).toBe(1);
  });

  test('without telemetry: the same picture again and again, then a settling time', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const frames: Frame[] = [];
    for (let i = 0; i < 30; i++) frames.push(monitor.inspect(scene.frame()));
    const shutter = frames.at(-1)!.data as Uint16Array;
    for (let i = 0; i < 15; i++) frames.push(monitor.inspect(scene.stamped(shutter.slice())));
    for (let i = 0; i < 45; i++) frames.push(monitor.inspect(scene.frame()));
    expect(states(frames)).toEqual(['idle', 'running held:ffc', 'settling held:ffc', 'idle']);
    expect(frames.at(-1)!.sensor!.health).toBe('ok');
    expect(monitor.counters().corrections).toBe(1);
  });

  test('a doubled frame is no shutter', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const frames: Frame[] = [];
    for (let i = 0; i < 60; i++) {
      const frame = scene.frame();
      frames.push(monitor.inspect(frame));
      // As a slow camera in a fast stream does it.
      for (let k = 0; k < 4; k++) frames.push(monitor.inspect(scene.stamped((frame.data as Uint16Array).slice())));
    }
    expect(states(frames)).toEqual(['idle']);
  });

  test('a step of the whole picture is one, a drift and a camera that turns are none', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, { ...RULE, detect: ['step'] });
    const frames: Frame[] = [];
    for (let i = 0; i < 60; i++) {
      scene.level += 2;
      frames.push(monitor.inspect(scene.frame()));
    }
    // Turning: stripes run through the picture, and the level follows what is in it.
    for (let i = 0; i < 60; i++) {
      frames.push(
        monitor.inspect(
          scene.frame((data) => {
            for (let k = 0; k < data.length; k++)
              data[k]! += 200 * Math.sin(((k % WIDTH) + 9 * i) / 12) + 40 * Math.sin(i / 3);
          }),
        ),
      );
    }
    expect(states(frames)).toEqual(['idle']);
    for (let i = 0; i < 60; i++) frames.push(monitor.inspect(scene.frame()));
    const before = frames.length;
    scene.level += 120;
    frames.push(monitor.inspect(scene.frame()));
    expect(frames[before]!.sensor).toMatchObject({ ffc: 'settling', held: 'ffc' });
  });

  test('signs that do not end are not believed for ever: alerts would be held for ever', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const frames: Frame[] = [];
    for (let i = 0; i < 30 * FPS; i++)
      frames.push(monitor.inspect(scene.frame(undefined, { ffc: 'running', lastFfc: 0 })));
    expect(states(frames)).toEqual(['running held:ffc', 'idle']);
    expect(frames.at(-1)!.sensor).toMatchObject({ health: 'fault', issues: ['ffcStuck'] });
    for (let i = 0; i < 7 * FPS; i++) frames.push(monitor.inspect(scene.frame(undefined, { ffc: 'done', lastFfc: 1 })));
    expect(frames.at(-1)!.sensor).toMatchObject({ ffc: 'idle', health: 'ok', issues: [] });
  });

  test('signs that only flicker do not end either', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, { ...RULE, settleMs: 100 });
    const frames: Frame[] = [];
    for (let i = 0; i < 60 * FPS; i++) {
      const ffc = i % (6 * FPS) < 4 * FPS ? 'running' : 'done';
      frames.push(monitor.inspect(scene.frame(undefined, { ffc, lastFfc: 0 })));
    }
    const held = frames.flatMap(({ sensor }, i) => (sensor!.held ? [i] : []));
    expect(held.length / FPS).toBeLessThan(15);
    expect(held.at(-1)! / FPS).toBeLessThanOrEqual(15.1);
    expect(frames.at(-1)!.sensor).toMatchObject({ health: 'fault', issues: ['ffcStuck'] });
  });

  test('one step into the shutter and one out of it are one correction', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, { detect: ['step'], settleMs: 300 });
    const frames: Frame[] = [];
    const play = (seconds: number) => {
      for (let i = 0; i < seconds * FPS; i++) frames.push(monitor.inspect(scene.frame()));
    };
    for (const seconds of [1, 0.8, 40]) {
      play(seconds);
      scene.level += 300;
    }
    expect(monitor.counters().corrections).toBe(1);
    expect(states(frames)).toEqual(['idle', 'settling held:ffc', 'idle', 'settling held:ffc', 'idle']);
    // The next one is so much later that it is one of its own.
    play(2);
    expect(monitor.counters().corrections).toBe(2);
    expect(frames.every(({ sensor }) => sensor!.issues.length === 0)).toBe(true);
  });

  test.each([0.7, 1.1, 5, 20])('steps every %d s are no corrections: they are reported, and alerts go on', (every) => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, { detect: ['step'], settleMs: 1000 });
    const frames: Frame[] = [];
    const first = 2 * FPS;
    for (let i = 0; i < 100 * FPS; i++) {
      if (i >= first && (i - first) % Math.round(every * FPS) === 0) scene.level += 150 * (i % 2 === 0 ? 1 : -1);
      frames.push(monitor.inspect(scene.frame()));
    }
    const held = frames.flatMap(({ sensor }, i) => (sensor!.held ? [i] : []));
    // The first one may be a correction: nothing tells it from one.
    expect(held[0]).toBe(first);
    expect(held.at(-1)! - first).toBeLessThanOrEqual(3 * FPS);
    expect(monitor.counters().corrections).toBe(1);
    expect(frames.at(-1)!.sensor).toMatchObject({ health: 'degraded', issues: ['levelSteps'] });
    // After a pause a step is a correction again.
    for (let i = 0; i < 31 * FPS; i++) frames.push(monitor.inspect(scene.frame()));
    expect(frames.at(-1)!.sensor).toMatchObject({ health: 'ok', issues: [] });
    scene.level += 150;
    expect(monitor.inspect(scene.frame()).sensor).toMatchObject({ held: 'ffc' });
    expect(monitor.counters().corrections).toBe(2);
  });

  test('where telemetry can be read, a step is the scene; where it cannot, it is a correction', () => {
    for (const telemetry of [{ ffc: 'done', lastFfc: 5 }, undefined] as const) {
      const scene = new Scene();
      const monitor = new SensorMonitor(size, RULE);
      for (let i = 0; i < 30; i++) monitor.inspect(scene.frame(undefined, telemetry));
      scene.level += 300;
      const { sensor } = monitor.inspect(scene.frame(undefined, telemetry));
      expect(sensor!.held).toBe(telemetry === undefined ? 'ffc' : undefined);
    }
  });

  test('only the signs that the profile names count', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, { detect: [], settleMs: 1000 });
    const frames: Frame[] = [];
    for (let i = 0; i < 20; i++) frames.push(monitor.inspect(scene.frame(undefined, { ffc: 'running' })));
    const still = frames.at(-1)!.data as Uint16Array;
    for (let i = 0; i < 20; i++) frames.push(monitor.inspect(scene.stamped(still.slice())));
    scene.level += 500;
    frames.push(monitor.inspect(scene.frame()));
    expect(states(frames)).toEqual(['idle']);
  });
});

describe('health', () => {
  test('a frozen sensor is told from a shutter by its time, and held as such', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const frames = [monitor.inspect(scene.frame())];
    const still = frames[0]!.data as Uint16Array;
    for (let i = 0; i < 8 * FPS; i++) frames.push(monitor.inspect(scene.stamped(still.slice())));
    expect(states(frames)).toEqual(['idle', 'running held:ffc', 'idle held:frozen']);
    expect(frames.at(-1)!.sensor).toMatchObject({ health: 'frozen', issues: ['frozen'] });
    for (let i = 0; i < 3 * FPS; i++) frames.push(monitor.inspect(scene.frame()));
    expect(frames.at(-1)!.sensor).toMatchObject({ ffc: 'idle', health: 'ok', issues: [] });
  });

  test('saturation and a blank picture', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const hot = monitor.inspect(scene.frame((data) => data.fill(16383, 0, data.length / 5)));
    expect(hot.sensor).toMatchObject({ health: 'degraded', issues: ['saturated'], saturatedShare: 0.2 });
    expect(monitor.inspect(scene.frame()).sensor).toMatchObject({ health: 'ok', saturatedShare: 0 });
    expect(monitor.inspect(scene.frame((data) => data.fill(0))).sensor).toMatchObject({
      health: 'fault',
      issues: ['blank'],
    });
  });

  test('temperature and overheating come from telemetry', () => {
    const { sensor } = new SensorMonitor(size, RULE).inspect(
      new Scene().frame(undefined, { temperatureC: 31.2345, overheated: true }),
    );
    expect(sensor).toMatchObject({ temperatureC: 31.2, health: 'fault', issues: ['overheated'] });
  });

  test('a source without a profile is watched only when asked', () => {
    const info = { description: 'x', width: 8, height: 8, bits: 14 };
    expect(SensorMonitor.for(info)).toBeUndefined();
    expect(SensorMonitor.for({ ...info, ffc: RULE }, { watch: 'off' })).toBeUndefined();
    expect(SensorMonitor.for(info, { watch: 'on' })).toBeInstanceOf(SensorMonitor);
    expect(SensorMonitor.for({ ...info, ffc: RULE })).toBeInstanceOf(SensorMonitor);
  });
});

describe('dead pixels', () => {
  const at = (x: number, y: number) => y * WIDTH + x;
  /** A target that hovers: a point spread by the optics, sigma in px, brightest at (30.3, 40.2). */
  const hovering = (data: Uint16Array, sigma: number) => {
    for (let y = 36; y < 45; y++)
      for (let x = 26; x < 35; x++)
        data[at(x, y)]! += 900 * Math.exp(-((x - 30) ** 2 + (y - 40) ** 2) / (2 * sigma ** 2));
  };
  const play = (monitor: SensorMonitor, scene: Scene, seconds: number, change: (data: Uint16Array) => void) => {
    let last!: Frame;
    for (let i = 0; i < seconds * FPS; i++) last = monitor.inspect(scene.frame(change));
    return last;
  };

  test('dead at zero, stuck and hot ones are found and replaced; a hovering target is not', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const last = play(monitor, scene, 30, (data) => {
      data[at(10, 10)] = 0;
      data[at(50, 20)] = 8123;
      data[at(60, 50)]! += 700;
      data[at(61, 12)]! -= 700;
      data[0] = 16383;
      hovering(data, 0.55);
    });
    const found = monitor.deadPixels().map(({ x, y }) => `${x},${y}`);
    expect(found.sort()).toEqual(['0,0', '10,10', '50,20', '60,50', '61,12']);
    expect(last.sensor).toMatchObject({ deadPixels: 5, issues: ['deadPixels'], health: 'ok' });
    for (const [x, y] of [
      [0, 0],
      [10, 10],
      [50, 20],
      [60, 50],
      [61, 12],
    ] as const) {
      expect(Math.abs(last.data[at(x, y)]! - (8000 + 2 * x))).toBeLessThan(25);
    }
    expect(last.data[at(30, 40)]).toBeGreaterThan(8800);
  });

  test('the source keeps its own picture, and without dead pixels nothing is copied', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const good = scene.frame();
    expect(monitor.inspect(good).data).toBe(good.data);
    play(monitor, scene, 30, (data) => {
      data[at(10, 10)] = 0;
    });
    const frame = scene.frame((data) => {
      data[at(10, 10)] = 0;
    });
    expect(monitor.inspect(frame).data[at(10, 10)]).toBeGreaterThan(7900);
    expect(frame.data[at(10, 10)]).toBe(0);
  });

  test('only reported, when so configured', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE, 'report');
    const last = play(monitor, scene, 30, (data) => {
      data[at(10, 10)] = 0;
    });
    expect(last.sensor).toMatchObject({ deadPixels: 1, health: 'degraded' });
    expect(last.data[at(10, 10)]).toBe(0);
  });

  test('one that works again is given back', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    play(monitor, scene, 30, (data) => {
      data[at(10, 10)] = 0;
      data[at(20, 20)]! += 700;
    });
    expect(monitor.deadPixels()).toHaveLength(2);
    expect(play(monitor, scene, 20, () => {}).sensor).toMatchObject({ deadPixels: 0, issues: [] });
  });

  test('too many: the sensor is broken, and nothing is made up', () => {
    const scene = new Scene();
    const monitor = new SensorMonitor(size, RULE);
    const last = play(monitor, scene, 30, (data) => {
      for (let i = 0; i < data.length; i += 37) data[i] = 0;
    });
    expect(last.sensor).toMatchObject({ health: 'fault', issues: ['manyDeadPixels'] });
    expect(last.data[37]).toBe(0);
  });

  test('a picture with little noise, or one that saturates in part, has no dead pixels', () => {
    const dead = new DeadPixels(WIDTH, HEIGHT, 8);
    const random = new Noise(3);
    for (let i = 0; i < 60 * FPS; i++) {
      const data = new Uint8Array(WIDTH * HEIGHT);
      for (let k = 0; k < data.length; k++) data[k] = Math.round(80 + (k % WIDTH) / 3 + 0.35 * random.next());
      data.fill(255, 10 * WIDTH, 20 * WIDTH);
      dead.look(data, BigInt(Math.round((i * 1e9) / FPS)));
    }
    expect(dead.count).toBe(0);
  });
});

const RECORDINGS = fileURLToPath(new URL('../../../shared/data/lepton-raw/', import.meta.url));

// Recordings that may not be shipped: there on some machines only.
function recordings(): void {
  const watch = (name: string) => {
    const all = readFileSync(`${RECORDINGS}${name}`);
    const bytes = 160 * 120 * 2;
    const scene = new Scene(160, 120, 9);
    const monitor = new SensorMonitor(
      { width: 160, height: 120, bits: 16 },
      { detect: ['freeze', 'step'], settleMs: 500 },
    );
    const held: number[] = [];
    const issues = new Set<string>();
    for (let i = 0; (i + 1) * bytes <= all.length; i++) {
      const data = new Uint16Array(all.buffer.slice(all.byteOffset + i * bytes, all.byteOffset + (i + 1) * bytes));
      const { sensor } = monitor.inspect(scene.stamped(data));
      if (sensor!.held) held.push(i);
      for (const issue of sensor!.issues) issues.add(issue);
    }
    return { held, issues: [...issues], corrections: monitor.counters().corrections, dead: monitor.deadPixels() };
  };

  test('corrections are found where there are some, and nowhere else', () => {
    const names = readdirSync(RECORDINGS).filter((name) => name.endsWith('.y16'));
    const found = Object.fromEntries(names.map((name) => [name, watch(name)]));
    // One correction, at frame 29.
    expect(found['cp_hedgehog.y16']!.held.slice(0, 1)).toEqual([29]);
    expect(found['cp_hedgehog.y16']).toMatchObject({ corrections: 1, issues: [] });
    // The level falls by 80 to 180 counts every ten frames (1.1 s): no shutter works so often.
    const skyline = found['noise_skyline.y16']!;
    expect(skyline).toMatchObject({ corrections: 1, issues: ['levelSteps'] });
    expect(skyline.held.length).toBeLessThanOrEqual(15);
    expect(Math.max(...skyline.held)).toBeLessThan(30);
    for (const name of ['animals_possum02', 'animals_rat', 'noise_noise_01', 'noise_noise_03']) {
      expect([name, found[`${name}.y16`]]).toMatchObject([name, { held: [], issues: [] }]);
    }
    expect(Object.values(found).flatMap(({ dead }) => dead)).toEqual([]);
  });
}

if (existsSync(RECORDINGS)) describe('recordings of a Lepton 3', recordings);
