import { describe, expect, it } from 'vitest';
import { EdgeError } from '../types/errors.js';
import { SystemdNotifier } from './systemd.js';

function failure(code: string): Error {
  return Object.assign(new Error(code), { code, errno: -1, syscall: 'sendto' });
}

describe('SystemdNotifier', () => {
  it('does nothing without NOTIFY_SOCKET', () => {
    for (const env of [{}, { NOTIFY_SOCKET: '' }]) {
      const sent: string[] = [];
      const notifier = new SystemdNotifier({ env: { ...env, WATCHDOG_USEC: '1000000' }, send: (s) => sent.push(s) });
      expect(notifier.enabled).toBe(false);
      expect(notifier.watchdogIntervalMs).toBeUndefined();
      expect([notifier.ready(), notifier.status('x'), notifier.watchdog(), notifier.stopping()]).toEqual(
        Array(4).fill(false),
      );
      expect(sent).toEqual([]);
    }
  });

  it('sends the assignments of sd_notify(3), a status on one line', () => {
    const sent: [string, string][] = [];
    const notifier = new SystemdNotifier({ env: { NOTIFY_SOCKET: '@x' }, send: (s, p) => sent.push([s, p]) });
    expect(notifier.ready('two\ncameras\r\nREADY=0')).toBe(true);
    notifier.ready();
    notifier.status('30 fps');
    notifier.watchdog();
    notifier.stopping();
    expect(sent).toEqual(
      ['READY=1\nSTATUS=two cameras READY=0', 'READY=1', 'STATUS=30 fps', 'WATCHDOG=1', 'STOPPING=1'].map((s) => [
        s,
        '@x',
      ]),
    );
  });

  it('asks for more time, and tells of a reload with the time of the monotonic clock', () => {
    const sent: string[] = [];
    const notifier = new SystemdNotifier({ env: { NOTIFY_SOCKET: '@x' }, send: (s) => sent.push(s) });
    notifier.extendTimeout(20_000);
    const before = process.hrtime.bigint() / 1000n;
    notifier.reloading();
    expect(sent[0]).toBe('EXTEND_TIMEOUT_USEC=20000000');
    const at = BigInt(/^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(sent[1]!)![1]!);
    expect(at).toBeGreaterThanOrEqual(before);
    expect(at).toBeLessThanOrEqual(process.hrtime.bigint() / 1000n);
  });

  it('reads the watchdog interval, and only for its own process', () => {
    const interval = (env: NodeJS.ProcessEnv) =>
      new SystemdNotifier({ env: { NOTIFY_SOCKET: '/x', ...env } }).watchdogIntervalMs;
    expect(interval({ WATCHDOG_USEC: '30000000' })).toBe(30_000);
    expect(interval({ WATCHDOG_USEC: '500', WATCHDOG_PID: String(process.pid) })).toBe(0.5);
    expect(interval({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(process.pid + 1) })).toBeUndefined();
    for (const WATCHDOG_USEC of ['0', '-1', 'soon', '']) expect(interval({ WATCHDOG_USEC })).toBeUndefined();
    expect(interval({})).toBeUndefined();
  });

  it('counts failures, tells each kind once until one gets through', () => {
    const told: string[] = [];
    const script = ['EAGAIN', 'EAGAIN', 'ENOENT', '', 'EAGAIN'];
    const notifier = new SystemdNotifier({
      env: { NOTIFY_SOCKET: '/x' },
      onError: (e) => told.push(e.message),
      send: () => {
        const code = script.shift();
        if (code) throw failure(code);
      },
    });
    expect([1, 2, 3, 4, 5].map(() => notifier.watchdog())).toEqual([false, false, false, true, false]);
    expect(told).toEqual(['EAGAIN', 'ENOENT', 'EAGAIN']);
    expect(notifier.failures).toBe(4);
  });

  it('does not hide a missing addon', () => {
    const notifier = new SystemdNotifier({
      env: { NOTIFY_SOCKET: '/x' },
      send: () => {
        throw new EdgeError('ADDON_MISSING', 'gone');
      },
    });
    expect(() => notifier.ready()).toThrow(expect.objectContaining({ code: 'ADDON_MISSING' }));
  });
});
