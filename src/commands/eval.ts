import { type Command, Option } from 'commander';
import type { Thresholds } from '../decode/detections.js';
import { activationRange } from '../eval/activation-range.js';
import { readDataset } from '../eval/dataset.js';
import { evaluate } from '../eval/evaluate.js';
import { comparePrecisions } from '../eval/precision.js';
import type { Score } from '../eval/score.js';
import {
  readSequences,
  runSequences,
  type Sequence,
  stillSequences,
  syntheticSequences,
} from '../eval/sequence-run.js';
import { type FoundRow, runSubpixel, type ScaleRow, type SubpixelRow } from '../eval/subpixel.js';
import { EdgeError, EXIT } from '../types/errors.js';
import { PROVIDERS, type Provider } from '../types/provider.js';
import { type EvalMode, idleOption } from './eval-options.js';
import { addThresholds, manifestPath, numberOption, thresholds } from './inputs.js';
import { ProgressLine } from './progress.js';
import { globalOptions, print, printJson, usageError } from './shared.js';

interface EvalOptions extends Thresholds {
  data?: string;
  sequence?: true;
  subpixel?: true;
  compare?: true;
  activations?: true;
  frames: number;
  synthetic?: number;
  seed: number;
  empty: number;
  still?: number;
  noise: number;
  gaps?: true;
  faintSearch: boolean;
  snr: number;
  egoMotion?: true;
  list?: string;
  model?: string;
  precision: 'fp32' | 'fp16';
  provider: Provider;
  radius: number;
  threads: number;
  perImage?: true;
}

export function register(program: Command): void {
  const command = program
    .command('eval')
    .description('score the detector on labelled images (DIR/images, DIR/points.json); see docs/evaluation.md')
    .option('--data <dir>', 'folder with images/ and points.json')
    .option('--sequence', 'score tracks over sequences instead: videos/ with boxes.json, or pictures in order')
    .option(
      '--synthetic <n>',
      'with --sequence: n synthetic scenes with exact truth instead of --data',
      numberOption(1, 1000, true),
    )
    .option('--snr <ratio>', 'with --synthetic: contrast of the targets over the noise', numberOption(0.1, 1000), 4)
    .option(
      '--seed <n>',
      'of the first synthetic scene, of the noise of still pictures, of injected targets',
      numberOption(0, 2 ** 31, true),
      1,
    )
    .option(
      '--empty <n>',
      'with --synthetic: frames before the targets appear, 300 more follow',
      numberOption(0, 100_000, true),
      60,
    )
    .option(
      '--still <n>',
      'with --sequence: each picture of --data, target-free, as n frames of a camera that stands still',
      numberOption(1, 1_000_000, true),
    )
    .option('--noise <counts>', 'with --still: fresh noise of each frame, standard deviation', numberOption(0, 1000), 2)
    .option('--gaps', 'with --sequence: frames without a box, in videos that have boxes, are not labelled: left out')
    .option('--no-faint-search', 'with --sequence: as tracker.faintSearch: false')
    .option('--ego-motion', 'with --sequence: measure the motion of the camera and take it out')
    .option('--subpixel', 'measure positions on targets put into the target-free pictures of --data instead')
    .option('--compare', 'run the FP32 and the FP16 build over the same images, and tell how they differ')
    .option(
      '--activations',
      'tell the largest activations on raw frames: --data is a .y16, a 16-bit picture, or a folder of them; ' +
        'ends with 65 where FP16 has too little room',
    )
    .option('--frames <n>', 'with --activations: frames of each recording', numberOption(1, 100_000, true), 8)
    .option('--list <file>', 'names of the images to take, one a line; default: all')
    .option('--model <manifest>', "a model's manifest.json; default: the bundled one")
    .addOption(new Option('--precision <p>', 'number format').choices(['fp32', 'fp16']).default('fp32'))
    .addOption(
      new Option('--provider <p>', 'execution provider, and no other; an engine is built where there is none')
        .choices(PROVIDERS)
        .default('cpu'),
    )
    .option('--radius <px>', 'farthest a hit may be from its target', numberOption(0.1, 100), 5)
    .option('--threads <n>', 'threads of one inference', numberOption(1, 16, true), 2)
    .option('--per-image', 'with --json: the counts of every image')
    .action(run);
  addThresholds(command);
}

async function run(options: EvalOptions, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  const modes = (['sequence', 'subpixel', 'compare', 'activations'] as const).filter((mode) => options[mode]);
  if (modes.length > 1) throw usageError(`give --${modes[0]} or --${modes[1]}, not both`);
  const mode = evalMode(options);
  const given = Object.keys(options).filter((key) => command.getOptionValueSource(key) === 'cli');
  const idle = idleOption(mode, given);
  if (idle !== undefined) throw usageError(idle, 'irst-edge eval --help');
  if (options.sequence) return sequences(options, json);
  if (options.data === undefined) throw usageError('--data is missing', 'irst-edge eval --help');
  if (options.subpixel) return subpixel(options, options.data, json);
  if (options.activations) return activations(options, options.data, json);
  if (options.compare) return compare(options, options.data, json);
  const images = await readDataset(options.data, options.list);
  const progress = new ProgressLine(true);
  const { perImage, ...result } = await evaluate(images, {
    detector: detectorOptions(options),
    radius: options.radius,
    ...thresholds(options),
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
      `${result.images} images, ${result.targets} targets; hit within ${result.radius} px; ${inForce(result)}`,
      `TP ${result.tp}, FP ${result.fp}, FN ${result.fn}`,
      `precision ${percent(result.precision)}, recall ${percent(result.recall)}`,
      `F1 ${percent(result.f1)} (95 % interval ${percent(low)} to ${percent(high)}); hits below 3 px: ${percent(result.strict.f1)}`,
      `false alarms ${result.falseAlarmsPerImage.toFixed(3)} an image, ${result.falseAlarmsPerMpx.toFixed(2)} a megapixel`,
      `position error of hits: ${positionError(result)}`,
      `${result.fps.toFixed(1)} images/s; ${result.model.name} ${result.model.precision} on ${result.provider}`,
    ].join('\n'),
  );
}

function evalMode(options: EvalOptions): EvalMode {
  if (options.subpixel) return 'subpixel';
  if (options.compare) return 'compare';
  if (options.activations) return 'activations';
  if (!options.sequence) return 'images';
  if (options.synthetic !== undefined) return 'synthetic';
  return options.still === undefined ? 'sequence' : 'still';
}

function positionError({ rmsPositionError, meanPositionError }: Score): string {
  if (rmsPositionError === null || meanPositionError === null) return '-';
  const { x, y } = meanPositionError;
  return `rms ${rmsPositionError.toFixed(2)} px; mean ${x.toFixed(2)} px to the right, ${y.toFixed(2)} px down`;
}

const detectorOptions = (options: EvalOptions) => ({
  manifest: manifestPath(options.model),
  precision: options.precision,
  threads: options.threads,
  // The usual places; `ORT_LIB` names another library.
  ...(options.provider !== 'cpu' && { runtime: { providers: [options.provider], require: options.provider } }),
});

const number = (value: number | null, digits: number): string => (value === null ? '-' : value.toFixed(digits));

async function sequences(options: EvalOptions, json: boolean): Promise<void> {
  if ((options.data === undefined) === (options.synthetic === undefined)) {
    throw usageError('with --sequence give one of --data and --synthetic', 'irst-edge eval --help');
  }
  const { data, empty, snr, still, noise } = options;
  const scene = { width: 320, height: 256, frames: empty + 300, emptyFrames: empty, snr };
  let list: Sequence[];
  if (data === undefined) list = syntheticSequences(scene, options.synthetic ?? 1, options.seed);
  else if (still === undefined) list = await readSequences(data, { gaps: options.gaps === true, list: options.list });
  else list = await stillSequences(data, still, noise, options.seed, options.list);
  const progress = new ProgressLine(true);
  const report = await runSequences(list, {
    detector: detectorOptions(options),
    ...thresholds(options),
    tracker: { egoMotion: options.egoMotion === true, faintSearch: options.faintSearch },
    radius: options.radius,
    onProgress: (name, frames, done, all) => progress.show(`eval: ${name}, frame ${frames} (${done + 1}/${all})`),
  });
  progress.clear();
  if (json) {
    const { perSequence, ...rest } = report;
    await printJson(options.perImage ? report : rest);
    return;
  }
  const r = report;
  await print(
    [
      `${r.sequences} sequences, ${r.frames} frames (${r.seconds.toFixed(0)} s${r.unlabelledFrames === 0 ? '' : `; ${r.unlabelledFrames} without labels left out`}), ${r.targets} targets; on a target within ${r.radius} px; ${inForce(r)}`,
      `track Pd ${number(r.trackPd, 4)} (single frames ${number(r.detectionPd, 4)}), targets ever found ${r.targetsFound}`,
      `first alert after ${r.timeToAlert?.framesMedian ?? '-'} frames (median), ${r.timeToAlert?.framesP95 ?? '-'} (95 %); within ten ${number(r.foundWithinTen, 3)}`,
      `false tracks ${r.falseTracks} (${number(r.falseTracksPerHour, 1)} an hour), stationary ${r.stationaryTracks}; id switches ${r.idSwitches}`,
      `rms position error: tracks ${number(r.rmsSmoothed, 3)} px, single frames ${number(r.rmsRaw, 3)} px`,
      `tracker ${r.trackMs.p50.toFixed(3)} ms a frame (median), ${r.trackMs.p95.toFixed(3)} ms (95 %)`,
    ].join('\n'),
  );
}

async function subpixel(options: EvalOptions, data: string, json: boolean): Promise<void> {
  const progress = new ProgressLine(true);
  const report = await runSubpixel({
    detector: detectorOptions(options),
    backgrounds: data,
    seed: options.seed,
    ...(options.list === undefined ? {} : { list: options.list }),
    ...thresholds(options),
    onProgress: (done, all) => progress.show(`eval: ${done}/${all} frames`),
  });
  progress.clear();
  if (json) {
    await printJson(report);
    return;
  }
  const line = (row: SubpixelRow): string => {
    const { heat, final } = row;
    const cells = [
      `${row.surface} ${row.sigma === null ? 'all' : row.sigma}`.padEnd(14),
      `${row.snr ?? 'all'}`.padStart(5),
      `${row.found}/${row.targets}`.padStart(11),
      number(row.bound, 3).padStart(8),
      number(heat === null ? null : Math.hypot(heat.rmsX, heat.rmsY) / Math.SQRT2, 3).padStart(8),
      number(final === null ? null : Math.hypot(final.rmsX, final.rmsY) / Math.SQRT2, 3).padStart(8),
      number(final?.ratio ?? null, 2).padStart(7),
      number(final?.biasX ?? null, 3).padStart(8),
      number(final?.biasY ?? null, 3).padStart(8),
      `${number(final === null ? null : 50 * (final.coverageX + final.coverageY), 0)} %`.padStart(9),
    ];
    return cells.join('');
  };
  const found = ({ found, targets, rms, coverage }: FoundRow): string =>
    `found ${found}/${targets}, rms ${number(rms, 3)} px, coverage ${number(coverage === null ? null : 100 * coverage, 0)} % (SNR ${report.scaleSnr})`;
  const apart = ({ apart }: ScaleRow): string =>
    apart === null
      ? ''
      : `, seen ${number(apart.heat, 2)} px farther by the heat map, ${number(apart.final, 2)} refined`;
  await print(
    [
      `${report.frames} frames on ${report.backgrounds} backgrounds; ${report.model.name}, threshold ${report.threshold}; errors in px an axis`,
      `${'ground, sigma'.padEnd(14)}${['snr', 'found', 'bound', 'heat', 'final', 'ratio', 'bias x', 'bias y', 'coverage'].map((h, i) => h.padStart([5, 11, 8, 8, 8, 7, 8, 8, 9][i]!)).join('')}`,
      ...report.rows.map(line),
      ...report.scales.map(
        (s) => `${s.kind === 'size' ? `${s.px} px across` : `pair ${s.px} px apart`}: ${found(s)}${apart(s)}`,
      ),
      ...report.borders.map((b) => `${b.px} px from the border: ${found(b)}`),
    ].join('\n'),
  );
}

function inForce({ threshold, relativeThreshold }: Required<Thresholds>): string {
  const strongest = relativeThreshold === 0 ? '' : `, and ${relativeThreshold} of the strongest score of a picture`;
  return `threshold ${threshold}${strongest}`;
}

async function compare(options: EvalOptions, data: string, json: boolean): Promise<void> {
  const images = await readDataset(data, options.list);
  const progress = new ProgressLine(true);
  const report = await comparePrecisions(images, {
    detector: detectorOptions(options),
    radius: options.radius,
    ...thresholds(options),
    onProgress: (done, all) => progress.show(`eval: ${done}/${all} images`, done === all),
  });
  progress.clear();
  if (json) {
    await printJson(report);
    return;
  }
  const { fp32, fp16, heat, pairs } = report;
  const row = (name: string, s: typeof fp32) =>
    `${name}  TP ${s.tp}, FP ${s.fp}, FN ${s.fn}; F1 ${(100 * s.f1).toFixed(2)} %, rms ${number(s.rmsPositionError, 3)} px`;
  await print(
    [
      `${report.images} images, ${report.targets} targets; hit within ${report.radius} px; ${inForce(report)}`,
      row('fp32', fp32),
      `${row('fp16', fp16)}; on ${report.provider}`,
      `F1 differs by ${(100 * report.f1Difference).toFixed(3)} points; heat by ${heat.mean.toExponential(1)} (mean), ${heat.max.toFixed(4)} (most); ${heat.invalidCells} cells NaN or infinite`,
      `${pairs.count} detections in both: ${number(pairs.rmsPx, 4)} px apart (rms), ${number(pairs.maxPx, 4)} px (most), score by ${number(pairs.maxScore, 4)} (most)`,
      `found by one only: ${report.onlyFp32} (fp32), ${report.onlyFp16} (fp16)`,
    ].join('\n'),
  );
}

async function activations(options: EvalOptions, data: string, json: boolean): Promise<void> {
  const progress = new ProgressLine(true);
  const report = await activationRange(data, {
    manifest: manifestPath(options.model),
    framesEach: options.frames,
    onProgress: (name, done, all) => progress.show(`eval: ${name} (${done + 1}/${all})`),
  });
  progress.clear();
  if (json) await printJson(report);
  else {
    await print(
      [
        `${report.frames} frames of ${report.inputs} recordings and pictures, counts ${report.counts.low} to ${report.counts.high}; ${report.tensors} tensors`,
        ...report.top.map((t) => `${t.largest.toFixed(1).padStart(10)}  ${t.type} ${t.name}`),
        `largest ${report.largest.toFixed(1)}; FP16 ends at 65504, the limit is a quarter of it, ${report.limit}`,
      ].join('\n'),
    );
  }
  if (!report.withinLimit) {
    throw new EdgeError('ACTIVATION_RANGE', `an activation reaches ${report.largest}, more than ${report.limit}`, {
      hint: 'this model needs FP32 there, or another normalisation',
      exitCode: EXIT.dataError,
    });
  }
}
