// A Debian guest in qemu without KVM, and what a test inside it says. Shared by the VM tests; see docs/testing-vm.md.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const HERE = fileURLToPath(new URL('.', import.meta.url));
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The test cannot run here. As automake has it: https://www.gnu.org/software/automake/manual/html_node/Scripts_002dbased-Testsuites.html */
export const EXIT_CANNOT_RUN = 77;

export class CannotRun extends Error {}

const cacheFolder = () => path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'irst-edge', 'vm');

/** Program: the Debian package that has it. */
const PROGRAMS = {
  'qemu-system-x86_64': 'qemu-system-x86',
  debootstrap: 'debootstrap',
  mke2fs: 'e2fsprogs',
};

/** Throws `CannotRun` with a line that says what is missing and what to do. Installs Debian packages where it may. */
export async function checkMachine(log) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new CannotRun(`it runs on linux x64, this is ${process.platform} ${process.arch}`);
  }
  if (process.getuid() !== 0)
    throw new CannotRun('it needs root, for debootstrap and its chroot. Run: sudo npm run test:vm');
  process.env.PATH += ':/usr/sbin:/sbin';
  let missing = await absent();
  if (missing.length > 0 && process.env.IRST_EDGE_NO_APT !== '1') {
    log(`installing ${missing.join(' ')}`);
    const apt = ['-qq', '-o', 'Acquire::Retries=3', '-o', 'DPkg::Lock::Timeout=300'];
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', [...apt, 'update'], { env })
      .then(() => run('apt-get', [...apt, 'install', '-y', '--no-install-recommends', ...missing], { env }))
      .catch(() => {});
    missing = await absent();
  }
  if (missing.length > 0) {
    throw new CannotRun(`programs are missing. Run: apt-get install -y --no-install-recommends ${missing.join(' ')}`);
  }
  if (!existsSync(path.join(ROOT, 'dist/cli.js'))) throw new CannotRun('the project is not built. Run: npm run build');
}

async function absent() {
  const found = await Promise.all(
    Object.keys(PROGRAMS).map((name) =>
      run('sh', ['-c', `command -v ${name}`]).then(
        () => true,
        () => false,
      ),
    ),
  );
  return Object.values(PROGRAMS).filter((_, i) => !found[i]);
}

/** Folder with disk.img, vmlinuz and initrd.img; built once for each state of image.sh. */
export async function guestImage(log) {
  const script = path.join(HERE, 'image.sh');
  const key = createHash('sha256').update(readFileSync(script)).digest('hex').slice(0, 12);
  const folder = path.join(cacheFolder(), `image-${key}`);
  if (existsSync(path.join(folder, 'disk.img'))) return folder;
  log(`building the guest image (once; a few minutes) in ${folder}`);
  try {
    await run('bash', [script, folder], { maxBuffer: 1 << 24 });
  } catch (error) {
    throw new CannotRun(
      `the guest image cannot be built: ${String(error.stderr || error.message)
        .trim()
        .slice(-2000)}`,
    );
  }
  return folder;
}

/** Names of the packages in node_modules that only development needs, from package-lock.json. */
function developmentOnly() {
  const { packages } = JSON.parse(readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8'));
  return new Set(
    Object.entries(packages).flatMap(([where, { dev, devOptional }]) => (dev || devOptional ? [where] : [])),
  );
}

/**
 * A read-only disk for the guest: the folder `run` is made in, with this machine's Node and the guest's half of the tests.
 * @param {(folder: string) => Promise<void>} fill puts in what the test needs; a file `run` that the guest's shell executes
 */
export async function payload(name, fill) {
  mkdirSync(cacheFolder(), { recursive: true });
  const folder = mkdtempSync(path.join(cacheFolder(), `${name}.`));
  try {
    const tree = path.join(folder, 'tree');
    mkdirSync(path.join(tree, 'bin'), { recursive: true });
    cpSync(process.execPath, path.join(tree, 'bin/node'));
    cpSync(path.join(HERE, 'guest'), path.join(tree, 'test'), { recursive: true });
    await fill(tree);
    const disk = path.join(cacheFolder(), `${name}-${process.pid}.img`);
    const { stdout } = await run('du', ['-sm', tree]);
    const megabytes = Math.ceil(Number(stdout.split('\t')[0]) * 1.15) + 64;
    await run('mke2fs', [
      '-q',
      '-t',
      'ext4',
      '-O',
      '^has_journal',
      '-L',
      'irst-payload',
      '-d',
      tree,
      disk,
      `${megabytes}M`,
    ]);
    return disk;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The built project with its production dependencies for linux x64. */
export function copyProject(to) {
  const skip = developmentOnly();
  mkdirSync(to, { recursive: true });
  const addon = ['native/build/Release/irst_edge.node', 'prebuilds/linux-x64/irst_edge.node'].find((file) =>
    existsSync(path.join(ROOT, file)),
  );
  if (addon === undefined) throw new CannotRun('the addon is not built. Run: npm run build:native');
  for (const part of ['package.json', 'dist', 'models', addon, 'test/fixtures/drone-sky']) {
    cpSync(path.join(ROOT, part), path.join(to, part), {
      recursive: true,
      filter: (from) => !/\/models\/(training|.*\/\.venv)(\/|$)/.test(from),
    });
  }
  cpSync(path.join(ROOT, 'node_modules'), path.join(to, 'node_modules'), {
    recursive: true,
    filter: (from) => {
      const where = path.relative(ROOT, from);
      if (skip.has(where) || where === 'node_modules/.cache' || where === 'node_modules/.vite') return false;
      // One folder a platform: darwin, win32, linux/arm64.
      return !/onnxruntime-node\/bin\/napi-v\d+\/(darwin|win32|linux\/arm64)/.test(where);
    },
  });
}

/**
 * Without systemd, which takes most of the time of a boot: the payload's script is the first process. The initramfs reads each word, so
 * that "ro" must not be one.
 */
const BARE = 'init=/bin/sh -- -c "mount -r /dev/vdb /payload && sh /payload/run; sleep 1000"';

/** One qemu process. `start`, then read `messages`; `reset` is a power cut; `stop` ends it. */
export class Guest {
  #qemu;
  #folder;
  #qmp;
  #messages = [];
  #waiting;
  #ended = false;
  /** What the serial console printed. */
  console = '';

  constructor({ image, disk, memory = 2048, systemd = false }) {
    Object.assign(this, { image, disk, memory, systemd });
  }

  async start() {
    this.#folder = mkdtempSync(path.join(tmpdir(), 'irst-vm-'));
    const at = (name) => path.join(this.#folder, name);
    const args = [
      ...[
        '-accel',
        'tcg,thread=multi',
        '-cpu',
        // x86-64-v2, which Node.js needs. Emulated, the network takes longer with AVX2 (`max`) than without.
        'Nehalem',
        '-smp',
        '2',
        '-m',
        String(this.memory),
        '-nographic',
        '-nic',
        'none',
      ],
      ...['-kernel', path.join(this.image, 'vmlinuz'), '-initrd', path.join(this.image, 'initrd.img')],
      ...[
        '-append',
        `root=/dev/vda rw console=ttyS0 mitigations=off quiet loglevel=4 ${this.systemd ? 'systemd.show_status=0' : BARE}`,
      ],
      // A snapshot: what the guest writes is kept over a reset and forgotten at the end.
      ...['-drive', `file=${path.join(this.image, 'disk.img')},if=virtio,format=raw,snapshot=on,cache=unsafe`],
      ...['-drive', `file=${this.disk},if=virtio,format=raw,readonly=on`],
      ...['-serial', `file:${at('console')}`, '-monitor', 'none', '-qmp', `unix:${at('qmp')},server=on,wait=off`],
      ...['-device', 'virtio-serial', '-chardev', `socket,id=report,path=${at('report')},server=on,wait=off`],
      ...['-device', 'virtserialport,chardev=report,name=irst.report'],
    ];
    this.#qemu = spawn('nice', ['-n', '10', 'qemu-system-x86_64', ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
    let complaint = '';
    this.#qemu.stderr.on('data', (text) => {
      complaint = (complaint + text).slice(-4000);
    });
    this.#qemu.on('exit', (code) => {
      this.#push({ type: 'gone', message: `qemu ended with code ${code}: ${complaint.trim()}` });
      this.#ended = true;
    });
    const report = await connect(at('report'), () => this.#ended && complaint);
    createInterface({ input: report }).on('line', (line) => {
      // A reset may cut a line in two.
      try {
        this.#push(JSON.parse(line));
      } catch {
        this.#push({ type: 'log', text: line.slice(0, 500) });
      }
    });
    this.#qmp = await connect(at('qmp'), () => this.#ended && complaint);
    this.#qmp.on('data', () => {});
    this.#qmp.write('{"execute":"qmp_capabilities"}\n');
  }

  #push(message) {
    this.#messages.push(message);
    this.#waiting?.();
  }

  /** The guest's next message; `{type: 'silent'}` after `ms` without one. */
  async next(ms) {
    if (this.#messages.length === 0) {
      const timer = new AbortController();
      await Promise.race([
        new Promise((resolve) => {
          this.#waiting = resolve;
        }),
        delay(ms, undefined, { signal: timer.signal }).catch(() => {}),
      ]);
      timer.abort();
      this.#waiting = undefined;
    }
    return this.#messages.shift() ?? { type: 'silent' };
  }

  /** The power goes and comes back: nothing that the guest's kernel has not written yet is on the disk. */
  reset() {
    this.#qmp.write('{"execute":"system_reset"}\n');
  }

  consoleTail(bytes = 3000) {
    try {
      return readFileSync(path.join(this.#folder, 'console'), 'latin1').slice(-bytes);
    } catch {
      return '';
    }
  }

  async stop() {
    if (this.#qemu !== undefined && this.#qemu.exitCode === null && this.#qemu.signalCode === null) {
      const exited = once(this.#qemu, 'exit');
      this.#qmp?.write('{"execute":"quit"}\n');
      const timer = setTimeout(() => this.#qemu.kill('SIGKILL'), 5000);
      await exited;
      clearTimeout(timer);
    }
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** qemu makes its sockets a moment after it starts. */
async function connect(file, ended) {
  const end = performance.now() + 20_000;
  for (;;) {
    try {
      const socket = createConnection(file);
      await once(socket, 'connect');
      socket.on('error', () => {});
      return socket;
    } catch (error) {
      const why = ended();
      if (why || performance.now() > end) throw new CannotRun(`qemu does not start: ${why || error.message}`);
      await delay(100);
    }
  }
}

/**
 * Boots a guest with this payload, collects what it reports, and prints it as it comes. Ends when the guest says `done`, is silent for
 * too long, or the limit is over.
 * @returns {Promise<object>} the report
 */
export async function runGuest({ title, image, disk, limitMs, silentMs = 1_200_000, log, memory, systemd }) {
  const guest = new Guest({ image, disk, memory, systemd });
  const started = performance.now();
  const report = { title, startedAt: new Date().toISOString(), bootSeconds: [], checks: [], notes: [], guest: {} };
  const seconds = () => (performance.now() - started) / 1000;
  const failed = (name, why) => {
    report.checks.push({ name, ok: false, why });
    log(`FAILED ${name}: ${why}`);
  };
  const stop = () => void guest.stop().then(() => process.exit(130));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    await guest.start();
    let bootedFrom = performance.now();
    for (;;) {
      const left = limitMs * (report.guest.patience ?? 5) - (performance.now() - started);
      const message = await guest.next(Math.max(0, Math.min(left, silentMs)));
      if (message.type === 'check') {
        const { type: _, ...check } = message;
        report.checks.push(check);
        const figures = check.figures ? ` ${JSON.stringify(check.figures)}` : '';
        log(
          `${check.ok ? 'ok    ' : 'FAILED'} ${check.name} (${check.seconds} s)${figures}${check.ok ? '' : `\n${check.why}`}`,
        );
      } else if (message.type === 'boot') {
        report.bootSeconds.push(round((performance.now() - bootedFrom) / 1000));
        Object.assign(report.guest, message.guest);
        log(`booted in ${report.bootSeconds.at(-1)} s: ${JSON.stringify(message.guest)}`);
      } else if (message.type === 'reset') {
        log('power cut');
        bootedFrom = performance.now();
        guest.reset();
      } else if (message.type === 'log') {
        log(`       ${message.text}`);
      } else if (message.type === 'note') {
        report.notes.push(message.text);
        log(`note   ${message.text}`);
      } else if (message.type === 'done') {
        break;
      } else if (message.type === 'gone') {
        failed('the guest runs to its end', message.message);
        break;
      } else if (message.type === 'silent') {
        const why = left <= silentMs ? `not done after ${Math.round(seconds())} s` : `nothing for ${silentMs / 1000} s`;
        failed('the guest runs to its end', `${why}; its console ends with:\n${guest.consoleTail()}`);
        break;
      }
    }
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
    await guest.stop();
  }
  report.seconds = round(seconds());
  report.passed = report.checks.filter(({ ok }) => ok).length;
  report.failed = report.checks.length - report.passed;
  return report;
}

const round = (value) => Math.round(value * 10) / 10;

/** Text and JSON beside each other; the last line says how it went. */
export function writeReport(report, folder) {
  mkdirSync(folder, { recursive: true });
  const lines = [
    `${report.title}, ${report.startedAt}`,
    `guest: ${JSON.stringify(report.guest)}; booted in ${report.bootSeconds.join(', ')} s; all of it ${report.seconds} s`,
    '',
    ...report.checks.map(({ name, ok, seconds, figures, why }) =>
      [
        `${ok ? 'ok    ' : 'FAILED'} ${name}${seconds === undefined ? '' : ` (${seconds} s)`}`,
        ...(figures ? [`       ${JSON.stringify(figures)}`] : []),
        ...(why ? [why.replaceAll(/^/gm, '       ')] : []),
      ].join('\n'),
    ),
    ...report.notes.map((text) => `note   ${text}`),
    '',
    `${report.passed} passed, ${report.failed} failed`,
  ];
  writeFileSync(path.join(folder, 'report.txt'), `${lines.join('\n')}\n`);
  writeFileSync(path.join(folder, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
}

/** A VM test from the outside: its prerequisites, its report, its exit code. */
export async function main({ name, title, limitMs, fill, memory, systemd }) {
  const log = (text) => console.log(`[${name}] ${text}`);
  const options = process.argv.slice(2);
  const out = path.resolve(
    options[options.indexOf('--report') + 1 || options.length] ?? path.join(ROOT, 'test/vm/reports', name),
  );
  let disk;
  try {
    await checkMachine(log);
    const image = await guestImage(log);
    disk = await payload(name, fill);
    log(`payload of ${Math.round(statSync(disk).size / 1e6)} MB; booting without KVM`);
    const report = await runGuest({ title, image, disk, limitMs, log, memory, systemd });
    writeReport(report, out);
    log(`report: ${path.relative(process.cwd(), out)}/report.txt and report.json`);
    console.log(`${report.passed} passed, ${report.failed} failed`);
    process.exitCode = report.failed === 0 && report.passed > 0 ? 0 : 1;
  } catch (error) {
    if (!(error instanceof CannotRun)) throw error;
    console.error(`[${name}] cannot run: ${error.message}`);
    process.exitCode = EXIT_CANNOT_RUN;
  } finally {
    if (disk !== undefined) rmSync(disk, { force: true });
  }
}
