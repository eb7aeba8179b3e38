import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/test-deps.sh', import.meta.url));
const bin = mkdtempSync(join(tmpdir(), 'irst-bin-'));
afterAll(() => rmSync(bin, { recursive: true, force: true }));

const check = (env: NodeJS.ProcessEnv) =>
  spawnSync('/bin/bash', [script], { env: { IRST_EDGE_NO_APT: '1', ...env }, encoding: 'utf8', timeout: 20_000 });

describe('scripts/test-deps.sh', () => {
  it('is content here, where the other tests run', () => {
    expect(check({ PATH: process.env.PATH })).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });

  it('names what is missing and prints the command that installs it', () => {
    symlinkSync('/bin/true', join(bin, 'apt-get'));
    symlinkSync('/bin/true', join(bin, 'openssl'));
    symlinkSync('/bin/true', join(bin, 'shellcheck'));
    symlinkSync('/bin/true', join(bin, 'systemd-analyze'));
    const { status, stderr } = check({ PATH: bin });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^test-deps: missing: .*mosquitto_sub.* ffmpeg ffprobe \(IRST_EDGE_NO_APT=1\)$/m);
    expect(stderr).toMatch(
      /^Run: (sudo )?apt-get update && (sudo )?apt-get install -y --no-install-recommends .*mosquitto-clients .*ffmpeg$/m,
    );
  });

  it('names the packages where there is no apt-get', () => {
    const { status, stderr } = check({ PATH: join(bin, 'nothing') });
    expect(status).toBe(1);
    expect(stderr).toContain('Install with your package manager what Debian calls: ');
    expect(stderr).toContain('openssl');
  });
});
