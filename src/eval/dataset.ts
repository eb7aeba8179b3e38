import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { naturalSort } from '../capture/image-recording.js';
import { EdgeError, EXIT, errno } from '../types/errors.js';
import type { Point } from './matching.js';

export interface LabelledImage {
  name: string;
  path: string;
  /** Target centres, px; empty: an image without a target. */
  truth: Point[];
}

const pointsSchema = z.record(z.string(), z.array(z.tuple([z.number(), z.number()]).rest(z.unknown())));

/**
 * The images of `DIR/images` (or of `DIR` itself) with the truth of `DIR/points.json`: `{name: [[x, y, ...], ...]}`.
 * A list names them one a line, with or without the file's ending; without a list all images are taken, by name.
 * @throws EdgeError INPUT_NOT_FOUND, DATASET_INVALID
 */
export async function readDataset(dir: string, list?: string): Promise<LabelledImage[]> {
  const points = await readPoints(path.join(dir, 'points.json'));
  const images = await listImages(dir, list);
  return images.map(({ name, listed, path: file }) => {
    const truth = points[name] ?? points[listed];
    if (truth === undefined) throw invalid(`${path.join(dir, 'points.json')} says nothing of ${name}`);
    return { name, path: file, truth: truth.map(([x, y]) => ({ x, y })) };
  });
}

/**
 * The images of `DIR/images` (or of `DIR` itself), as `readDataset` takes them, without truth. `listed`: the name as the list has it.
 * @throws EdgeError INPUT_NOT_FOUND, DATASET_INVALID
 */
export async function listImages(
  dir: string,
  list?: string,
): Promise<{ name: string; listed: string; path: string }[]> {
  const folder = await imageFolder(dir);
  // As a recording plays them: pictures in order are a sequence too.
  const entries = await readdir(folder).catch((error) => {
    throw notFound(folder, error);
  });
  const files = naturalSort(entries.filter((f) => /\.(png|tiff?)$/i.test(f) && !f.startsWith('.')));
  const byName = new Map<string, string>();
  for (const file of files) byName.set(file, file).set(file.replace(/\.[^.]+$/, ''), file);
  const wanted = list === undefined ? files : lines(await readText(list));
  if (wanted.length === 0) throw invalid(`${list ?? folder} names no image`);
  return wanted.map((name) => {
    const file = byName.get(name);
    if (file === undefined) throw invalid(`${list ?? dir} names ${name}, which is not in ${folder}`);
    return { name: file, listed: name, path: path.join(folder, file) };
  });
}

async function readPoints(file: string): Promise<z.infer<typeof pointsSchema>> {
  let data: unknown;
  try {
    data = JSON.parse(await readText(file));
  } catch (error) {
    if (error instanceof EdgeError) throw error;
    throw invalid(`${file} is not JSON: ${(error as Error).message}`);
  }
  const parsed = pointsSchema.safeParse(data);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw invalid(`${file}: ${issue?.path.join('.')}: ${issue?.message}; expected {"image.png": [[x, y], ...]}`);
}

async function imageFolder(dir: string): Promise<string> {
  const inner = path.join(dir, 'images');
  try {
    await readdir(inner);
    return inner;
  } catch (error) {
    if (errno(error) === 'ENOENT') return dir;
    throw notFound(inner, error);
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw notFound(file, error);
  }
}

const lines = (text: string) => text.split(/\r?\n/).flatMap((line) => line.trim() || []);

function notFound(file: string, cause: unknown): EdgeError {
  return new EdgeError('INPUT_NOT_FOUND', `cannot read ${file} (${errno(cause) ?? (cause as Error).message})`, {
    hint: 'a data set is a folder with images/ and points.json; see docs/evaluation.md',
    exitCode: EXIT.noInput,
    cause,
  });
}

function invalid(message: string): EdgeError {
  return new EdgeError('DATASET_INVALID', message, {
    hint: 'a data set is a folder with images/ and points.json; see docs/evaluation.md',
    exitCode: EXIT.dataError,
  });
}
