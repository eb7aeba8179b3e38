// The kernel's test driver of V4L2: https://docs.kernel.org/admin-guide/media/vivid.html
import { readdirSync, readFileSync } from 'node:fs';
import { run, until } from './suite.mjs';

/**
 * Loads it with two devices: a webcam with a capture node, and an HDMI receiver and sender whose pictures can be looped.
 * @returns {Promise<{webcam: string, receiver: string, sender: string}>} the nodes
 */
export async function loadVivid({ errorInjection }) {
  await run('modprobe', [
    'vivid',
    'n_devs=2',
    'node_types=0x1,0x101',
    'num_inputs=1,1',
    'input_types=0x0,0x3',
    'num_outputs=1,1',
    'output_types=0x1,0x1',
    // The receiver can crop, and neither compose nor scale: a smaller format is the top left part of its picture.
    'ccs_cap_mode=-1,1',
    `no_error_inj=${errorInjection ? 0 : 1}`,
  ]);
  // Where there is udev, it may have the nodes open for a moment.
  await run('udevadm', ['settle']).catch(() => {});
  return until('three nodes of vivid', 20, () => {
    const named = Object.fromEntries(nodes().map(({ name, node }) => [name, node]));
    const webcam = named['vivid-000-vid-cap'];
    const receiver = named['vivid-001-vid-cap'];
    const sender = named['vivid-001-vid-out'];
    return webcam && receiver && sender ? { webcam, receiver, sender } : undefined;
  });
}

/** Works only while nobody has a node open and nothing of it is mapped. */
export async function unloadVivid() {
  await run('modprobe', ['-r', 'vivid']);
}

export function nodes() {
  const folder = '/sys/class/video4linux';
  return readdirSync(folder).map((node) => ({
    node: `/dev/${node}`,
    name: readFileSync(`${folder}/${node}/name`, 'utf8').trim(),
  }));
}

/** v4l2-ctl on a node; gives what it prints. */
export async function ctl(node, ...args) {
  const { stdout, stderr } = await run('v4l2-ctl', ['-d', node, ...args], { maxBuffer: 1 << 26 });
  return stdout + stderr;
}

/** Sets controls: `{test_pattern: 3}`. */
export const set = (node, controls) =>
  ctl(
    node,
    '--set-ctrl',
    Object.entries(controls)
      .map(([name, value]) => `${name}=${value}`)
      .join(','),
  );

/** Number of a menu item by its name. */
export async function menuItem(node, control, item) {
  const text = await ctl(node, '--list-ctrls-menus');
  const part = text.slice(text.search(new RegExp(`^\\s*${control} `, 'm')));
  const found = new RegExp(`^\\s*(\\d+): ${item}`, 'm').exec(part);
  if (found === null) throw new Error(`${control} has no ${item}: ${part.slice(0, 600)}`);
  return Number(found[1]);
}

/** The figures of v4l2-compliance's last line. */
export async function compliance(node) {
  const { stdout } = await run('v4l2-compliance', ['-d', node], { maxBuffer: 1 << 26 }).catch((error) => error);
  const total = /Total for .*: (\d+), Succeeded: (\d+), Failed: (\d+), Warnings: (\d+)/.exec(stdout);
  if (total === null) throw new Error(`v4l2-compliance says nothing: ${String(stdout).slice(-1000)}`);
  const [, tests, succeeded, failed, warnings] = total.map(Number);
  const failures = stdout.split('\n').filter((line) => /FAIL|fail:/.test(line));
  return { tests, succeeded, failed, warnings, failures };
}
