import { readFileSync } from 'node:fs';

// One level below the package root both in src/ and in dist/.
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };

/** The version in package.json. */
export const VERSION: string = manifest.version;
