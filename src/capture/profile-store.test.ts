import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { profileInput } from '../../test/fakes/raw-frames.js';
import type { EdgeError } from '../types/errors.js';
import { FrameDecoder } from './frame-decoder.js';
import { profileJsonSchema } from './profile-schema.js';
import { loadProfiles, profileNamed, readProfile } from './profile-store.js';

const BUNDLED = fileURLToPath(new URL('./profiles/', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'profiles-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let made = 0;
/** A new folder with these files. */
async function folderOf(files: Record<string, unknown>): Promise<string> {
  const dir = await mkdtemp(path.join(folder, `${made++}-`));
  for (const [name, content] of Object.entries(files))
    await writeFile(path.join(dir, name), typeof content === 'string' ? content : JSON.stringify(content));
  return dir;
}
const y16 = (more: object = {}) => ({ ...profileInput({ fourcc: 'Y16 ' }), ...more });
const failure = async (loading: Promise<unknown>): Promise<EdgeError> => {
  const error = await loading.then(
    () => undefined,
    (e: EdgeError) => e,
  );
  expect(error).toBeDefined();
  return error!;
};

describe('bundled', () => {
  test('all are valid, by the program and by the published JSON Schema, and a decoder can be made of each', async () => {
    const valid = new Ajv2020({ strict: false }).compile(profileJsonSchema());
    const files = await readdir(BUNDLED);
    expect(files.length).toBeGreaterThanOrEqual(24);
    const profiles = await loadProfiles();
    expect(profiles.map(({ file }) => path.basename(file)).sort()).toEqual(files.sort());
    for (const { profile, file, own } of profiles) {
      expect(own).toBe(false);
      expect([file, valid(JSON.parse(await readFile(file, 'utf8'))), valid.errors]).toEqual([file, true, null]);
      const { width = 64, height = 48 } = profile;
      const decoder = new FrameDecoder(profile, { width, height });
      expect(decoder.height).toBe(profile.imageRows?.height ?? height);
    }
  });

  test('the table of docs/cameras.md is these profiles', async () => {
    const text = await readFile(new URL('../../docs/cameras.md', import.meta.url), 'utf8');
    const table = [...text.matchAll(/^\| `[a-z0-9-]+` \|(?:[^|]*\|){5}$/gm)].map(([row]) => row);
    const rows = (await loadProfiles()).map(({ profile: p }) => {
      const size = p.width === undefined ? 'any' : `${p.width}x${p.height}`;
      const cells = [`\`${p.id}\``, `\`${p.fourcc}\``, size, p.telemetry?.parser ?? '–', p.ffc.detect.join(', ')];
      return `| ${[...cells, p.verified].join(' | ')} |`;
    });
    expect(table.sort()).toEqual(rows.sort());
  });
});

describe("the user's own", () => {
  test('one of the same name takes the place of the bundled one, others are added', async () => {
    const directory = await folderOf({
      'flir-boson-640.json': y16({ id: 'flir-boson-640', name: 'mine', width: 640, height: 480 }),
      'acme.json': { $schema: 'x', ...y16({ id: 'acme' }) },
      'README.md': 'no profile',
      '.hidden.json': '{',
    });
    const before = await loadProfiles();
    const profiles = await loadProfiles(directory);
    expect(profiles.length).toBe(before.length + 1);
    const boson = profileNamed('flir-boson-640', profiles);
    expect(boson).toMatchObject({ own: true, profile: { name: 'mine', height: 480 } });
    expect(boson.file).toBe(path.join(directory, 'flir-boson-640.json'));
    expect(profileNamed('acme', profiles).own).toBe(true);
    expect(profileNamed('flir-boson-320', profiles).own).toBe(false);
  });

  test('a byte order mark is no fault', async () => {
    const directory = await folderOf({ 'under-test.json': `\uFEFF${JSON.stringify(y16())}` });
    expect((await readProfile(path.join(directory, 'under-test.json'))).id).toBe('under-test');
  });

  test('an unknown name: those there are are listed', async () => {
    const profiles = await loadProfiles();
    expect(() => profileNamed('boson', profiles)).toThrow(
      expect.objectContaining({ code: 'PROFILE_UNKNOWN', hint: expect.stringContaining('flir-boson-320, ') }),
    );
  });
});

describe('errors: the file, the field, in one line', () => {
  test.each<[string, unknown, string]>([
    ['no object', [], 'the whole file: '],
    ['no JSON', '{\n  "id":\n nonsense\n}', 'it is no JSON: '],
    ['empty', '', 'it is no JSON: '],
    ['unknown field', y16({ widht: 5 }), 'widht: unknown field'],
    ['unknown field within', y16({ match: { usbid: '1' } }), 'match.usbid: unknown field'],
    ['id', y16({ id: 'Under Test' }), 'id: a name of 1 to 64 characters a-z, 0-9 or "-"'],
    ['id is not the file', y16({ id: 'other' }), 'id: expected under-test, the name of the file, got other'],
    ['name', y16({ name: '' }), 'name: '],
    ['USB id', y16({ match: { usb: ['1e4e:0100', '1E4E:0100'] } }), 'match.usb[1]: a USB id vvvv:pppp'],
    ['fourcc', y16({ fourcc: 'Y16' }), 'fourcc: four printable characters'],
    ['unknown fourcc', y16({ fourcc: 'RG10' }), 'content: "RG10" is not known, so it must be said'],
    ['bits', y16({ bits: 17 }), 'bits: '],
    ['bits and shift', y16({ bits: 14, shift: 3 }), 'shift: 3 and 14 bits are more than 16'],
    ['width alone', y16({ width: 80 }), 'height: goes with width'],
    ['height alone', y16({ height: 80 }), 'width: goes with height'],
    ['image rows without size', y16({ imageRows: { top: 0, height: 4 } }), 'imageRows: needs width and height'],
    [
      'image rows beyond',
      y16({ width: 8, height: 8, imageRows: { top: 4, height: 5 } }),
      'imageRows: ends at row 9, a frame has 8 (height)',
    ],
    [
      'telemetry beyond',
      y16({ width: 8, height: 8, imageRows: { top: 0, height: 6 }, telemetry: { top: 7, rows: 2, parser: 'none' } }),
      'telemetry: ends at row 9, a frame has 8 (height)',
    ],
    [
      'telemetry in the picture',
      y16({ width: 8, height: 8, telemetry: { top: 6, rows: 2, parser: 'none' } }),
      'telemetry: lies within imageRows',
    ],
    [
      'no such parser',
      y16({ width: 8, height: 8, telemetry: { top: 6, rows: 2, parser: 'seek' } }),
      'telemetry.parser: ',
    ],
    ['luma with bits', y16({ fourcc: 'GREY', bits: 10 }), 'bits: luma has 8, not 10'],
    ['luma shifted', y16({ fourcc: 'GREY', shift: 1 }), 'shift: luma is not shifted'],
    ['luma with endian', y16({ fourcc: 'YUYV', endian: 'big' }), 'endian: luma is one byte'],
    [
      'luma with counts in telemetry',
      y16({
        fourcc: 'GREY',
        width: 8,
        height: 8,
        imageRows: { top: 0, height: 6 },
        telemetry: { top: 6, rows: 2, parser: 'boson' },
      }),
      'telemetry.parser: boson reads counts of 16 bits, not luma',
    ],
    ['sign without telemetry', y16({ ffc: { detect: ['telemetry'] } }), 'ffc.detect: "telemetry" needs telemetry'],
    ['no such sign', y16({ ffc: { detect: ['shutter'] } }), 'ffc.detect[0]: '],
    ['settle time', y16({ ffc: { detect: [], settleMs: -1 } }), 'ffc.settleMs: '],
  ])('%s', async (_, content, message) => {
    const directory = await folderOf({ 'under-test.json': content });
    const error = await failure(loadProfiles(directory));
    expect(error).toMatchObject({ code: 'PROFILE_INVALID', exitCode: 78 });
    expect(error.message).not.toContain('\n');
    expect(error.message.startsWith(`${path.join(directory, 'under-test.json')} is no camera profile: `)).toBe(true);
    expect(error.message).toContain(message);
  });

  test('every wrong field is named', async () => {
    const directory = await folderOf({ 'under-test.json': y16({ bits: 3, shift: 99, colour: true }) });
    expect((await failure(loadProfiles(directory))).message).toMatch(/bits: .*; shift: .*; colour: unknown field/);
  });

  test('a folder that is not there, and a file that is a folder', async () => {
    expect(await failure(loadProfiles(path.join(folder, 'nowhere')))).toMatchObject({
      code: 'PROFILE_UNREADABLE',
      message: `${path.join(folder, 'nowhere')}: cannot be read: ENOENT`,
    });
    expect(await failure(readProfile(folder))).toMatchObject({ code: 'PROFILE_UNREADABLE' });
  });

  test('a file that is far too long', async () => {
    const directory = await folderOf({ 'under-test.json': ' '.repeat(2 << 20) });
    expect((await failure(loadProfiles(directory))).message).toContain('it is longer than 1 MiB');
  });
});
