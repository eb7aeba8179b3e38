import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parsePublicKey, parseSignature, verifySignature } from './minisign.js';

const read = (name: string) => readFileSync(new URL(`../../test/fixtures/minisign/${name}`, import.meta.url), 'utf8');
const content = Buffer.from(read('signed.txt'));
const key = parsePublicKey(read('key.pub'))!;
const prehashed = read('prehashed.minisig');

describe('signatures that minisign 0.11 made', () => {
  it('hold, in both forms', () => {
    for (const [name, words] of [
      ['prehashed.minisig', 'trusted words'],
      ['legacy.minisig', 'legacy words'],
    ] as const) {
      const signature = parseSignature(read(name))!;
      expect(signature).toMatchObject({ keyId: key.id, trustedComment: words });
      expect(signature.prehashed).toBe(name.startsWith('pre'));
      expect(verifySignature(content, signature, key)).toBe(true);
    }
  });

  it('name their key as minisign does', () => {
    expect(key.id).toBe(/key ([0-9A-F]{16})/.exec(read('key.pub'))?.[1]);
    expect(parsePublicKey(read('key.pub').split('\n')[1]!)?.id).toBe(key.id);
  });

  it('do not hold for another key, other content, another comment, another algorithm', () => {
    const signature = parseSignature(prehashed)!;
    const other = parsePublicKey(read('other.pub'))!;
    expect(verifySignature(content, signature, other)).toBe(false);
    // A key that claims the id of the one that signed.
    expect(verifySignature(content, signature, { ...other, id: key.id })).toBe(false);
    for (let i = 0; i < content.length; i++) {
      const changed = Buffer.from(content);
      changed[i]! ^= 1;
      expect(verifySignature(changed, signature, key)).toBe(false);
    }
    expect(verifySignature(content, { ...signature, trustedComment: 'other words' }, key)).toBe(false);
    expect(verifySignature(content, { ...signature, prehashed: false }, key)).toBe(false);
  });

  it('do not hold with any bit changed', () => {
    const bytes = Buffer.from(prehashed.split('\n')[1]!, 'base64');
    for (let i = 10; i < bytes.length; i++) {
      const signature = parseSignature(prehashed)!;
      signature.signature[i - 10]! ^= 0x10;
      expect(verifySignature(content, signature, key)).toBe(false);
    }
  });
});

describe('what is no key or signature', () => {
  it('is refused', () => {
    const line = read('key.pub').split('\n')[1]!;
    for (const text of [
      '',
      'RW',
      line.slice(1),
      `${line}=`,
      `${line}\n${line}`,
      line.replace('RW', 'RV'),
      ` ${line} x`,
    ])
      expect(parsePublicKey(text), text).toBeUndefined();
    const lines = prehashed.trimEnd().split('\n');
    const broken = [
      '',
      lines.slice(0, 3).join('\n'),
      [...lines, 'more'].join('\n'),
      [lines[0], `${lines[1]}A`, lines[2], lines[3]].join('\n'),
      [lines[0], lines[1], 'comment: x', lines[3]].join('\n'),
      [lines[0], lines[1], lines[2], 'AAAA'].join('\n'),
      [lines[0], lines[3], lines[2], lines[1]].join('\n'),
      `${prehashed}${'x'.repeat(20_000)}`,
    ];
    for (const text of broken) expect(parseSignature(text), text.slice(0, 80)).toBeUndefined();
  });
});
