import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { probeBroker } from '../../src/alerts/broker-probe.js';
import { lockState } from '../../src/alerts/state-lock.js';
import { configFrom } from '../../src/commands/inputs.js';
import type { EdgeConfigInput } from '../../src/config/schema.js';
import { checkBroker } from '../../src/doctor/checks/broker.js';
import { checkCameras } from '../../src/doctor/checks/cameras.js';
import { checkDisk, checkFolder } from '../../src/doctor/checks/disk.js';
import { checkModels } from '../../src/doctor/checks/models.js';
import type { DoctorReport } from '../../src/doctor/doctor.js';
import { type FakeDeviceOptions, loadNative } from '../../src/native.js';
import { freePort } from '../../src/util/ports.js';
import { Certificates } from './certificates.js';
import { startMosquitto } from './mosquitto.js';

const run = promisify(execFile);
const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const MODELS = fileURLToPath(new URL('../../models/', import.meta.url));

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'irst-doctor-'));
});
afterAll(() => rm(dir, { recursive: true }));

const config = (more: Partial<EdgeConfigInput> = {}) =>
  configFrom({ device: { id: 'mast-7' }, cameras: [{ id: 'a', source: { kind: 'synthetic' } }], ...more });

const codes = (findings: { code: string }[]) => findings.map(({ code }) => code);

describe('broker', () => {
  test('a broker that takes the connection: measured, nothing published, no session left', async () => {
    const mosquitto = await startMosquitto();
    try {
      const findings = await checkBroker({ config: config({ mqtt: { url: mosquitto.url } }) });
      expect(findings).toMatchObject([{ severity: 'ok', code: 'BROKER', data: { broker: mosquitto.url } }]);
      expect(findings[0]?.data?.connectMs).toBeGreaterThan(0);
      expect(findings[0]?.data?.pingMs).toBeGreaterThan(0);
      const log = mosquitto.log();
      expect(log).toMatch(/SUBSCRIBE from irst-edge-doctor-/);
      expect(log).toContain('irst/mast-7/+/+/set');
      expect(log).not.toMatch(/PUBLISH from irst-edge-doctor/);
    } finally {
      await mosquitto.stop();
    }
  });

  test.each([4, 5] as const)('MQTT %s: wrong password, right password, no password file', async (protocolVersion) => {
    const mosquitto = await startMosquitto({
      noAnonymous: true,
      config: ['password_file {dir}/users'],
      files: { users: '' },
    });
    try {
      await run('mosquitto_passwd', ['-b', join(mosquitto.dir, 'users'), 'edge', 'right'], {
        env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
      });
      mosquitto.signal('SIGHUP');
      const secret = join(dir, 'password');
      const check = async (password: string) => {
        await writeFile(secret, `${password}\n`);
        const mqtt = { url: mosquitto.url, username: 'edge', passwordFile: secret, protocolVersion };
        return checkBroker({ config: config({ mqtt }) });
      };
      let wrong = await check('wrong');
      expect(wrong).toMatchObject([{ severity: 'error', code: 'BROKER_REFUSED' }]);
      expect(JSON.stringify(wrong)).not.toContain('right');
      // The broker may still be reading its files.
      let right = await check('right');
      for (let i = 0; i < 20 && right[0]?.code === 'BROKER_REFUSED'; i++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        right = await check('right');
      }
      expect(codes(right)[0]).toBe('BROKER');
      wrong = await checkBroker({
        config: config({ mqtt: { url: mosquitto.url, username: 'edge', passwordFile: join(dir, 'none') } }),
      });
      expect(wrong).toMatchObject([{ severity: 'error', code: 'CREDENTIAL_UNREADABLE' }]);
    } finally {
      await mosquitto.stop();
    }
  });

  test('TLS: authority known, unknown, and a certificate about to end', async () => {
    const certificates = new Certificates(dir);
    for (const name of ['ca', 'other']) await certificates.authority(name);
    await certificates.signed('broker', 'ca', { subject: 'localhost' });
    const mosquitto = await startMosquitto({ config: [`certfile ${dir}/broker.crt`, `keyfile ${dir}/broker.key`] });
    try {
      const url = `mqtts://127.0.0.1:${mosquitto.port}`;
      const good = await checkBroker({ config: config({ mqtt: { url, ca: join(dir, 'ca.crt') } }) });
      expect(good).toMatchObject([
        { code: 'BROKER', data: { tls: { protocol: 'TLSv1.3', subject: 'localhost' } } },
        { code: 'BROKER_CERTIFICATE_ENDS', severity: 'warning' },
      ]);
      const bad = await checkBroker({ config: config({ mqtt: { url, ca: join(dir, 'other.crt') } }) });
      expect(bad).toMatchObject([{ severity: 'error', code: 'BROKER_TLS' }]);
      const plain = await checkBroker({
        config: config({ mqtt: { url: mosquitto.url, connectTimeoutSeconds: 1 } }),
      });
      expect(plain[0]?.code).toMatch(/^BROKER_(UNREACHABLE|TIMEOUT|LOST)$/);
    } finally {
      await mosquitto.stop();
    }
  });

  test.each([4, 5] as const)('MQTT %s: a broker that refuses the subscription', async (protocolVersion) => {
    // mosquitto grants every subscription and then delivers nothing: a broker that speaks for itself is needed.
    const server = createServer((socket) => {
      socket.on('data', (bytes) => {
        const kind = bytes[0]! >> 4;
        const five = protocolVersion === 5;
        if (kind === 1) socket.write(Buffer.from(five ? [0x20, 3, 0, 0, 0] : [0x20, 2, 0, 0]));
        // SUBACK with the packet's id: 135, not authorised; MQTT 3.1.1 has 128 only.
        if (kind === 8) {
          const id = [bytes[2]!, bytes[3]!];
          socket.write(Buffer.from(five ? [0x90, 4, ...id, 0, 135] : [0x90, 3, ...id, 128]));
        }
        if (kind === 12) socket.write(Buffer.from([0xd0, 0]));
      });
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const url = `mqtt://127.0.0.1:${(server.address() as { port: number }).port}`;
    try {
      const findings = await checkBroker({ config: config({ mqtt: { url, protocolVersion } }) });
      expect(findings).toMatchObject([
        { severity: 'ok', code: 'BROKER' },
        { severity: 'warning', code: 'BROKER_REFUSED_SUBSCRIPTION' },
      ]);
    } finally {
      server.close();
    }
  });

  test('nobody there; and who does not answer is not waited for', async () => {
    const options = { protocolVersion: 5, timeoutMs: 300, filters: [] } as const;
    await expect(probeBroker({ ...options, url: `mqtt://127.0.0.1:${await freePort()}` })).rejects.toMatchObject({
      code: 'BROKER_UNREACHABLE',
    });
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await new Promise((resolve) => silent.once('listening', resolve));
    const { port } = silent.address() as { port: number };
    try {
      await expect(probeBroker({ ...options, url: `mqtt://127.0.0.1:${port}` })).rejects.toMatchObject({
        code: 'BROKER_TIMEOUT',
      });
      expect(await checkBroker({ config: config({ embeddedBroker: { port } }) })).toMatchObject([
        { severity: 'warning', code: 'PORT_IN_USE' },
      ]);
    } finally {
      silent.close();
    }
    expect(await checkBroker({ config: config({ embeddedBroker: { port: await freePort() } }) })).toMatchObject([
      { severity: 'ok', code: 'EMBEDDED_BROKER_PORT' },
    ]);
    expect(await checkBroker({ config: config({ embeddedBroker: { host: '192.0.2.1' } }) })).toMatchObject([
      { severity: 'error', code: 'BAD_LISTEN_ADDRESS' },
    ]);
  });
});

describe('cameras', () => {
  const fake = (options: Partial<FakeDeviceOptions>) => {
    const { FakeDevice, NativeCamera } = loadNative();
    return (path: string) =>
      new NativeCamera(
        path,
        new FakeDevice({ path, formats: [{ fourcc: 'Y16 ', sizes: [{ width: 160, height: 120 }] }], ...options }),
      );
  };
  const v4l2 = (device: string, profile?: string) =>
    config({ cameras: [{ id: 'sky', source: { kind: 'v4l2', device, ...(profile !== undefined && { profile }) } }] });
  const none = { nodes: async () => [] };

  test('a camera with a profile that fits', async () => {
    const findings = await checkCameras(
      { config: v4l2('/dev/video0'), configured: true },
      { ...none, open: fake({ card: 'Some sensor', driver: 'fake' }) },
    );
    expect(findings).toMatchObject([
      { severity: 'ok', code: 'CAMERA', data: { card: 'Some sensor', profile: 'generic-y16', camera: 'sky' } },
    ]);
  });

  test('no profile fits; a profile that does not suit; an unknown one', async () => {
    const rgb = { ...none, open: fake({ formats: [{ fourcc: 'RGB3', sizes: [{ width: 160, height: 120 }] }] }) };
    const check = (profile?: string) => checkCameras({ config: v4l2('/dev/video0', profile), configured: true }, rgb);
    expect(await check()).toMatchObject([{ severity: 'error', code: 'CAMERA_FORMAT_UNSUPPORTED' }]);
    expect(await check('flir-boson-640')).toMatchObject([{ severity: 'error', code: 'PROFILE_UNFIT' }]);
    expect(await check('no-such-profile')).toMatchObject([{ severity: 'error', code: 'PROFILE_UNKNOWN' }]);
  });

  test('not plugged in is a warning, for it is waited for; not permitted is an error with the group', async () => {
    const real = { ...none, child: new URL('../../dist/capture/describe-child.js', import.meta.url) };
    expect(await checkCameras({ config: v4l2('/dev/video-none'), configured: true }, real)).toMatchObject([
      { severity: 'warning', code: 'CAMERA_NOT_FOUND' },
    ]);
    expect(await checkCameras({ config: v4l2('/dev/null'), configured: true }, real)).toMatchObject([
      { severity: 'error', code: 'CAMERA_NOT_A_DEVICE' },
    ]);
    const denied = Object.assign(new Error('EACCES'), { code: 'EACCES', errno: -13, syscall: 'open' });
    const findings = await checkCameras(
      { config: v4l2('/dev/video0'), configured: true },
      {
        ...none,
        open: () => {
          throw denied;
        },
      },
    );
    expect(findings).toMatchObject([
      { severity: 'error', code: 'CAMERA_DENIED', fix: expect.stringContaining('usermod -aG') },
    ]);
  });

  test('without a configured camera: what is plugged in', async () => {
    const found = await checkCameras(
      { config: config(), configured: false },
      { nodes: async () => ['/dev/video0'], open: fake({}) },
    );
    expect(found).toMatchObject([
      { severity: 'info', code: 'CAMERA_FOUND', fix: expect.stringContaining('v4l2:/dev/video0') },
    ]);
    expect(await checkCameras({ config: config(), configured: false }, none)).toMatchObject([
      { severity: 'info', code: 'NO_CAMERA' },
    ]);
  });

  test('recordings and streams', async () => {
    const check = (source: EdgeConfigInput['cameras'][number]['source']) =>
      checkCameras({ config: config({ cameras: [{ id: 'a', source }] }), configured: true }, none);
    expect(codes(await check({ kind: 'recording', path: join(dir, 'none') }))[0]).toBe('INPUT_NOT_FOUND');
    expect(codes(await check({ kind: 'recording', path: dir }))[0]).toBe('RECORDING');
    expect(codes(await check({ kind: 'ffmpeg', input: 'rtsp://camera', ffmpegPath: 'no-such-ffmpeg' }))[0]).toBe(
      'FFMPEG_MISSING',
    );
    expect(codes(await check({ kind: 'ffmpeg', input: 'rtsp://camera' }))[0]).toBe('FFMPEG');
  });
});

test('a model file that was changed is named, and the rest is looked at', async () => {
  const copy = join(dir, 'models');
  await mkdir(copy);
  for (const name of await readdir(MODELS)) {
    if (/\.(onnx|json)$/.test(name)) await copyFile(join(MODELS, name), join(copy, name));
  }
  const check = () => checkModels({ config: config({ detector: { model: join(copy, 'manifest.json') } }) });
  expect(codes(await check())).toEqual(['MODEL']);
  const bytes = await readFile(join(copy, 'p2p-lite_256x256_fp16.onnx'));
  bytes[1000]! ^= 1;
  await writeFile(join(copy, 'p2p-lite_256x256_fp16.onnx'), bytes);
  await rm(join(copy, 'p2p-lite_any_fp32.onnx'));
  const findings = await check();
  expect(codes(findings).sort()).toEqual(['MODEL_NOT_FOUND', 'MODEL_SHA_MISMATCH']);
  expect(findings.every(({ fix }) => fix !== undefined)).toBe(true);
});

describe('disk', () => {
  test('writable, and nothing is left behind', async () => {
    const state = join(dir, 'a', 'b');
    const findings = await checkDisk({ config: config({ stateDirectory: state }), env: {} });
    expect(findings).toMatchObject([{ severity: 'ok', code: 'DISK', data: { directory: state } }]);
    expect(await readdir(dir)).not.toContain('a');
    const systemd = await checkDisk({ config: config(), env: { STATE_DIRECTORY: `${dir}:/other` } });
    expect(systemd).toMatchObject([{ code: 'DISK', data: { directory: dir } }]);
    expect((await readdir(dir)).filter((name) => name.startsWith('.doctor'))).toEqual([]);
    expect(codes(await checkDisk({ config: config(), env: {} }))).toEqual(['NO_STATE_DIRECTORY']);
  });
  test('too little room; a place that cannot be written; a daemon at work', async () => {
    expect(await checkFolder(dir, 1e18)).toMatchObject({ severity: 'warning', code: 'DISK_LOW' });
    // Also root may not write below a file, or into /proc.
    await writeFile(join(dir, 'file'), '');
    expect(await checkFolder(join(dir, 'file', 'x'), 1)).toMatchObject({
      severity: 'error',
      code: 'DISK_NOT_WRITABLE',
    });
    expect(await checkFolder('/proc/irst-edge', 1)).toMatchObject({ severity: 'error', code: 'DISK_NOT_WRITABLE' });
    await mkdir(join(dir, 'outbox'));
    const release = lockState(join(dir, 'outbox'));
    const look = async () => codes(await checkDisk({ config: config({ stateDirectory: dir }), env: {} }));
    expect(await look()).toEqual(['DISK', 'DAEMON_RUNS']);
    release();
    // Left by a process of another boot, whose number is taken again.
    await writeFile(join(dir, 'outbox', 'lock'), `${process.pid} 1 boot`);
    expect(await look()).toEqual(['DISK']);
  });
});

describe('irst-edge doctor', () => {
  const doctor = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('IRST_EDGE')));
    try {
      const { stdout, stderr } = await run(CLI, ['doctor', ...args], {
        cwd: dir,
        env: { ...env, XDG_CACHE_HOME: dir },
      });
      return { code: 0, out: stdout, err: stderr };
    } catch (cause) {
      const { code, stdout, stderr } = cause as { code: number; stdout: string; stderr: string };
      return { code, out: stdout, err: stderr };
    }
  };

  test('--json on a machine without a GPU says so, and why; every warning and error names its fix', async () => {
    await writeFile(
      join(dir, 'good.yaml'),
      `device: {id: mast-7}\ncameras: [{id: a, source: {kind: synthetic}}]\nstateDirectory: ${dir}/state\nembeddedBroker: {port: ${await freePort()}}\n`,
    );
    await mkdir(join(dir, 'state'));
    const { code, out } = await doctor('--json', '-c', 'good.yaml');
    const report = JSON.parse(out) as DoctorReport;
    expect(report.schema).toBe('irst-edge/doctor/1');
    expect(code).toBe(['error', 'warning'].includes(report.severity) ? (report.severity === 'error' ? 2 : 1) : 0);
    const of = (check: string) => report.findings.filter((f) => f.check === check);
    expect(of('config')).toMatchObject([{ code: 'CONFIG' }]);
    expect(of('node')).toMatchObject([{ severity: 'ok' }]);
    expect(of('addon')).toMatchObject([{ severity: 'ok' }]);
    expect(of('model')).toMatchObject([{ severity: 'ok' }]);
    const cpu = report.findings.find((f) => f.check === 'provider' && f.data?.provider === 'cpu');
    expect(cpu).toMatchObject({ severity: 'ok', code: 'PROVIDER', data: { outcome: 'proved' } });
    expect(cpu?.data?.latencyMs).toBeGreaterThan(0);
    if (!report.board.jetson) {
      expect(of('jetson')).toMatchObject([{ severity: 'info', code: 'NO_JETSON' }]);
      const tensorrt = report.findings.find((f) => f.check === 'provider' && f.data?.provider === 'tensorrt');
      expect(tensorrt?.message.length).toBeGreaterThan(20);
    }
    for (const { severity, fix } of report.findings)
      if (severity !== 'ok' && severity !== 'info') expect(fix).toBeTruthy();
  });

  test('a wrong configuration is an error, exit code 2, and the rest is looked at all the same', async () => {
    await writeFile(join(dir, 'bad.yaml'), 'device: {id: mast-7}\ncameras: []\nmqqt: {}\n');
    const { code, out } = await doctor('-c', 'bad.yaml');
    expect(code).toBe(2);
    expect(out).toMatch(/^FAIL {2}config .*\[CONFIG_INVALID\]$/m);
    expect(out).toMatch(/^ok {4}model /m);
    expect(out).toMatch(/\d errors?, \d+ warnings?$/m);
  });
});
