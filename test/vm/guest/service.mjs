// The installed service under systemd. Runs inside the guest, in two phases: before and after the power cut.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import {
  Background,
  booted,
  check,
  delay,
  done,
  failure,
  keepPhase,
  patience,
  phase,
  run,
  Subscriber,
  tell,
  until,
} from './suite.mjs';
import { ctl, loadVivid, menuItem, set } from './vivid.mjs';

const UNIT = 'irst-edge.service';
const LIB = '/usr/lib/irst-edge';
const CONFIG = '/etc/irst-edge/irst-edge.yaml';
const BROKER = 'mqtt://127.0.0.1:1884';
const PLAY = '/payload/play';

const show = async (...names) => {
  const { stdout } = await run('systemctl', ['show', UNIT, ...names.flatMap((name) => ['-p', name])]);
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
};
const systemctl = (...args) => run('systemctl', args);
const active = (seconds) =>
  until('the service is active', seconds, async () => (await show('ActiveState')).ActiveState === 'active', 500);
/** What the service logged since `since` (a cursor of the journal). */
const journal = async (since) =>
  (
    await run('journalctl', ['-u', UNIT, '-o', 'cat', '--no-pager', ...(since ? ['--after-cursor', since] : [])], {
      maxBuffer: 1 << 26,
    })
  ).stdout;
const cursor = async () =>
  /-- cursor: (.*)/.exec((await run('journalctl', ['-n', '0', '--show-cursor', '--no-pager'])).stdout)?.[1];
const mosquitto = async (verb) => {
  await systemctl(verb, 'mosquitto.service');
};

let video;
let mqtt;
let bus;
let player;

/** The clip, slowly, as long as it takes: the drone moves as it does, in slow motion. */
function play() {
  player = new Background('/payload/bin/node', ['/payload/test/player.mjs', video.sender, PLAY]);
}

/** Subscribed to the broker from before the service connects. */
async function subscribe() {
  mqtt = createRequire(`${LIB}/package.json`)('mqtt');
  bus = await Subscriber.connect(mqtt, BROKER);
}

function configuration(more = {}) {
  return {
    device: { id: 'box' },
    mqtt: { url: BROKER },
    cameras: [
      {
        id: 'cam0',
        source: {
          kind: 'v4l2',
          device: video.receiver,
          profile: 'generic-y16',
          stallTimeoutMs: Math.round(3000 * patience),
        },
        sensor: { watch: 'off' },
      },
    ],
    outbox: { eventLifeSeconds: 86_400 },
    ...more,
  };
}
const configure = (more) => writeFileSync(CONFIG, JSON.stringify(configuration(more), null, 1));

async function camera() {
  video = await loadVivid({ errorInjection: true });
  await setUpCamera();
}

/** Nobody may have the receiver open: v4l2-ctl cannot change what streams, and says so with exit code 0. */
async function setUpCamera() {
  const { canvas, picture } = JSON.parse(readFileSync(`${PLAY}/expected.json`, 'utf8'));
  await ctl(video.sender, '--set-dv-bt-timings', 'index=0');
  await ctl(video.receiver, '--set-dv-bt-timings', 'index=0');
  await ctl(video.sender, '--set-fmt-video-out', `width=${canvas.width},height=${canvas.height},pixelformat=Y16 `);
  await ctl(video.receiver, '--set-fmt-video', `width=${picture.width},height=${picture.height},pixelformat=Y16 `);
  await set(video.receiver, { loop_video: 1, osd_text_mode: await menuItem(video.receiver, 'osd_text_mode', 'None') });
  play();
}

failure.context = async () => {
  const state = await show('ActiveState', 'SubState', 'Result', 'ExecMainCode', 'ExecMainStatus', 'NRestarts');
  const said = (await journal()).trim().split('\n').slice(-25);
  return [
    JSON.stringify(state),
    JSON.stringify(bus?.last('/cam0/state')?.capture),
    JSON.stringify(bus?.last('/stats')),
    ...said.map((l) => l.slice(0, 400)),
  ].join('\n');
};

/** The next message of detections, counted from now. */
async function detections(seconds = 120) {
  const from = bus.messages.length;
  const started = performance.now();
  await bus.wait('/cam0/detections', seconds, () => true, from);
  return Math.round((performance.now() - started) / 100) / 10;
}

async function restarted(from, seconds, act) {
  const before = await show('NRestarts', 'MainPID');
  const started = performance.now();
  await act(before);
  await until(
    'a new main process',
    seconds,
    async () => {
      const now = await show('NRestarts', 'MainPID', 'ActiveState');
      return now.MainPID !== before.MainPID && now.MainPID !== '0' && now.ActiveState === 'active' ? now : undefined;
    },
    500,
  );
  await bus.wait('/available', 60, (word) => word === 'online', from);
  await detections();
  return {
    restarts: Number((await show('NRestarts')).NRestarts) - Number(before.NRestarts),
    secondsToDetection: Math.round((performance.now() - started) / 100) / 10,
  };
}

/** Evaluates code in the first worker thread of the service, through Node's inspector, which SIGUSR1 opens. */
async function inWorker(expression) {
  const { MainPID } = await show('MainPID');
  await run('kill', ['-USR1', MainPID]);
  await run(`${LIB}/bin/node`, ['/payload/test/in-worker.mjs', expression], { timeout: Math.round(60_000 * patience) });
}

await booted({ systemd: (await run('systemctl', ['--version'])).stdout.split('\n', 1)[0] });

if (phase() === 0) {
  await check('the package installs, the service starts, and finds targets in its computed scene', 240, async () => {
    if (patience > 1.5) {
      // The times of the unit are meant for a machine that is not emulated on a busy one.
      mkdirSync(`/etc/systemd/system/${UNIT}.d`, { recursive: true });
      const slow = `[Service]\nWatchdogSec=${Math.round(20 * patience)}\nTimeoutStartSec=${Math.round(60 * patience)}\n`;
      writeFileSync(`/etc/systemd/system/${UNIT}.d/slow.conf`, slow);
      note(
        `the unit's WatchdogSec and TimeoutStartSec are stretched ${Math.round(patience * 10) / 10} times on this machine`,
      );
    }
    const started = performance.now();
    const { stdout, stderr } = await run('dpkg', ['--force-unsafe-io', '-i', '/payload/irst-edge.deb']).catch(
      (error) => {
        throw new Error(`dpkg: ${error.stdout} ${error.stderr}`);
      },
    );
    await active(120);
    const secondsToReady = Math.round((performance.now() - started) / 100) / 10;
    mqtt = createRequire(`${LIB}/package.json`)('mqtt');
    const local = await Subscriber.connect(mqtt, 'mqtt://127.0.0.1:1883');
    await local.wait('/available', 30, (word) => word === 'online');
    await local.wait('/cam0/detections', 120);
    await local.end();
    const { MainPID, User } = await show('MainPID', 'User');
    const owner = statSync(`/proc/${MainPID}`).uid;
    assert.ok(owner !== 0, 'it runs as root');
    return { secondsToReady, uid: owner, user: User, said: `${stdout}${stderr}`.trim().split('\n').length };
  });

  await check('it is hardened as it says: systemd-analyze security', 120, async () => {
    const { stdout } = await run('systemd-analyze', ['security', UNIT, '--no-pager']);
    const level = Number(/Overall exposure level[^:]*: ([0-9.]+)/.exec(stdout)?.[1]);
    assert.ok(level <= 1.5, `exposure ${level}`);
    return { exposure: level };
  });

  await check('a vivid camera and mosquitto: alerts arrive', 300, async () => {
    await systemctl('stop', UNIT);
    mkdirSync('/etc/mosquitto/conf.d', { recursive: true });
    writeFileSync('/etc/mosquitto/conf.d/test.conf', 'listener 1884 127.0.0.1\nallow_anonymous true\n');
    await mosquitto('restart');
    await camera();
    configure();
    await subscribe();
    const from = bus.messages.length;
    const started = performance.now();
    await systemctl('start', UNIT);
    await active(120);
    const secondsToReady = Math.round((performance.now() - started) / 100) / 10;
    await bus.wait('/cam0/detections', 180, () => true, from);
    const secondsToDetection = Math.round((performance.now() - started) / 100) / 10;
    const { value } = await bus.wait('/cam0/events', 180, ({ type }) => type === 'new', from);
    const health = await run('irst-edge', ['health', '--wait', String(Math.round(60 * patience)), '--json']).catch(
      (error) => error,
    );
    assert.equal(JSON.parse(health.stdout).severity, 'ok', health.stdout);
    return { secondsToReady, secondsToDetection, event: value.type, camera: bus.last('/status').cameras[0].source };
  });

  await check('SIGKILL of the daemon: the broker says offline, systemd restarts it, alerts again', 240, async () => {
    const from = bus.messages.length;
    const figures = await restarted(from, 120, () => systemctl('kill', '-s', 'KILL', UNIT));
    await bus.wait('/available', 10, (word) => word === 'offline', from);
    assert.equal(figures.restarts, 1);
    return figures;
  });

  await check('a dead worker: the daemon starts another one, and stays itself', 240, async () => {
    const from = bus.messages.length;
    const since = await cursor();
    const before = await show('MainPID', 'NRestarts');
    // From its event loop: evaluated in the middle of an inference, it would take the process with it.
    await inWorker('setTimeout(() => process.exit(3), 1)');
    await bus.wait('/cam0/state', 60, ({ state }) => state === 'restarting', from);
    await bus.wait('/cam0/state', 120, ({ state }) => state === 'running', bus.messages.length);
    await detections();
    assert.deepEqual(await show('MainPID', 'NRestarts'), before);
    assert.match(await journal(since), /WORKER_DIED/);
    return { sameProcess: true };
  });

  await check('a hung worker: the watchdog is held, systemd kills and restarts the service', 300, async () => {
    const from = bus.messages.length;
    const since = await cursor();
    const figures = await restarted(from, 180, () => inWorker('for (;;);'));
    const said = await journal(since);
    assert.match(said, /WATCHDOG_HELD/);
    assert.equal(figures.restarts, 1);
    return figures;
  });

  await check('the broker restarts: connected again, and what happened meanwhile is delivered', 240, async () => {
    const before = await show('MainPID', 'NRestarts');
    await mosquitto('stop');
    await delay(5000 * patience);
    const from = bus.messages.length;
    await mosquitto('start');
    await bus.wait('/available', 120, (word) => word === 'online', from);
    await detections();
    assert.deepEqual(await show('MainPID', 'NRestarts'), before);
    return {
      sameProcess: true,
      events: bus.messages.slice(from).filter(({ topic }) => topic.endsWith('/events')).length,
    };
  });

  await check('the camera goes and comes back: said, waited for, alerts again', 240, async () => {
    const before = await show('MainPID', 'NRestarts');
    const from = bus.messages.length;
    const holder = new Background('sh', ['-c', `exec 3<>${video.receiver}; echo held; exec sleep 1000`]);
    await until('the holder', 10, () => /held/.test(holder.output));
    // The sender belongs to the same device, and keeps its nodes open.
    await player.stop('SIGKILL');
    await set(video.receiver, { disconnect: 1 });
    const lost = await bus.wait('/cam0/state', 60, ({ capture }) => capture?.state === 'back-off', from);
    const degraded = await run('irst-edge', ['health', '--json']).catch((error) => error);
    await delay(25_000);
    assert.deepEqual(await show('MainPID', 'NRestarts'), before, 'the watchdog must know this excuse');
    await holder.stop();
    await until('the nodes are back', 30, () =>
      set(video.receiver, { brightness: 128 }).then(
        () => true,
        () => false,
      ),
    );
    await set(video.receiver, { loop_video: 1 });
    play();
    await bus.wait('/cam0/state', 90, ({ capture }) => capture?.state === 'streaming', bus.messages.indexOf(lost));
    await detections();
    return { code: lost.value.capture.code, healthMeanwhile: JSON.parse(degraded.stdout).severity, sameProcess: true };
  });

  await check('reload: a bad file is refused and named, the old one stays; a good one is applied', 180, async () => {
    const before = await show('MainPID', 'NRestarts');
    let since = await cursor();
    writeFileSync(CONFIG, 'device: {id: box}\ncameras: nonsense\n');
    await systemctl('reload', UNIT).catch(() => {});
    await until('the refusal', 30, async () => /the old configuration stays/.test(await journal(since)));
    await detections();
    since = await cursor();
    configure({ detector: { threshold: 0.97 } });
    await systemctl('reload', UNIT);
    await until('the new threshold', 30, async () => /configuration applied/.test(await journal(since)));
    configure();
    await systemctl('reload', UNIT);
    await detections();
    assert.deepEqual(await show('MainPID', 'NRestarts'), before);
    return { sameProcess: true };
  });

  await check('a bad configuration at the start: exit code 78, and no restart', 120, async () => {
    const since = await cursor();
    writeFileSync(CONFIG, 'device: {id: box}\ncameras: nonsense\n');
    await systemctl('restart', UNIT).catch(() => {});
    await until('the unit has failed', 60, async () => (await show('ActiveState')).ActiveState === 'failed', 500);
    const { ExecMainStatus, NRestarts } = await show('ExecMainStatus', 'NRestarts');
    await delay(6000);
    const after = await show('ActiveState', 'NRestarts');
    assert.deepEqual([ExecMainStatus, after.ActiveState, after.NRestarts], ['78', 'failed', NRestarts]);
    const line = (await journal(since)).split('\n').find((text) => /CONFIG_INVALID/.test(text));
    configure();
    await systemctl('reset-failed', UNIT);
    await systemctl('start', UNIT);
    await active(120);
    await detections();
    return { exit: Number(ExecMainStatus), line: line?.slice(0, 200) };
  });

  await check('a full state disk: said, alerts go on; room again: kept on disk again', 300, async () => {
    await systemctl('stop', UNIT);
    mkdirSync('/var/lib/private/irst-edge', { recursive: true });
    // Without room for the log, which takes 4 MiB when it is made and would hold all events of this check however full the disk is.
    await run('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=0755', 'tmpfs', '/var/lib/private/irst-edge']);
    const since = await cursor();
    configure({ alerts: { updateIntervalSeconds: 0.2 } });
    await systemctl('start', UNIT);
    await active(120);
    await detections();
    const before = await show('MainPID', 'NRestarts');
    await run('sh', ['-c', 'dd if=/dev/zero of=/var/lib/private/irst-edge/ballast bs=64k 2>/dev/null; true']);
    // Events wait for a broker that is away: they must go to the disk.
    await mosquitto('stop');
    await until('the full disk is said', 120, async () => /OUTBOX_DEGRADED/.test(await journal(since)), 1000);
    rmSync('/var/lib/private/irst-edge/ballast');
    await until(
      'room is used again',
      120,
      async () => /events are kept on disk again/.test(await journal(since)),
      1000,
    );
    await mosquitto('start');
    await detections();
    assert.deepEqual(await show('MainPID', 'NRestarts'), before);
    await systemctl('stop', UNIT);
    await run('umount', ['/var/lib/private/irst-edge']);
    configure();
    await systemctl('start', UNIT);
    await active(120);
    return {
      sameProcess: true,
      line: (await journal(since))
        .split('\n')
        .find((text) => /OUTBOX_DEGRADED/.test(text))
        ?.slice(0, 200),
    };
  });

  await check('the clock jumps a day ahead and back: no restart, alerts go on', 180, async () => {
    await detections();
    const before = await show('MainPID', 'NRestarts');
    await run('date', ['-s', '+1 day']);
    const ahead = await detections();
    await run('date', ['-s', '-1 day']);
    const back = await detections();
    await delay(3000);
    assert.deepEqual(await show('MainPID', 'NRestarts'), before);
    const clock = bus.messages.findLast(({ topic, value }) => topic.endsWith('/events') && value.clock)?.value.clock;
    return { secondsAhead: ahead, secondsBack: back, clock };
  });

  await check('an upgrade while it runs: the new version, with the configuration as it was', 300, async () => {
    const from = bus.messages.length;
    const kept = readFileSync(CONFIG, 'utf8');
    const before = await show('MainPID');
    const started = performance.now();
    await run('dpkg', ['--force-unsafe-io', '--force-confold', '-i', '/payload/irst-edge-next.deb']).catch((error) => {
      throw new Error(`dpkg: ${error.stdout} ${error.stderr}`);
    });
    await active(120);
    const { MainPID } = await show('MainPID');
    assert.notEqual(MainPID, before.MainPID);
    assert.equal(readFileSync(CONFIG, 'utf8'), kept);
    await bus.wait('/available', 60, (word) => word === 'online', from);
    await detections();
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is dpkg-query's own
    const { stdout } = await run('dpkg-query', ['-W', '-f', '${Version} ${Status}', 'irst-edge']);
    assert.match(stdout, /\+next install ok installed/);
    return { version: stdout.split(' ')[0], secondsToDetection: Math.round((performance.now() - started) / 100) / 10 };
  });

  await check(
    'events wait on the disk while the broker is away, and the power goes while they are written',
    240,
    async () => {
      configure({ alerts: { updateIntervalSeconds: 0.2 } });
      await systemctl('reload', UNIT);
      await mosquitto('stop');
      const since = await cursor();
      // The target goes and comes again: its end and the next one's beginning are on the disk, for a subscriber to get afterwards.
      await player.stop('SIGKILL');
      await delay(6000 * patience);
      play();
      await delay(10_000 * patience);
      assert.ok((await show('ActiveState')).ActiveState === 'active');
      await systemctl('disable', 'mosquitto.service');
      // Kept by systemd and by us before the cut; not the service's files: they must look after themselves.
      keepPhase(1);
      await run('sync', ['-f', '/etc/irst-edge', '/var/lib/vm-test', '/etc/mosquitto', '/etc/systemd/system']).catch(
        () => run('sync', []),
      );
      await delay(2000 * patience);
      return { logged: (await journal(since)).split('\n').length };
    },
  );
  tell({ type: 'reset' });
  await delay(120_000);
} else {
  await check(
    'after the power cut: it starts by itself, its state is sound, the events from before arrive',
    420,
    async () => {
      const { ActiveState } = await show('ActiveState');
      const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
      const started = performance.now();
      // The subscriber first: events of the last run are sent as soon as the broker is there.
      mqtt = createRequire(`${LIB}/package.json`)('mqtt');
      await active(180);
      // Held meanwhile: it is quicker to find the broker than we are to subscribe.
      await systemctl('kill', '-s', 'STOP', UNIT);
      await mosquitto('start');
      await subscribe();
      await systemctl('kill', '-s', 'CONT', UNIT);
      const { value } = await bus.wait('/events', 180, () => true);
      const bootedAt = Date.now() - Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
      const old = bus.messages.filter(
        ({ topic, value: v }) => topic.endsWith('/events') && Date.parse(v.capturedAt) < bootedAt,
      );
      const said = await journal();
      assert.doesNotMatch(said, /OUTBOX_DAMAGED/);
      assert.ok(old.length > 0, `no event from before the cut; the first: ${JSON.stringify(value).slice(0, 400)}`);
      return {
        stateAtBoot: ActiveState,
        bootId: bootId.slice(0, 8),
        eventsFromBefore: old.length,
        seconds: Math.round((performance.now() - started) / 1000),
      };
    },
  );

  await check('a camera that comes after the boot is opened; set up, it gives alerts again', 300, async () => {
    const from = bus.messages.length;
    video = await loadVivid({ errorInjection: true });
    await bus.wait('/cam0/state', 90, ({ capture }) => capture?.state === 'streaming', from);
    await systemctl('stop', UNIT);
    await setUpCamera();
    await systemctl('start', UNIT);
    await active(120);
    return { secondsToDetection: await detections(200) };
  });

  await check('removed and installed again: it runs again, with its configuration', 240, async () => {
    const kept = readFileSync(CONFIG, 'utf8');
    await run('dpkg', ['--remove', 'irst-edge']);
    assert.equal((await show('ActiveState')).ActiveState, 'inactive');
    await run('dpkg', ['--force-unsafe-io', '--force-confold', '-i', '/payload/irst-edge.deb']);
    await active(120);
    assert.equal(readFileSync(CONFIG, 'utf8'), kept);
    await detections(200);
  });

  await check('the package goes, and with --purge what it had', 120, async () => {
    await run('dpkg', ['--purge', 'irst-edge']);
    assert.equal((await show('ActiveState')).ActiveState, 'inactive');
    for (const left of [LIB, '/etc/irst-edge', '/var/lib/private/irst-edge', '/var/cache/private/irst-edge']) {
      assert.ok(!existsSync(left), `${left} is left`);
    }
  });
}

await player?.stop('SIGKILL');
await done();
