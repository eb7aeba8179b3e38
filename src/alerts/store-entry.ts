/** What one commit writes and removes. */
export interface LogEntry {
  puts: readonly (readonly [key: string, value: Uint8Array])[];
  removes: readonly string[];
}

/** `length of the JSON head u32le; {"puts": [[key, bytes], ...], "removes": [key, ...]}; values`, in parts. */
export function encodeEntry({ puts, removes }: LogEntry): Uint8Array[] {
  const head = Buffer.from(JSON.stringify({ puts: puts.map(([key, value]) => [key, value.length]), removes }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(head.length, 0);
  return [length, head, ...puts.map(([, value]) => value)];
}

/** Values are copies. @throws where `bytes` is no entry */
export function decodeEntry(bytes: Buffer): LogEntry {
  let from = 4 + bytes.readUInt32LE(0);
  const head = JSON.parse(bytes.toString('utf8', 4, from)) as {
    puts: [key: string, bytes: number][];
    removes: string[];
  };
  const puts = head.puts.map(([key, length]) => {
    from += length;
    return [key, Buffer.from(bytes.subarray(from - length, from))] as const;
  });
  return { puts, removes: head.removes };
}
