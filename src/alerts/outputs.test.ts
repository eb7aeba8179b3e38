import { createSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { configSchema, type OutputsConfig as FromFile } from '../config/schema.js';
import { EXAMPLES } from './examples.js';
import { eventFromCbor } from './mappers/cbor.js';
import { Outputs, type OutputsConfig, type OutputsOptions } from './outputs.js';
import type { EventMessage } from './schema.js';
import type { Sink, SinkEvents } from './sinks.js';

const EVENT: EventMessage = EXAMPLES.event;
const { bearing: _, ...BLIND } = EVENT;

class FakeSink extends EventEmitter<SinkEvents> implements Sink {
  readonly sent: Buffer[] = [];
  started = false;
  stopped = false;
  constructor(readonly url: string) {
    super();
  }
  start(): void {
    this.started = true;
  }
  send(message: Uint8Array): boolean {
    this.sent.push(Buffer.from(message));
    return true;
  }
  counters() {
    const dropped = { overflow: 0, oversized: 0, expired: 0, failed: 0, disconnected: 0, shutdown: 0 };
    return { accepted: this.sent.length, sent: this.sent.length, dropped, queued: 0 };
  }
  async stop(): Promise<void> {
    this.stopped = true;
  }
}

function config(outputs: object): FromFile {
  return configSchema.parse({ cameras: [{ id: 'a', source: { kind: 'synthetic' } }], outputs }).outputs;
}

function setUp(outputs: object, more: Partial<OutputsOptions> = {}) {
  const sinks: FakeSink[] = [];
  const made = new Outputs({
    device: 'edge-1',
    prefix: 'irst',
    cameras: ['south', 'north'],
    software: '0.1.0',
    outputs: config(outputs),
    sink: (url) => {
      const sink = new FakeSink(url);
      sinks.push(sink);
      return sink;
    },
    ...more,
  });
  made.start();
  return { outputs: made, sinks };
}

describe('Outputs', () => {
  it('takes the section of the configuration', () => {
    expectTypeOf<FromFile>().toExtend<OutputsConfig>();
  });

  it('does nothing by default', () => {
    const { outputs, sinks } = setUp({});
    expect([outputs.atStart(), outputs.event(EVENT), sinks, outputs.counters()]).toEqual([[], [], [], {}]);
  });

  it('announces the device to Home Assistant', () => {
    const { outputs } = setUp({ homeAssistant: { enabled: true, prefix: 'ha' } });
    const [message, ...others] = outputs.atStart();
    expect(others).toEqual([]);
    expect(message).toMatchObject({ topic: 'ha/device/irst_sedge-1/config', retain: true });
    expect(Object.keys(JSON.parse(String(message?.payload)).components)).toContain('north_enabled');
    expect(outputs.event(EVENT)).toEqual([]);
  });

  it('gives the broker CBOR and SAPIENT on topics of their own', () => {
    const { outputs } = setUp({ sapient: { enabled: true }, cbor: { enabled: true } });
    const [sapient, cbor] = outputs.event(EVENT);
    expect(sapient).toMatchObject({ topic: 'irst/edge-1/north/events/sapient', retain: false });
    expect(JSON.parse(String(sapient?.payload)).detectionReport.objectId).toBe(EVENT.id);
    expect(cbor).toMatchObject({ topic: 'irst/edge-1/north/events/cbor', contentType: 'application/cbor' });
    expect(eventFromCbor(cbor?.payload as Buffer).id).toBe(EVENT.id);
    expect(outputs.event(BLIND).map((m) => m.topic)).toEqual(['irst/edge-1/north/events/cbor']);
    expect(outputs.counters()).toEqual({
      sapient: { made: 1, skipped: { noBearing: 1 } },
      cbor: { made: 2, skipped: {} },
    });
  });

  it('sends Cursor-on-Target and MAVLink to their sinks', async () => {
    const { outputs, sinks } = setUp({ cot: { enabled: true }, mavlink: { enabled: true, systemId: 7 } });
    expect(sinks.map((s) => [s.url, s.started])).toEqual([
      ['udp://239.2.3.1:6969', true],
      ['udp://127.0.0.1:14550', true],
    ]);
    const [cot, mavlink] = sinks as [FakeSink, FakeSink];
    outputs.event(EVENT);
    outputs.event({ ...EVENT, id: '01KG9Q8PRANBQ5ZV4H6E7C2T0Y', severity: 'info' });
    outputs.event({ ...EVENT, seq: 1, type: 'update' });
    expect(cot.sent.map((m) => /uid="([^"]+)"/.exec(String(m))?.[1])).toEqual([
      EVENT.id,
      '01KG9Q8PRANBQ5ZV4H6E7C2T0Y',
      EVENT.id,
    ]);
    expect(String(cot.sent[0])).toMatch(/^<event .*<\/event>\n$/);
    // Sequence, system, and the second camera's component.
    expect(mavlink.sent.map((m) => [...m.subarray(4, 7)])).toEqual([
      [0, 7, 101],
      [1, 7, 101],
    ]);
    expect(outputs.counters()).toMatchObject({
      cot: { made: 3, sink: { sent: 3 } },
      mavlink: { made: 2, skipped: { notForemost: 1 }, sink: { sent: 2 } },
    });
    await outputs.stop();
    expect(sinks.every((s) => s.stopped)).toBe(true);
  });

  it('numbers MAVLink components by the configuration, cameras that are off too', () => {
    const { outputs, sinks } = setUp(
      { mavlink: { enabled: true } },
      { cameras: ['north'], configured: ['south', 'north'] },
    );
    outputs.event(EVENT);
    expect(sinks[0]?.sent[0]?.[6]).toBe(101);
  });

  it('tells SAPIENT the end of a target whose last place has no bearing', () => {
    const { outputs } = setUp({ sapient: { enabled: true } });
    const { bearing: _, ...nowhere } = EVENT;
    const reports = [
      EVENT,
      { ...nowhere, seq: 1, type: 'end' as const, endReason: 'left' as const },
      // That event is over.
      { ...nowhere, seq: 2, type: 'end' as const, endReason: 'left' as const },
    ].flatMap((event) => outputs.event(event).map(({ payload }) => JSON.parse(String(payload)).detectionReport));
    expect(reports).toHaveLength(2);
    expect(reports[1]).toMatchObject({ state: 'object lost', rangeBearing: reports[0].rangeBearing });
  });

  it('keeps a fault of one form from the others and from the caller', () => {
    const { outputs } = setUp({ cot: { enabled: true }, cbor: { enabled: true } });
    expect(outputs.event({ ...EVENT, id: 'no ulid' })).toEqual([]);
    expect(outputs.counters()).toMatchObject({ cot: { made: 1 }, cbor: { made: 0, skipped: { fault: 1 } } });
  });

  it('passes problems of sinks on', () => {
    const problems: string[] = [];
    const { sinks } = setUp({ cot: { enabled: true } }, { onProblem: (error) => problems.push(error.code) });
    sinks[0]?.emit('problem', Object.assign(new Error(), { code: 'OUTPUT_UNREACHABLE' }) as never, 0);
    expect(problems).toEqual(['OUTPUT_UNREACHABLE']);
  });

  it('reaches a receiver on the network', async () => {
    const receiver = createSocket('udp4');
    receiver.bind(0, '127.0.0.1');
    await once(receiver, 'listening');
    const url = `udp://127.0.0.1:${receiver.address().port}`;
    const outputs = new Outputs({
      device: 'edge-1',
      prefix: 'irst',
      cameras: ['north'],
      software: '0.1.0',
      outputs: config({ cot: { enabled: true, url, position: { latitude: 1, longitude: 2 } } }),
    });
    const got = once(receiver, 'message');
    try {
      outputs.start();
      outputs.event(EVENT);
      const [message] = await Promise.race([got, delay(15_000).then(() => [''])]);
      expect(String(message)).toContain('<point lat="1.0000000" lon="2.0000000"');
    } finally {
      await outputs.stop();
      receiver.close();
    }
  });
});
