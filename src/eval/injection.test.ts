import { expect, test } from 'vitest';
import { uniform } from '../capture/random.js';
import { type Background, chooseSites, fits, render, roughness, SITE_RADIUS, toBackground } from './injection.js';

const SIZE = 160;

function background(value: (x: number, y: number) => number, noise = 40): Background {
  const values = Float64Array.from({ length: SIZE * SIZE }, (_, i) => value(i % SIZE, Math.floor(i / SIZE)));
  return { width: SIZE, height: SIZE, values, noise };
}

test('roughness: none on a plane, the amplitude of a checkerboard, not the level', () => {
  const at = { x: 80, y: 70 };
  expect(roughness(background((x, y) => 9000 + 11 * x - 7 * y).values, SIZE, at)).toBeCloseTo(0, 6);
  expect(roughness(background((x, y) => 60_000 + ((x + y) % 2 === 0 ? 5 : -5)).values, SIZE, at)).toBeCloseTo(5, 1);
});

test('render: targets keep their flux, and their centre of gravity is where they were put', () => {
  const scene = background(() => 8000, 0);
  const target = { x: 80.37, y: 61.82, sigma: 0.9, contrast: 20_000 };
  const counts = render(scene, [target], uniform(1));
  let flux = 0;
  let x = 0;
  let y = 0;
  counts.forEach((count, i) => {
    flux += count - 8000;
    x += (count - 8000) * (i % SIZE);
    y += (count - 8000) * Math.floor(i / SIZE);
  });
  expect(x / flux).toBeCloseTo(target.x, 3);
  expect(y / flux).toBeCloseTo(target.y, 3);
  // Put in the middle of a pixel it stands out by its contrast.
  const centred = render(scene, [{ ...target, x: 80, y: 62 }], uniform(1));
  expect(centred[62 * SIZE + 80]).toBe(28_000);
});

test('render: white noise of the given sigma, the same for the same seed, clipped to 16 bits', () => {
  const scene = background(() => 8000, 40);
  const counts = render(scene, [], uniform(7));
  expect(render(scene, [], uniform(7))).toEqual(counts);
  expect(render(scene, [], uniform(8))).not.toEqual(counts);
  const deviations = Array.from(counts, (v) => v - 8000);
  const mean = deviations.reduce((a, b) => a + b, 0) / deviations.length;
  const sigma = Math.sqrt(deviations.reduce((a, b) => a + b * b, 0) / deviations.length);
  expect(Math.abs(mean)).toBeLessThan(1.5);
  expect(Math.abs(sigma / 40 - 1)).toBeLessThan(0.03);
  const ends = render(
    background((x) => (x < 80 ? 10 : 65_530), 400),
    [],
    uniform(9),
  );
  expect([Math.min(...ends), Math.max(...ends)]).toEqual([0, 65_535]);
});

test('sites are inside, apart from each other and the taken ones, and as rough as asked for', () => {
  // Calm above, a coarse pattern below.
  const scene = background((x, y) => 9000 + (y < 80 ? 0 : 60 * Math.sin(x) * Math.sin(y)));
  const calm = chooseSites(scene, 4, 0, 0.3, [], uniform(1));
  const rough = chooseSites(scene, 4, 0.5, 3, calm, uniform(2));
  expect(calm.length).toBeGreaterThan(1);
  expect(rough.length).toBeGreaterThan(1);
  for (const site of calm) expect(site.y).toBeLessThan(80 - SITE_RADIUS + 4);
  for (const site of rough) expect(site.y).toBeGreaterThan(80 - SITE_RADIUS);
  const all = [...calm, ...rough];
  for (const [i, a] of all.entries()) {
    expect(Math.min(a.x, a.y, SIZE - 1 - a.x, SIZE - 1 - a.y)).toBeGreaterThanOrEqual(19);
    for (const b of all.slice(i + 1))
      expect(Math.max(Math.abs(a.x - b.x), Math.abs(a.y - b.y))).toBeGreaterThanOrEqual(36);
  }
  expect(chooseSites({ ...scene, width: 40, height: 640 }, 4, 0, 9, [], uniform(1))).toEqual([]);
});

test('the added noise is several times what the quiet parts of the picture have', () => {
  const random = uniform(3);
  const data = Uint8Array.from({ length: SIZE * SIZE }, () => 100 + Math.floor(3 * random()));
  const scene = toBackground({ width: SIZE, height: SIZE, bits: 8, data }, 1);
  // Three equal levels: sqrt(2 / 3) of a level, in 64ths.
  expect(scene.noise / (64 * Math.sqrt(2 / 3))).toBeGreaterThan(3.7);
  expect(scene.noise / (64 * Math.sqrt(2 / 3))).toBeLessThan(4.1);
  expect(Math.min(...scene.values)).toBe(4096 + 6400);
  const raw = toBackground({ width: 30, height: 30, bits: 16, data: new Uint16Array(900).fill(7000) }, 1);
  expect(raw).toMatchObject({ noise: 4 });
  expect(raw.values[0]).toBe(7000);
});

test('a target that would leave the range does not fit', () => {
  const scene = background(() => 60_000);
  const at = { x: 80, y: 80, sigma: 1 };
  expect(fits(scene, { ...at, contrast: 5000 })).toBe(true);
  expect(fits(scene, { ...at, contrast: 5500 })).toBe(false);
  expect(
    fits(
      background(() => 100),
      { ...at, contrast: 500 },
    ),
  ).toBe(false);
});
