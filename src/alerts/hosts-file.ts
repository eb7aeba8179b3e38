import { isIP } from 'node:net';

/** Addresses that a hosts file (hosts(5)) gives for a name, in its order. Lines that cannot be read count as comments. */
export function addressesIn(hosts: string, name: string): string[] {
  const wanted = plainName(name);
  const found = hosts.split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    return isIP(address) !== 0 && names.some((n) => plainName(n) === wanted) ? [address] : [];
  });
  return [...new Set(found)];
}

/** As names are compared: without regard to case, and without the dot of the root. */
export function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
