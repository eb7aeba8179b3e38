const LONGEST_HEAD = 1000;

/** What a file has at a place, one character a byte. TIFF is of either byte order, with offsets of 32 or (BigTIFF) 64 bits. */
const SIGNS: readonly [format: string, at: number, bytes: string][] = [
  ['png', 0, '\x89PNG\r\n\x1a\n'],
  ['tiff', 0, 'II*\0'],
  ['tiff', 0, 'MM\0*'],
  ['tiff', 0, 'II+\0'],
  ['tiff', 0, 'MM\0+'],
  ['jpeg', 0, '\xff\xd8\xff'],
  ['gif', 0, 'GIF8'],
  ['webp', 8, 'WEBP'],
  ['heif', 4, 'ftyp'],
];

/** The format of a picture, where it is a common one; told without a decoder, so that none is given what it should not read. */
export function imageFormat(file: Buffer): string | undefined {
  const head = file.toString('latin1', 0, LONGEST_HEAD);
  const found = SIGNS.find(([, at, bytes]) => head.startsWith(bytes, at))?.[0];
  return found ?? (/^(?:\xef\xbb\xbf)?\s*</.test(head) && /<svg/i.test(head) ? 'svg' : undefined);
}
