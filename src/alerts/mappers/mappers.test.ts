import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EXAMPLES } from '../examples.js';
import { type EventMessage, eventSchema } from '../schema.js';
import { CBOR_KEYS, eventFromCbor, eventToCbor } from './cbor.js';
import { escapeXml, toCot } from './cot.js';
import { ForemostTarget } from './foremost.js';
import { homeAssistantDiscovery } from './home-assistant.js';
import { CRC_EXTRA, crcX25, encodeTrackingStatus, trackingStatus } from './mavlink.js';
import { nodeId, toSapient } from './sapient.js';
import { bytesToUlid, ulidToBytes } from './ulid-bytes.js';

const golden = (name: string): Promise<string> =>
  readFile(new URL(`../../../test/fixtures/mappers/${name}`, import.meta.url), 'utf8');
const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

const EVENT: EventMessage = EXAMPLES.event;
const { bearing: BEARING, ...WITHOUT_BEARING } = EVENT;
const BLIND: EventMessage = WITHOUT_BEARING;
const END: EventMessage = {
  ...EVENT,
  type: 'end',
  seq: 7,
  severity: 'critical',
  endReason: 'lost',
  capturedAt: '2026-01-31T12:00:09.000Z',
};
const POSITION = { latitude: 52.5, longitude: 13.4, altitude: 85 };

describe('Cursor-on-Target', () => {
  it.each([
    ['cot-sensor.xml', toCot(EVENT, { position: POSITION })],
    ['cot-line.xml', toCot(EVENT, { position: POSITION, draw: 'line', rangeMetres: 12_000 })],
    ['cot-end.xml', toCot(END, { position: POSITION })],
    ['cot-unknown-place.xml', toCot(BLIND)],
  ])('%s', async (name, xml) => {
    expect(`${xml}\n`).toBe(await golden(name));
  });

  it('is stale after the time given, and an end at once', () => {
    const stale = (xml: string) => /stale="([^"]+)"/.exec(xml)?.[1];
    expect(stale(toCot(EVENT, { staleSeconds: 10 }))).toBe('2026-01-31T12:00:10.250Z');
    expect(stale(toCot(END, { staleSeconds: 10 }))).toBe(END.capturedAt);
  });

  it('counts azimuths from true north, or draws none', () => {
    const turned = { ...EVENT, bearing: { ...BEARING!, azimuthDeg: 350, datum: 'platform' as const } };
    expect(toCot(turned, { position: POSITION })).not.toContain('<sensor');
    expect(toCot(turned, { position: POSITION, draw: 'line' })).toContain('type="b-m-p-s-p-loc"');
    expect(toCot(turned, { trueNorthOffsetDeg: 20 })).toContain('azimuth="10.000"');
    expect(toCot(turned, { trueNorthOffsetDeg: -355 })).toContain('azimuth="355.000"');
    const nearly = { ...EVENT, bearing: { ...BEARING!, azimuthDeg: 359.9999 } };
    expect(toCot(nearly)).toContain('azimuth="0.000"');
  });

  it('widens the field of view with the error of the bearing, within bounds', () => {
    const fov = (sigma: number) =>
      /fov="([^"]+)"/.exec(toCot({ ...EVENT, bearing: { ...BEARING!, sigmaAzimuthDeg: sigma } }))?.[1];
    expect([fov(0), fov(2), fov(180)]).toEqual(['1.0', '8.0', '359.0']);
  });

  it('escapes whatever XML does not take', () => {
    expect(escapeXml(`<a b="c" d='&'>\n\t\u0000\u001b\ud800\ufffe\u{1f600}`)).toBe(
      '&lt;a b=&quot;c&quot; d=&apos;&amp;&apos;&gt;&#10;&#9;\ufffd\ufffd\ufffd\ufffd\u{1f600}',
    );
    const odd = toCot({ ...EVENT, camera: '"><evil/>', software: '1.0 & "2"' });
    expect(odd).not.toContain('<evil');
    expect(odd).toContain('model="irst-edge 1.0 &amp; &quot;2&quot;"');
  });
});

describe('SAPIENT', () => {
  it.each([
    ['sapient-new.json', EVENT],
    ['sapient-end.json', END],
  ])('%s', async (name, event) => {
    expect(json(toSapient(event))).toBe(await golden(name));
  });

  it('needs a bearing', () => {
    expect(toSapient(BLIND)).toBeNull();
  });

  it('has ids that are the same for a copy and differ between messages, and between cameras', () => {
    const id = (event: EventMessage) => toSapient(event)?.detectionReport.reportId;
    expect(id(EVENT)).toBe(id({ ...EVENT }));
    expect(id({ ...EVENT, seq: 1 })).not.toBe(id(EVENT));
    expect(id(EVENT)).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/);
    expect(nodeId('edge-1', 'north')).not.toBe(nodeId('edge-1', 'south'));
    expect(nodeId('edge-1', 'north')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });
});

describe('CBOR', () => {
  const full: EventMessage = {
    ...END,
    endReason: 'displaced',
    clock: { synchronised: null },
    frame: { sequence: 5, ffc: true },
    stationary: true,
    zones: [],
    latencyMs: { normalise: 1, infer: 2, decode: 3, total: 6 },
    sensor: { ffc: 'idle', temperatureC: 31.5 },
  };
  const near = (event: EventMessage): EventMessage => {
    const single = (value: unknown): unknown => {
      if (typeof value === 'number') return Math.fround(value);
      if (Array.isArray(value)) return value.map(single);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, single(child)]));
    };
    const { chip: _, ...rest } = event;
    return single(rest) as EventMessage;
  };

  it('has the bytes that it had', async () => {
    expect(`${Buffer.from(eventToCbor(EVENT)).toString('hex').replaceAll(/.{64}/g, '$&\n')}\n`).toBe(
      await golden('event.cbor.hex'),
    );
  });

  it.each([
    ['new', EVENT],
    ['without a bearing', BLIND],
    ['end', full],
  ])('comes back, to single precision: %s', (_name, event) => {
    const back = eventFromCbor(eventToCbor(event));
    expect(back).toEqual(near(event));
    expect(eventSchema.parse(back)).toEqual(back);
  });

  it('takes a third of the JSON', () => {
    expect(eventToCbor(EVENT).length).toBeLessThan(JSON.stringify(EVENT).length / 3);
  });

  it('leaves the chip out, and keeps an azimuth below 360', () => {
    const chip = { format: 'png', bits: 16, x: 0, y: 0, width: 1, height: 1, data: 'AAAA' } as const;
    const azimuthDeg = 359.999999;
    const back = eventFromCbor(eventToCbor({ ...EVENT, chip, bearing: { ...BEARING!, azimuthDeg } }));
    expect(back.chip).toBeUndefined();
    expect(eventSchema.parse(back).bearing?.azimuthDeg).toBeCloseTo(azimuthDeg, 3);
  });

  it('takes any monotonic time and any whole number', () => {
    const back = eventFromCbor(eventToCbor({ ...EVENT, captureMonotonicNs: '18446744073709551615', seq: 2 ** 40 }));
    expect([back.captureMonotonicNs, back.seq]).toEqual(['18446744073709551615', 2 ** 40]);
  });

  it('throws an Error, and nothing else, for other bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(), fc.nat({ max: 255 }), (noise, at, value) => {
        const damaged = Uint8Array.from(eventToCbor(EVENT));
        damaged[at % damaged.length] = value;
        for (const bytes of [noise, damaged, damaged.subarray(0, at % damaged.length)]) {
          try {
            eventFromCbor(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        }
      }),
      { numRuns: 200 },
    );
    expect(() => eventFromCbor(Uint8Array.from([0xa1, 0x00, 0x02]))).toThrow('version 1');
    expect(() => eventFromCbor(Uint8Array.from([0x80]))).toThrow('no map');
    expect(() => eventFromCbor(Uint8Array.from([0xa1, 0x00, 0x01]))).toThrow('is missing');
  });

  it('numbers its keys once each', () => {
    const keys = Object.values(CBOR_KEYS);
    expect(new Set(keys).size).toBe(keys.length);
  });
});

describe('ULIDs as bytes', () => {
  it('go both ways', () => {
    expect(Buffer.from(ulidToBytes('01ARZ3NDEKTSV4RRFFQ69G5FAV')).toString('hex')).toBe(
      '01563e3ab5d3d6764c61efb99302bd5b',
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        expect(ulidToBytes(bytesToUlid(bytes))).toEqual(bytes);
      }),
    );
  });

  it.each(['', '01ARZ3NDEKTSV4RRFFQ69G5FA', '01ARZ3NDEKTSV4RRFFQ69G5FAU', '81ARZ3NDEKTSV4RRFFQ69G5FAV'])(
    'refuses %j',
    (text) => {
      expect(() => ulidToBytes(text)).toThrow(RangeError);
    },
  );
});

describe('MAVLink CAMERA_TRACKING_IMAGE_STATUS', () => {
  // Made with mavlink/c_library_v2 at 7e16bc08, mavlink_msg_camera_tracking_image_status_pack_status, system 1, component 100.
  const ACTIVE = 'fd1f00000701641301003fb5203fae476e3eec51383b0000c07f0000c07f0000c07f0000c07f0101049eba';
  const IDLE = 'fd1c00000801641301000000c07f0000c07f0000c07f0000c07f0000c07f0000c07f0000c07fd6d7';
  const sender = { systemId: 1, componentId: 100 };

  it('has the bytes of the reference library', () => {
    const active = encodeTrackingStatus(trackingStatus(EVENT), { ...sender, sequence: 7 });
    expect(active.toString('hex')).toBe(ACTIVE);
    for (const none of [null, END]) {
      expect(encodeTrackingStatus(trackingStatus(none), { ...sender, sequence: 8 }).toString('hex')).toBe(IDLE);
    }
  });

  it('has the CRC of the definition', () => {
    // https://mavlink.io/en/guide/serialization.html#crc_extra: names and types in the order on the wire, without extensions.
    const floats = ['point_x', 'point_y', 'radius', 'rec_top_x', 'rec_top_y', 'rec_bottom_x', 'rec_bottom_y'];
    const bytes = ['tracking_status', 'tracking_mode', 'target_data'];
    const text = [
      'CAMERA_TRACKING_IMAGE_STATUS ',
      ...floats.map((field) => `float ${field} `),
      ...bytes.map((field) => `uint8_t ${field} `),
    ].join('');
    const crc = crcX25(Buffer.from(text));
    expect((crc & 255) ^ (crc >> 8)).toBe(CRC_EXTRA);
    // https://reveng.sourceforge.io/crc-catalogue/16.htm#crc.cat.crc-16-mcrf4xx
    expect(crcX25(Buffer.from('123456789'))).toBe(0x6f91);
  });

  it('says when it is a prediction, and stays in the picture', () => {
    const coasting = { ...EVENT, track: { ...EVENT.track, misses: 2 }, pixel: { ...EVENT.pixel, x: -9, y: 9999 } };
    expect(trackingStatus(coasting)).toMatchObject({ trackingStatus: 9, pointX: 0, pointY: 1 });
  });
});

describe('the foremost target', () => {
  const at = (id: string, type: EventMessage['type'], severity: EventMessage['severity'], score: number) =>
    ({ ...EVENT, id, type, severity, score }) satisfies EventMessage;

  it('stays until it ends or a more severe one comes', () => {
    const foremost = new ForemostTarget();
    const a = at('a', 'new', 'warning', 0.5);
    const b = at('b', 'new', 'warning', 0.9);
    expect(foremost.update(a)).toBe(a);
    expect(foremost.update(b)).toBeUndefined();
    const a2 = at('a', 'update', 'warning', 0.4);
    expect(foremost.update(a2)).toBe(a2);
    const c = at('c', 'new', 'critical', 0.3);
    expect(foremost.update(c)).toBe(c);
    expect(foremost.update(at('a', 'end', 'warning', 0.4))).toBeUndefined();
    expect(foremost.update(at('c', 'end', 'critical', 0.3))).toBe(b);
    expect(foremost.update(at('b', 'end', 'warning', 0.9))).toBeNull();
    expect(foremost.update(at('x', 'end', 'warning', 0.9))).toBeUndefined();
  });

  it('remembers a bounded number of events', () => {
    const foremost = new ForemostTarget();
    for (let i = 0; i < 1000; i++) foremost.update(at(`e${i}`, 'new', 'info', 0.5));
    let shown = 0;
    for (let i = 0; i < 1000; i++) if (foremost.update(at(`e${i}`, 'end', 'info', 0.5)) !== undefined) shown += 1;
    expect(shown).toBe(256);
  });
});

describe('Home Assistant discovery', () => {
  const options = { device: 'edge-1', prefix: 'irst', cameras: ['north', 'mast.2'], software: '0.1.0' };

  it('home-assistant.json', async () => {
    const { topic, payload } = homeAssistantDiscovery(options);
    expect(topic).toBe('homeassistant/device/irst_sedge-1/config');
    expect(json(JSON.parse(payload))).toBe(await golden('home-assistant.json'));
  });

  it('uses only letters that Home Assistant allows in a node, and never the same for two devices', () => {
    const node = (prefix: string, device: string) => homeAssistantDiscovery({ ...options, prefix, device }).topic;
    const all = [node('a', 'b_c'), node('a/b', 'c'), node('a', 'b.c'), node('a_b', 'c'), node('a.b', 'c')];
    expect(new Set(all).size).toBe(all.length);
    for (const topic of all) expect(topic).toMatch(/^homeassistant\/device\/[A-Za-z0-9_-]+\/config$/);
  });
});
