import { expect, test } from 'vitest';
import type { ProviderStatus } from '../../types/provider.js';
import { cameraStateMessage, cameraStateSchema, runtimeState } from './camera-state.js';

const status: ProviderStatus = {
  provider: 'cpu',
  library: 'onnxruntime-node 1.30.0',
  wanted: ['tensorrt', 'cpu'],
  refused: [{ provider: 'tensorrt', code: 'PROVIDER_FAILED', reason: 'x'.repeat(2000), hint: 'y', atMs: 0 }],
  build: { provider: 'tensorrt', phase: 'building', sinceMs: 1000, elapsedSeconds: 12.5, detail: 'z'.repeat(2000) },
  demotions: 2,
  retryAtMs: 60_000,
  golden: { heatError: 0.0005, peakErrorPx: 0.001, latencyMs: 30 },
};
const message = (runtime: ProviderStatus) =>
  cameraStateMessage({
    atMs: 0,
    device: 'd',
    camera: 'c',
    software: '1',
    state: 'running',
    enabled: true,
    runtime: runtimeState(runtime),
  });

test('the state tells what runs the network and why nothing better does; long texts are cut', () => {
  const full = message(status);
  expect(cameraStateSchema.parse(full)).toEqual(full);
  expect(full.runtime).toMatchObject({
    library: 'onnxruntime-node 1.30.0',
    wanted: ['tensorrt', 'cpu'],
    refused: [{ provider: 'tensorrt', code: 'PROVIDER_FAILED', at: '1970-01-01T00:00:00.000Z' }],
    build: { phase: 'building', since: '1970-01-01T00:00:01.000Z', elapsedSeconds: 12.5 },
    demotions: 2,
    retryAt: '1970-01-01T00:01:00.000Z',
  });
  expect(full.runtime?.refused[0]?.reason).toHaveLength(512);
  expect(JSON.stringify(full).length).toBeLessThan(2500);
});

test('nothing serves yet', () => {
  const bare = message({ wanted: ['tensorrt'], refused: [], demotions: 0 });
  expect(cameraStateSchema.parse(bare)).toEqual(bare);
  expect(bare.runtime).toEqual({ wanted: ['tensorrt'], refused: [], demotions: 0 });
});
