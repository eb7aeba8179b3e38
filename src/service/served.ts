import { createHash } from 'node:crypto';
import type { CameraConfig } from '../config/schema.js';
import type { EdgeError } from '../types/errors.js';
import { StateFile } from './state-file.js';

const FILE = 'served.json';
/** Most cameras that are remembered, the newest. */
const MOST = 32;

/**
 * Remembers in the state directory which cameras have served, each as it was configured: one that did is no wrong configuration, whatever
 * its device says at the next start (its numbers swapped, its pipeline not set up yet). Without a directory nothing is remembered. Never
 * rejects.
 */
export class Served {
  readonly #file: StateFile | undefined;
  #marks: string[] = [];

  constructor(directory: string | undefined, onProblem: (error: EdgeError) => void) {
    this.#file = StateFile.in(directory, FILE, {
      hint: 'a camera that does not fit at the next start ends the program instead of being waited for.',
      onProblem,
    });
  }

  async read(): Promise<void> {
    const marks: unknown = await this.#file?.read();
    if (Array.isArray(marks)) this.#marks = marks.filter((mark) => typeof mark === 'string').slice(-MOST);
  }

  has(camera: CameraConfig): boolean {
    return this.#marks.includes(markOf(camera));
  }

  async add(camera: CameraConfig): Promise<void> {
    if (this.#file === undefined || this.has(camera)) return;
    this.#marks = [...this.#marks, markOf(camera)].slice(-MOST);
    await this.#file.save(() => this.#marks);
  }
}

/** Of a camera with its source as it is configured; a hash, since an address may hold a password. */
function markOf({ id, source }: CameraConfig): string {
  return createHash('sha256')
    .update(JSON.stringify([id, source]))
    .digest('hex')
    .slice(0, 32);
}
