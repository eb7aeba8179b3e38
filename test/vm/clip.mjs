// The bundled thermal clip as vivid's HDMI sender plays it.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import sharp from 'sharp';
import { ROOT } from './harness.mjs';

/** The sender's picture: the smallest one that HDMI knows. The clip stands in its top left corner. */
const canvas = { width: 640, height: 480 };
/** What is played of the clip: the part where the drone flies. A smaller picture is searched sooner. */
const part = { left: 0, top: 50, width: 160, height: 128 };
const picture = { width: part.width, height: part.height };
/** 8-bit pictures as 14-bit counts. */
const SCALE = 64;

/** frames.raw: all of it; first.raw: its first frame; expected.json: what the program finds in each frame on this machine. */
export async function writeClip(folder) {
  const { ImageDetector, stillFrame } = await import('../../dist/eval/evaluate.js');
  const { BUNDLED_MANIFEST } = await import('../../dist/detect/manifest.js');
  const from = path.join(ROOT, 'test/fixtures/drone-sky');
  const names = readdirSync(from)
    .filter((name) => name.endsWith('.png'))
    .sort();
  const finder = new ImageDetector({ manifest: BUNDLED_MANIFEST, precision: 'fp32', threads: 2 }, {});
  const frames = [];
  const played = [];
  for (const [index, name] of names.entries()) {
    const { data } = await sharp(readFileSync(path.join(from, name)))
      .extract(part)
      .greyscale()
      .raw()
      .toBuffer({ resolveWithObject: true });
    const counts = Uint16Array.from(data, (grey) => grey * SCALE);
    const found = await finder.find(stillFrame(index, { ...picture, bits: 16, data: counts }));
    frames.push({ name, detections: found.map(({ x, y, score }) => ({ x, y, score })) });
    const whole = new Uint16Array(canvas.width * canvas.height).fill(counts[0]);
    for (let y = 0; y < picture.height; y++) {
      whole.set(counts.subarray(y * picture.width, (y + 1) * picture.width), y * canvas.width);
    }
    played.push(Buffer.from(whole.buffer));
  }
  await finder.close();
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'first.raw'), played[0]);
  writeFileSync(path.join(folder, 'frames.raw'), Buffer.concat(played));
  writeFileSync(path.join(folder, 'expected.json'), JSON.stringify({ canvas, picture, frames }));
}
