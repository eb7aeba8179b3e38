import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';

const run = promisify(execFile);
const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const UNITS = ['irst-edge.service', 'irst-edge@.service'];

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-units-'));
  for (const name of UNITS) {
    // The program is not installed here; every other command of the unit is.
    const text = (await readFile(at(`systemd/${name}`), 'utf8')).replace(
      '/usr/lib/irst-edge/bin/node',
      process.execPath,
    );
    await writeFile(join(dir, name), text);
  }
});
afterAll(() => rm(dir, { recursive: true }));

test.each(['irst-edge.service', 'irst-edge@cam.service'])('systemd finds nothing wrong with %s', async (name) => {
  if (name !== UNITS[0]) await writeFile(join(dir, name), await readFile(join(dir, UNITS[1]!), 'utf8'));
  const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', join(dir, name)]);
  // Units of the machine it runs on may have faults of their own.
  expect((stdout + stderr).split('\n').filter((line) => line.includes('irst-edge'))).toEqual([]);
});

test.each(UNITS)('%s is exposed by 1.5 at most', async (name) => {
  const { stdout } = await run('systemd-analyze', ['security', '--offline=true', '--no-pager', join(dir, name)]);
  expect(Number(/exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1])).toBeLessThanOrEqual(1.5);
  expect(stdout).toMatch(/char-video4linux:rw/);
});

test('the template differs from the unit only in names', async () => {
  const [unit, template] = await Promise.all(UNITS.map((name) => readFile(at(`systemd/${name}`), 'utf8')));
  const settings = (text: string) => text.split('\n').filter((line) => !line.startsWith('#'));
  const own = settings(template!).filter((line) => line.includes('%i'));
  expect(own.map((line) => line.split('=')[0])).toEqual([
    'Description',
    'ExecStart',
    'Environment',
    'StateDirectory',
    'CacheDirectory',
    'RuntimeDirectory',
    'LoadCredential',
    'SyslogIdentifier',
  ]);
  const plain = (text: string) =>
    text
      .replace(' (%i)', '')
      .replace('/etc/irst-edge/%i.yaml', '/etc/irst-edge/irst-edge.yaml')
      .replace('irst-edge-%i', 'irst-edge')
      .replace('%i.mqtt-password', 'mqtt-password');
  expect(settings(template!).map(plain)).toEqual(settings(unit!));
});

test('every camera that a profile knows by its USB id has a stable name', async () => {
  const rules = await readFile(at('systemd/61-irst-edge-cameras.rules'), 'utf8');
  const folder = at('src/capture/profiles');
  const ids = new Set<string>();
  for (const file of await readdir(folder)) {
    const { match } = JSON.parse(await readFile(join(folder, file), 'utf8')) as { match?: { usb?: string[] } };
    for (const id of match?.usb ?? []) ids.add(id);
  }
  expect(ids.size).toBeGreaterThan(1);
  for (const id of ids) {
    const [vendor, product] = id.split(':');
    expect(rules).toContain(`ATTRS{idVendor}=="${vendor}", ATTRS{idProduct}=="${product}", ENV{IRST_EDGE_CAMERA}=`);
  }
});

test('the configuration of a fresh install is right: a computed scene, a broker for this machine alone', async () => {
  const { config, warnings } = await loadConfig(at('systemd/irst-edge.yaml'), {});
  expect(warnings).toEqual([]);
  expect(config).toMatchObject({
    cameras: [{ source: { kind: 'synthetic' } }],
    mqtt: expect.not.objectContaining({ url: expect.anything() }),
    embeddedBroker: { host: '127.0.0.1', port: 1883 },
  });
});
