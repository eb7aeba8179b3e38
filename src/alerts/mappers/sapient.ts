import { createHash } from 'node:crypto';
import type { Bearing, Datum, EventMessage } from '../schema.js';
import { bytesToUlid } from './ulid-bytes.js';

// BSI Flex 335 v2.0, `sapient_msg.bsi_flex_335_v2_0` (https://github.com/dstl/Apex-SAPIENT-Middleware), in proto3's JSON mapping
// (https://protobuf.dev/programming-guides/json/): lowerCamelCase names, enumerations by name. A bridge parses it with
// `google.protobuf.json_format` or the like and sends the bytes to the fusion node; nodeId must be registered there.

interface Info {
  type: string;
  value: string;
  error?: number;
}

export interface SapientMessage {
  /** RFC 3339, UTC: capture. */
  timestamp: string;
  /** UUID of the camera. */
  nodeId: string;
  detectionReport: {
    /** ULID of this message. */
    reportId: string;
    /** ULID of the event. */
    objectId: string;
    state?: string;
    rangeBearing: {
      elevation: number;
      azimuth: number;
      elevationError: number;
      azimuthError: number;
      coordinateSystem: 'RANGE_BEARING_COORDINATE_SYSTEM_DEGREES_M';
      datum: `RANGE_BEARING_DATUM_${Uppercase<Datum>}`;
    };
    detectionConfidence: number;
    trackInfo: Info[];
    objectInfo: Info[];
    classification: { type: string }[];
  };
}

/**
 * A message about an event as a SAPIENT detection report; null where it has no bearing: the report must say where. Pure; the same
 * message gives the same ids. Errors are one standard error. There is no class: the detector tells targets from background only.
 */
export function toSapient(event: EventMessage): SapientMessage | null {
  const { bearing } = event;
  if (bearing === undefined) return null;
  return {
    timestamp: event.capturedAt,
    nodeId: nodeId(event.device, event.camera),
    detectionReport: {
      reportId: reportId(event),
      objectId: event.id,
      ...(event.type === 'end' && { state: 'object lost' }),
      rangeBearing: rangeBearing(bearing),
      detectionConfidence: event.score,
      trackInfo: [
        { type: 'hits', value: String(event.track.hits) },
        { type: 'misses', value: String(event.track.misses) },
        { type: 'age', value: (event.track.ageMs / 1000).toFixed(3) },
        { type: 'severity', value: event.severity },
        { type: 'stationary', value: String(event.stationary) },
        ...(event.endReason === undefined ? [] : [{ type: 'endReason', value: event.endReason }]),
      ],
      objectInfo: [
        { type: 'snr', value: event.snr.toFixed(2) },
        { type: 'extent', value: event.extent.toFixed(3) },
        { type: 'pixelX', value: event.pixel.x.toFixed(3), error: event.pixel.sigmaX },
        { type: 'pixelY', value: event.pixel.y.toFixed(3), error: event.pixel.sigmaY },
      ],
      classification: [{ type: 'Unknown' }],
    },
  };
}

function rangeBearing(bearing: Bearing): SapientMessage['detectionReport']['rangeBearing'] {
  return {
    elevation: bearing.elevationDeg,
    azimuth: bearing.azimuthDeg,
    elevationError: bearing.sigmaElevationDeg,
    azimuthError: bearing.sigmaAzimuthDeg,
    coordinateSystem: 'RANGE_BEARING_COORDINATE_SYSTEM_DEGREES_M',
    datum: `RANGE_BEARING_DATUM_${bearing.datum.toUpperCase() as Uppercase<Datum>}`,
  };
}

/** Name space of URLs, RFC 9562, section 6.6. */
const URL_NAMESPACE = Buffer.from('6ba7b8119dad11d180b400c04fd430c8', 'hex');

/** UUID (version 5) of a camera: the same for the same names, so that it can be registered beforehand. */
export function nodeId(device: string, camera: string): string {
  const bytes = createHash('sha1').update(URL_NAMESPACE).update(`urn:irst-edge:${device}/${camera}`).digest();
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Its time is that of the capture; the rest follows from event and message number, so that a copy has the same id. */
function reportId(event: EventMessage): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(Date.parse(event.capturedAt), 0, 6);
  createHash('sha256').update(`${event.id}/${event.seq}`).digest().copy(bytes, 6, 0, 10);
  return bytesToUlid(bytes);
}
