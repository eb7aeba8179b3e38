import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { type CameraFormat, type CameraSize, loadNative, type NativeCamera } from '../native.js';
import { CameraError, cameraError, notCapture, notFound } from './camera-errors.js';
import { optionError } from './faults.js';
import type { DeviceDescription, DeviceSize } from './profile-match.js';

/** What a test replaces. */
export interface DeviceHooks {
  /** Opens a node. Throws a `NativeSystemError`. */
  open?: (path: string) => NativeCamera;
  /** Default `/sys`. */
  sysfs?: string;
}

const USB = /^usb:([0-9a-f]{4}):([0-9a-f]{4})$/i;

/** Throws `SOURCE_OPTIONS_INVALID` unless `device` is a path or `usb:VENDOR:PRODUCT`. */
export function checkDevice(device: string): void {
  if (USB.test(device)) return;
  const hint = 'Give a path such as /dev/video0 or /dev/v4l/by-id/..., or usb:1e4e:0100.';
  if (/^usb:/i.test(device)) throw optionError(`${device} is no USB id of four and four hexadecimal digits`, hint);
  if (!device.startsWith('/') || device.includes('\0')) throw optionError(`${device} is no device`, hint);
}

/** An open camera that captures, and what it says of itself. */
export interface OpenCamera {
  camera: NativeCamera;
  /** Of its node. */
  path: string;
  description: DeviceDescription;
}

/**
 * Opens the camera that `device` names. The caller closes it.
 * @throws CameraError CAMERA_NOT_FOUND, CAMERA_DENIED, CAMERA_BUSY, CAMERA_NOT_A_DEVICE, CAMERA_NOT_CAPTURE, CAMERA_GONE, CAMERA_FAILED
 */
export function openCamera(device: string, hooks: DeviceHooks = {}): OpenCamera {
  const nodes = nodesOf(device, hooks.sysfs ?? '/sys');
  let refusal: unknown;
  for (const node of nodes) {
    try {
      return openNode(node, hooks);
    } catch (error) {
      // Of the nodes of one camera the first may be for metadata.
      refusal ??= error;
      if (!(error instanceof CameraError && error.code === 'CAMERA_NOT_CAPTURE')) throw error;
    }
  }
  throw refusal ?? notFound(device);
}

/**
 * What the driver says of the camera that `device` names: for the choice of a profile. Takes nothing from a program that streams from it.
 * @throws as `openCamera`
 */
export function describeDevice(device: string, hooks: DeviceHooks = {}): DeviceDescription {
  const { camera, description } = openCamera(device, hooks);
  camera.close();
  return description;
}

function openNode(node: string, hooks: DeviceHooks): OpenCamera {
  let camera: NativeCamera | undefined;
  try {
    const open = hooks.open ?? ((name: string) => new (loadNative().NativeCamera)(name));
    camera = open(node);
    const { driver, card, busInfo, captures } = camera.capability();
    if (!captures) throw notCapture(node, card);
    const current = camera.getFormat();
    const formats = camera.formats().map(({ fourcc, sizes }: CameraFormat) => ({
      fourcc,
      // Not every driver lists its sizes: that of a video receiver is what its input sends, in any format. Asking for it shows the truth.
      sizes: sizes.length === 0 ? [{ width: current.width, height: current.height }] : sizes.map(sizeOf),
    }));
    const usbId = usbIdOf(node, hooks.sysfs ?? '/sys');
    return {
      camera,
      path: node,
      description: { driver, card, bus: busInfo, ...(usbId === undefined ? {} : { usbId }), formats },
    };
  } catch (error) {
    camera?.close();
    throw cameraError(error, node);
  }
}

function sizeOf(size: CameraSize): DeviceSize {
  const { type, minWidth, maxWidth, stepWidth, minHeight, maxHeight, stepHeight } = size;
  if (type === 'discrete') return { width: minWidth, height: minHeight };
  return { minWidth, maxWidth, stepWidth, minHeight, maxHeight, stepHeight };
}

function nodesOf(device: string, sysfs: string): string[] {
  const usb = USB.exec(device);
  if (usb === null) return [device];
  const id = `${usb[1]}:${usb[2]}`.toLowerCase();
  const folder = path.join(sysfs, 'class/video4linux');
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names
    .filter((name) => /^video\d+$/.test(name) && usbIdAt(path.join(folder, name)) === id)
    .map((name) => ({ number: Number(name.slice(5)), node: `/dev/${name}` }))
    .sort((a, b) => a.number - b.number)
    .map(({ node }) => node);
}

function usbIdOf(node: string, sysfs: string): string | undefined {
  let name: string;
  try {
    // A stable name is a link to the node.
    name = path.basename(realpathSync(node));
  } catch {
    name = path.basename(node);
  }
  return usbIdAt(path.join(sysfs, 'class/video4linux', name));
}

/** `device` is the USB interface; the ids belong to the device above it. */
function usbIdAt(folder: string): string | undefined {
  try {
    const above = path.dirname(realpathSync(path.join(folder, 'device')));
    const id = (name: string): string => readFileSync(path.join(above, name), 'utf8').trim().toLowerCase();
    const both = `${id('idVendor')}:${id('idProduct')}`;
    return /^[0-9a-f]{4}:[0-9a-f]{4}$/.test(both) ? both : undefined;
  } catch {
    return undefined;
  }
}
