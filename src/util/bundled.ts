import { fileURLToPath } from 'node:url';

/** Manifest of the model that ships with the program. */
export const BUNDLED_MANIFEST = fileURLToPath(new URL('../../models/manifest.json', import.meta.url));
