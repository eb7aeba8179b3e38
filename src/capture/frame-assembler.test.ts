import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../../test/fakes/fake-clock.js';
import { FrameAssembler } from './frame-assembler.js';

/** `frames` frames of `size` bytes, each byte the number of its frame, and `extra` bytes of the next. */
function stream(frames: number, size: number, extra = 0): Uint8Array {
  return Uint8Array.from({ length: frames * size + extra }, (_, i) => Math.floor(i / size));
}

/** Cuts `bytes` at the given places. */
function cut(bytes: Uint8Array, places: number[]): Uint8Array[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((from, i) => bytes.subarray(from, sorted[i] ?? bytes.length));
}

describe('FrameAssembler, newest wins', () => {
  it('keeps the newest frame and tells of each it replaced', () => {
    let replaced = 0;
    const assembler = new FrameAssembler(4, true, new FakeClock(), () => replaced++);
    expect(assembler.push(stream(5, 4, 3))).toBe(true);
    expect(replaced).toBe(4);
    expect(assembler.take()).toMatchObject({ sequence: 4, bytes: Uint8Array.of(4, 4, 4, 4) });
    expect(assembler.take()).toBeUndefined();
    expect(assembler.partial).toBe(3);
    assembler.push(Uint8Array.of(5));
    expect(assembler.take()).toMatchObject({ sequence: 5, bytes: Uint8Array.of(5, 5, 5, 5) });
  });

  it('stamps a frame when its last byte arrives', () => {
    const clock = new FakeClock();
    const assembler = new FrameAssembler(4, true, clock, () => {});
    assembler.push(stream(0, 4, 3));
    clock.advance(10);
    assembler.push(Uint8Array.of(0));
    const then = [clock.monotonicNs(), clock.wallMs()];
    clock.advance(100);
    const frame = assembler.take();
    expect([frame?.captureMonotonicNs, frame?.capturedAtMs]).toEqual(then);
  });

  it('does not touch the frame that was handed out', () => {
    const assembler = new FrameAssembler(2, true, new FakeClock(), () => {});
    assembler.push(Uint8Array.of(1, 1));
    const frame = assembler.take()!;
    for (let k = 2; k < 20; k++) assembler.push(Uint8Array.of(k, k));
    expect(frame.bytes).toEqual(Uint8Array.of(1, 1));
  });
});

describe('FrameAssembler, every frame', () => {
  it('asks to stop once a frame waits, and to go on when it is taken', () => {
    const assembler = new FrameAssembler(4, false, new FakeClock(), () => {});
    expect(assembler.push(stream(0, 4, 3))).toBe(true);
    expect(assembler.push(Uint8Array.of(0, 1))).toBe(false);
    expect(assembler.take()?.sequence).toBe(0);
    expect(assembler.hasFrame).toBe(false);
    expect(assembler.push(Uint8Array.of(1, 1, 1))).toBe(false);
    expect(assembler.take()?.bytes).toEqual(Uint8Array.of(1, 1, 1, 1));
  });

  it('gives every frame whole and in order, however the bytes are cut and whenever they are taken', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 0, max: 30 }),
        fc.array(fc.nat(300), { maxLength: 30 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 8 }),
        (size, frames, places, takes) => {
          const extra = size - 1;
          let replaced = 0;
          const assembler = new FrameAssembler(size, false, new FakeClock(), () => replaced++);
          const seen: number[] = [];
          const take = (): boolean => {
            const frame = assembler.take();
            if (frame === undefined) return false;
            expect(frame.bytes).toEqual(new Uint8Array(size).fill(frame.sequence));
            seen.push(frame.sequence);
            return true;
          };
          cut(stream(frames, size, extra), places).forEach((chunk, i) => {
            assembler.push(chunk);
            if (takes[i % takes.length]) take();
          });
          while (take());
          expect(seen).toEqual(Array.from({ length: frames }, (_, k) => k));
          expect(assembler.partial).toBe(extra);
          expect(replaced).toBe(0);
        },
      ),
    );
  });

  it('loses no count when the newest wins', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(fc.nat(200), { maxLength: 20 }), (size, places) => {
        let replaced = 0;
        let taken = 0;
        const assembler = new FrameAssembler(size, true, new FakeClock(), () => replaced++);
        cut(stream(30, size), places).forEach((chunk, i) => {
          expect(assembler.push(chunk)).toBe(true);
          if (i % 3 === 0 && assembler.take() !== undefined) taken++;
        });
        expect(assembler.completed).toBe(30);
        expect(replaced + taken + (assembler.hasFrame ? 1 : 0)).toBe(30);
      }),
    );
  });
});
