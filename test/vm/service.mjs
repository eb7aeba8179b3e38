// npm run test:vm:service: the Debian package and its unit under systemd. docs/testing-vm.md
// --deb FILE: a package that is there already; default: scripts/build-deb makes it.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { writeClip } from './clip.mjs';
import { CannotRun, main, ROOT } from './harness.mjs';

/** The package, and the same one with a higher version to upgrade to. */
function packages(to) {
  const given = process.argv[process.argv.indexOf('--deb') + 1];
  const work = mkdtempSync(path.join(tmpdir(), 'irst-deb-'));
  try {
    let deb = process.argv.includes('--deb') ? path.resolve(given ?? '') : undefined;
    if (deb === undefined) {
      execFileSync('bash', ['scripts/build-deb', '--arch', 'amd64', '--fast', '--out', work], {
        cwd: ROOT,
        stdio: 'inherit',
      });
      deb = path.join(
        work,
        readdirSync(work).find((name) => name.endsWith('_amd64.deb')),
      );
    }
    if (!existsSync(deb)) throw new CannotRun(`there is no package ${deb}`);
    const tree = path.join(work, 'tree');
    execFileSync('dpkg-deb', ['-R', deb, tree]);
    // The same contents without compression: to unpack it in the emulated machine takes minutes.
    const pack = (name) =>
      execFileSync('dpkg-deb', ['-Znone', '--root-owner-group', '-b', tree, path.join(to, name)], { stdio: 'ignore' });
    pack('irst-edge.deb');
    const control = path.join(tree, 'DEBIAN/control');
    writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: (.*)$/m, 'Version: $1+next'));
    pack('irst-edge-next.deb');
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

await main({
  name: 'service',
  title: 'irst-edge as a service: Debian package, systemd, a vivid camera, mosquitto',
  limitMs: 40 * 60_000,
  systemd: true,
  fill: async (tree) => {
    packages(tree);
    await writeClip(path.join(tree, 'play'));
    const only = process.env.VM_ONLY ? `export VM_ONLY='${process.env.VM_ONLY}'\n` : '';
    writeFileSync(
      path.join(tree, 'run'),
      `${only}export HOME=/root\nexec /payload/bin/node /payload/test/service.mjs\n`,
    );
  },
});
