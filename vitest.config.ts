import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    // Real processes, brokers and an inference session: give them room on a loaded two-core machine.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // ONNX Runtime reports to its makers otherwise (src/util/no-telemetry.ts).
    env: { ORT_DISABLE_TELEMETRY: '1' },
  },
});
