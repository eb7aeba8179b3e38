import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import { makeFolders } from '../util/folders.js';

/** Longer ones are not of this program. */
const LONGEST = 4096;

export interface StateFileOptions {
  /** What it means that it cannot be used, after a colon. */
  hint: string;
  /** Told each time. */
  onProblem: (error: EdgeError) => void;
}

/** A small JSON file in the state directory, written whole, one write after the other. Never rejects. */
export class StateFile {
  #work: Promise<void> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly options: StateFileOptions,
  ) {}

  /** @param directory the state directory; undefined where there is none, and so no file */
  static in(directory: string | undefined, name: string, options: StateFileOptions): StateFile | undefined {
    return directory === undefined ? undefined : new StateFile(join(directory, name), options);
  }

  /** What it holds, for the caller to check; undefined where there is none, or it is damaged. */
  async read(): Promise<unknown> {
    try {
      const text = await readFile(this.path, 'utf8');
      return text.length > LONGEST ? undefined : JSON.parse(text);
    } catch (error) {
      if (errno(error) !== 'ENOENT' && !(error instanceof SyntaxError)) this.#failed('read', error);
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
        this.#failed('written', error);
      }
    });
    return this.#work;
  }

  #failed(what: string, cause: unknown): void {
    const { hint, onProblem } = this.options;
    const why = errno(cause) ?? String(cause);
    onProblem(
      new EdgeError('STATE_NOT_WRITTEN', `${this.path} cannot be ${what}: ${why}`, {
        hint: `Check the state directory: ${hint}`,
        exitCode: EXIT.ioError,
        cause,
      }),
    );
  }
}
