/** What `/etc/nv_tegra_release` says of Jetson Linux (L4T). */
export interface TegraRelease {
  /** `36.4.3`: release and revision. */
  l4t: string;
  /** Build number. */
  gcid?: string;
  /** `generic`, `t186ref`. */
  board?: string;
  date?: string;
}

/**
 * Reads `/etc/nv_tegra_release`. Its first line is a comment:
 * `# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:51:37 UTC 2025`.
 */
export function parseTegraRelease(text: string): TegraRelease | undefined {
  const line = text.split('\n', 1)[0]!;
  const [, release, revision] = /\bR(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)/.exec(line) ?? [];
  if (release === undefined || revision === undefined) return undefined;
  const field = (name: string) => new RegExp(`\\b${name}:\\s*([^,]+?)\\s*(?:,|$)`).exec(line)?.[1];
  const gcid = field('GCID');
  const board = field('BOARD');
  const date = field('DATE');
  return {
    l4t: `${release}.${revision}`,
    ...(gcid !== undefined && { gcid }),
    ...(board !== undefined && { board }),
    ...(date !== undefined && { date }),
  };
}

/** What a JetPack brings, from NVIDIA's release notes. */
export interface JetPack {
  /** `6.2`. */
  version: string;
  /** Major and minor versions of what it installs. */
  cuda: string;
  tensorrt: string;
  ubuntu: string;
}

// The longest prefix of the L4T version wins. https://developer.nvidia.com/embedded/jetpack-archive
const JETPACKS: readonly (readonly [l4t: string, jetpack: JetPack])[] = [
  ['32', { version: '4', cuda: '10.2', tensorrt: '8.2', ubuntu: '18.04' }],
  ['34', { version: '5.0 DP', cuda: '11.4', tensorrt: '8.4', ubuntu: '20.04' }],
  ['35.1', { version: '5.0.2', cuda: '11.4', tensorrt: '8.4', ubuntu: '20.04' }],
  ['35.2', { version: '5.1', cuda: '11.4', tensorrt: '8.5', ubuntu: '20.04' }],
  ['35.3', { version: '5.1.1', cuda: '11.4', tensorrt: '8.5', ubuntu: '20.04' }],
  ['35.4', { version: '5.1.2', cuda: '11.4', tensorrt: '8.5', ubuntu: '20.04' }],
  ['35.5', { version: '5.1.3', cuda: '11.4', tensorrt: '8.5', ubuntu: '20.04' }],
  ['35.6', { version: '5.1.4 or later', cuda: '11.4', tensorrt: '8.5', ubuntu: '20.04' }],
  ['36.2', { version: '6.0 DP', cuda: '12.2', tensorrt: '8.6', ubuntu: '22.04' }],
  ['36.3', { version: '6.0', cuda: '12.2', tensorrt: '8.6', ubuntu: '22.04' }],
  ['36.4', { version: '6.2.1', cuda: '12.6', tensorrt: '10.3', ubuntu: '22.04' }],
  ['36.4.0', { version: '6.1', cuda: '12.6', tensorrt: '10.3', ubuntu: '22.04' }],
  ['36.4.3', { version: '6.2', cuda: '12.6', tensorrt: '10.3', ubuntu: '22.04' }],
  ['36.5', { version: '6.2.2', cuda: '12.6', tensorrt: '10.3', ubuntu: '22.04' }],
  ['38.2', { version: '7.0', cuda: '13.0', tensorrt: '10.13', ubuntu: '24.04' }],
  ['38.4', { version: '7.1', cuda: '13.0', tensorrt: '10.13', ubuntu: '24.04' }],
  ['39', { version: '7.2 or later', cuda: '13.2', tensorrt: '10.16', ubuntu: '24.04' }],
];

/** The JetPack that an L4T version belongs to; undefined for one that is not in the table. */
export function jetpackOf(l4t: string): JetPack | undefined {
  let best: readonly [string, JetPack] | undefined;
  for (const entry of JETPACKS) {
    const [prefix] = entry;
    if (l4t !== prefix && !l4t.startsWith(`${prefix}.`)) continue;
    if (best === undefined || prefix.length > best[0].length) best = entry;
  }
  return best?.[1];
}
