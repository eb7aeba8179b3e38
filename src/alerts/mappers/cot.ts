import type { EventMessage } from '../schema.js';

/** WGS 84; altitude above the ellipsoid, m. */
export interface Position {
  latitude: number;
  longitude: number;
  altitude?: number | undefined;
}

export interface CotOptions {
  /** Where the device stands. Without it the point is the one that says "unknown". */
  position?: Position | undefined;
  /** `sensor` (default): a marker at the device with a narrow field of view; `line`: a range and bearing line. */
  draw?: 'sensor' | 'line' | undefined;
  /**
   * Added to an azimuth to count it from true north, degrees: declination, or heading of the platform. Default: 0 where the datum is
   * true; otherwise no bearing is drawn.
   */
  trueNorthOffsetDeg?: number | undefined;
  /** How far a bearing is drawn, m. Default 5000. */
  rangeMetres?: number | undefined;
  /** How long a message holds where none follows, s. Default 60. */
  staleSeconds?: number | undefined;
}

/** "Unknown" for ce, le and hae: CoT has no other word for it. */
const UNKNOWN = '9999999.0';
/** Two standard errors to either side, but not so narrow that nothing is to be seen: ATAK keeps whole degrees. */
const LEAST_FOV_DEG = 1;
const MOST_FOV_DEG = 359;

/**
 * A message about an event as a Cursor-on-Target 2.0 XML event, without an XML declaration: streams over TCP carry one event after
 * the other. Pure.
 *
 * One sensor sees a direction, not a place. The marker stands at the device, with the event's id as its uid, and the CoT sensor
 * subschema tells where it looks: azimuth from true north, fov and vfov edge to edge in degrees, elevation, and a range in m that only
 * says how far to draw (read by SensorDetailHandler of https://github.com/deptofdefense/AndroidTacticalAssaultKit-CIV). A range and bearing line (`u-rb-a`) has the detail elements range, bearing and inclination instead; some receivers keep
 * such lines after they are stale. An `end` is stale at its own time.
 */
export function toCot(event: EventMessage, options: CotOptions = {}): string {
  const { position, draw = 'sensor', rangeMetres = 5000, staleSeconds = 60 } = options;
  const direction = trueBearing(event, options.trueNorthOffsetDeg);
  const line = draw === 'line' && direction !== undefined;
  const atMs = Date.parse(event.capturedAt);
  const stale = new Date(event.type === 'end' ? atMs : atMs + staleSeconds * 1000).toISOString();

  const details = [
    element('contact', { callsign: `${event.device}/${event.camera} ${event.track.number}` }),
    ...(direction === undefined
      ? []
      : line
        ? bearingLine(direction, rangeMetres)
        : [sensor(event, direction, rangeMetres)]),
    `<remarks>${escapeXml(remarks(event))}</remarks>`,
  ];
  return [
    open('event', {
      version: '2.0',
      uid: event.id,
      type: line ? 'u-rb-a' : 'b-m-p-s-p-loc',
      how: 'm-g',
      time: event.capturedAt,
      start: event.capturedAt,
      stale,
    }),
    element('point', {
      lat: (position?.latitude ?? 0).toFixed(7),
      lon: (position?.longitude ?? 0).toFixed(7),
      hae: position?.altitude === undefined ? UNKNOWN : position.altitude.toFixed(1),
      ce: UNKNOWN,
      le: UNKNOWN,
    }),
    `<detail>${details.join('')}</detail>`,
    '</event>',
  ].join('');
}

interface Direction {
  azimuth: number;
  elevation: number;
}

function trueBearing({ bearing }: EventMessage, offset: number | undefined): Direction | undefined {
  if (bearing === undefined || (offset === undefined && bearing.datum !== 'true')) return undefined;
  // Rounded before the remainder: 359.9996 is 0.
  const azimuth = Number((bearing.azimuthDeg + (offset ?? 0)).toFixed(3));
  return { azimuth: ((azimuth % 360) + 360) % 360, elevation: bearing.elevationDeg };
}

function sensor(event: EventMessage, { azimuth, elevation }: Direction, range: number): string {
  const fov = (sigmaDeg: number): string => Math.min(MOST_FOV_DEG, Math.max(LEAST_FOV_DEG, 4 * sigmaDeg)).toFixed(1);
  return element('sensor', {
    azimuth: azimuth.toFixed(3),
    elevation: elevation.toFixed(3),
    fov: fov(event.bearing?.sigmaAzimuthDeg ?? 0),
    vfov: fov(event.bearing?.sigmaElevationDeg ?? 0),
    range: range.toFixed(0),
    model: `irst-edge ${event.software}`,
    displayMagneticReference: '0',
  });
}

function bearingLine({ azimuth, elevation }: Direction, range: number): string[] {
  return [
    element('range', { value: range.toFixed(0) }),
    element('bearing', { value: azimuth.toFixed(3) }),
    element('inclination', { value: elevation.toFixed(3) }),
    // 0: degrees, and from true north.
    element('bearingUnits', { value: '0' }),
    element('northRef', { value: '0' }),
  ];
}

function remarks(event: EventMessage): string {
  const { bearing, pixel } = event;
  return [
    `${event.type}${event.endReason === undefined ? '' : ` (${event.endReason})`}, ${event.severity}`,
    `SNR ${event.snr.toFixed(1)}, score ${event.score.toFixed(2)}`,
    `x ${pixel.x.toFixed(2)} y ${pixel.y.toFixed(2)} px`,
    ...(bearing === undefined
      ? []
      : [`az ${bearing.azimuthDeg.toFixed(3)} el ${bearing.elevationDeg.toFixed(3)} deg (${bearing.datum})`]),
  ].join('; ');
}

function element(name: string, attributes: Record<string, string>): string {
  return open(name, attributes).replace(/>$/, '/>');
}

function open(name: string, attributes: Record<string, string>): string {
  const text = Object.entries(attributes).map(([key, value]) => ` ${key}="${escapeXml(value)}"`);
  return `<${name}${text.join('')}>`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };

/** Text for an element or an attribute. Characters that XML 1.0 cannot hold at all become U+FFFD. */
export function escapeXml(text: string): string {
  return text
    .replaceAll(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replaceAll(/[&<>"']/g, (c) => ENTITIES[c] as string)
    .replaceAll(/[\t\n\r]/g, (c) => `&#${c.charCodeAt(0)};`);
}
