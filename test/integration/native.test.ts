import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadAddon, loadNative, type NativeAddon, type NativeSystemError } from '../../src/native.js';
import { SystemdNotifier } from '../../src/service/systemd.js';
import { EdgeError } from '../../src/types/errors.js';
import { VERSION } from '../../src/version.js';
import { NotifyReceiver } from '../fakes/notify-receiver.js';

const ADDON = fileURLToPath(new URL('../../native/build/Release/irst_edge.node', import.meta.url));

let folder: string;
let receivers: NotifyReceiver[] = [];

async function listen(path: string, deaf = false): Promise<NotifyReceiver> {
  const receiver = await NotifyReceiver.listen(path, deaf);
  receivers.push(receiver);
  return receiver;
}

function failureOf(call: () => unknown): NativeSystemError {
  try {
    call();
  } catch (error) {
    return error as NativeSystemError;
  }
  throw new Error('did not throw');
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'irst-native-'));
});
afterEach(async () => {
  await Promise.all(receivers.map((r) => r.close()));
  receivers = [];
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('loadNative', () => {
  it('loads the addon that was built from this package', () => {
    expect(loadNative().version).toBe(VERSION);
    expect(loadNative()).toBe(loadNative());
  });

  it('explains a missing and a broken addon', () => {
    const broken = join(folder, 'broken.node');
    writeFileSync(broken, 'not a library');
    for (const path of [join(folder, 'none.node'), broken]) {
      const error = failureOf(() => loadAddon(path)) as unknown as EdgeError;
      expect(error).toBeInstanceOf(EdgeError);
      expect(error.code).toBe('ADDON_MISSING');
      expect(error.message).toContain(path);
      expect(error.message).not.toContain('\n');
      expect(error.hint).toContain('npm run build:native');
    }
  });

  it('loads twice in one thread', () => {
    const require = createRequire(import.meta.url);
    const first = require(ADDON) as NativeAddon;
    delete require.cache[ADDON];
    const second = require(ADDON) as NativeAddon;
    expect(second).not.toBe(first);
    expect([first.sdNotify('READY=1'), second.sdNotify('READY=1')]).toEqual([false, false]);
  });

  it('loads in worker threads, beside the main thread and after one has ended', async () => {
    const path = join(folder, 'worker.sock');
    const receiver = await listen(path);
    const source = `
      const addon = require(${JSON.stringify(ADDON)});
      const { workerData, parentPort } = require('node:worker_threads');
      parentPort.postMessage(addon.sdNotify(workerData.state, workerData.path));`;
    for (const state of ['STATUS=first', 'STATUS=second']) {
      const worker = new Worker(source, { eval: true, workerData: { state, path } });
      const answer = await new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
      await worker.terminate();
      expect(answer).toBe(true);
      expect(await receiver.receive()).toBe(state);
    }
    expect(loadNative().sdNotify('STATUS=main', path)).toBe(true);
    expect(await receiver.receive()).toBe('STATUS=main');
  });
});

it('threads can be told to share one arena of the C library', () => {
  expect(loadNative().shareMallocArena()).toBe(true);
});

describe('sdNotify', () => {
  it.each([
    ['a path', () => join(folder, 'notify.sock')],
    ['an abstract socket', () => `@irst-edge-test-${process.pid}-${Math.random().toString(36).slice(2)}`],
    ['an abstract name as long as allowed', () => `@${`${process.pid}-`.padEnd(107, Math.random().toString(36))}`],
  ])('reaches %s', async (_, make) => {
    const path = make();
    const receiver = await listen(path);
    expect(loadNative().sdNotify('READY=1\nSTATUS=größer', path)).toBe(true);
    expect(loadNative().sdNotify('WATCHDOG=1', path)).toBe(true);
    expect(await receiver.receive()).toBe('READY=1\nSTATUS=größer');
    expect(await receiver.receive()).toBe('WATCHDOG=1');
  });

  it('says false without a path', () => {
    expect(loadNative().sdNotify('READY=1')).toBe(false);
    expect(loadNative().sdNotify('READY=1', undefined)).toBe(false);
  });

  it('gives code, errno, syscall and path when nobody listens', async () => {
    const path = join(folder, 'gone.sock');
    const missing = failureOf(() => loadNative().sdNotify('READY=1', path));
    expect(missing).toBeInstanceOf(Error);
    expect(missing).toMatchObject({ code: 'ENOENT', errno: -2, syscall: 'sendto', path });

    await (await listen(path)).close(); // leaves its socket file behind
    expect(failureOf(() => loadNative().sdNotify('READY=1', path))).toMatchObject({
      code: 'ECONNREFUSED',
      errno: -111,
      syscall: 'sendto',
      path,
    });
    expect(failureOf(() => loadNative().sdNotify('READY=1', `@${path}`)).code).toBe('ECONNREFUSED');
  });

  it.each([
    ['relative/path', 'EAFNOSUPPORT'],
    ['vsock:2:1234', 'EAFNOSUPPORT'],
    ['', 'EINVAL'],
    ['@', 'EINVAL'],
    ['/a\0b', 'EINVAL'],
    [`/${'x'.repeat(107)}`, 'ENAMETOOLONG'],
    [`@${'x'.repeat(108)}`, 'ENAMETOOLONG'],
  ])('refuses the address %j with %s', (path, code) => {
    expect(failureOf(() => loadNative().sdNotify('READY=1', path)).code).toBe(code);
  });

  it('refuses what is not a string', () => {
    const call = loadNative().sdNotify as (...args: unknown[]) => boolean;
    for (const args of [[], [1], ['READY=1', 7], ['READY=1', null]]) expect(() => call(...args)).toThrow(TypeError);
  });

  it('never blocks: EAGAIN when the receiver does not read', async () => {
    const path = join(folder, 'deaf.sock');
    await listen(path, true);
    const error = failureOf(() => {
      for (let i = 0; i < 100_000; i++) loadNative().sdNotify('WATCHDOG=1', path);
    });
    expect(error.code).toBe('EAGAIN');
  });

  it('leaves no file descriptor open, on success or failure', async () => {
    const path = join(folder, 'count.sock');
    const receiver = await listen(path);
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 200; i++) {
      failureOf(() => loadNative().sdNotify('READY=1', '/none'));
      loadNative().sdNotify('READY=1', path);
      await receiver.receive();
    }
    expect(readdirSync('/proc/self/fd').length).toBeLessThan(before + 50);
  });
});

describe('SystemdNotifier with the addon', () => {
  it('reaches a real socket', async () => {
    const path = join(folder, 'systemd.sock');
    const receiver = await listen(path);
    const notifier = new SystemdNotifier({ env: { NOTIFY_SOCKET: path } });
    expect(notifier.ready('1 camera')).toBe(true);
    expect(notifier.stopping()).toBe(true);
    expect(await receiver.receive()).toBe('READY=1\nSTATUS=1 camera');
    expect(await receiver.receive()).toBe('STOPPING=1');
  });

  it('survives a socket that is gone', () => {
    const errors: Error[] = [];
    const notifier = new SystemdNotifier({ env: { NOTIFY_SOCKET: '/none' }, onError: (e) => errors.push(e) });
    expect(notifier.watchdog()).toBe(false);
    expect(errors).toMatchObject([{ code: 'ENOENT', syscall: 'sendto' }]);
  });
});

describe('the addon in a plain process', () => {
  it('does not keep it alive', async () => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['-e', `console.log(require(${JSON.stringify(ADDON)}).version)`],
      { timeout: 30_000 },
    );
    expect(stdout.trim()).toBe(VERSION);
  });
});

it('gives the pages of program files back, and what runs runs on', () => {
  const resident = () => Number(/^RssFile:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
  const before = resident();
  const released = loadNative().releaseFilePages();
  expect(released).toBeGreaterThan(10 * 1024 * 1024);
  // Some came back at once.
  expect(resident()).toBeLessThan(before - released / 3);
  // Everything is read again as it is needed: code, constants, and what the linker wrote.
  expect(JSON.parse(JSON.stringify({ now: new Date(0).toLocaleDateString('en') }))).toEqual({ now: '1/1/1970' });
  expect(createHash('sha256').update('abc').digest('hex')).toMatch(/^ba7816bf/);
  expect(gunzipSync(gzipSync('text')).toString()).toBe('text');
  expect(loadNative().releaseFilePages()).toBeGreaterThan(0);
});

it('leaves files alone that are no loaded library: they may be unmapped, and their addresses used again, meanwhile', async () => {
  const { default: koffi } = await import('koffi');
  const libc = koffi.load(null);
  const mmap = libc.func('void *mmap(void *start, size_t length, int protection, int flags, int fd, int64_t offset)');
  const munmap = libc.func('int munmap(void *start, size_t length)');
  const file = join(folder, 'mapped');
  const bytes = 64 * 4096;
  writeFileSync(file, Buffer.alloc(bytes, 7));
  const fd = openSync(file, 'r');
  // PROT_READ; MAP_PRIVATE | MAP_POPULATE.
  const start = mmap(null, bytes, 1, 0x8002, fd, 0) as unknown;
  closeSync(fd);
  const resident = () => {
    const [, entry] = readFileSync('/proc/self/smaps', 'utf8').split(`${file}\n`);
    return Number(/^Rss:\s+(\d+) kB/m.exec(entry!)![1]) * 1024;
  };
  expect(resident()).toBe(bytes);
  expect(loadNative().releaseFilePages()).toBeGreaterThan(0);
  expect(resident()).toBe(bytes);
  munmap(start, bytes);
});

it('leaves code alone that Node has copied to memory of its own', async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--use-largepages=silent', '-e', `console.log(require(${JSON.stringify(ADDON)}).releaseFilePages() > 0)`],
    { timeout: 30_000 },
  );
  expect(stdout).toBe('true\n');
});
