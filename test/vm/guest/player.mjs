// Plays the clip into vivid's sender in slow motion, for ever: node player.mjs NODE FOLDER
// With two buffers the sender shows what was written last.
import { spawn } from 'node:child_process';
import { openSync, readSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

const [node, folder] = process.argv.slice(2);
const { canvas, frames } = JSON.parse(await readFile(`${folder}/expected.json`, 'utf8'));
const bytes = canvas.width * canvas.height * 2;
const file = openSync(`${folder}/frames.raw`, 'r');
const sender = spawn('v4l2-ctl', ['-d', node, '--stream-out-mmap=2', '--stream-from=-'], {
  stdio: ['pipe', 'ignore', 'inherit'],
});
sender.on('exit', (code) => process.exit(code ?? 1));
sender.stdin.on('error', () => {});
process.on('SIGTERM', () => sender.kill());
const frame = Buffer.alloc(bytes);
// Forward and back again, so that the drone never jumps.
for (let i = 0; ; i = (i + 1) % (2 * frames.length - 2)) {
  readSync(file, frame, 0, bytes, (i < frames.length ? i : 2 * frames.length - 2 - i) * bytes);
  if (!sender.stdin.write(Buffer.from(frame))) await new Promise((resolve) => sender.stdin.once('drain', resolve));
  // An emulated inference may take two seconds; a drone that is elsewhere in each frame makes no track.
  await delay(1000);
}
