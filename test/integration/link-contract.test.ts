import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { connectAsync } from 'mqtt';
import { afterEach, expect, test, vi } from 'vitest';
import { Commands } from '../../src/alerts/commands.js';
import { MqttPublisher, type MqttPublisherOptions } from '../../src/alerts/publisher.js';
import { startMosquitto } from './mosquitto.js';
import { waiting } from './until.js';

const until = waiting(25_000);

vi.setConfig({ testTimeout: 60_000 });

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step();
});

function publisher(url: string, options: Partial<MqttPublisherOptions> = {}): MqttPublisher {
  const p = new MqttPublisher({
    url,
    device: 'edge-1',
    software: '0.0.0-test',
    reconnectMinMs: 50,
    reconnectMaxMs: 200,
    ...options,
  });
  cleanup.push(() => p.stop());
  return p;
}

test('a device whose link goes dead without a word is offline after 1.5 times its keepalive, and what the broker takes to look', async () => {
  const mosquitto = await startMosquitto();
  cleanup.push(() => mosquitto.stop());
  // Passes everything on, until it goes silent in both directions with its sockets open: a radio link out of range.
  let dead = false;
  let connections = 0;
  const sockets: Socket[] = [];
  let spokeAt = 0;
  const proxy = createServer((client) => {
    connections += 1;
    const upstream = connect(mosquitto.port, '127.0.0.1');
    sockets.push(client, upstream);
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.on('data', (chunk) => {
      if (dead) return;
      spokeAt = performance.now();
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => {
      if (!dead) client.write(chunk);
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  cleanup.push(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const heard: [string, number][] = [];
  const subscriber = await connectAsync(mosquitto.url, { protocolVersion: 5 });
  cleanup.push(() => subscriber.end(true));
  subscriber.on('message', (_topic, payload) => heard.push([payload.toString(), performance.now()]));
  await subscriber.subscribeAsync('irst/edge-1/available', { qos: 1 });
  const keepalive = 4;
  const p = publisher(`mqtt://127.0.0.1:${(proxy.address() as AddressInfo).port}`, { keepalive, availability: true });
  p.start();
  await until('online', () => heard.some(([word]) => word === 'online'));
  expect(connections).toBe(1);
  dead = true;
  await until('offline', () => heard.some(([word]) => word === 'offline'));
  const [, at] = heard.find(([word]) => word === 'offline')!;
  // It counts from the last thing it heard; mosquitto 2.0 looks only every few seconds.
  expect(at - spokeAt).toBeLessThan(1500 * keepalive + 6000);
  // The device notices as well.
  await until('noticed', () => p.state !== 'connected');
});

test('a command given while the device is away is not carried out when it comes back: its session ends with the connection', async () => {
  const mosquitto = await startMosquitto({ config: ['max_queued_messages 0'] });
  cleanup.push(() => mosquitto.stop());
  const orders: unknown[] = [];
  const commands = new Commands({
    device: 'edge-1',
    cameras: ['north'],
    onCommand: async (name, _camera, value) => {
      orders.push([name, value]);
      return { ok: true, value };
    },
    answer: () => {},
  });
  const options = {
    clientId: 'always-the-same',
    subscriptions: {
      filters: commands.filters,
      onMessage: (...m: Parameters<typeof commands.onMessage>) => commands.onMessage(...m),
    },
  };
  const subscriber = await connectAsync(mosquitto.url, { protocolVersion: 5 });
  cleanup.push(() => subscriber.end(true));
  const order = (value: string) => subscriber.publishAsync('irst/edge-1/north/threshold/set', value, { qos: 1 });
  const first = publisher(mosquitto.url, options);
  const subscribed = once(first, 'subscribed');
  first.start();
  await subscribed;
  await order('0.1');
  await until('the first', () => orders.length === 1);
  await first.stop();
  await order('0.2');
  const second = publisher(mosquitto.url, options);
  const again = once(second, 'subscribed');
  second.start();
  await again;
  await order('0.3');
  await until('the last', () => orders.length >= 2);
  await delay(200);
  expect(orders).toEqual([
    ['threshold', 0.1],
    ['threshold', 0.3],
  ]);
});
