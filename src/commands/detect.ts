import type { Command } from 'commander';
import { readStillImage } from '../capture/still-image.js';
import type { Thresholds } from '../decode/detections.js';
import { ImageDetector, stillFrame } from '../eval/evaluate.js';
import { renderPicture } from '../eval/picture.js';
import { addThresholds, manifestPath, numberOption, thresholds } from './inputs.js';
import { globalOptions, print, printJson, usageError, writeOutputFile } from './shared.js';

interface DetectOptions extends Thresholds {
  model?: string;
  threads: number;
  picture?: string;
}

export function register(program: Command): void {
  const command = program
    .command('detect')
    .description('find targets in pictures (8- or 16-bit PNG or TIFF) and print them')
    .argument('<image...>', 'pictures')
    .option('--model <manifest>', "a model's manifest.json; default: the bundled one")
    .option('--threads <n>', 'threads of one inference', numberOption(1, 16, true), 2)
    .option('--picture <file.png>', 'write the picture with its detections, three times enlarged (one image only)')
    .action(detect);
  addThresholds(command);
}

async function detect(files: string[], options: DetectOptions, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  if (options.picture !== undefined && files.length !== 1) throw usageError('--picture goes with one image');
  const finder = new ImageDetector(
    { manifest: manifestPath(options.model), precision: 'fp32', threads: options.threads },
    thresholds(options),
  );
  try {
    for (const [index, file] of files.entries()) {
      const image = await readStillImage(file);
      const frame = stillFrame(index, image);
      const detections = await finder.find(frame);
      if (options.picture !== undefined) await writeOutputFile(options.picture, await renderPicture(frame, detections));
      if (json) {
        await printJson({ file, width: image.width, height: image.height, detections });
        continue;
      }
      await print(`${file}: ${detections.length} ${detections.length === 1 ? 'target' : 'targets'}`);
      for (const d of detections) {
        await print(
          `  x ${d.x.toFixed(2)} ±${d.sigmaX.toFixed(2)}  y ${d.y.toFixed(2)} ±${d.sigmaY.toFixed(2)} px  ` +
            `score ${d.score.toFixed(2)}  SNR ${d.snr.toFixed(1)}  size ${d.extent.toFixed(1)} px`,
        );
      }
    }
  } finally {
    await finder.close();
  }
}
