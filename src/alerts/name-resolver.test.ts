import { createSocket } from 'node:dgram';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type LookupFunction } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addressesIn } from './hosts-file.js';
import { addressesOf, NameResolver, type NameResolverOptions } from './name-resolver.js';

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'irst-names-'));
  cleanup.push(() => rm(folder, { recursive: true }));
});

type Answer = { a?: string; aaaa?: string } | 'silent' | 'unknown';

interface NameServer {
  address: string;
  /** `name A`, in the order in which they came. */
  asked: string[];
  /** What it says from now on, of every name. */
  answer: Answer;
}

/** A name server on a real socket; what it has no address for, it says so (RFC 1035, section 4.1). */
async function nameServer(answer: Answer): Promise<NameServer> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  cleanup.push(() => socket.close());
  const server: NameServer = { address: `127.0.0.1:${socket.address().port}`, asked: [], answer };
  socket.on('message', (query, { port }) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] as number; length > 0; length = query[at] as number) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const type = query.readUInt16BE(at + 1) === 28 ? 'aaaa' : 'a';
    server.asked.push(`${labels.join('.')} ${type.toUpperCase()}`);
    const now = server.answer;
    if (now === 'silent') return;
    const question = query.subarray(12, at + 5);
    const text = now === 'unknown' ? undefined : now[type];
    const data =
      text === undefined
        ? Buffer.alloc(0)
        : type === 'a'
          ? Buffer.from(text.split('.').map(Number))
          : Buffer.concat([Buffer.alloc(15), Buffer.from([1])]);
    const record = Buffer.from([0xc0, 12, 0, type === 'a' ? 1 : 28, 0, 1, 0, 0, 0, 60, 0, data.length]);
    const header = Buffer.from([...query.subarray(0, 2), 0x81, now === 'unknown' ? 0x83 : 0x80]);
    const counts = Buffer.from([0, 1, 0, text === undefined ? 0 : 1, 0, 0, 0, 0]);
    socket.send(
      Buffer.concat([header, counts, question, ...(text === undefined ? [] : [record, data])]),
      port,
      '127.0.0.1',
    );
  });
  return server;
}

/** Stands for getent: prints `output` or waits, and writes down its argument. */
async function system(script: string): Promise<{ program: [string]; asked(): Promise<string[]> }> {
  const file = join(folder, 'system');
  const log = join(folder, 'asked');
  await writeFile(log, '');
  await writeFile(file, `#!/bin/sh\necho "$*" >> ${log}\n${script}\n`);
  await chmod(file, 0o755);
  return { program: [file], asked: async () => (await readFile(log, 'utf8')).split('\n').slice(0, -1) };
}

/** Its defaults touch neither this machine's files nor its network. */
function resolver(options: NameResolverOptions): NameResolver {
  const made = new NameResolver({ hostsFile: '/dev/null', program: ['false'], ...options });
  cleanup.push(() => made.stop());
  return made;
}

function find(
  names: NameResolver,
  hostname: string,
  options: LookupOptions | number = { all: true },
): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    const callback: Parameters<LookupFunction>[2] = (error, address, family) => {
      if (error !== null) reject(error);
      else resolve(typeof address === 'string' ? [{ address, family: family as number }] : address);
    };
    names.lookup(hostname, options, callback);
  });
}

const addresses = async (...args: Parameters<typeof find>) => (await find(...args)).map(({ address }) => address);
const refused = (code: string) => expect.objectContaining({ code });

describe('literals', () => {
  it.each([
    ['192.0.2.1', 4],
    ['::1', 6],
    ['fe80::1%eth0', 6],
  ])('%s is an address, whatever family is asked for', async (address, family) => {
    const names = resolver({ servers: [] });
    expect(names.knows(address)).toBe(true);
    expect(await find(names, address, { family: 4 })).toEqual([{ address, family }]);
    expect(await find(names, address, 6)).toEqual([{ address, family }]);
    names.stop();
    expect(await find(names, address)).toEqual([{ address, family }]);
  });
});

describe('the hosts file', () => {
  it('is asked first, and localhost needs none', async () => {
    const hostsFile = join(folder, 'hosts');
    await writeFile(hostsFile, '10.0.0.1 broker\n2001:db8::1 broker\n');
    const server = await nameServer('silent');
    const names = resolver({ hostsFile, servers: [server.address] });
    expect(await addresses(names, 'Broker')).toEqual(['10.0.0.1', '2001:db8::1']);
    expect(await addresses(names, 'broker', { family: 6 })).toEqual(['2001:db8::1']);
    expect(await addresses(names, 'broker', { family: 'IPv4', all: true })).toEqual(['10.0.0.1']);
    expect(await addresses(names, 'localhost', 4)).toEqual(['127.0.0.1']);
    await rm(hostsFile);
    expect(await addresses(names, 'a.localhost')).toEqual(['127.0.0.1', '::1']);
    expect(server.asked).toEqual([]);
  });

  it("knows this machine's localhost", async () => {
    expect(await addresses(new NameResolver(), 'localhost', 4)).toEqual(['127.0.0.1']);
  });
});

describe('the name servers', () => {
  it('are asked for a full name, once while the answer is fresh', async () => {
    const server = await nameServer({ a: '192.0.2.7', aaaa: '::1' });
    const names = resolver({ servers: [server.address] });
    const many = Array.from({ length: 50 }, () => addresses(names, 'broker.example'));
    for (const found of await Promise.all(many)) expect(found).toEqual(['192.0.2.7', '::1']);
    expect(await addresses(names, 'BROKER.example.', 4)).toEqual(['192.0.2.7']);
    expect(server.asked.sort()).toEqual(['broker.example A', 'broker.example AAAA']);
  });

  it('may know one family only', async () => {
    const server = await nameServer({ aaaa: '::1' });
    const names = resolver({ servers: [server.address] });
    expect(await addresses(names, 'six.example')).toEqual(['::1']);
    await expect(find(names, 'six.example', 4)).rejects.toEqual(refused('ENOTFOUND'));
  });

  it('are asked again for an older answer, which serves when they have become silent', async () => {
    const server = await nameServer({ a: '192.0.2.1' });
    const names = resolver({ servers: [server.address], freshMs: 0, patienceMs: 800, limitMs: 1_200 });
    expect(await addresses(names, 'broker.example')).toEqual(['192.0.2.1']);
    server.answer = { a: '192.0.2.2' };
    expect(await addresses(names, 'broker.example')).toEqual(['192.0.2.2']);
    server.answer = 'silent';
    let start = performance.now();
    expect(await addresses(names, 'broker.example')).toEqual(['192.0.2.2']);
    expect(performance.now() - start).toBeGreaterThan(750);
    await delay(1_000);
    // Only the first waits.
    start = performance.now();
    expect(await addresses(names, 'broker.example')).toEqual(['192.0.2.2']);
    expect(performance.now() - start).toBeLessThan(700);
  });

  it('that are silent are left alone for a while', async () => {
    const server = await nameServer('silent');
    const names = resolver({ servers: [server.address], limitMs: 100, holdMs: 1_500 });
    await expect(find(names, 'dead.example')).rejects.toEqual(refused('EAI_AGAIN'));
    const before = server.asked.length;
    await expect(find(names, 'dead.example')).rejects.toEqual(refused('EAI_AGAIN'));
    expect(server.asked.length).toBe(before);
    server.answer = { a: '192.0.2.1' };
    await delay(1_600);
    expect(await addresses(names, 'dead.example')).toEqual(['192.0.2.1']);
  });

  it('that are silent for one name do not hold up another, however many wait', async () => {
    const server = await nameServer('silent');
    const names = resolver({ servers: [server.address] });
    const waiting = Promise.allSettled(Array.from({ length: 256 }, () => find(names, 'dead.example')));
    const start = performance.now();
    expect(await addresses(names, 'localhost', 4)).toEqual(['127.0.0.1']);
    expect(performance.now() - start).toBeLessThan(1_000);
    while (server.asked.length < 2) await delay(5);
    expect(server.asked.sort()).toEqual(['dead.example A', 'dead.example AAAA']);
    names.stop();
    await waiting;
  });
});

describe('the system', () => {
  it.each(['roof', 'roof.local'])('is asked for %s, and no name server', async (name) => {
    const server = await nameServer('silent');
    const { program, asked } = await system(
      'printf "192.0.2.5  STREAM roof\\n192.0.2.5  DGRAM\\nfe80::5%%eth0 RAW\\n"',
    );
    const names = resolver({ servers: [server.address], program });
    expect(await addresses(names, name)).toEqual(['192.0.2.5', 'fe80::5%eth0']);
    expect(await asked()).toEqual([`-- ${name}`]);
    expect(server.asked).toEqual([]);
  });

  it('is asked for what the name servers do not know, and its no is one', async () => {
    const server = await nameServer('unknown');
    const { program, asked } = await system('exit 2');
    const names = resolver({ servers: [server.address], program });
    await expect(find(names, 'roof.example')).rejects.toEqual(refused('ENOTFOUND'));
    await expect(find(names, 'roof.local')).rejects.toEqual(refused('ENOTFOUND'));
    expect(await asked()).toEqual(['-- roof.example', '-- roof.local']);
    expect(server.asked.sort()).toEqual(['roof.example A', 'roof.example AAAA']);
  });

  it('may lack the program', async () => {
    const server = await nameServer({ a: '192.0.2.1' });
    const names = resolver({ servers: [server.address], program: [join(folder, 'missing')] });
    expect(await addresses(names, 'roof')).toEqual(['192.0.2.1']);
  });

  it('does not answer in time', async () => {
    const { program } = await system('exec sleep 60');
    const names = resolver({ program, limitMs: 200 });
    const start = performance.now();
    await expect(find(names, 'roof.local')).rejects.toEqual(refused('EAI_AGAIN'));
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  it('gives what getent prints', () => {
    expect(addressesOf('::1             STREAM localhost\n::1             DGRAM  \n127.0.0.1 RAW\nno\n')).toEqual([
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ]);
  });

  it('is asked by the real getent', async ({ skip }) => {
    // Most machines have their own name in /etc/hosts, which only getent reads here.
    const hosts = await readFile('/etc/hosts', 'utf8');
    if (addressesIn(hosts, hostname()).length === 0) skip();
    const names = resolver({ servers: [], program: ['getent', 'ahosts'] });
    expect(await addresses(names, hostname())).not.toEqual([]);
  });
});

describe('the end', () => {
  it.each([
    ['a name server', 'dead.example', undefined],
    ['the system', 'dead.local', 'exec sleep 60'],
  ])('cancels what %s does not answer', async (_, name, script) => {
    const server = await nameServer('silent');
    const program = script === undefined ? undefined : (await system(script)).program;
    const names = resolver({ servers: [server.address], ...(program && { program }) });
    const pending = expect(find(names, name)).rejects.toEqual(refused('EAI_AGAIN'));
    await delay(100);
    const start = performance.now();
    names.stop();
    names.stop();
    await pending;
    expect(performance.now() - start).toBeLessThan(1_000);
    const before = server.asked.length;
    await expect(find(names, name)).rejects.toEqual(refused('EAI_AGAIN'));
    await expect(find(names, 'other.example')).rejects.toEqual(refused('EAI_AGAIN'));
    expect(server.asked.length).toBe(before);
  });

  it('leaves old answers, at once, and lets end what is under way', async () => {
    const server = await nameServer({ a: '192.0.2.1' });
    const names = resolver({ servers: [server.address], freshMs: 0, patienceMs: 20_000 });
    expect(names.knows('old.example')).toBe(false);
    await find(names, 'old.example');
    expect(names.knows('OLD.example.')).toBe(true);
    server.answer = 'silent';
    const old = addresses(names, 'old.example');
    const young = expect(find(names, 'young.example')).rejects.toEqual(refused('EAI_AGAIN'));
    await delay(50);
    const start = performance.now();
    names.onlyKnown();
    expect(await old).toEqual(['192.0.2.1']);
    expect(await addresses(names, 'old.example')).toEqual(['192.0.2.1']);
    expect(performance.now() - start).toBeLessThan(1_000);
    expect(names.knows('young.example')).toBe(false);
    names.stop();
    await young;
    expect(await addresses(names, 'old.example')).toEqual(['192.0.2.1']);
  });
});

describe('a socket', () => {
  it('connects with it, over the family that works', async () => {
    const server = createServer((socket) => socket.end());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanup.push(() => server.close());
    const hostsFile = join(folder, 'hosts');
    await writeFile(hostsFile, '::1 both\n127.0.0.1 both\n');
    const { port } = server.address() as { port: number };
    const socket = connect({ host: 'both', port, lookup: resolver({ hostsFile }).lookup });
    await once(socket, 'connect');
    expect(socket.remoteAddress).toBe('127.0.0.1');
    socket.destroy();
  });
});
