/**
 * Versions of installed packages out of `/var/lib/dpkg/status` (deb822, dpkg(1)): paragraphs separated by empty lines.
 *
 * @param wanted names, or patterns for names that carry a version (`libnvinfer10`)
 * @returns by name, only packages whose status is `install ok installed`
 */
export function parseDpkgStatus(text: string, wanted: readonly (string | RegExp)[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const paragraph of text.split(/\n{2,}/)) {
    const field = (name: string) => new RegExp(`^${name}: *(.*)$`, 'm').exec(paragraph)?.[1]?.trim();
    const name = field('Package');
    if (name === undefined) continue;
    if (!wanted.some((want) => (typeof want === 'string' ? want === name : want.test(name)))) continue;
    const version = field('Version');
    // A removed package may leave its configuration behind.
    if (version !== undefined && /^\w+ ok installed$/.test(field('Status') ?? '')) found.set(name, version);
  }
  return found;
}

/** `10.3.0` of `10.3.0.30-1+cuda12.5`: without epoch, Debian revision and what lies below the third number. */
export function shortVersion(version: string): string {
  const upstream = version.replace(/^\d+:/, '').replace(/-[^-]*$/, '');
  return /^\d+(\.\d+){0,2}/.exec(upstream)?.[0] ?? upstream;
}
