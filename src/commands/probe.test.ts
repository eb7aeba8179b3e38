import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { leptonRow, rawFrame, writeWords } from '../../test/fakes/raw-frames.js';
import { describeDevice } from '../capture/device.js';
import type { DeviceDescription } from '../capture/profile-match.js';
import { parseProfile } from '../capture/profile-schema.js';
import { loadProfiles } from '../capture/profile-store.js';
import { loadNative } from '../native.js';
import { type DescribeDevice, register } from './probe.js';
import { createProgram } from './shared.js';

let dir: string;
let recording: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'probe-'));
  recording = path.join(dir, 'lepton.raw');
  const form = { width: 80, rows: 63, bytesPerLine: 160, top: 0, step: 2, offset: 0, wide: true, big: false, shift: 0 };
  const frames = Array.from({ length: 5 }, (_, k) => {
    const counts = Array.from({ length: 80 * 60 }, (_, i) => 3000 + (i % 80) + ((i * 7 + k * 3) % 11));
    const bytes = rawFrame(form, counts, 0);
    writeWords(bytes, 60 * 160, leptonRow({ frameCounter: 40 + k }));
    return bytes;
  });
  await writeFile(recording, Buffer.concat([...frames, Buffer.alloc(7)]));
});
afterAll(() => rm(dir, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

/** The command line within this process; `describe` is what `--device` is wired to. */
async function run(args: string[], describe?: DescribeDevice): Promise<{ out: string; err: string }> {
  const written = { out: '', err: '' };
  const capture = (key: 'out' | 'err') =>
    ((text: string, done?: () => void) => {
      written[key] += text;
      done?.();
      return true;
    }) as typeof process.stdout.write;
  vi.spyOn(process.stdout, 'write').mockImplementation(capture('out'));
  vi.spyOn(process.stderr, 'write').mockImplementation(capture('err'));
  const program = createProgram();
  register(program, describe);
  try {
    await program.parseAsync(['node', 'irst-edge', 'probe', ...args]);
  } finally {
    vi.restoreAllMocks();
  }
  return written;
}

const lepton: DeviceDescription = {
  driver: 'uvcvideo',
  card: 'PureThermal (fw:v1.3.0)',
  bus: 'usb-1',
  usbId: '1e4e:0100',
  formats: [{ fourcc: 'Y16 ', sizes: [{ width: 80, height: 63 }] }],
};

test('a recording: the profile alone on stdout, what was found on stderr', async () => {
  const { out, err } = await run(['--recording', recording, '--size', '80x63', '--fourcc', 'Y16', '--id', 'mine']);
  const profile = parseProfile(JSON.parse(out), 'what was printed');
  expect(profile).toMatchObject({
    id: 'mine',
    fourcc: 'Y16 ',
    imageRows: { top: 0, height: 60 },
    telemetry: { top: 60, rows: 3, parser: 'lepton' },
    bits: 14,
  });
  expect(err).toContain('the last 7 bytes are no whole frame: is the size right?\n');
  expect(err).toContain('telemetry as a lepton writes it\n');
});

test("written as a file of its name, it is one of the user's own profiles", async () => {
  const own = path.join(dir, 'own');
  const file = path.join(own, 'mine.json');
  const { out } = await run(['--recording', recording, '--size', '80x63', '--id', 'mine', '--output', file]);
  expect(out).toBe(`${file}\n`);
  expect(await readFile(file, 'utf8')).toMatch(/\}\n$/);
  expect((await loadProfiles(own)).find(({ profile }) => profile.id === 'mine')).toMatchObject({ own: true });
});

test('a camera and frames of it, for machines: the profiles that fit already are named', async () => {
  const asked: string[] = [];
  const describe = (at: string) => {
    asked.push(at);
    return lepton;
  };
  const args = ['--json', '--device', '/dev/video7', '--recording', recording, '--size', '80x63'];
  const answer = JSON.parse((await run(args, describe)).out);
  expect(asked).toEqual(['/dev/video7']);
  expect(answer).toMatchObject({
    profile: { id: 'purethermal-fw-v1-3-0', match: { usb: ['1e4e:0100'] }, telemetry: { parser: 'lepton' } },
    fits: ['lepton-2-purethermal-telemetry', 'generic-y16'],
  });
  expect(answer.findings.length).toBeGreaterThan(2);
});

test('a camera alone: what the driver says', async () => {
  const { FakeDevice, NativeCamera } = loadNative();
  const fake = new FakeDevice({
    path: '/dev/video7',
    card: 'PureThermal (fw:v1.3.0)',
    formats: [{ fourcc: 'Y16 ', sizes: [{ width: 80, height: 63 }] }],
  });
  const { out, err } = await run(['--device', '/dev/video7'], (device) =>
    describeDevice(device, { open: (node) => new NativeCamera(node, fake), sysfs: dir }),
  );
  expect(JSON.parse(out)).toMatchObject({ id: 'purethermal-fw-v1-3-0', width: 80, height: 63, verified: 'standard' });
  expect(err).toContain('profiles that fit it already, the best first: lepton-2-purethermal-telemetry');
  expect(fake.state().open).toBe(0);
});

test('no camera there, and no camera at all: the kernel is asked', async () => {
  await expect(run(['--device', '/dev/nowhere'])).rejects.toMatchObject({ code: 'CAMERA_NOT_FOUND', exitCode: 66 });
  await expect(run(['--device', '/dev/null'])).rejects.toMatchObject({ code: 'CAMERA_NOT_A_DEVICE', exitCode: 78 });
});

test.each<[string, string[], object]>([
  ['neither', [], { code: 'USAGE', message: 'probe needs --device or --recording' }],
  ['a relative device', ['--device', 'video0'], { message: expect.stringContaining('expected a path such as') }],
  ['no file', ['--recording', '/nowhere', '--size', '80x63'], { code: 'INPUT_NOT_FOUND' }],
  ['too small', ['--recording', import.meta.filename, '--size', '9000x9000'], { code: 'RECORDING_EMPTY' }],
  ['bad size', ['--recording', 'x', '--size', '80'], { message: expect.stringContaining('expected WIDTHxHEIGHT') }],
  ['bad fourcc', ['--fourcc', 'TOO-LONG'], { message: expect.stringContaining('up to four characters') }],
  ['bad id', ['--id', 'My Camera'], { message: expect.stringContaining('1 to 64 characters') }],
])('%s: one clear error', async (_, args, error) => {
  await expect(run(args)).rejects.toMatchObject(error);
});
