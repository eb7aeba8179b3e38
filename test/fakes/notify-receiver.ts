import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

// Node cannot open a Unix datagram socket; Python 3 is there, because node-gyp needs it.
const PROGRAM = `
import json, socket, sys
path = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0' + path[1:] if path.startswith('@') else path)
s.settimeout(300)
print('ready', flush=True)
if sys.argv[2] == 'deaf':
    sys.stdin.read()
else:
    while True:
        print(json.dumps(s.recv(65536).decode()), flush=True)
`;

/** A real receiver of notification datagrams, in the place of systemd, in a process of its own. */
export class NotifyReceiver {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterableIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterableIterator<string>) {
    this.#child = child;
    this.#lines = lines;
  }

  /** `path`: absolute, or `@name`. `deaf`: never reads, so that its queue fills up. */
  static async listen(path: string, deaf = false): Promise<NotifyReceiver> {
    const child = spawn('python3', ['-c', PROGRAM, path, deaf ? 'deaf' : 'read'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child, 'spawn');
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const receiver = new NotifyReceiver(child, lines);
    const first = await lines.next();
    if (first.value !== 'ready') throw new Error(`the receiver did not start at ${path}`);
    return receiver;
  }

  /** The next datagram; rejects when the receiver has ended. */
  async receive(): Promise<string> {
    const line = await this.#lines.next();
    if (line.done) throw new Error('the receiver has ended');
    return JSON.parse(line.value) as string;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}
