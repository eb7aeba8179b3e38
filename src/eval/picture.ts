import sharp from 'sharp';
import type { Detection } from '../types/detection.js';
import type { Frame } from '../types/frame.js';

/**
 * A PNG of a frame with its detections: contrast stretched between the 1st and 99.5th percentile, enlarged `zoom` times, a
 * ring and the score around each detection.
 */
export async function renderPicture(
  frame: Pick<Frame, 'width' | 'height' | 'data'>,
  detections: readonly Detection[],
  zoom = 3,
): Promise<Buffer> {
  const { width, height, data } = frame;
  const sorted = Uint16Array.from(data).sort();
  const low = sorted[Math.floor(0.01 * (sorted.length - 1))]!;
  const high = Math.max(low + 1, sorted[Math.floor(0.995 * (sorted.length - 1))]!);
  const grey = Buffer.alloc(width * height);
  for (let i = 0; i < grey.length; i++) {
    grey[i] = Math.min(255, Math.max(0, ((data[i]! - low) * 255) / (high - low)));
  }
  const rings = detections
    .map((d) => {
      const x = (d.x + 0.5) * zoom;
      const y = (d.y + 0.5) * zoom;
      const r = Math.max(5, 4 * d.extent) * zoom;
      const left = x + r + 90 > width * zoom;
      return (
        `<circle cx="${x}" cy="${y}" r="${r}" fill="none" stroke="#3f6" stroke-width="2"/>` +
        `<text x="${left ? x - r - 4 : x + r + 4}" y="${y + 5}" text-anchor="${left ? 'end' : 'start'}" ` +
        `font-family="sans-serif" font-size="15" fill="#3f6">${d.score.toFixed(2)}</text>`
      );
    })
    .join('');
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width * zoom}" height="${height * zoom}">${rings}</svg>`;
  const enlarged = await sharp(grey, { raw: { width, height, channels: 1 } })
    .resize(width * zoom, height * zoom, { kernel: 'nearest' })
    .toColourspace('srgb')
    .png()
    .toBuffer();
  return sharp(enlarged)
    .composite([{ input: Buffer.from(svg) }])
    .png({ compressionLevel: 9 })
    .toBuffer();
}
