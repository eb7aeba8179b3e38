import type { Command } from 'commander';
import { readDataset } from '../eval/dataset.js';
import { evaluate } from '../eval/evaluate.js';
import { manifestPath, numberOption } from './inputs.js';
import { ProgressLine } from './progress.js';
import { globalOptions, print, printJson } from './shared.js';

interface EvalOptions {
  data: string;
  list?: string;
  model?: string;
  precision: 'fp32' | 'fp16';
  radius: number;
  threshold?: number;
  threads: number;
  perImage?: true;
}

export function register(program: Command): void {
  program
    .command('eval')
    .description('score the detector on labelled images (DIR/images, DIR/points.json); see docs/evaluation.md')
    .requiredOption('--data <dir>', 'folder with images/ and points.json')
    .option('--list <file>', 'names of the images to take, one a line; default: all')
    .option('--model <manifest>', "a model's manifest.json; default: the bundled one")
    .option('--precision <p>', 'fp32 or fp16', 'fp32')
    .option('--radius <px>', 'farthest a hit may be from its target', numberOption(0.1, 100), 5)
    .option('--threshold <score>', "least score of a detection; default: the model's own", numberOption(0, 1))
    .option('--threads <n>', 'threads of one inference', numberOption(1, 16, true), 2)
    .option('--per-image', 'with --json: the counts of every image')
    .action(run);
}

async function run(options: EvalOptions, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  const images = await readDataset(options.data, options.list);
  const progress = new ProgressLine(true);
  const { perImage, ...result } = await evaluate(images, {
    detector: { manifest: manifestPath(options.model), precision: options.precision, threads: options.threads },
    radius: options.radius,
    ...(options.threshold === undefined ? {} : { threshold: options.threshold }),
    onProgress: (done, all) => progress.show(`eval: ${done}/${all} images`, done === all),
  });
  progress.clear();
  if (json) {
    await printJson({ ...result, ...(options.perImage && { perImage }) });
    return;
  }
  const percent = (v: number) => `${(100 * v).toFixed(2)} %`;
  const [low, high] = result.f1Interval;
  await print(
    [
      `${result.images} images, ${result.targets} targets; hit within ${result.radius} px; threshold ${result.threshold}`,
      `TP ${result.tp}, FP ${result.fp}, FN ${result.fn}`,
      `precision ${percent(result.precision)}, recall ${percent(result.recall)}`,
      `F1 ${percent(result.f1)} (95 % interval ${percent(low)} to ${percent(high)}); hits below 3 px: ${percent(result.strict.f1)}`,
      `false alarms ${result.falseAlarmsPerImage.toFixed(3)} an image, ${result.falseAlarmsPerMpx.toFixed(2)} a megapixel`,
      `rms position error of hits ${result.rmsPositionError === null ? '-' : `${result.rmsPositionError.toFixed(2)} px`}`,
      `${result.fps.toFixed(1)} images/s; ${result.model.name} ${result.model.precision} on ${result.provider}`,
    ].join('\n'),
  );
}
