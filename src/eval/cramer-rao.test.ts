import { expect, test } from 'vitest';
import { pixelShare } from '../capture/scene.js';
import { cramerRao, fluxOf, meanCramerRao } from './cramer-rao.js';

// Published table of the same bound (pixel-integrated, unknown amplitude and background, mean over phase).
test.each([
  [0.4, [0.459, 0.306, 0.183, 0.115, 0.092, 0.046]],
  [0.5, [0.413, 0.276, 0.165, 0.103, 0.083, 0.041]],
  [0.7, [0.399, 0.266, 0.159, 0.1, 0.08, 0.04]],
  [1.0, [0.399, 0.266, 0.159, 0.1, 0.08, 0.04]],
  [2.0, [0.399, 0.266, 0.159, 0.1, 0.08, 0.04]],
])('the bound at sigma %f px', (sigma, expected) => {
  for (const [i, snr] of [2, 3, 5, 8, 10, 20].entries()) {
    const bound = meanCramerRao(snr, sigma);
    expect(Math.abs(bound / expected[i]! - 1), `snr ${snr}: ${bound}`).toBeLessThan(0.03);
  }
});

test('wide spots reach the closed form sqrt(2 / pi) / snr, whatever the phase', () => {
  expect(cramerRao(7, 3) * 7).toBeCloseTo(Math.sqrt(2 / Math.PI), 2);
  expect(cramerRao(7, 3, 0.5, 0.25)).toBeCloseTo(cramerRao(7, 3), 4);
});

test('the bound scales with 1 / snr and mirrors with the phase', () => {
  expect(cramerRao(4, 0.6, 0.3, 0.1) / cramerRao(8, 0.6, 0.3, 0.1)).toBeCloseTo(2, 10);
  expect(cramerRao(4, 0.6, 0.3, 0.1)).toBeCloseTo(cramerRao(4, 0.6, -0.3, -0.1), 10);
});

test('flux and contrast: the centre pixel of a centred spot stands out by the contrast', () => {
  expect(fluxOf(12, 0.7) * pixelShare(0, 0, 0.7) ** 2).toBeCloseTo(12, 12);
});
