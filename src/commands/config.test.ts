import { readdir, readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { asyncApiDocument } from '../alerts/asyncapi.js';
import { allSchemas, schemaText } from './config.js';

const FOLDER = new URL('../../docs/schemas/', import.meta.url);

describe('docs/schemas', () => {
  it.each(Object.entries(allSchemas()))('%s is what `npm run schemas` writes now', async (stem, schema) => {
    expect(await readFile(new URL(`${stem}.schema.json`, FOLDER), 'utf8')).toBe(schemaText(schema));
  });

  it('holds nothing else', async () => {
    const expected = Object.keys(allSchemas()).map((stem) => `${stem}.schema.json`);
    expect((await readdir(FOLDER)).sort()).toEqual(expected.sort());
  });
});

describe('docs/asyncapi.json', () => {
  it('is what `npm run schemas` writes now', async () => {
    const file = new URL('../../docs/asyncapi.json', import.meta.url);
    expect(await readFile(file, 'utf8')).toBe(schemaText(asyncApiDocument()));
  });
});
