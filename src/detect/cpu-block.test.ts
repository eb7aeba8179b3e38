import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { cpuBlock } from './cpu-block.js';

it('is what the flags of this CPU let expect', async () => {
  const text = await readFile('/proc/cpuinfo', 'utf8');
  const flags = new Set(/^flags\s*:(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/));
  const block = await cpuBlock();
  // Other architectures have blocks in some builds of the library only.
  if (process.arch === 'x64') expect(block).toBe(flags.has('avx512f') ? 16 : 8);
  else expect([undefined, 8, 16]).toContain(block);
});
