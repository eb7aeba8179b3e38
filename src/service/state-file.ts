import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errno } from '../types/errors.js';
import { makeFolders } from '../util/folders.js';

/** Longer ones are not of this program. */
const LONGEST = 4096;

/** A small JSON file in the state directory, written whole, one write after the other. Never rejects. */
export class StateFile {
  #work: Promise<void> = Promise.resolve();

  /** @param onProblem `what`: `read` or `written` */
  constructor(
    readonly path: string,
    private readonly onProblem: (what: string, cause: unknown) => void,
  ) {}

  /** What it holds, for the caller to check; undefined where there is none, or it is damaged. */
  async read(): Promise<unknown> {
    try {
      const text = await readFile(this.path, 'utf8');
      return text.length > LONGEST ? undefined : JSON.parse(text);
    } catch (error) {
      if (errno(error) !== 'ENOENT' && !(error instanceof SyntaxError)) this.onProblem('read', error);
      return undefined;
    }
  }

  /** @param value asked for when its turn has come; undefined: there shall be no file */
  save(value: () => unknown): Promise<void> {
    this.#work = this.#work.then(async () => {
      try {
        const now = value();
        if (now === undefined) return await rm(this.path, { force: true });
        await makeFolders(dirname(this.path));
        const draft = `${this.path}.new`;
        await writeFile(draft, `${JSON.stringify(now)}\n`);
        await rename(draft, this.path);
      } catch (error) {
        this.onProblem('written', error);
      }
    });
    return this.#work;
  }
}
