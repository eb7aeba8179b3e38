import { describe, expect, test } from 'vitest';
import type { Thresholds } from '../decode/detections.js';
import { BUNDLED_MANIFEST, readManifest } from '../detect/manifest.js';
import { StillDecoder } from './still-decoder.js';

const { decode } = await readManifest(BUNDLED_MANIFEST);

/** Scores of what is found in a map with lone cells of these heights, far from each other. */
function scores(heights: number[], thresholds: Thresholds, model = decode): number[] {
  const [rows, cols] = [16, 16 * heights.length];
  const heat = new Float32Array(rows * cols);
  heights.forEach((height, i) => {
    heat[8 * cols + 16 * i + 8] = height;
  });
  const frame = { data: new Uint8Array(4 * rows * cols).fill(50), width: 2 * cols, height: 2 * rows, bits: 8 };
  const found = new StillDecoder({ decode: model }, thresholds).find({ heat, logsig: null, rows, cols }, frame);
  return found.map(({ score }) => Number(score.toFixed(3)));
}

describe('the thresholds of a picture', () => {
  const own = { threshold: 0.5, relativeThreshold: 0.7 };

  test("are the model's own, and those that are given win", () => {
    const heights = [0.9, 0.64, 0.62, 0.55];
    expect(scores(heights, {}, own)).toEqual([0.9, 0.64]);
    expect(scores(heights, { relativeThreshold: 0 }, own)).toEqual(heights);
    expect(scores(heights, { threshold: 0.65 }, own)).toEqual([0.9]);
    expect(scores(heights, {}, { threshold: 0.6 })).toEqual([0.9, 0.64, 0.62]);
  });

  test('of the shipped model leave a lone faint target, and clutter beside a plain one out', () => {
    const faint = decode.threshold + 0.02;
    expect(scores([faint], {})).toHaveLength(1);
    expect(scores([faint, faint], {})).toHaveLength(2);
    expect(scores([0.95, faint], {})).toHaveLength(1);
  });
});
