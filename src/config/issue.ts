import { EdgeError, EXIT } from '../types/errors.js';

/** One thing that is wrong in a configuration. */
export interface ConfigIssue {
  /** `cameras[0].source.path`. */
  path: string;
  /** What is expected and what is there, one line. */
  message: string;
  /** Line in the file, from 1. */
  line?: number;
  /** The environment variable that the value came from. */
  variable?: string;
}

/** `cameras[0].source.path (line 12): expected a path, got 5`. */
export function formatIssue(issue: ConfigIssue): string {
  const place = issue.variable ?? (issue.line === undefined ? undefined : `line ${issue.line}`);
  return `${issue.path}${place === undefined ? '' : ` (${place})`}: ${issue.message}`;
}

/** `CONFIG_INVALID`: the file can be read, its content is wrong. Holds everything that is wrong. */
export class ConfigInvalidError extends EdgeError {
  readonly issues: readonly ConfigIssue[];

  constructor(file: string, issues: readonly ConfigIssue[]) {
    const first = issues[0] === undefined ? '' : formatIssue(issues[0]);
    super('CONFIG_INVALID', `${file}: ${issues.length === 1 ? '' : `${issues.length} errors, the first: `}${first}`, {
      hint: 'irst-edge config schema describes every key',
      exitCode: EXIT.config,
    });
    this.issues = issues;
  }
}
