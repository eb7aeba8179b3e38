// Capture from a real V4L2 device: the kernel's vivid driver. Runs inside the guest.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { accounted, Daemon, NODE, PROJECT } from './daemon.mjs';
import { Background, booted, check, delay, done, log, patience, run, until } from './suite.mjs';
import { compliance, ctl, loadVivid, menuItem, set, unloadVivid } from './vivid.mjs';

const sharp = createRequire(`${PROJECT}/package.json`)('sharp');
const { V4l2Source } = await import(`${PROJECT}/dist/capture/v4l2.js`);

const WIDTH = 320;
const HEIGHT = 180;
/** Grey of vivid’s white and black; in the high byte of Y16, whose low byte is 0. */
const WHITE = 254;
const BLACK = 0;
const kinds = {
  Y16: { profile: 'vivid-y16', fourcc: 'Y16 ', bytes: 2, count: (grey) => grey * 256 },
  GREY: { profile: 'vivid-grey', fourcc: 'GREY', bytes: 1, count: (grey) => grey },
};

await booted(await versions());
mkdirSync('/run/vm-test', { recursive: true });
let video;

async function versions() {
  const [, v4l = ''] = (await run('v4l2-ctl', ['--version'])).stdout.split(' ');
  return { v4lUtils: v4l.trim() };
}

/** A picture that stands still: nothing is written into it. */
async function still(pattern, node = video.webcam) {
  await set(node, { osd_text_mode: await menuItem(node, 'osd_text_mode', 'None') });
  await set(node, { test_pattern: await menuItem(node, 'test_pattern', pattern) });
}

/** One frame as the kernel's own tool sees it. */
async function reference(node, fourcc) {
  const size = `width=${WIDTH},height=${HEIGHT},pixelformat=${fourcc}`;
  await ctl(
    node,
    '--set-fmt-video',
    size,
    '--stream-mmap=4',
    '--stream-count=2',
    '--stream-to=/run/vm-test/reference.raw',
  );
  const bytes = readFileSync('/run/vm-test/reference.raw');
  return bytes.subarray(bytes.length / 2);
}

/** One frame through the program's source. */
async function frameOf(device, profile) {
  const source = new V4l2Source({ kind: 'v4l2', device, profile, profilesDirectory: '/payload/test/profiles' });
  try {
    const info = await source.start(new AbortController().signal);
    await source.next();
    const frame = await source.next();
    return { info, frame: { ...frame, data: frame.data.slice() } };
  } finally {
    await source.stop();
  }
}

// ---------------------------------------------------------------------------------------------------- without error injection

let before;
/** The colour bars as v4l2-ctl reads them. */
const bars = {};
await check('vivid loads, and v4l2-compliance is content with it', 120, async () => {
  video = await loadVivid({ errorInjection: false });
  before = await compliance(video.webcam);
  return before;
});

for (const [kind, { profile, fourcc, bytes, count }] of Object.entries(kinds)) {
  await check(
    `${kind}: frames are the same bytes that v4l2-ctl gets, and known pixels have their values`,
    90,
    async () => {
      const seen = {};
      for (const [pattern, expected] of [
        ['100% White', WHITE],
        ['100% Black', BLACK],
      ]) {
        await still(pattern);
        const { frame } = await frameOf(video.webcam, profile);
        assert.equal(frame.data.length, WIDTH * HEIGHT);
        for (const at of [0, WIDTH - 1, WIDTH * 90 + 160, WIDTH * HEIGHT - 1])
          assert.equal(frame.data[at], count(expected));
        seen[pattern] = frame.data[0];
      }
      await still('75% Colorbar');
      const raw = Buffer.from(await reference(video.webcam, fourcc));
      bars[kind] = raw;
      const { frame, info } = await frameOf(video.webcam, profile);
      assert.equal(raw.length, WIDTH * HEIGHT * bytes);
      assert.deepEqual(Buffer.from(frame.data.buffer, frame.data.byteOffset, frame.data.byteLength), raw);
      assert.ok(new Set(frame.data).size >= 8, 'colour bars have eight greys');
      return {
        ...seen,
        greysOfTheBars: new Set(frame.data).size,
        size: `${info.width}x${info.height}`,
        bits: info.bits,
      };
    },
  );
}

/** A snapshot over MQTT shows what v4l2-ctl got: the counts at 16 bits, stretched from black to white at 8. */
async function snapshot(daemon, name, bytes, raw) {
  let value;
  for (let attempt = 1; value?.ok !== true; attempt++) {
    const from = daemon.mqtt.messages.length;
    await daemon.mqtt.client.publishAsync(`irst/${name}/cam0/snapshot/set`, 'true');
    ({ value } = await daemon.mqtt.wait('/snapshot/state', 60, (v) => v?.ok !== undefined, from));
    // An emulated inference may take longer than a command is waited for; pictures that do not change are soon no longer searched.
    if (value.ok || attempt === 5) break;
    await delay(2000);
  }
  const picture = value.value;
  assert.ok(picture?.data, JSON.stringify(value).slice(0, 500));
  const { data, info } = await sharp(Buffer.from(picture.data, 'base64'))
    .toColourspace(bytes === 2 ? 'grey16' : 'b-w')
    .raw({ depth: bytes === 2 ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true });
  assert.deepEqual([info.width, info.height], [WIDTH, HEIGHT]);
  const words = (buffer) => new Uint16Array(new Uint8Array(buffer).buffer);
  const [got, expected] = bytes === 2 ? [words(data), words(raw)] : [data, raw];
  const { black = 0, white } = picture;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const shown =
      bytes === 2 || white === undefined
        ? expected[i]
        : Math.min(255, Math.max(0, ((expected[i] - black) / (white - black)) * 255));
    worst = Math.max(worst, Math.abs(got[i] - shown));
  }
  assert.ok(worst <= (bytes === 2 ? 0 : 1), `a pixel differs by ${worst}`);
  return worst;
}

const snapshots = (bits) => ({ alerts: { snapshot: { bits, maxSide: WIDTH } } });
let first;
let second;

await check("Y16: irst-edge run; a snapshot over MQTT is the camera's picture, count for count", 180, async () => {
  await still('75% Colorbar');
  const source = { profile: 'vivid-y16' };
  first = await Daemon.start({ name: 'first', device: video.webcam, source, more: snapshots(16) });
  await first.streaming();
  await first.framesWhen('frames', (f) => f.processed > 0);
  const worstCount = await snapshot(first, 'first', 2, bars.Y16);
  assert.equal(first.mqtt.last('/cam0/state').cameraProfile, 'vivid-y16');
  return { worstCount };
});

await check(
  'a second program on the same camera is refused and waits; the first goes on; then the second takes over',
  240,
  async () => {
    second = await Daemon.start({
      name: 'second',
      device: video.webcam,
      source: { profile: 'vivid-grey' },
      more: snapshots(8),
    });
    const refused = await second.step(({ state, code }) => state === 'back-off' && code === 'CAMERA_BUSY');
    assert.deepEqual(
      first.steps.filter(({ code }) => code !== undefined),
      [],
    );
    const a = await first.frames();
    const b = await first.frames();
    assert.ok(b.captured > a.captured, 'the first one gets no frames any more');
    const { frames } = await first.stop();
    await second.streaming(60);
    await second.framesWhen('frames of the second', (f) => f.processed > 0);
    return { refused: refused.reason, first: accounted(frames) };
  },
);

await check("GREY: a snapshot over MQTT is the camera's picture", 60, async () => ({
  worstGrey: await snapshot(second, 'second', 1, bars.GREY),
}));

await check('nothing is left behind: killed while it streams, v4l2-compliance as before', 240, async () => {
  await second.framesWhen('frames', (f) => f.captured > 0);
  await second.mqtt.end();
  const outcome = await second.process.stop('SIGKILL');
  // As it was at first: after its own complaint about a format's name, v4l2-compliance knows only those that come before it.
  await ctl(video.webcam, '--set-fmt-video', `width=${WIDTH},height=${HEIGHT},pixelformat=YUYV`);
  const after = await compliance(video.webcam);
  assert.deepEqual(after, before);
  return { killedBy: outcome.signal, ...after };
});

await check(
  "irst-edge/v4l2camera: the package's usage example, unchanged but for import and format (vivid has no MJPG)",
  90,
  async () => {
    const code = `
    var v4l2camera = require("irst-edge/v4l2camera");

    var cam = new v4l2camera.Camera("${video.webcam}");
    if (cam.configGet().formatName !== "YUYV") {
      console.log("NOTICE: YUYV camera required");
      process.exit(1);
    }
    cam.start();
    cam.capture(function (success) {
      var frame = cam.frameRaw();
      require("fs").createWriteStream("result.raw").end(Buffer(frame));
      cam.stop();
    });
    console.log(JSON.stringify({ width: cam.width, height: cam.height, formats: cam.formats.length, controls: cam.controls.length }));`;
    await ctl(video.webcam, '--set-fmt-video', `width=${WIDTH},height=${HEIGHT},pixelformat=YUYV`);
    const out = JSON.parse((await exampleRun(code)).stdout);
    const raw = readFileSync('/run/vm-test/example/result.raw');
    assert.deepEqual([out.width, out.height, raw.length], [WIDTH, HEIGHT, WIDTH * HEIGHT * 2]);
    assert.ok(out.formats > 20 && out.controls > 20, JSON.stringify(out));
    return out;
  },
);

await check('irst-edge/v4l2camera: its example with two sizes, controls, toRGB', 120, async () => {
  await still('100% Red');
  const code = `
    const v4l2camera = require("irst-edge/v4l2camera");
    const cam = new v4l2camera.Camera("${video.webcam}");
    const shot = async (width, height) => {
      cam.configSet({width, height}).start();
      for (let i = 0; i < 6; i++) if (!await new Promise(r => cam.capture(r))) throw new Error("no frame");
      const rgb = cam.toRGB();
      const result = {width: cam.width, height: cam.height, bytes: rgb.length, pixel: [...rgb.slice(0, 3)]};
      await new Promise(r => cam.stop(r));
      return result;
    };
    (async () => {
      const sizes = [await shot(${WIDTH}, ${HEIGHT}), await shot(640, 360)];
      const {id} = cam.controls.find(c => c.name === "Brightness");
      cam.controlSet(id, 77);
      console.log(JSON.stringify({sizes, brightness: cam.controlGet(id)}));
    })();`;
  const out = JSON.parse((await exampleRun(code)).stdout);
  assert.deepEqual(
    out.sizes.map(({ width, height, bytes }) => [width, height, bytes]),
    [
      [WIDTH, HEIGHT, WIDTH * HEIGHT * 3],
      [640, 360, 640 * 360 * 3],
    ],
  );
  for (const { pixel } of out.sizes) assert.ok(pixel[0] > 180 && pixel[1] < 60 && pixel[2] < 60, `red is ${pixel}`);
  assert.equal(out.brightness, 77);
  await set(video.webcam, { brightness: 128 });
  return out;
});

async function exampleRun(code) {
  const folder = '/run/vm-test/example';
  mkdirSync(`${folder}/node_modules`, { recursive: true });
  await run('ln', ['-sfn', PROJECT, `${folder}/node_modules/irst-edge`]);
  writeFileSync(`${folder}/example.cjs`, code);
  return run(NODE, ['example.cjs'], { cwd: folder });
}

await check('the driver unloads: no node is open, no buffer is mapped', 60, unloadVivid);

// ------------------------------------------------------------------------------------------------------- with error injection

/** One program reads the camera through all that follows. */
let daemon;

/** Frames go on after what was done. */
async function goesOn() {
  const { processed } = await daemon.frames();
  await daemon.framesWhen('more frames', (f) => f.processed > processed + 3);
}

await check('VIDIOC_REQBUFS fails at the start: back-off, then streaming', 180, async () => {
  video = await loadVivid({ errorInjection: true });
  await still('75% Colorbar');
  await set(video.webcam, { inject_vidioc_reqbufs_error: 1 });
  // A slow machine shall not look like a camera that stalls.
  const source = { profile: 'vivid-y16', fps: 10, stallTimeoutMs: Math.round(2000 * patience) };
  daemon = await Daemon.start({ name: 'disturbed', device: video.webcam, source });
  const failed = await daemon.step(({ state }) => state === 'back-off');
  await daemon.streaming();
  assert.deepEqual(
    daemon.steps.map(({ state }) => state),
    ['back-off', 'streaming'],
  );
  await goesOn();
  return { code: failed.code, reason: failed.reason };
});

await check('dropped-buffer percentage: the gaps are counted, and the stream goes on', 120, async () => {
  const steps = daemon.steps.length;
  const start = await daemon.frames();
  await set(video.webcam, { percentage_of_dropped_buffers: 30 });
  const end = await daemon.framesWhen('150 frames', (f) => f.captured - start.captured >= 150, 90);
  await set(video.webcam, { percentage_of_dropped_buffers: 0 });
  const lost = (end.dropped.sequence ?? 0) - (start.dropped.sequence ?? 0);
  const share = lost / (end.captured - start.captured);
  assert.ok(share > 0.15 && share < 0.45, `${lost} of ${end.captured - start.captured} are said to be lost`);
  assert.equal(daemon.steps.length, steps);
  return { sequenceShare: Math.round(share * 100) / 100 };
});

await check('error flag: each flagged frame is dropped as corrupt, and said', 120, async () => {
  const steps = daemon.steps.length;
  for (let i = 1; i <= 5; i++) {
    await set(video.webcam, { inject_v4l2_buf_flag_error: 1 });
    await daemon.framesWhen(`${i} corrupt frames`, (f) => f.dropped.corrupt === i, 30);
  }
  assert.match(daemon.log, /CAMERA_FRAME_CORRUPT/);
  assert.equal(daemon.steps.length, steps);
  return { corrupt: 5 };
});

await check("the driver's sequence wraps: what is said to be lost", 120, async () => {
  const start = await daemon.frames();
  await set(video.webcam, { wrap_sequence_number: 1 });
  const end = await daemon.framesWhen('80 frames', (f) => f.captured - start.captured >= 80, 60);
  await set(video.webcam, { wrap_sequence_number: 0 });
  const lost = (end.dropped.sequence ?? 0) - (start.dropped.sequence ?? 0);
  return { saidToBeLost: lost, of: end.captured - start.captured };
});

for (const [name, controls] of [
  ['fatal streaming error: the stream is restarted, and says so', []],
  ['VIDIOC_STREAMON fails once in the restart: it is tried again', ['inject_vidioc_streamon_error']],
  ['VIDIOC_QBUF fails once in the restart: it is tried again', ['inject_vidioc_qbuf_error']],
]) {
  await check(name, 120, async () => {
    const steps = daemon.steps.length;
    const all = [...controls, 'inject_fatal_streaming_error'];
    await set(video.webcam, Object.fromEntries(all.map((control) => [control, 1])));
    const { reason, state } = await daemon.step((s) => /restarted/.test(s.reason), 30, steps);
    assert.equal(state, 'streaming');
    await goesOn();
    return { reason };
  });
}

await check('no frame at all: stalled, lost, back-off, and streaming again', 180, async () => {
  const steps = daemon.steps.length;
  await set(video.webcam, { percentage_of_dropped_buffers: 100 });
  await daemon.step(({ state }) => state === 'back-off', 60, steps);
  await set(video.webcam, { percentage_of_dropped_buffers: 0 });
  await daemon.streaming(60, steps + 3);
  const states = daemon.steps.slice(steps).map(({ state, code }) => (code ? `${state} ${code}` : state));
  assert.deepEqual(states.slice(0, 3), ['stalled CAMERA_STALLED', 'lost CAMERA_STALLED', 'back-off CAMERA_STALLED']);
  assert.equal(states.at(-1), 'streaming');
  await goesOn();
  return { states };
});

await check('disconnect: lost, waited for, and streaming again once it is back', 180, async () => {
  const steps = daemon.steps.length;
  // vivid registers its nodes again when the last one that has them open closes them: as long as this one lives they are gone.
  const holder = new Background('sh', ['-c', `exec 3<>${video.webcam}; echo held; exec sleep 1000`]);
  await until('the holder', 10, () => /held/.test(holder.output));
  await set(video.webcam, { disconnect: 1 });
  const lost = await daemon.step(({ state }) => state === 'lost', 30, steps);
  assert.equal(lost.code, 'CAMERA_GONE');
  const absent = await daemon.step(({ state, code }) => state === 'back-off' && code === 'CAMERA_NOT_FOUND', 30, steps);
  await holder.stop();
  await daemon.streaming(60, steps);
  await goesOn();
  return { lost: lost.reason, absent: absent.reason, steps: daemon.steps.slice(steps).map(({ state }) => state) };
});

await check('after all of that: captured = processed + dropped, by reason', 60, async () => {
  const { frames } = await daemon.stop();
  return accounted(frames);
});

// ------------------------------------------------------------------------------------------------ real thermal frames, looped

const PLAY = '/payload/play';
const { canvas, picture, frames: expected } = JSON.parse(readFileSync(`${PLAY}/expected.json`, 'utf8'));

await check('a looped output: the receiver shows the sender’s picture, bit by bit', 120, async () => {
  const { receiver, sender } = video;
  await ctl(sender, '--set-dv-bt-timings', 'index=0');
  await ctl(receiver, '--set-dv-bt-timings', 'index=0');
  await ctl(sender, '--set-fmt-video-out', `width=${canvas.width},height=${canvas.height},pixelformat=Y16 `);
  await ctl(receiver, '--set-fmt-video', `width=${picture.width},height=${picture.height},pixelformat=Y16 `);
  // The receiver writes its text into looped pictures too.
  await set(receiver, { loop_video: 1, osd_text_mode: await menuItem(receiver, 'osd_text_mode', 'None') });
  const player = new Background('v4l2-ctl', [
    ...['-d', sender, '--stream-out-mmap=3', '--stream-loop', `--stream-from=${PLAY}/first.raw`],
  ]);
  await delay(3000);
  assert.ok(player.running, player.output);
  await ctl(receiver, '--stream-mmap=4', '--stream-count=3', '--stream-to=/run/vm-test/looped.raw');
  await player.stop();
  const bytes = readFileSync('/run/vm-test/looped.raw');
  const size = picture.width * picture.height * 2;
  assert.equal(bytes.length % size, 0, `${bytes.length} bytes; ${await ctl(receiver, '--get-fmt-video')}`);
  const got = bytes.subarray(bytes.length - size);
  const sent = readFileSync(`${PLAY}/first.raw`);
  let wrong = 0;
  for (let y = 0; y < picture.height; y++) {
    const row = sent.subarray(2 * y * canvas.width, 2 * (y * canvas.width + picture.width));
    if (!got.subarray(2 * y * picture.width, 2 * (y + 1) * picture.width).equals(row)) wrong++;
  }
  assert.equal(wrong, 0, `${wrong} rows differ`);
  return { sent: `${canvas.width}x${canvas.height}`, received: `${picture.width}x${picture.height} Y16` };
});

await check('thermal frames one by one: each gives the detections that its file gives', 420, async () => {
  const daemon = await Daemon.start({ name: 'played', device: video.receiver, camera: { sensor: { watch: 'off' } } });
  // With two buffers the sender shows what was written last.
  const player = new Background('v4l2-ctl', ['-d', video.sender, '--stream-out-mmap=2', '--stream-from=-']);
  const show = (index) =>
    player.child.stdin.write(readFileSync(`${PLAY}/frames.raw`).subarray(index * frameBytes, (index + 1) * frameBytes));
  const frameBytes = canvas.width * canvas.height * 2;
  const shown = [0, 24, 48, 72, 96, 119];
  let worst = 0;
  let latency;
  try {
    show(0);
    show(0);
    await daemon.streaming(120);
    for (const index of shown) {
      if (index > 0) show(index);
      const want = expected[index].detections;
      const { value } = await daemon.mqtt
        .wait('/cam0/detections', 90, (m) => same(m.detections, want) !== undefined)
        .catch((error) => {
          const lately = daemon.mqtt.messages.filter(({ topic }) => topic.endsWith('/detections')).slice(-3);
          throw new Error(
            `${error.message}: frame ${index} should give ${JSON.stringify(want)}, lately ${JSON.stringify(lately).slice(0, 1500)}`,
          );
        });
      worst = Math.max(worst, same(value.detections, want));
      latency = value.latencyMs;
    }
    const event = await daemon.mqtt.wait('/events', 30, (m) => m.type === 'new');
    const { frames } = await daemon.stop();
    return {
      frames: shown.length,
      worstPx: worst,
      event: event.value.type,
      lastLatencyMs: latency,
      ...accounted(frames),
    };
  } finally {
    await player.stop('SIGKILL');
    if (daemon.process.running) {
      log(daemon.log.slice(-3000));
      await daemon.process.stop('SIGKILL');
    }
  }
});

/** The largest distance, px; undefined: not the same targets. */
function same(got, want) {
  if (got.length !== want.length) return undefined;
  let worst = 0;
  for (const d of want) {
    const distance = Math.min(...got.map((g) => Math.hypot(g.x - d.x, g.y - d.y)));
    if (!(distance <= 0.02)) return undefined;
    worst = Math.max(worst, distance);
  }
  return Math.round(worst * 1e5) / 1e5;
}

await check(
  'thermal frames as they come: irst-edge run --input v4l2:, every detection is one of the clip’s',
  300,
  async () => {
    const player = new Background('v4l2-ctl', [
      ...['-d', video.sender, '--stream-out-mmap=4', '--stream-loop', `--stream-from=${PLAY}/frames.raw`],
    ]);
    await delay(1000);
    const daemon = await Daemon.startWith('--input', `v4l2:${video.receiver}`);
    try {
      await daemon.streaming(120);
      const messages = await until('eight frames with detections', 200, () => {
        const found = daemon.mqtt.messages.filter(({ topic }) => topic.endsWith('/cam0/detections'));
        return found.length >= 8 ? found : undefined;
      });
      const all = expected.flatMap(({ detections }) => detections);
      let near = 0;
      let total = 0;
      for (const { value } of messages) {
        for (const { x, y } of value.detections) {
          total++;
          if (all.some((d) => Math.hypot(d.x - x, d.y - y) < 0.1)) near++;
        }
      }
      const { frames } = await daemon.stop();
      // Between two pictures the receiver may show half of each.
      assert.ok(near >= 0.8 * total, `${near} of ${total} detections are where the clip has some`);
      return { messages: messages.length, detections: total, ofTheClip: near, ...accounted(frames) };
    } finally {
      await player.stop('SIGKILL');
      if (daemon.process.running) {
        log(daemon.log.slice(-3000));
        await daemon.process.stop('SIGKILL');
      }
    }
  },
);

await check('the driver unloads: no node is left open', 60, async () => {
  await unloadVivid();
});

await done();
