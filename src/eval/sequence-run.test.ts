import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { BUNDLED_MANIFEST, readManifest } from '../detect/manifest.js';
import { runSequences, syntheticSequences } from './sequence-run.js';

test('a model without a file for the second size: that is the error', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'irst-sequence-'));
  try {
    const { blocked: _, ...manifest } = await readManifest(BUNDLED_MANIFEST);
    const files = manifest.files.filter((f) => f.width === 160 && f.precision === 'fp32');
    for (const { file } of files) await copyFile(path.join(path.dirname(BUNDLED_MANIFEST), file), path.join(dir, file));
    const file = path.join(dir, 'manifest.json');
    await writeFile(file, JSON.stringify({ ...manifest, files }));
    const sizes = [
      { width: 160, height: 120 },
      { width: 320, height: 256 },
    ];
    const sequences = sizes.flatMap((size) => syntheticSequences({ ...size, frames: 2 }, 1));
    const detector = { manifest: file, precision: 'fp32', threads: 1 } as const;
    await expect(runSequences(sequences, { detector, tracker: {}, radius: 5 })).rejects.toMatchObject({
      code: 'MODEL_NO_SIZE',
    });
  } finally {
    await rm(dir, { recursive: true });
  }
});
