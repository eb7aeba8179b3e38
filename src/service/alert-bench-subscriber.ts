import { parentPort, workerData } from 'node:worker_threads';
import { connectAsync } from 'mqtt';

// The subscriber of `irst-edge bench --alerts`, in a thread of its own: what it does with a message is not the publisher's time.

export interface SubscriberData {
  port: number;
  protocolVersion: 4 | 5;
  topics: string[];
}

/** First `ready`, then what came, a batch at a time: the key in each message, and when it came (`monotonicMs`). */
export type SubscriberMessage = { type: 'ready' } | { type: 'got'; keys: [key: string, at: number][] };

/** A clock that all threads share, ms. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6;

const BATCH_MS = 20;

async function main(port: NonNullable<typeof parentPort>, data: SubscriberData): Promise<void> {
  const url = `mqtt://127.0.0.1:${data.port}`;
  const client = await connectAsync(url, { protocolVersion: data.protocolVersion, reconnectPeriod: 0 });
  const say = (message: SubscriberMessage): void => port.postMessage(message);
  let keys: [string, number][] = [];
  client.on('message', (_topic, text) => {
    const at = monotonicMs();
    keys.push([(JSON.parse(text.toString()) as { key: string }).key, at]);
    if (keys.length > 1) return;
    setTimeout(() => {
      say({ type: 'got', keys });
      keys = [];
    }, BATCH_MS);
  });
  await client.subscribeAsync(data.topics, { qos: 1 });
  say({ type: 'ready' });
}

if (parentPort !== null) await main(parentPort, workerData as SubscriberData);
