import type { EdgeError } from '../types/errors.js';
import { StateFile } from './state-file.js';

const FILE = 'announced.json';
/** Most topics that are remembered. */
const MOST = 8;

/**
 * Remembers in the state directory on which topics the device has announced itself, so that a later run can take back what the
 * configuration does not ask for any more. Without a directory nothing is remembered. Never rejects.
 */
export class Announced {
  readonly #file: StateFile | undefined;
  #topics: string[] = [];

  constructor(directory: string | undefined, onProblem: (error: EdgeError) => void) {
    this.#file = StateFile.in(directory, FILE, {
      hint: 'where outputs.homeAssistant is switched off later, the device stays in Home Assistant.',
      onProblem,
    });
  }

  /** What is announced from now on. Resolves with the topics to take back; `forget` each when that is done. */
  async now(topics: readonly string[]): Promise<string[]> {
    if (this.#file === undefined) return [];
    const before = await this.#read(this.#file);
    const old = before.filter((topic) => !topics.includes(topic));
    this.#topics = [...topics, ...old].slice(0, MOST);
    if (topics.some((topic) => !before.includes(topic))) await this.#save();
    return old;
  }

  /** The broker has taken it back. */
  async forget(topic: string): Promise<void> {
    if (!this.#topics.includes(topic)) return;
    this.#topics = this.#topics.filter((t) => t !== topic);
    await this.#save();
  }

  async #read(file: StateFile): Promise<string[]> {
    const topics = await file.read();
    // Damaged, or of another program: nothing that could be published to by mistake.
    return Array.isArray(topics) ? topics.filter(isDiscoveryTopic).slice(0, MOST) : [];
  }

  async #save(): Promise<void> {
    await this.#file?.save(() => (this.#topics.length === 0 ? undefined : this.#topics));
  }
}

function isDiscoveryTopic(topic: unknown): topic is string {
  return typeof topic === 'string' && /^[A-Za-z0-9_./-]{1,256}\/device\/[A-Za-z0-9_-]{1,256}\/config$/.test(topic);
}
