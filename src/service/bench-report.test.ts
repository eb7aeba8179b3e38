import { describe, expect, test } from 'vitest';
import { boardOf } from '../../test/fakes/boards.js';
import { readBoard } from '../board/board.js';
import { roofline } from '../board/roofline.js';
import { type BenchFacts, benchReport, renderReport, reportName } from './bench-report.js';
import type { SessionReport } from './session.js';

const summary = (p50: number) => ({ count: 100, mean: p50, p50, p95: 2 * p50, p99: 3 * p50, max: 4 * p50 });
const session: SessionReport = {
  source: 'recording /home/somebody/secret/flight.y16',
  frame: { width: 320, height: 256 },
  model: { name: 'p2p-lite', sha256: 'ab'.repeat(32), precision: 'fp16' },
  provider: 'tensorrt',
  library: 'libonnxruntime 1.23.0',
  threads: 2,
  frames: { captured: 600, processed: 590, dropped: { stale: 10 } },
  alerts: 300,
  detections: 310,
  seconds: 10,
  fps: 59,
  latencyMs: summary(5),
  overheadMs: summary(2),
  stages: { normalise: summary(0.4), infer: summary(3), decode: summary(0.2), track: summary(0.1) },
  besidesInferenceMs: summary(1),
  peakMemoryMiB: 180,
};

async function facts(board: string, more: Partial<BenchFacts> = {}): Promise<BenchFacts> {
  return {
    board: await readBoard(boardOf(board)),
    load: {
      seconds: 10,
      samples: 10,
      cpu: { mean: 0.31, max: 0.4 },
      gpu: { mean: 0.5, max: 0.75 },
      watts: { mean: 8.26, max: 9.5, rails: ['VDD_IN'], scope: 'input' },
      celsius: { mean: 50, max: 52.5 },
    },
    session,
    machine: { cpu: 'ARMv8 Processor rev 1 (v8l)', cores: 6, node: 'v20.20.2' },
    software: '0.1.0',
    at: new Date('2026-11-25T10:15:00.123Z'),
    ...more,
  };
}

describe('on an Orin Nano at 15 W', () => {
  test('the report has board, power mode, load, watts, and the roofline at the clock that the mode allows', async () => {
    const report = await benchReport(await facts('orin-nano-super-jetpack-6.2'));
    expect(report.board).toMatchObject({
      module: 'Jetson Orin Nano 8GB (Super)',
      l4t: '36.4.3',
      jetpack: { version: '6.2' },
      power: { mode: { name: '15W' } },
    });
    expect(report.roofline).toMatchObject({ gpuMhz: 612, memoryGBps: 102 });
    // 8 multiprocessors, 2048 operations a clock, 612 MHz.
    expect(report.roofline?.peakTeraFlops).toBeCloseTo(10.03, 2);
    const { best, worst } = report.roofline!.estimateMs;
    expect(best).toBeLessThan(worst);
    expect(report.roofline!.cost.flops / 1e9).toBeCloseTo(1.158 * 1.25, 1);
    expect(reportName(report)).toBe('irst-edge-bench_jetson-orin-nano-8gb-super_15w_tensorrt_20261125T101500Z');
    const text = renderReport(report);
    expect(text).toContain('# irst-edge 0.1.0 on Jetson Orin Nano 8GB (Super)');
    expect(text).toContain('| power mode | 15W (0) |');
    expect(text).toContain('| infer | 3.00 | 6.00 | 9.00 |');
    expect(text).toContain('| GPU, % | 50 | 75 |');
    expect(text).toContain('| power at the input, W (VDD_IN) | 8.26 | 9.50 |');
    expect(text).toContain('140.0 mJ a frame');
    expect(text).toContain(`Measured: 3.00 ms, ${(3 / best).toFixed(1)} times the best.`);
    expect(text).toContain('dropped: 10 stale');
  });
  test('it says nothing of its owner', async () => {
    const report = await benchReport(await facts('orin-nano-super-jetpack-6.2'));
    const stream = await benchReport(
      await facts('orin-nano-super-jetpack-6.2', {
        session: { ...session, source: 'rtsp://user:pass@10.0.0.7/live 640x512' },
      }),
    );
    for (const text of [JSON.stringify(report), renderReport(report), JSON.stringify(stream)]) {
      expect(text).not.toMatch(/somebody|secret|10\.0\.0\.7|pass/);
    }
    expect(report.session.source).toBe('recording flight.y16');
    expect(stream.session.source).toBe('rtsp stream 640x512');
  });
});

test('a PC reports no power and has no roofline, and says so', async () => {
  const report = await benchReport(
    await facts('pc-x86', { load: { seconds: 1, samples: 1 }, session: { ...session, provider: 'cpu', fps: 0 } }),
  );
  expect(report.roofline).toBeUndefined();
  const text = renderReport(report);
  expect(text).toContain('| power, W | not reported | |');
  expect(text).not.toContain('mJ a frame');
  expect(text).not.toMatch(/NaN|undefined/);
});

test('roofline: the larger of compute, memory and launches bounds', () => {
  const module = {
    name: 'x',
    computeCapability: '8.7',
    multiprocessors: 1,
    fp16PerClock: 1000,
    gpuMhz: 1000,
    memoryGBps: 1,
    source: '',
  };
  const of = (flops: number, bytes: number, launches: number) =>
    roofline(module, undefined, {
      flops,
      bytes: { fused: bytes, unfused: 2 * bytes },
      launches: { fused: launches, unfused: 2 * launches },
    });
  // 1 TFLOPS, 1 GB/s.
  expect(of(2e9, 1e6, 10)).toMatchObject({ boundBy: 'compute', computeMs: 2, estimateMs: { best: 2, worst: 2 + 0.2 } });
  expect(of(1e9, 5e6, 10)).toMatchObject({ boundBy: 'memory', estimateMs: { best: 5, worst: 10 + 0.2 } });
  expect(of(1e6, 1e3, 100)).toMatchObject({ boundBy: 'launches', estimateMs: { best: 0.5 } });
  expect(roofline(module, { name: 'gpu', maxHz: 500e6, locked: false }, of(1e9, 1, 1).cost).computeMs).toBe(2);
});
