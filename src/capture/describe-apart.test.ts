import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { describeApart } from './describe-apart.js';

const folder = mkdtempSync(join(tmpdir(), 'irst-describe-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** An entry of another process with this code. */
function child(name: string, code: string): URL {
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, code);
  return pathToFileURL(file);
}

describe('a device, asked from another process', () => {
  const device = '/dev/video7';

  test('what it says, and what is wrong with it, come through', async () => {
    const says = child('says', 'process.stdout.write(JSON.stringify({ description: { card: process.argv[2] } }))');
    expect(await describeApart(device, { child: says })).toEqual({ card: device });
    const refuses = child(
      'refuses',
      `process.stdout.write(JSON.stringify({ error: { code: 'CAMERA_BUSY', message: 'in use', exitCode: 69 } }))`,
    );
    await expect(describeApart(device, { child: refuses })).rejects.toMatchObject({ code: 'CAMERA_BUSY' });
  });

  test('a driver that hangs, or ends the process, fails in time', async () => {
    // As deaf to everything as inside the kernel.
    const hangs = child('hangs', 'for (;;);');
    const started = performance.now();
    await expect(describeApart(device, { child: hangs, timeoutMs: 300 })).rejects.toMatchObject({
      code: 'CAMERA_FAILED',
      message: expect.stringContaining('does not answer within 0.3 s'),
    });
    expect(performance.now() - started).toBeLessThan(5000);
    const dies = child('dies', "process.kill(process.pid, 'SIGSEGV')");
    await expect(describeApart(device, { child: dies })).rejects.toMatchObject({ code: 'CAMERA_FAILED' });
  });
});
