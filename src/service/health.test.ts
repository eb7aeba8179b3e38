import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { EdgeError } from '../types/errors.js';
import { type Health, HealthFile, judgeHealth, readHealth } from './health.js';

const health = (change: Partial<Health> = {}): Health => ({
  version: 1,
  software: '0',
  pid: 7,
  atMs: 100_000,
  startedMs: 1000,
  state: 'running',
  loopDelayMs: 1,
  cameras: [{ id: 'a', condition: 'serving', fps: 30, processed: 900, provider: 'cpu' }],
  broker: { state: 'connected', embedded: false },
  outbox: { mode: 'disk', waiting: 0 },
  ...change,
});
const camera = (condition: Health['cameras'][0]['condition'], reason?: string): Health['cameras'] => [
  { id: 'a', condition, fps: 0, processed: 0, ...(reason === undefined ? {} : { reason }) },
];

describe('judgeHealth', () => {
  it.each<[Partial<Health>, string, string[]]>([
    [{}, 'ok', []],
    [{ outbox: { mode: 'memory', waiting: 3 } }, 'ok', []],
    [{ cameras: camera('ended') }, 'ok', []],
    [{ broker: { state: 'waiting', embedded: false } }, 'degraded', ['broker: waiting']],
    [
      { outbox: { mode: 'degraded', fault: 'disk_full', waiting: 3 } },
      'degraded',
      ['events in memory only: disk_full'],
    ],
    [
      { cameras: camera('excused', 'back-off (CAMERA_GONE)') },
      'degraded',
      ['camera a: excused, back-off (CAMERA_GONE)'],
    ],
    [{ cameras: camera('loading', 'loads its model') }, 'failing', ['camera a: loading, loads its model']],
    [{ cameras: camera('stuck', 'silent for 12 s') }, 'failing', ['camera a: stuck, silent for 12 s']],
    [{ cameras: camera('failed', 'MODEL_NOT_FOUND') }, 'failing', ['camera a: failed, MODEL_NOT_FOUND']],
    [{ state: 'starting' }, 'failing', ['starting']],
    [{ held: 'camera a: silent for 12 s' }, 'failing', ['watchdog not fed: camera a: silent for 12 s']],
    [{ atMs: 90_000 }, 'failing', ['silent for 11 s']],
    // Of an earlier boot.
    [{ atMs: 200_000 }, 'unknown', ['process 7 runs no more']],
  ])('%j: %s', (change, severity, reasons) => {
    expect(judgeHealth(health(change), 101_000, true)).toMatchObject({ severity, reasons });
  });

  it('the worst counts, all is named', () => {
    const verdict = judgeHealth(
      health({ cameras: camera('stuck'), broker: { state: 'waiting', embedded: true } }),
      1e5,
      true,
    );
    expect(verdict).toMatchObject({ severity: 'failing', reasons: ['camera a: stuck', 'broker: waiting'] });
  });

  it('nobody answers', () => {
    expect(judgeHealth(undefined, 1, false).severity).toBe('unknown');
    expect(judgeHealth(health(), 100_500, false).severity).toBe('unknown');
  });
});

describe('HealthFile', () => {
  let dir: string;
  let problems: EdgeError[];
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'irst-health-'));
    problems = [];
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('is read as it was written, by everyone whatever the umask, and leaves nothing beside it', () => {
    const mask = process.umask(0o077);
    const file = new HealthFile(dir, (error) => problems.push(error));
    file.write(health());
    file.write(health({ atMs: 5 }));
    process.umask(mask);
    expect(readHealth(dir)).toEqual(health({ atMs: 5 }));
    expect(statSync(join(dir, 'health.json')).mode & 0o777).toBe(0o644);
    expect(readdirSync(dir)).toEqual(['health.json']);
    file.remove();
    expect([readHealth(dir), readdirSync(dir), problems]).toEqual([undefined, [], []]);
  });

  it('a directory that cannot be written is told once until it can', () => {
    const gone = join(dir, 'gone');
    const file = new HealthFile(gone, (error) => problems.push(error));
    file.write(health());
    file.write(health());
    mkdirSync(gone);
    file.write(health());
    rmSync(gone, { recursive: true });
    file.write(health());
    expect(problems.map((e) => e.code)).toEqual(['HEALTH_NOT_WRITTEN', 'HEALTH_NOT_WRITTEN']);
  });

  it('one that cannot be taken away keeps nothing from stopping', () => {
    const noFolder = join(dir, 'file');
    writeFileSync(noFolder, '');
    const file = new HealthFile(noFolder, (error) => problems.push(error));
    expect(() => file.remove()).not.toThrow();
  });

  it.each(['', '{', '[]', 'null', '{"version":2,"cameras":[]}', '{"version":1}', 'x'.repeat(70_000)])(
    'what is none is not read: %.30s',
    (text) => {
      writeFileSync(join(dir, 'health.json'), text);
      expect(readHealth(dir)).toBeUndefined();
    },
  );
});
