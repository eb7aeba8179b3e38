import type { Board } from '../board/board.js';
import type { EdgeConfig } from '../config/schema.js';

/** What the checks look at, besides the machine itself. */
export interface DoctorContext {
  /** The configuration in force; where none was named, its defaults without a camera. */
  config: EdgeConfig;
  /** The configuration came from a file. */
  configured: boolean;
  board: Board;
  env: Readonly<Record<string, string | undefined>>;
  signal: AbortSignal;
}
