import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { type CameraProfile, parseProfile } from './profile-schema.js';

// Beside this file both in src/ and in dist/: scripts/after-build.mjs copies it.
const BUNDLED = fileURLToPath(new URL('./profiles/', import.meta.url));
const MOST_FILES = 1000;
const LARGEST_FILE = 1 << 20;

/** A profile and where it is from. */
export interface StoredProfile {
  profile: CameraProfile;
  file: string;
  /** Of the user's folder, not of the package. */
  own: boolean;
}

/**
 * The profiles that come with the program and, from `directory`, the user's own: one `ID.json` each. One of the same name takes the
 * place of the program's.
 * @throws EdgeError PROFILE_INVALID, PROFILE_UNREADABLE
 */
export async function loadProfiles(directory?: string): Promise<StoredProfile[]> {
  const found = new Map<string, StoredProfile>();
  for (const [folder, own] of [
    [BUNDLED, false],
    ...(directory === undefined ? [] : [[directory, true] as const]),
  ] as const) {
    for (const file of await profileFiles(folder)) {
      const profile = await readProfile(file);
      found.set(profile.id, { profile, file, own });
    }
  }
  return [...found.values()].sort((a, b) => (a.profile.id < b.profile.id ? -1 : 1));
}

/** The profile of that name. Throws `EdgeError` `PROFILE_UNKNOWN`. */
export function profileNamed(id: string, profiles: readonly StoredProfile[]): StoredProfile {
  const found = profiles.find(({ profile }) => profile.id === id);
  if (found !== undefined) return found;
  throw new EdgeError('PROFILE_UNKNOWN', `there is no camera profile ${id}`, {
    hint: `there are: ${profiles.map(({ profile }) => profile.id).join(', ')}`,
    exitCode: EXIT.config,
  });
}

/** One profile from its file. Throws as `loadProfiles`. */
export async function readProfile(file: string): Promise<CameraProfile> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw unreadable(file, error);
  });
  if (text.length > LARGEST_FILE) throw invalid(file, 'it is longer than 1 MiB');
  let raw: unknown;
  try {
    raw = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw invalid(file, `it is no JSON: ${(error as Error).message.replaceAll(/\s+/g, ' ')}`, error);
  }
  // Editors find the schema by this key; it says nothing of the camera.
  if (typeof raw === 'object' && raw !== null && '$schema' in raw) delete raw.$schema;
  const profile = parseProfile(raw, file);
  const stem = path.basename(file, '.json');
  if (profile.id !== stem) throw invalid(file, `id: expected ${stem}, the name of the file, got ${profile.id}`);
  return profile;
}

async function profileFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw unreadable(folder, error);
  });
  const files = names.filter((name) => name.endsWith('.json') && !name.startsWith('.')).sort();
  if (files.length > MOST_FILES) throw invalid(folder, `it holds ${files.length} profiles; ${MOST_FILES} are read`);
  return files.map((name) => path.join(folder, name));
}

function unreadable(file: string, cause: unknown): EdgeError {
  return new EdgeError('PROFILE_UNREADABLE', `${file}: cannot be read: ${errno(cause) ?? String(cause)}`, {
    hint: 'check profilesDirectory in the configuration, and who may read it',
    exitCode: EXIT.config,
    cause,
  });
}

function invalid(file: string, what: string, cause?: unknown): EdgeError {
  return new EdgeError('PROFILE_INVALID', `${file} is no camera profile: ${what}`, {
    hint: 'docs/schemas/camera-profile.schema.json describes every field, docs/cameras.md shows an example',
    exitCode: EXIT.config,
    cause,
  });
}
