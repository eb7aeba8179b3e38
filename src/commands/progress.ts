/** A status line on stderr that is overwritten on a terminal and printed now and then elsewhere. */
export class ProgressLine {
  private shown = 0;
  private open = false;
  private readonly tty = process.stderr.isTTY === true;

  constructor(
    private readonly enabled: boolean,
    private readonly everyMs = process.stderr.isTTY ? 100 : 2000,
  ) {}

  show(text: string, force = false): void {
    const now = performance.now();
    if (!this.enabled || (!force && now - this.shown < this.everyMs)) return;
    this.shown = now;
    process.stderr.write(this.tty ? `\r\x1b[2K${text}` : `${text}\n`);
    this.open = this.tty;
  }

  /** Makes room for other output. */
  clear(): void {
    if (this.open) process.stderr.write('\r\x1b[2K');
    this.open = false;
  }
}
