// npm run test:vm: capture on a real kernel. docs/testing-vm.md
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { writeClip } from './clip.mjs';
import { copyProject, main } from './harness.mjs';

await main({
  name: 'camera',
  title: 'irst-edge on a V4L2 device of a real kernel (vivid)',
  limitMs: 30 * 60_000,
  fill: async (tree) => {
    copyProject(path.join(tree, 'irst-edge'));
    await writeClip(path.join(tree, 'play'));
    const only = process.env.VM_ONLY ? `export VM_ONLY='${process.env.VM_ONLY}'\n` : '';
    writeFileSync(
      path.join(tree, 'run'),
      `${only}export PATH=/payload/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
ip link set lo up
modprobe virtio_console
node /payload/test/camera.mjs
`,
    );
  },
});
