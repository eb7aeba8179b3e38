/** Control packet types (MQTT 3.1.1, section 2.2.1) that have a limit of their own. */
export const SUBSCRIBE = 8;
export const UNSUBSCRIBE = 10;

export interface PacketTooLarge {
  /** Control packet type: 3 is PUBLISH. */
  type: number;
  /** Of the whole packet; infinity where its length cannot be read. */
  bytes: number;
}

/**
 * Finds packets over a limit in a stream of MQTT (3.1.1 or 5) as soon as their length is known: mqtt-packet keeps what came of a packet,
 * up to 256 MiB, until it is whole, and only then does anybody look at it.
 */
export class PacketSizes {
  /** Of the packet under way: bytes of the fixed header so far, the first of them, the length so far, and what is still to come. */
  #header = 0;
  #first = 0;
  #length = 0;
  #left = 0;

  /** @param limit largest packet of a control packet type, bytes with its fixed header */
  constructor(private readonly limit: (type: number) => number) {}

  /** The next bytes of the stream, cut anywhere. Returns the first packet over its limit; after that there is nothing to go on with. */
  take(chunk: Uint8Array): PacketTooLarge | undefined {
    for (let at = 0; at < chunk.length; ) {
      if (this.#left > 0) {
        const skipped = Math.min(this.#left, chunk.length - at);
        this.#left -= skipped;
        at += skipped;
        continue;
      }
      const byte = chunk[at++] as number;
      if (this.#header === 0) {
        this.#first = byte;
        this.#length = 0;
        this.#header = 1;
        continue;
      }
      // Seven bits a byte, the lowest first; at most four bytes.
      this.#length += (byte & 127) * 128 ** (this.#header - 1);
      this.#header += 1;
      const type = this.#first >> 4;
      if (byte > 127) {
        if (this.#header > 4) return { type, bytes: Number.POSITIVE_INFINITY };
        continue;
      }
      const bytes = this.#header + this.#length;
      if (bytes > this.limit(type)) return { type, bytes };
      this.#header = 0;
      this.#left = this.#length;
    }
    return undefined;
  }
}
