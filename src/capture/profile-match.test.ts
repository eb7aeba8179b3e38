import { describe, expect, test } from 'vitest';
import { profileInput } from '../../test/fakes/raw-frames.js';
import { type DeviceDescription, type DeviceSize, matchProfiles, sizeUnder } from './profile-match.js';
import { type CameraProfileInput, parseProfile } from './profile-schema.js';
import { loadProfiles, type StoredProfile } from './profile-store.js';

const bundled = await loadProfiles();
const device = (more: Partial<DeviceDescription> = {}): DeviceDescription => ({
  driver: 'uvcvideo',
  card: 'Camera: Camera',
  bus: 'usb-0000:00:14.0-2',
  formats: [{ fourcc: 'Y16 ', sizes: [{ width: 320, height: 240 }] }],
  ...more,
});
const stored = (more: Partial<CameraProfileInput>, own = false): StoredProfile => {
  const profile = parseProfile(profileInput({ fourcc: 'Y16 ', ...more }), 'a test');
  return { profile, file: `${profile.id}.json`, own };
};
const ids = (d: DeviceDescription, profiles: readonly StoredProfile[] = bundled) =>
  matchProfiles(d, profiles).fits.map(({ stored: { profile } }) => profile.id);
const refusal = (d: DeviceDescription, profile: StoredProfile) => matchProfiles(d, [profile]).refused[0]!;

describe('the profiles that come with the program', () => {
  test.each(bundled.map((s) => [s.profile.id, s] as const))('%s is the best for its own description', (id, s) => {
    const { profile } = s;
    const { width = 333, height = 222, fourcc, match } = profile;
    const own = device({
      ...(match.driver && { driver: match.driver[0]! }),
      ...(match.card && { card: `x ${match.card[0]!.toUpperCase()} y` }),
      ...(match.usb && { usbId: match.usb[0]! }),
      formats: [{ fourcc, sizes: [{ width, height }] }],
    });
    if (profile.automatic) {
      const { fits } = matchProfiles(own, bundled);
      expect(fits[0]).toMatchObject({ stored: { profile: { id } }, width, height });
      // By USB id alone, and by name alone.
      if (match.usb) expect(ids({ ...own, card: 'UVC Camera' })[0]).toBe(id);
      if (match.card) expect(ids({ ...own, usbId: 'ffff:ffff' })[0]).toBe(id);
    } else {
      expect(refusal(own, s).message).toContain('automatic: it is only used when it is named');
      expect(sizeUnder(own, profile)).toEqual({ width, height });
    }
    const others = ['Y16 ', 'GREY'].filter((other) => other !== fourcc).map((other) => ({ fourcc: other, sizes: [] }));
    expect(refusal({ ...own, formats: others }, s).message).toContain(`fourcc: expected "${fourcc}", the camera has "`);
  });

  test('a Boson that offers both: with telemetry before without, counts before its own picture', () => {
    const boson = device({
      card: 'Boson: FLIR Video',
      usbId: '09cb:4007',
      formats: [
        { fourcc: 'YU12', sizes: [{ width: 640, height: 512 }] },
        {
          fourcc: 'Y16 ',
          sizes: [
            { width: 640, height: 512 },
            { width: 640, height: 514 },
          ],
        },
      ],
    });
    expect(ids(boson)).toEqual(['flir-boson-640-telemetry', 'flir-boson-640', 'generic-y16', 'generic-yu12-luma']);
  });

  test('a PureThermal with a Lepton 3 and one with a Lepton 2 are told by their sizes', () => {
    const purethermal = (sizes: DeviceSize[]) =>
      device({ card: 'PureThermal (fw:v1.3.0)', usbId: '1e4e:0100', formats: [{ fourcc: 'Y16 ', sizes }] });
    expect(
      ids(
        purethermal([
          { width: 160, height: 120 },
          { width: 160, height: 122 },
        ]),
      )[0],
    ).toBe('lepton-3-purethermal-telemetry');
    expect(ids(purethermal([{ width: 80, height: 60 }]))[0]).toBe('lepton-2-purethermal');
  });

  test('a webcam is read by its luma, and not taken for a thermal camera of the same chip', () => {
    const webcam = device({
      usbId: '0bda:5830',
      formats: [
        {
          fourcc: 'YUYV',
          sizes: [
            { width: 640, height: 480 },
            { width: 1280, height: 720 },
          ],
        },
      ],
    });
    const { fits } = matchProfiles(webcam, bundled);
    expect(fits).toHaveLength(1);
    expect(fits[0]).toMatchObject({ stored: { profile: { id: 'generic-yuyv-luma' } }, width: 1280, height: 720 });
  });
});

describe('order', () => {
  test('USB id before name before any; own before bundled; a size, telemetry and bits before none', () => {
    const d = device({
      card: 'Acme Cam',
      usbId: '1234:5678',
      formats: [
        { fourcc: 'Y16 ', sizes: [{ width: 80, height: 60 }] },
        { fourcc: 'GREY', sizes: [{ width: 80, height: 60 }] },
      ],
    });
    const told: Partial<CameraProfileInput> = {
      width: 80,
      height: 60,
      imageRows: { top: 0, height: 58 },
      telemetry: { top: 58, rows: 2, parser: 'lepton' },
      ffc: { detect: ['telemetry'] },
    };
    const profiles = [
      stored({ id: 'z-grey', fourcc: 'GREY' }),
      stored({ id: 'y-any' }),
      stored({ id: 'x-any-14', bits: 14 }),
      stored({ id: 'w-sized', width: 80, height: 60 }),
      stored({ id: 'v-told', ...told }),
      stored({ id: 'u-own', fourcc: 'GREY' }, true),
      stored({ id: 't-card', fourcc: 'GREY', match: { card: ['acme'] } }),
      stored({ id: 's-usb', fourcc: 'GREY', match: { usb: ['1234:5678'], card: ['acme'] } }),
    ];
    const order = ['s-usb', 't-card', 'u-own', 'v-told', 'w-sized', 'y-any', 'x-any-14', 'z-grey'];
    expect(ids(d, profiles)).toEqual(order);
    expect(ids(d, profiles.toReversed())).toEqual(order);
  });
});

describe('size', () => {
  const sized = stored({ width: 320, height: 256 });
  const under = (size: DeviceSize) => refusal(device({ formats: [{ fourcc: 'Y16 ', sizes: [size] }] }), sized);
  const range = { minWidth: 64, maxWidth: 640, stepWidth: 64, minHeight: 64, maxHeight: 512, stepHeight: 64 };

  test('one of a range, by its steps', () => {
    expect(under(range)).toBeUndefined();
    expect(under({ ...range, stepHeight: 100 }).message).toContain(
      'height: expected 320x256, "Y16 " has 64x64 to 640x',
    );
    expect(under({ ...range, stepWidth: 100 }).message).toContain('width: expected 320x256');
    expect(under({ ...range, stepWidth: 0, stepHeight: 0 })).toBeUndefined();
    expect(under({ ...range, maxHeight: 255 })).toBeDefined();
  });

  test('a profile for any size takes the largest, of a range its end', () => {
    const d = device({
      formats: [{ fourcc: 'Y16 ', sizes: [{ width: 800, height: 100 }, range, { width: 320, height: 256 }] }],
    });
    expect(sizeUnder(d, stored({}).profile)).toEqual({ width: 640, height: 512 });
    expect(refusal(device({ formats: [{ fourcc: 'Y16 ', sizes: [] }] }), stored({})).message).toContain(
      'fourcc: the camera names no usable size for "Y16 "',
    );
    // What is larger than any frame may be is not taken, and no memory is made for it.
    const huge = { width: 65_535, height: 65_535 };
    const both = device({ formats: [{ fourcc: 'Y16 ', sizes: [huge, { width: 320, height: 256 }] }] });
    expect(sizeUnder(both, stored({}).profile)).toEqual({ width: 320, height: 256 });
    expect(refusal(device({ formats: [{ fourcc: 'Y16 ', sizes: [huge] }] }), stored({})).message).toContain(
      'usable size',
    );
  });
});

describe('why one does not fit: the field, in one line', () => {
  test.each<[string, Partial<CameraProfileInput>, Partial<DeviceDescription>, string]>([
    ['driver', { match: { driver: ['uvcvideo', 'tegra'] } }, { driver: 'vivid' }, 'match.driver: expected uvcvideo or'],
    [
      'usb',
      { match: { usb: ['1111:2222'] } },
      { usbId: '3333:4444' },
      'match.usb: expected 1111:2222, the camera is 3',
    ],
    ['card', { match: { card: ['boson'] } }, {}, 'match.card: expected boson, the camera is called Camera: Camera'],
    ['no USB id', { match: { usb: ['1111:2222'] } }, {}, 'match.card: expected 1111:2222, the camera is called Camera'],
    ['format', { fourcc: 'GREY' }, {}, 'fourcc: expected "GREY", the camera has "Y16 "'],
    ['no format', {}, { formats: [] }, 'fourcc: expected "Y16 ", the camera has none'],
    ['width', { width: 640, height: 240 }, {}, 'width: expected 640x240, "Y16 " has 320x240'],
    ['height', { width: 320, height: 256 }, {}, 'height: expected 320x256, "Y16 " has 320x240'],
  ])('%s', (_, profile, camera, message) => {
    const error = refusal(device(camera), stored(profile));
    expect(error).toMatchObject({ code: 'PROFILE_UNFIT', exitCode: 78 });
    expect(error.message).toMatch(/^profile under-test does not fit: [^\n]+$/);
    expect(error.message).toContain(message);
  });

  test('a profile that is named needs the format and the size, not the name', () => {
    const named = stored({ match: { usb: ['1111:2222'] }, width: 320, height: 240 }).profile;
    expect(sizeUnder(device({ usbId: '3333:4444' }), named)).toEqual({ width: 320, height: 240 });
    expect(() => sizeUnder(device(), stored({ width: 640, height: 512 }).profile)).toThrow(
      expect.objectContaining({ code: 'PROFILE_UNFIT' }),
    );
  });
});
