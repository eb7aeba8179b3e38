import type { EventMessage } from '../schema.js';

// One message of MAVLink 2, CAMERA_TRACKING_IMAGE_STATUS (#275), from the public definition
// (https://mavlink.io/en/messages/common.html#CAMERA_TRACKING_IMAGE_STATUS; frame: https://mavlink.io/en/guide/serialization.html).
// The tests hold bytes that the generated C library (https://github.com/mavlink/c_library_v2) made.

const MAGIC = 0xfd;
const MESSAGE_ID = 275;
/** Of the definition's base fields: CRC of the names and types, so that two ends with other definitions do not talk. */
export const CRC_EXTRA = 126;
const HEADER = 10;

export const TRACKING_STATUS = { idle: 0, active: 1, coasting: 8 } as const;
export const TRACKING_MODE = { none: 0, point: 1 } as const;
export const TARGET_DATA = { none: 0, inStatus: 4 } as const;

/** Fields that are not given are NaN: unknown. Places are shares of the picture's width and height, from the left and the top. */
export interface CameraTrackingImageStatus {
  /** Flags of `TRACKING_STATUS`. */
  trackingStatus: number;
  trackingMode: number;
  targetData: number;
  pointX?: number;
  pointY?: number;
  /** Share of the width. */
  radius?: number;
  topX?: number;
  topY?: number;
  bottomX?: number;
  bottomY?: number;
}

export interface MavlinkSender {
  systemId: number;
  componentId: number;
  /** Counts the component's messages, modulo 256. */
  sequence: number;
}

/** What the message says of a target; null: of none. Pure. */
export function trackingStatus(event: EventMessage | null): CameraTrackingImageStatus {
  if (event === null || event.type === 'end') {
    return { trackingStatus: TRACKING_STATUS.idle, trackingMode: TRACKING_MODE.none, targetData: TARGET_DATA.none };
  }
  const { pixel, image } = event;
  return {
    trackingStatus: TRACKING_STATUS.active | (event.track.misses > 0 ? TRACKING_STATUS.coasting : 0),
    trackingMode: TRACKING_MODE.point,
    targetData: TARGET_DATA.inStatus,
    // Our 0 is the centre of the first pixel, MAVLink's the left edge of the picture.
    pointX: share((pixel.x + 0.5) / image.width),
    pointY: share((pixel.y + 0.5) / image.height),
    radius: share((2 * event.extent) / image.width),
  };
}

/** The whole packet, without a signature. Pure. */
export function encodeTrackingStatus(message: CameraTrackingImageStatus, sender: MavlinkSender): Buffer {
  const { pointX, pointY, radius, topX, topY, bottomX, bottomY } = message;
  const payload = Buffer.alloc(31);
  // On the wire the larger types come first.
  for (const [i, value] of [pointX, pointY, radius, topX, topY, bottomX, bottomY].entries()) {
    payload.writeFloatLE(value ?? Number.NaN, 4 * i);
  }
  payload.writeUInt8(message.trackingStatus, 28);
  payload.writeUInt8(message.trackingMode, 29);
  payload.writeUInt8(message.targetData, 30);

  // Zeros at the end are not sent; the extension camera_device_id, 0 for a camera with a component id of its own, is one of them.
  let length = payload.length;
  while (length > 1 && payload[length - 1] === 0) length -= 1;
  const packet = Buffer.alloc(HEADER + length + 2);
  packet[0] = MAGIC;
  packet[1] = length;
  packet[4] = sender.sequence & 255;
  packet[5] = sender.systemId;
  packet[6] = sender.componentId;
  packet.writeUIntLE(MESSAGE_ID, 7, 3);
  payload.copy(packet, HEADER, 0, length);
  const crc = crcX25([CRC_EXTRA], crcX25(packet.subarray(1, HEADER + length)));
  packet.writeUInt16LE(crc, HEADER + length);
  return packet;
}

/** CRC-16/MCRF4XX. */
export function crcX25(bytes: Iterable<number>, start = 0xffff): number {
  let crc = start;
  for (const byte of bytes) {
    let t = byte ^ (crc & 255);
    t = (t ^ (t << 4)) & 255;
    crc = ((crc >> 8) ^ (t << 8) ^ (t << 3) ^ (t >> 4)) & 0xffff;
  }
  return crc;
}

function share(value: number): number {
  return Math.min(1, Math.max(0, value));
}
