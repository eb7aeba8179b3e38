import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { createLogger } from '../service/log.js';
import { type ReceivedAlert, runSession, type SessionReport } from '../service/session.js';
import { configFrom, stopSignal } from './inputs.js';
import { ProgressLine } from './progress.js';
import { globalOptions, print, printJson, printNote } from './shared.js';

/** 4 s of a drone in front of clouds, 320x256, CC0; in the package beside its licence note. */
const CLIP = fileURLToPath(new URL('../../test/fixtures/drone-sky', import.meta.url));

export function register(program: Command): void {
  program
    .command('demo')
    .description('play the bundled thermal clip through the whole pipeline, with an MQTT broker inside the process')
    .option(
      '--fast',
      'every frame, as fast as it can be worked, instead of real time; speeds are those of its own rate',
    )
    .action(demo);
}

async function demo(options: { fast?: true }, command: Command): Promise<void> {
  const { json } = globalOptions(command);
  const config = configFrom({
    device: { id: 'demo' },
    cameras: [{ id: 'clip', source: { kind: 'recording', path: CLIP }, rate: options.fast ? 'fast' : 'realtime' }],
    embeddedBroker: { port: 0 },
    log: { level: 'warn' },
  });
  const progress = new ProgressLine(!json);
  if (!json) {
    await printNote(
      'irst-edge demo: thermal clip -> detector on the CPU -> MQTT broker in this process -> a subscriber',
    );
  }
  const report = await runSession(
    config,
    createLogger(config.log),
    json
      ? {}
      : {
          onAlert: (alert) => {
            progress.clear();
            process.stdout.write(`${alertLine(alert)}\n`);
          },
          onProgress: ({ frames, alerts, fps }) => {
            progress.show(`frame ${frames}, ${alerts} alerts, ${fps.toFixed(1)} fps`);
          },
        },
    stopSignal(),
  );
  progress.clear();
  if (json) await printJson(report);
  else await print(summary(report));
}

function alertLine({ message, latencyMs }: ReceivedAlert): string {
  const targets = message.detections.map(
    (d) =>
      `x ${d.x.toFixed(2)} ±${d.sigmaX.toFixed(2)}  y ${d.y.toFixed(2)} ±${d.sigmaY.toFixed(2)} px  ` +
      `score ${d.score.toFixed(2)}  SNR ${d.snr.toFixed(1)}`,
  );
  return `irst/${message.device}/${message.camera}/detections  frame ${String(message.sequence).padStart(3)}  ${targets.join(' | ')}  (${latencyMs.toFixed(1)} ms)`;
}

function summary(r: SessionReport): string {
  const dropped = Object.entries(r.frames.dropped).map(([reason, n]) => `${n} ${reason}`);
  const ms = (v: number) => `${v.toFixed(1)} ms`;
  return [
    '',
    `source    ${r.source}`,
    `model     ${r.model.name} ${r.model.precision} on ${r.provider} (${r.library}, ${r.threads} threads)`,
    `frames    ${r.frames.captured} captured, ${r.frames.processed} processed, dropped: ${dropped.join(', ') || 'none'}`,
    `alerts    ${r.alerts} messages with ${r.detections} detections reached the subscriber`,
    `fps       ${r.fps.toFixed(1)}`,
    `latency   frame to subscriber: p50 ${ms(r.latencyMs.p50)}, p95 ${ms(r.latencyMs.p95)}, p99 ${ms(r.latencyMs.p99)}`,
  ].join('\n');
}
