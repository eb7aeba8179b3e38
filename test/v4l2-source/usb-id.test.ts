import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { describeDevice } from '../../src/capture/device.js';
import { type FakeDeviceOptions, loadNative } from '../../src/native.js';
import { Y16 } from '../fakes/fake-camera.js';
import { FakeSource } from '../fakes/fake-source.js';

let sysfs: string;
beforeEach(() => {
  sysfs = mkdtempSync(path.join(tmpdir(), 'irst-sysfs-'));
  mkdirSync(path.join(sysfs, 'class/video4linux'), { recursive: true });
});
afterEach(() => rmSync(sysfs, { recursive: true }));

/** As the kernel has it: the node's `device` is the USB interface, and the ids lie above it. */
function addNode(name: string, port: string, id: string): void {
  const usb = path.join(sysfs, 'devices/usb1', port);
  const node = path.join(usb, `${port}:1.0/video4linux`, name);
  mkdirSync(node, { recursive: true });
  symlinkSync(path.join(usb, `${port}:1.0`), path.join(node, 'device'));
  symlinkSync(node, path.join(sysfs, 'class/video4linux', name));
  writeFileSync(path.join(usb, 'idVendor'), `${id.slice(0, 4)}\n`);
  writeFileSync(path.join(usb, 'idProduct'), `${id.slice(5)}\n`);
}

test('the first capture node with that id, by its number', () => {
  addNode('video10', '1-2', '1e4e:0100');
  addNode('video2', '1-2', '1e4e:0100');
  addNode('video3', '1-1', '1e4e:0100');
  addNode('video0', '1-4', '046d:0825');
  const asked: string[] = [];
  const { FakeDevice, NativeCamera } = loadNative();
  const open = (node: string) => {
    asked.push(node);
    const options: FakeDeviceOptions = { ...Y16, path: node };
    // The first one is for metadata.
    if (node === '/dev/video2') options.deviceCaps = 0x0480_0000;
    return new NativeCamera(node, new FakeDevice(options));
  };
  expect(describeDevice('usb:1E4E:0100', { open, sysfs })).toMatchObject({ usbId: '1e4e:0100' });
  expect(asked).toEqual(['/dev/video2', '/dev/video3']);
});

test('a path has its USB id too, and the profile of that camera is chosen by it', async () => {
  addNode('video0', '1-2', '1e4e:0100');
  const sizes = [
    { width: 160, height: 122 },
    { width: 160, height: 120 },
  ];
  const it = new FakeSource({ card: 'UVC Camera', formats: [{ fourcc: 'Y16 ', sizes }] }, {}, sysfs);
  expect(await it.start()).toMatchObject({ profile: 'lepton-3-purethermal-telemetry', width: 160, height: 120 });
  await it.stop();
});

test('no camera with that id: waited for until there is one', async () => {
  const it = new FakeSource({}, { device: 'usb:1e4e:0100' }, sysfs);
  it.onSleep = (attempt) => attempt === 2 && addNode('video0', '1-2', '1e4e:0100');
  expect(await it.start()).toMatchObject({ width: 16 });
  expect(it.steps[1]).toMatchObject({ code: 'CAMERA_NOT_FOUND', reason: 'there is no camera usb:1e4e:0100' });
  await it.stop();
});
