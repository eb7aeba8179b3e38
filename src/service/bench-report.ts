import type { Board } from '../board/board.js';
import { type Roofline, roofline } from '../board/roofline.js';
import type { BoardLoad, Level } from '../board/sampler.js';
import { BUNDLED_MANIFEST, chooseFile, loadModel, paddedSize, readManifest } from '../detect/manifest.js';
import { modelCost } from '../detect/model-cost.js';
import type { Summary } from '../util/percentiles.js';
import type { SessionReport } from './session.js';

/** A measurement that its owner can post. No names, addresses or paths of the machine are in it. */
export interface BenchReport {
  schema: 'irst-edge/bench/1';
  at: string;
  software: string;
  machine: { cpu: string; cores: number; node: string; system?: string; kernel?: string };
  board: Pick<Board, 'jetson' | 'model' | 'jetpack' | 'software' | 'power' | 'gpu' | 'cpus' | 'memory'> & {
    module?: string;
    l4t?: string;
  };
  session: SessionReport;
  /** What the board did meanwhile. */
  load: BoardLoad;
  /** How long the inference must take at the least on this board's GPU; absent on machines without one that is known. */
  roofline?: Roofline;
}

export interface BenchFacts {
  board: Board;
  load: BoardLoad;
  session: SessionReport;
  /** Path of the model's manifest; default: the bundled one. */
  manifest?: string;
  machine: { cpu: string; cores: number; node: string };
  software: string;
  at: Date;
}

/** @throws EdgeError MODEL_* */
export async function benchReport(facts: BenchFacts): Promise<BenchReport> {
  const { board, load, session, machine, software, at } = facts;
  const { jetson, model, module, release, jetpack, power, gpu, cpus, memory, system, kernel } = board;
  return {
    schema: 'irst-edge/bench/1',
    at: at.toISOString(),
    software,
    machine: { ...machine, ...(system !== undefined && { system }), ...(kernel !== undefined && { kernel }) },
    board: {
      jetson,
      ...(model !== undefined && { model }),
      ...(module !== undefined && { module: module.name }),
      ...(release !== undefined && { l4t: release.l4t }),
      ...(jetpack !== undefined && { jetpack }),
      software: board.software,
      ...(power !== undefined && { power }),
      ...(gpu !== undefined && { gpu }),
      cpus,
      ...(memory !== undefined && { memory }),
    },
    session: { ...session, source: withoutPlace(session.source) },
    load,
    ...(module !== undefined && { roofline: roofline(module, gpu, await costOf(facts.manifest, session.frame)) }),
  };
}

/** The last name of a path or address: the rest is its owner's business. */
function withoutPlace(source: string): string {
  return source
    .replaceAll(/[a-z][a-z0-9+.-]*:\/\/\S+/gi, (url) => `${url.split(':', 1)[0]} stream`)
    .replaceAll(/\S*\/(?=\S)/g, '');
}

/** Of the FP16 file, which is what a GPU runs. */
async function costOf(path = BUNDLED_MANIFEST, frame: { width: number; height: number }) {
  const manifest = await readManifest(path);
  const file = chooseFile(manifest, frame.width, frame.height, 'fp16');
  const least = paddedSize(manifest, frame.width, frame.height);
  const size = { width: file.width ?? least.width, height: file.height ?? least.height };
  const { bytes } = await loadModel(path, manifest, file);
  return modelCost(bytes, size, 2);
}

/** `irst-edge-bench_jetson-orin-nano-8gb-super_15w_cpu_20261125T101500Z`: for the files of a report. */
export function reportName({ board, machine, session, at }: BenchReport): string {
  const parts = [board.module ?? board.model ?? machine.cpu, board.power?.mode?.name ?? '', session.provider];
  const slug = parts
    .map((part) =>
      part
        .toLowerCase()
        .replaceAll(/[^a-z0-9]+/g, '-')
        .replaceAll(/^-|-$/g, ''),
    )
    .filter((part) => part !== '')
    .join('_');
  return `irst-edge-bench_${slug}_${at.replaceAll(/[-:]|\.\d+/g, '')}`;
}

/** The report for people, as Markdown. */
export function renderReport(report: BenchReport): string {
  const { board, machine, session, load } = report;
  const { frame, latencyMs, stages, besidesInferenceMs, overheadMs, frames, model } = session;
  const name = board.module ?? board.model ?? machine.cpu;
  const { tensorrt, cuda, cudnn } = board.software;
  const dropped = Object.entries(frames.dropped).map(([reason, n]) => `${n} ${reason}`);
  const lines = [
    `# irst-edge ${report.software} on ${name}`,
    '',
    table([
      ['board', [board.model, board.module].filter(Boolean).join('; ') || 'no Jetson'],
      ['system', [machine.system, machine.kernel, `Node.js ${machine.node}`].filter(Boolean).join(', ')],
      ['processor', `${machine.cpu}, ${machine.cores} cores`],
      ...(board.jetpack ? [['JetPack', `${board.jetpack.version} (Jetson Linux ${board.l4t})`]] : []),
      ...(tensorrt ? [['TensorRT, CUDA, cuDNN', [tensorrt, cuda, cudnn].map((v) => v ?? '?').join(', ')]] : []),
      ...(board.power?.mode ? [['power mode', `${board.power.mode.name} (${board.power.mode.id})`]] : []),
      ...(board.gpu ? [['GPU clock', gpuClock(board.gpu)]] : []),
      ['provider', `${session.provider} (${session.library}), ${session.threads} threads`],
      ['model', `${model.name} ${model.precision}, sha256 ${model.sha256.slice(0, 12)}`],
      ['source', `${session.source}, ${frame.width}x${frame.height}`],
      ['measured', report.at],
    ]),
    '',
    `**${session.fps.toFixed(1)} frames a second** over ${session.seconds.toFixed(1)} s: ${frames.processed} of ${frames.captured} frames ` +
      `worked, dropped: ${dropped.join(', ') || 'none'}; ${session.alerts} alerts; peak memory ${session.peakMemoryMiB.toFixed(0)} MiB.`,
    '',
    '| ms | p50 | p95 | p99 |',
    '|---|---|---|---|',
    row('normalise', stages.normalise),
    row('infer', stages.infer),
    row('decode', stages.decode),
    row('track', stages.track),
    row('frame, besides inference', besidesInferenceMs),
    row('frame to subscriber', latencyMs),
    row('frame to subscriber less inference', overheadMs),
    '',
    '| meanwhile | mean | most |',
    '|---|---|---|',
    level('processor, all cores, %', load.cpu, 100, 0),
    level('GPU, %', load.gpu, 100, 0),
    level('GPU clock, MHz', load.gpuMhz, 1, 0),
    level(
      load.watts === undefined
        ? 'power, W'
        : `power ${load.watts.scope === 'input' ? 'at the input' : 'of the module'}, W (${load.watts.rails.join(' + ')})`,
      load.watts,
      1,
      2,
    ),
    level('hottest zone, °C', load.celsius, 1, 1),
    ...(load.watts === undefined || session.fps <= 0
      ? []
      : ['', `${((1000 * load.watts.mean) / session.fps).toFixed(1)} mJ a frame, everything the board does included.`]),
    ...(report.roofline === undefined ? [] : ['', ...renderRoofline(report.roofline, stages.infer, session.provider)]),
    '',
  ];
  return lines.join('\n');
}

function renderRoofline(r: Roofline, infer: Summary, provider: string): string[] {
  const { best, worst } = r.estimateMs;
  const measured =
    provider === 'cpu'
      ? 'The inference above ran on the CPU, so it says nothing of the GPU.'
      : `Measured: ${infer.p50.toFixed(2)} ms, ${(infer.p50 / best).toFixed(1)} times the best.`;
  return [
    `Roofline of the GPU in FP16 (${r.module} at ${r.gpuMhz.toFixed(0)} MHz: ${r.peakTeraFlops.toFixed(1)} TFLOPS dense, ` +
      `${r.memoryGBps} GB/s; ${r.source}):`,
    '',
    '| | all fused | nothing fused |',
    '|---|---|---|',
    `| ${(r.cost.flops / 1e9).toFixed(2)} GFLOPs | ${r.computeMs.toFixed(3)} ms | ${r.computeMs.toFixed(3)} ms |`,
    `| ${mb(r.cost.bytes.fused)} to ${mb(r.cost.bytes.unfused)} MB of traffic | ${r.memoryMs.fused.toFixed(3)} ms | ${r.memoryMs.unfused.toFixed(3)} ms |`,
    `| ${r.cost.launches.fused} to ${r.cost.launches.unfused} launches | ${r.launchMs.fused.toFixed(3)} ms | ${r.launchMs.unfused.toFixed(3)} ms |`,
    `| an inference at the least | **${best.toFixed(2)} ms** | ${worst.toFixed(2)} ms |`,
    '',
    `Bound by ${r.boundBy}. An estimate, not a measurement; copies are not in it. ${measured}`,
  ];
}

const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);

function table(rows: readonly (readonly string[])[]): string {
  return ['| | |', '|---|---|', ...rows.map(([name, value]) => `| ${name} | ${value} |`)].join('\n');
}

function row(name: string, { p50, p95, p99 }: Summary): string {
  return `| ${name} | ${[p50, p95, p99].map((v) => (Number.isFinite(v) ? v.toFixed(2) : '–')).join(' | ')} |`;
}

function level(name: string, value: Level | undefined, scale: number, digits: number): string {
  if (value === undefined) return `| ${name} | not reported | |`;
  return `| ${name} | ${(scale * value.mean).toFixed(digits)} | ${(scale * value.max).toFixed(digits)} |`;
}

function gpuClock({ minHz, maxHz, hardwareMaxHz, governor, locked }: NonNullable<BenchReport['board']['gpu']>): string {
  const mhz = (hz: number | undefined) => (hz === undefined ? '?' : (hz / 1e6).toFixed(0));
  const range = locked ? `fixed at ${mhz(maxHz)} MHz` : `${mhz(minHz)} to ${mhz(maxHz)} MHz (${governor ?? '?'})`;
  return hardwareMaxHz === undefined ? range : `${range}; the hardware goes to ${mhz(hardwareMaxHz)} MHz`;
}
