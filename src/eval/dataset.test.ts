import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listImages, readDataset } from './dataset.js';
import { readSequences } from './sequence-run.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'irst-dataset-'));
  for (const name of ['1.png', '2.png', '10.png', '._1.png']) await writeFile(path.join(dir, name), '');
  const points = { '1.png': [[1, 1]], '2.png': [[2, 2]], '10.png': [[10, 10]] };
  await writeFile(path.join(dir, 'points.json'), JSON.stringify(points));
});
afterEach(() => rm(dir, { recursive: true }));

test('pictures come in the order in which a recording plays them, without hidden files', async () => {
  expect((await listImages(dir)).map(({ name }) => name)).toEqual(['1.png', '2.png', '10.png']);
  expect((await readDataset(dir)).map(({ truth }) => truth[0]?.x)).toEqual([1, 2, 10]);
});

test('a sequence of pictures has the truth of the picture that is played, and takes no list', async () => {
  const [sequence] = await readSequences(dir);
  expect([0, 1, 2, 3].map((frame) => sequence?.truth(frame)?.[0]?.x)).toEqual([1, 2, 10, undefined]);
  const list = path.join(dir, 'list.txt');
  await writeFile(list, '10.png\n');
  await expect(readSequences(dir, { list })).rejects.toMatchObject({
    code: 'DATASET_INVALID',
    message: expect.stringContaining('a list names videos'),
  });
});

test('a frame without a box is empty, or with gaps not labelled where the video has boxes', async () => {
  await mkdir(path.join(dir, 'videos'));
  for (const name of ['some.mp4', 'none.mp4']) await writeFile(path.join(dir, 'videos', name), '');
  await writeFile(path.join(dir, 'boxes.json'), JSON.stringify({ some: [[[3, 4, 2, 2]], []], none: [[], []] }));
  const truths = async (gaps: boolean) =>
    (await readSequences(dir, { gaps })).map(({ name, truth }) => ({ name, truth: [0, 1].map((k) => truth(k)) }));
  const some = [{ id: 0, x: 3, y: 4 }];
  expect(await truths(false)).toEqual([
    { name: 'none', truth: [[], []] },
    { name: 'some', truth: [some, []] },
  ]);
  expect(await truths(true)).toEqual([
    { name: 'none', truth: [[], []] },
    { name: 'some', truth: [some, null] },
  ]);
});
