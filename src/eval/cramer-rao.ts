import { pixelShare } from '../capture/scene.js';

/** Shares of a unit Gaussian on pixels -radius..radius along one axis, and their derivative by its centre. */
function axis(centre: number, sigma: number, radius: number): { share: number[]; slope: number[] } {
  const share: number[] = [];
  const slope: number[] = [];
  const density = (d: number) => Math.exp(-(d * d) / (2 * sigma * sigma)) / (sigma * Math.sqrt(2 * Math.PI));
  for (let pixel = -radius; pixel <= radius; pixel++) {
    share.push(pixelShare(pixel, centre, sigma));
    slope.push(density(pixel - 0.5 - centre) - density(pixel + 0.5 - centre));
  }
  return { share, slope };
}

/** Flux of a pixel-integrated Gaussian whose brightest pixel stands `contrast` above the background when centred on it. */
export function fluxOf(contrast: number, sigma: number): number {
  return contrast / pixelShare(0, 0, sigma) ** 2;
}

/**
 * Cramer-Rao bound of the centre of a pixel-integrated Gaussian spot in white noise, px along x, with y, flux and background level
 * unknown and sigma known. `snr`: contrast on the pixel it is centred on, over the noise. (`x`, `y`): centre relative to a pixel's.
 */
export function cramerRao(snr: number, sigma: number, x = 0, y = 0): number {
  const radius = Math.max(4, Math.ceil(5 * sigma) + 1);
  const flux = fluxOf(snr, sigma);
  const ax = axis(x, sigma, radius);
  const ay = axis(y, sigma, radius);
  const size = 2 * radius + 1;
  const fisher = [0, 1, 2, 3].map(() => [0, 0, 0, 0]);
  for (let j = 0; j < size; j++) {
    for (let i = 0; i < size; i++) {
      const gradient = [
        flux * ax.slope[i]! * ay.share[j]!,
        flux * ax.share[i]! * ay.slope[j]!,
        ax.share[i]! * ay.share[j]!,
        1,
      ];
      for (let r = 0; r < 4; r++) for (let c = 0; c < 4; c++) fisher[r]![c]! += gradient[r]! * gradient[c]!;
    }
  }
  return Math.sqrt(firstOfInverse(fisher));
}

/** Root mean square of the bound over where in its pixel the target lies. */
export function meanCramerRao(snr: number, sigma: number, phases = 8): number {
  let sum = 0;
  for (let j = 0; j < phases; j++) {
    for (let i = 0; i < phases; i++) {
      sum += cramerRao(snr, sigma, (i + 0.5) / phases - 0.5, (j + 0.5) / phases - 0.5) ** 2;
    }
  }
  return Math.sqrt(sum / (phases * phases));
}

/** Element (0, 0) of the inverse of a positive definite matrix: eliminate all other rows, then invert what is left. */
function firstOfInverse(matrix: number[][]): number {
  for (let k = matrix.length - 1; k > 0; k--) {
    for (let i = 0; i < k; i++) {
      const share = matrix[i]![k]! / matrix[k]![k]!;
      for (let j = 0; j < k; j++) matrix[i]![j]! -= share * matrix[k]![j]!;
    }
  }
  return 1 / matrix[0]![0]!;
}
