import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const at = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

/** Of the daemon, not of what it may do: how it is started, watched, stopped and logged. */
const ITS_OWN =
  /^(Type|NotifyAccess|Exec\w+|UnsetEnvironment|Timeout\w+|WatchdogSec|KillMode|Restart\w*|RuntimeDirectory\w*|Standard\w+|Syslog\w+|Log\w+|TasksMax|OOMScoreAdjust)=/;

/** The options that the lines in docs/doctor.md make of these files, in `systemctl cat`'s order. */
async function options(unit: string, files: string[]): Promise<string[]> {
  const text = await readFile(at('docs/doctor.md'), 'utf8');
  const lines = /```bash\n(unit=[\s\S]*?)sudo systemd-run/.exec(text)?.[1]?.split('\n').slice(1).join('\n');
  expect(lines).toBeDefined();
  const script = `unit=$1; shift; files=("$@"); systemctl() { command cat "\${files[@]}"; }\n${lines}\nprintf '%s\\n' "\${as[@]}"`;
  const { stdout } = await promisify(execFile)('bash', ['-ec', script, 'bash', unit, ...files.map(at)]);
  return stdout.trimEnd().split('\n');
}

/** What they should make of a unit: every setting of its service but the daemon's own. */
async function expected(file: string, instance: string): Promise<string[]> {
  const service = (await readFile(at(file), 'utf8'))
    .split(/^\[/m)
    .find((part) => part.startsWith('Service]')) as string;
  return service
    .split('\n')
    .filter((line) => /^[A-Z]\w+=/.test(line) && !ITS_OWN.test(line))
    .flatMap((line) => {
      const [key, value] = line.replaceAll('%i', instance).replaceAll('%C', '/var/cache').split(/=(.*)/s, 2);
      return (key?.startsWith('IPAddress') ? (value as string).split(' ') : [value]).map((one) => `-p${key}=${one}`);
    });
}

test.each([
  ['irst-edge', 'systemd/irst-edge.service', 'irst-edge'],
  ['irst-edge@mast', 'systemd/irst-edge@.service', 'mast'],
])('the doctor as %s: every setting of the sandbox', async (unit, file, instance) => {
  const made = await options(unit, [file]);
  expect(made).toEqual(await expected(file, instance));
  expect(made).toContain('-pIPAddressAllow=localhost');
  expect(made.length).toBeGreaterThan(40);
});

test('and of the drop-ins', async () => {
  const dropIns = ['systemd/drop-ins/gpu-nvidia.conf', 'systemd/drop-ins/network-any.conf'];
  const made = await options('irst-edge', ['systemd/irst-edge.service', ...dropIns]);
  expect(made.slice(-2)).toEqual(['-pIPAddressDeny=', '-pIPAddressAllow=']);
  expect(made).toEqual(expect.arrayContaining(['-pDeviceAllow=char-nvidia* rw', '-pRestrictRealtime=no']));
});
