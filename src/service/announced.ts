import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { makeFolders } from '../util/folders.js';

const FILE = 'announced.json';
/** Most topics that are remembered. */
const MOST = 8;
const LONGEST = 4096;

/**
 * Remembers in the state directory on which topics the device has announced itself, so that a later run can take back what the
 * configuration does not ask for any more. Without a directory nothing is remembered. Never rejects.
 */
export class Announced {
  readonly #file: string | undefined;
  #topics: string[] = [];
  /** One write after the other. */
  #work: Promise<void> = Promise.resolve();

  constructor(
    directory: string | undefined,
    private readonly onProblem: (error: EdgeError) => void,
  ) {
    this.#file = directory === undefined ? undefined : join(directory, FILE);
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

  async #read(file: string): Promise<string[]> {
    try {
      const text = await readFile(file, 'utf8');
      const topics: unknown = text.length > LONGEST ? undefined : JSON.parse(text);
      // Damaged, or of another program: nothing that could be published to by mistake.
      return Array.isArray(topics) ? topics.filter(isDiscoveryTopic).slice(0, MOST) : [];
    } catch (error) {
      if (errno(error) !== 'ENOENT' && !(error instanceof SyntaxError)) this.#failed('read', error);
      return [];
    }
  }

  #save(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return Promise.resolve();
    this.#work = this.#work.then(async () => {
      try {
        if (this.#topics.length === 0) return await rm(file, { force: true });
        await makeFolders(dirname(file));
        const draft = `${file}.new`;
        await writeFile(draft, `${JSON.stringify(this.#topics)}\n`);
        await rename(draft, file);
      } catch (error) {
        this.#failed('written', error);
      }
    });
    return this.#work;
  }

  #failed(what: string, cause: unknown): void {
    const why = errno(cause) ?? String(cause);
    this.onProblem(
      new EdgeError('STATE_NOT_WRITTEN', `${this.#file} cannot be ${what}: ${why}`, {
        hint: 'Check the state directory: where outputs.homeAssistant is switched off later, the device stays in Home Assistant.',
        exitCode: EXIT.ioError,
        cause,
      }),
    );
  }
}

function isDiscoveryTopic(topic: unknown): topic is string {
  return typeof topic === 'string' && /^[A-Za-z0-9_./-]{1,256}\/device\/[A-Za-z0-9_-]{1,256}\/config$/.test(topic);
}
