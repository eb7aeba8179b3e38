import { describe, expect, it } from 'vitest';
import { addressesIn } from './hosts-file.js';

const HOSTS = [
  '127.0.0.1\tlocalhost',
  '::1     localhost ip6-localhost # the other one',
  '# 10.0.0.9 broker',
  '10.0.0.1 Broker.lan broker',
  '10.0.0.1 broker',
  'fe80::2%eth0 link',
  'nonsense broker',
  '10.0.0.3',
  '',
].join('\n');

describe('a hosts file', () => {
  it.each([
    ['localhost', ['127.0.0.1', '::1']],
    ['broker', ['10.0.0.1']],
    ['BROKER.LAN.', ['10.0.0.1']],
    ['link', ['fe80::2%eth0']],
    ['the', []],
    ['10.0.0.3', []],
    ['', []],
  ])('gives %j the addresses %j', (name, addresses) => {
    expect(addressesIn(HOSTS, name)).toEqual(addresses);
  });
});
