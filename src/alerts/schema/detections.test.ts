import { expect, test } from 'vitest';
import { type DetectionsInput, detectionsMessage, detectionsSchema } from './detections.js';

const input: DetectionsInput = {
  device: 'edge-1',
  camera: 'north',
  frame: { sequence: 7, captureMonotonicNs: 1n, capturedAtMs: 1.7e12, width: 320, height: 256 },
  detections: [{ x: 1, y: 2, sigmaX: 0.1, sigmaY: 0.2, score: 0.9, snr: 8.5, extent: 0.8 }],
  model: { name: 'm', sha256: 'a'.repeat(64), precision: 'fp32' },
  provider: 'cpu',
  software: '0.1.0',
  latencyMs: { normalise: 0.1, infer: 20, decode: 0.5, total: 24 },
};

test.each([
  // Of a version that did not tell it.
  ['without the time of tracking', input.latencyMs],
  ['with the time of tracking, which the total holds', { ...input.latencyMs, track: 1.5 }],
])('%s', (_, latencyMs) => {
  const message = detectionsMessage({ ...input, latencyMs });
  expect(message.latencyMs).toEqual(latencyMs);
  expect(detectionsSchema.parse(message)).toEqual(message);
});
