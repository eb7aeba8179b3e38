import fc from 'fast-check';
import { generate } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { PacketSizes, SUBSCRIBE } from './packet-sizes.js';

const publish = (bytes: number) =>
  generate({ cmd: 'publish', topic: 't', payload: Buffer.alloc(bytes), qos: 0, dup: false, retain: false });
const subscribe = (count: number) =>
  generate({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: Array.from({ length: count }, (_, i) => ({ topic: `t/${i}`, qos: 0 as const })),
  });

describe('PacketSizes', () => {
  it('finds the packet over its limit wherever the stream is cut', () => {
    const large = publish(70_000);
    const stream = Buffer.concat([
      generate({ cmd: 'pingresp' }),
      publish(0),
      publish(125),
      publish(126),
      publish(20_000),
      subscribe(20),
      large,
    ]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 30_000 }), { minLength: 1, maxLength: 50 }), (cuts) => {
        const sizes = new PacketSizes(() => 65_536);
        const found = [];
        for (let at = 0, i = 0; at < stream.length && found.length === 0; i += 1) {
          const end = Math.min(stream.length, at + (cuts[i % cuts.length] as number));
          const over = sizes.take(stream.subarray(at, end));
          if (over) found.push(over);
          at = end;
        }
        expect(found).toEqual([{ type: 3, bytes: large.length }]);
      }),
    );
  });

  it('knows the size from the first bytes, also of the largest there is', () => {
    const sizes = new PacketSizes(() => 65_536);
    expect(sizes.take(Buffer.from([0x30, 0xff, 0xff, 0xff]))).toBeUndefined();
    expect(sizes.take(Buffer.from([0x7f]))).toEqual({ type: 3, bytes: 268_435_460 });
  });

  it('has limits by type', () => {
    const sizes = () => new PacketSizes((type) => (type === SUBSCRIBE ? 1_000 : 10_000));
    expect(sizes().take(publish(5_000))).toBeUndefined();
    expect(sizes().take(subscribe(20))).toBeUndefined();
    expect(sizes().take(subscribe(1_000))).toMatchObject({ type: SUBSCRIBE });
  });

  it('takes a length that is none for too large', () => {
    expect(new PacketSizes(() => 1e9).take(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff]))).toEqual({
      type: 3,
      bytes: Number.POSITIVE_INFINITY,
    });
  });
});
